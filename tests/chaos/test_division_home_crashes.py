"""kill -9 of storage node 0 at each step of dividing a table anew, under writers and readers with catalogues of their
own."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import orjson
import pytest

from photondb.api.catalogue import Catalogue, CreateIndex, CreateTable, SplitTable
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import Scan, StorageApi, TableGone, Write, WriteSummary
from photondb.bus import LocalBus
from photondb.datum.keys import primary_key
from photondb.reql.errors import ReqlError
from photondb.rpc.storage import StorageStub
from photondb.rpc.storage_servant import storage_servant
from photondb.sharding.router import Router
from services.storage.check import check_store
from services.storage.rocks import Store
from services.storage.role import NodeRole
from services.storage.service import Storage
from tests.chaos.crash_points import REACHED
from tests.chaos.division_home import BEGUN, POINTS, READY
from tests.rpc.probe import rpc_test, served
from tests.storage.language import constant, term

T = TypeVar("T")

DOCUMENTS = 1000
WRITERS = 4
CALL_S = 2.0
RETRY_S = 0.05
COUNTS = {"after documents are copied": 3, "after it is noted how far the copy is": 3}
"""How many times a point is passed before the process dies there, where that is more than once."""


class Home:
    """Node 0, a process that dies at one point after another."""

    def __init__(self, path: Path, address: str, others: list[str]) -> None:
        self._arguments = (str(path), address, ",".join(others))
        self.resumed = 0
        """How many attempts went on from what was copied before."""

    async def start(self, *point: str) -> asyncio.subprocess.Process:
        """Start it, and return when it is ready."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.chaos.division_home",
            *self._arguments,
            *point,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await self._read(process, READY)
        return process

    async def has_died(self, process: asyncio.subprocess.Process) -> None:
        """Return when it has died at its point."""
        await self._read(process, REACHED)
        await process.wait()

    async def _read(self, process: asyncio.subprocess.Process, wanted: bytes) -> None:
        assert process.stdout is not None
        while (line := await process.stdout.readline()) != wanted:
            assert line, "it ended by itself"
            begun = line.decode().removeprefix(BEGUN)
            self.resumed += int(begun) > 0


def soon() -> CallContext:
    return msgspec.structs.replace(INTERNAL, deadline=time.monotonic() + CALL_S)


async def persistently(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer to a question that is asked until there is one."""
    while True:
        try:
            return await ask()
        except (ReqlError, TableGone):
            await asyncio.sleep(RETRY_S)


class Client:
    """Writes and reads with a router of its own, so that what it knows of the catalogue is as old as can be."""

    def __init__(self, nodes: list[StorageApi], table: int) -> None:
        self.router = Router(nodes)
        self._table = table

    async def put(self, key: int, value: int) -> None:
        """Write until that is acknowledged."""
        write = Write(self._table, "update", keys=[primary_key(key)], function=constant({"v": value}))

        async def once() -> None:
            (outcome,) = await self.router.write(soon(), [write])
            if not isinstance(outcome, WriteSummary):
                raise outcome
            assert (outcome.errors, outcome.replaced + outcome.unchanged) == (0, 1), outcome

        await persistently(once)

    async def get(self, key: int) -> int:
        """Read until there is an answer."""
        (raw,) = await persistently(lambda: self.router.get(soon(), [(self._table, primary_key(key))]))
        assert raw is not None
        value: int = orjson.loads(raw)["v"]
        return value


async def write_and_read(
    writer: Client, reader: Client, first: int, acknowledged: dict[int, int], stopping: asyncio.Event
) -> None:
    """Write documents which nobody else does, and see that others read at once what was acknowledged."""
    value = 0
    while True:
        for key in range(first, DOCUMENTS, 7 * WRITERS):
            if stopping.is_set():
                return
            value += 1
            await writer.put(key, value)
            acknowledged[key] = value
            assert await reader.get(key) == value
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def other_nodes(path: Path, home: str) -> AsyncIterator[list[StorageApi]]:
    """Nodes 1 and 2, in this process."""
    async with contextlib.AsyncExitStack() as stack:
        nodes: list[StorageApi] = []
        for number in (1, 2):
            stub = StorageStub(home)
            stack.push_async_callback(stub.close)
            storage = Storage(path / f"storage-{number}", LocalBus(), role=NodeRole(number, 3, stub))
            await storage.start()
            stack.push_async_callback(storage.stop)
            await stack.enter_async_context(served(storage_servant(storage), f"unix:{path}/{number}.sock"))
            nodes.append(storage)
        yield nodes


async def keep_dividing(router: Router) -> None:
    """Divide the table anew, if it is not being divided."""
    catalogue = await router.catalogue(soon())
    if not catalogue.copies:
        shards = 5 - catalogue.tables["test", "t"].shards
        await router.change_catalogue(soon(), SplitTable("test", "t", shards))


async def until_divided(router: Router) -> Catalogue:
    while True:
        catalogue = await persistently(lambda: router.catalogue(soon()))
        if not catalogue.copies:
            return catalogue
        await asyncio.sleep(RETRY_S)


@pytest.mark.timeout(600)
@rpc_test
async def test_home_dies_at_each_step(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/0.sock"
    home = Home(tmp_path / "storage-0", address, [f"unix:{tmp_path}/{number}.sock" for number in (1, 2)])
    points = list(POINTS)
    process = await home.start(points[0], str(COUNTS.get(points[0], 1)))
    acknowledged: dict[int, int] = {}
    async with other_nodes(tmp_path, address) as others, contextlib.AsyncExitStack() as stack:
        stubs = [StorageStub(address) for _ in range(2)]
        for stub in stubs:
            stack.push_async_callback(stub.close)
        router = Router([stubs[0], *others])
        catalogue = await router.change_catalogue(soon(), CreateTable("test", "t", shards=2))
        table = catalogue.tables["test", "t"]
        documents: list[dict[str, Any]] = [{"id": key, "n": key % 7, "v": 0} for key in range(DOCUMENTS)]
        await router.write(soon(), [Write(table.id, "insert", documents=documents)])
        await router.change_catalogue(soon(), CreateIndex("test", "t", "n", term(lambda row: row["n"])))
        while not all(status.ready for status in await router.index_status(soon(), table.id)):
            await asyncio.sleep(RETRY_S)
        async with asyncio.timeout(500), asyncio.TaskGroup() as tasks:
            stopping = asyncio.Event()
            for number in range(WRITERS):
                writer, reader = (Client([stub, *others], table.id) for stub in stubs)
                tasks.create_task(write_and_read(writer, reader, 7 * number, acknowledged, stopping))
            for point in [*points[1:], None]:
                dying = tasks.create_task(home.has_died(process))
                while not dying.done():
                    with contextlib.suppress(ReqlError):
                        await keep_dividing(router)
                    await asyncio.wait([dying], timeout=RETRY_S)
                process = await home.start(*(() if point is None else (point, str(COUNTS.get(point, 1)))))
            catalogue = await until_divided(router)
            before = sum(acknowledged.values())
            while sum(acknowledged.values()) < before + WRITERS:
                await asyncio.sleep(RETRY_S)
            stopping.set()
        assert home.resumed > 0
        for document in documents:
            document["v"] = acknowledged.get(document["id"], 0)
        info = catalogue.tables["test", "t"]
        for index in (None, info.indexes[0].id):
            reply = await router.scan(soon(), Scan(info.id, index=index, chunk_rows=2 * DOCUMENTS, chunk_bytes=1 << 30))
            assert reply.chunk is not None
            rows = [orjson.loads(row) for row in reply.chunk.rows()]
            while reply.cursor is not None:
                chunk, last = await reply.cursor.next()
                rows += [orjson.loads(row) for row in chunk.rows()]
                if last:
                    break
            assert sorted(rows, key=lambda row: row["id"]) == documents
    process.terminate()
    await process.wait()
    for number in range(3):
        store = Store.open(tmp_path / f"storage-{number}")
        try:
            assert list(check_store(store)) == []
        finally:
            store.close()
