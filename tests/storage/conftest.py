from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, settings

from photondb.api.catalogue import CatalogueChange, CreateTable, TableInfo
from photondb.api.context import INTERNAL
from photondb.api.storage import KeyRange, Scan, Write, WriteSummary
from photondb.bus import LocalBus
from photondb.datum.keys import primary_key
from services.storage import layout
from services.storage.check import check_store
from services.storage.rocks import Store
from services.storage.service import Storage

settings.register_profile(
    "storage", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
settings.load_profile("storage")


@dataclass
class Table:
    """A table of a running storage, with documents as plain values."""

    storage: Storage
    info: TableInfo

    async def write(self, kind: Any, **fields: Any) -> WriteSummary:
        """Carry out one statement that must not fail as a whole. `keys` are values."""
        if "keys" in fields:
            fields["keys"] = [primary_key(key) for key in fields["keys"]]
        (summary,) = await self.storage.write(INTERNAL, [Write(self.info.id, kind, **fields)])
        if isinstance(summary, Exception):
            raise summary
        return summary

    async def insert(self, *documents: Any, **fields: Any) -> WriteSummary:
        return await self.write("insert", documents=list(documents), **fields)

    async def get(self, key: Any) -> Any:
        (raw,) = await self.storage.get(INTERNAL, [(self.info.id, primary_key(key))])
        return None if raw is None else orjson.loads(raw)

    async def rows(self, **fields: Any) -> list[Any]:
        """All rows of a scan."""
        reply = await self.storage.scan(INTERNAL, Scan(self.info.id, **fields))
        assert reply.chunk is not None
        rows = list(reply.chunk.values())
        cursor, last = reply.cursor, reply.cursor is None
        while not last:
            assert cursor is not None
            chunk, last = await cursor.next()
            rows += chunk.values()
        return rows

    async def change(self, change: CatalogueChange) -> None:
        """Change the catalogue, and look at the table again."""
        catalogue = await self.storage.change_catalogue(INTERNAL, change)
        self.info = next(table for table in catalogue.tables.values() if table.id == self.info.id)

    def index(self, name: str) -> int:
        """The id of an index."""
        found = self.info.index(name)
        assert found is not None
        return found.id


class Node:
    """A storage that can be stopped and started again on the same directory. Its store is checked at each stop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bus = LocalBus()
        self.storage: Storage

    async def start(self) -> Storage:
        self.storage = Storage(self.path, self.bus)
        await self.storage.start()
        return self.storage

    async def stop(self, *, check: bool = True) -> None:
        if check:
            self.check_cache()
        await self.storage.stop()
        if check:
            store = Store.open(self.path)
            problems = list(check_store(store))
            store.close()
            assert problems == []

    def check_cache(self) -> None:
        """See that the documents in memory are those in the store."""
        store = self.storage._store
        kept = store.documents.kept()
        live = [key for key in kept if layout.table_of(key) in self.storage._tables]
        assert [kept[key] for key in live] == store.get_many(live)

    async def table(self, name: str, **fields: Any) -> Table:
        """Make a table in the database `test`, or find it there."""
        catalogue = await self.storage.catalogue(INTERNAL)
        if ("test", name) not in catalogue.tables:
            catalogue = await self.storage.change_catalogue(INTERNAL, CreateTable("test", name, **fields))
        return Table(self.storage, catalogue.tables["test", name])


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path / "data")
    await node.start()
    yield node
    await node.stop()


@pytest.fixture
async def table(node: Node) -> Table:
    return await node.table("documents")


def key_ranges(*ranges: tuple[bytes, bytes]) -> Sequence[KeyRange]:
    return [KeyRange(low, high) for low, high in ranges]
