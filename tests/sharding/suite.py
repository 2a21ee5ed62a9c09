"""Storage nodes that make one storage: real ones, in this process or behind RPC, seen through the router."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from photondb.api.catalogue import CatalogueChange, CreateIndex, CreateTable
from photondb.api.context import INTERNAL
from photondb.api.storage import KeyRange, StorageApi
from photondb.bus import Bus, LocalBus
from photondb.datum.keys import key_range
from photondb.rpc.errors import ServiceUnavailable
from photondb.rpc.storage import StorageStub
from photondb.rpc.storage_servant import storage_servant
from photondb.sharding.router import Router
from services.storage.options import DEFAULT_OPTIONS, StorageOptions
from services.storage.role import NodeRole
from services.storage.service import Storage
from tests.rpc.probe import served
from tests.storage.conftest import Table
from tests.storage.language import term


class _Reached:
    """A node as home reaches it, which is there before the node has started."""

    def __init__(self, apis: list[StorageApi], number: int) -> None:
        self._apis = apis
        self._number = number

    def __getattr__(self, name: str) -> Any:
        if self._number < len(self._apis):
            return getattr(self._apis[self._number], name)
        return self._fail

    async def _fail(self, *arguments: Any) -> None:
        raise ServiceUnavailable("The node has not started yet.")


class Nodes:
    """`count` storage nodes with data below `path`. With `remote` the first and the last one are behind RPC."""

    def __init__(
        self, path: Path, count: int, bus: Bus, remote: bool, options: StorageOptions = DEFAULT_OPTIONS
    ) -> None:
        self.path = path
        self.count = count
        self.bus = bus
        self.storages: list[Storage] = []
        self.apis: list[StorageApi] = []
        self.others: list[StorageApi] = [cast("StorageApi", _Reached(self.apis, number)) for number in range(1, count)]
        """All but home, as home reaches them."""
        self.router: Router
        self._remote = remote
        self._options = options

    async def start(self, stack: contextlib.AsyncExitStack) -> Router:
        """Start all nodes, until the stack is left."""
        for number in range(self.count):
            storage = self._storage(number)
            await storage.start()
            self.storages.append(storage)
            stack.push_async_callback(self._stop, number)
            api: StorageApi = storage
            if self._remote and number in (0, self.count - 1):
                address = f"unix:{self.path}/storage-{number}.sock"
                await stack.enter_async_context(served(storage_servant(storage), address))
                api = stub = StorageStub(address)
                stack.push_async_callback(stub.close)
            self.apis.append(api)
        self.router = Router(self.apis)
        return self.router

    def _storage(self, number: int) -> Storage:
        home = self.home_of(number) if number else None
        role = NodeRole(number, self.count, home, others=() if number else self.others)
        return Storage(self.path / f"storage-{number}", self.bus, options=self._options, role=role)

    def home_of(self, number: int) -> StorageApi:
        """Home, as a node reaches it."""
        return self.apis[0]

    async def _stop(self, number: int) -> None:
        await self.storages[number].stop()

    async def restart(self, number: int) -> None:
        """Stop a node of this process and start it again, with another router to all of them."""
        await self._stop(number)
        self.apis[number] = self.storages[number] = self._storage(number)
        if number:
            self.others[number - 1] = cast("StorageApi", _Reached(self.apis, number))
        await self.storages[number].start()
        self.router = Router(self.apis)

    async def change(self, change: CatalogueChange) -> None:
        """Change the catalogue through the router."""
        await self.router.change_catalogue(INTERNAL, change)

    async def table(self, name: str, shards: int, database: str = "test") -> SpreadTable:
        """Make a table in so many parts."""
        catalogue = await self.router.change_catalogue(INTERNAL, CreateTable(database, name, shards=shards))
        return SpreadTable(self.router, catalogue.tables[database, name])


class SpreadTable(Table):
    """A table as the router shows it, with documents as plain values."""

    storage: StorageApi  # type: ignore[assignment]

    async def index_ready(self, *changes: CreateIndex) -> None:
        """Make indexes, and wait until they can be used."""
        for change in changes:
            await self.change(change)
        while not all(status.ready for status in await self.storage.index_status(INTERNAL, self.info.id)):
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running_nodes(
    path: Path,
    count: int,
    remote: bool = False,
    options: StorageOptions = DEFAULT_OPTIONS,
    kind: type[Nodes] = Nodes,
) -> AsyncIterator[Nodes]:
    """Nodes that run within the block."""
    async with contextlib.AsyncExitStack() as stack:
        bus = LocalBus()
        stack.push_async_callback(bus.close)
        await asyncio.to_thread(path.mkdir, parents=True, exist_ok=True)
        nodes = kind(path, count, bus, remote, options)
        await nodes.start(stack)
        yield nodes


ROWS = 600

INDEXES = (
    CreateIndex("test", "t", "n", term(lambda row: row["n"])),
    CreateIndex("test", "t", "tags", term(lambda row: row["tags"]), multi=True),
    CreateIndex("test", "t", "place", term(lambda row: row["place"]), geo=True),
)


def document(number: int) -> dict[str, Any]:
    place = {"$reql_type$": "GEOMETRY", "type": "Point", "coordinates": [number % 60, number % 50]}
    row = {"id": number, "n": number % 7, "text": "x" * (number % 40), "tags": [number % 3, number % 5], "place": place}
    if number % 11 == 0:
        del row["n"]
    return row


class Pair:
    """A table in several parts, and one with the same documents on a node of its own."""

    def __init__(self, nodes: Nodes, spread: SpreadTable, single: SpreadTable) -> None:
        self.nodes = nodes
        self.spread = spread
        self.single = single

    @property
    def tables(self) -> tuple[SpreadTable, SpreadTable]:
        return self.spread, self.single


@contextlib.asynccontextmanager
async def pair(path: Path, count: int, remote: bool, rows: int = ROWS) -> AsyncIterator[Pair]:
    async with running_nodes(path / "nodes", count, remote) as nodes:
        bus = LocalBus()
        storage = Storage(path / "single", bus)
        await storage.start()
        catalogue = await storage.change_catalogue(INTERNAL, CreateTable("test", "t"))
        single = SpreadTable(storage, catalogue.tables["test", "t"])
        both = Pair(nodes, await nodes.table("t", count), single)
        assert len(both.spread.info.nodes) == count
        for table in both.tables:
            await table.insert(*map(document, range(rows)))
            await table.index_ready(*INDEXES)
        yield both
        await storage.stop()
        await bus.close()


def ranges_of(low: Any, high: Any, left: Any = "closed", right: Any = "open", secondary: bool = False) -> KeyRange:
    return KeyRange(*key_range(low, high, left, right, secondary=secondary))


async def compare(both: Pair, index: str | None = None, **fields: Any) -> list[Any]:
    """See that a scan of both tables gives the same, and give it."""
    found = []
    for table in both.tables:
        number = None if index is None else table.index(index)
        found.append(await table.rows(index=number, **fields))
    assert found[0] == found[1]
    return found[0]


layouts = pytest.mark.parametrize(("count", "remote"), [(2, False), (3, True)], ids=["two", "three by RPC"])
