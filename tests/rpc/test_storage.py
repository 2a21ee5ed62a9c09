"""The stub of the storage service behaves like the service: what goes in arrives, and what comes out returns."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from photondb.api.catalogue import (
    AlterTable,
    Catalogue,
    CatalogueChange,
    CreateDatabase,
    CreateIndex,
    CreateTable,
    DatabaseInfo,
    DropDatabase,
    DropIndex,
    DropTable,
    IndexInfo,
    RenameDatabase,
    RenameIndex,
    TableInfo,
)
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import IndexPart, KeyRange, LogGap, LogRecord, Scan, ScanReply, TableGone, Write, WriteSummary
from photondb.api.storage_status import EngineStats, IndexStatus, TableStats
from photondb.datum.extreme import MAXVAL
from photondb.reql.chunk import Chunk
from photondb.reql.errors import ErrorKind, ReqlError, op_failed
from photondb.reql.function import Func
from photondb.reql.parameters import constant_function
from photondb.reql.pipeline import aggregate_from_wire, steps_to_wire
from photondb.reql.steps import FilterStep, MapStep, Step
from photondb.rpc.eager import start_eagerly
from photondb.rpc.errors import InternalError, ServiceUnavailable
from photondb.rpc.storage import StorageStub
from photondb.rpc.storage_servant import storage_servant
from tests.rpc.probe import rpc_test, served
from tests.rpc.terms import ADD_ONE, IS_TRUE, KEEP_OLD

CATALOGUE = Catalogue(
    7,
    {"test": DatabaseInfo("d1", "test"), "empty ☂": DatabaseInfo("d2", "empty ☂")},
    {
        ("test", "a"): TableInfo(1, "t1", "a", "test"),
        ("test", "b"): TableInfo(
            2, "t2", "b", "test", "name", "soft", (IndexInfo(5, "i", IS_TRUE, True, True, True),), ADD_ONE
        ),
    },
    "node 1",
)

ROWS = [b'{"id":%d}' % number for number in range(10)]


class Cursor:
    """Gives the chunks that it was made with."""

    def __init__(self, storage: Storage, chunks: list[Chunk]) -> None:
        self.storage = storage
        self.chunks = chunks
        storage.cursors.append(self)

    async def next(self) -> tuple[Chunk, bool]:
        chunk = self.chunks.pop(0)
        if not self.chunks:
            await self.close()
        return chunk, not self.chunks

    async def close(self) -> None:
        if self in self.storage.cursors:
            self.storage.cursors.remove(self)


class Storage:
    """Keeps the arguments of the last call, and returns what it was told to."""

    def __init__(self) -> None:
        self.arguments: tuple[Any, ...] = ()
        self.result: Any = None
        self.cursors: list[Cursor] = []

    def _answer(self, *arguments: Any) -> Any:
        self.arguments = arguments
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    async def catalogue(self, context: CallContext) -> Catalogue:
        return self._answer(context)  # type: ignore[no-any-return]

    async def change_catalogue(self, context: CallContext, change: CatalogueChange) -> Catalogue:
        return self._answer(context, change)  # type: ignore[no-any-return]

    async def get(self, context: CallContext, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        return self._answer(context, keys)[: len(keys)]  # type: ignore[no-any-return]

    async def write(self, context: CallContext, writes: Sequence[Write]) -> list[WriteSummary | Exception]:
        return self._answer(context, writes)  # type: ignore[no-any-return]

    async def scan(self, context: CallContext, scan: Scan) -> ScanReply:
        return self._answer(context, scan)  # type: ignore[no-any-return]

    async def sync(self, context: CallContext, table: int) -> None:
        self._answer(context, table)

    async def index_status(self, context: CallContext, table: int) -> list[IndexStatus]:
        return self._answer(context, table)  # type: ignore[no-any-return]

    async def read_log(self, context: CallContext, table: int, shard: int, after: int, limit: int) -> list[LogRecord]:
        return self._answer(context, table, shard, after, limit)  # type: ignore[no-any-return]

    async def log_position(self, context: CallContext, table: int) -> list[int]:
        return self._answer(context, table)  # type: ignore[no-any-return]

    async def table_stats(self, context: CallContext, table: int) -> TableStats:
        return self._answer(context, table)  # type: ignore[no-any-return]

    async def shard_rows(self, context: CallContext, table: int) -> list[int]:
        return self._answer(context, table)  # type: ignore[no-any-return]

    async def engine_stats(self, context: CallContext) -> EngineStats:
        return self._answer(context)  # type: ignore[no-any-return]

    async def checkpoint(self, context: CallContext) -> str:
        return self._answer(context)  # type: ignore[no-any-return]


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/storage"


@asynccontextmanager
async def stub_of(storage: Storage, address: str) -> AsyncIterator[StorageStub]:
    async with served(storage_servant(storage), address):
        stub = StorageStub(address)
        yield stub
        await stub.close()


@rpc_test
async def test_the_catalogue(address: str) -> None:
    storage = Storage()
    async with stub_of(storage, address) as stub:
        storage.result = CATALOGUE
        assert await stub.catalogue(INTERNAL) == CATALOGUE
        tables = {("test", f"t{n}"): TableInfo(n, f"uuid {n}", f"t{n}", "test") for n in range(50_000)}
        storage.result = Catalogue(8, {}, tables)  # longer than a piece
        assert await stub.catalogue(CallContext(user="ada")) == storage.result
        assert storage.arguments == (CallContext(user="ada"),)


CHANGES: list[CatalogueChange] = [
    CreateDatabase("d"),
    DropDatabase("d"),
    RenameDatabase("d", "e"),
    CreateTable("d", "t", "key", "soft"),
    DropTable("d", "t"),
    AlterTable("d", "t"),
    AlterTable("d", "t", "u", "soft", ADD_ONE),
    AlterTable("d", "t", write_hook=[]),
    CreateIndex("d", "t", "i", IS_TRUE, True, True),
    DropIndex("d", "t", "i"),
    RenameIndex("d", "t", "i", "j", True),
]


@rpc_test
async def test_engine_stats(address: str) -> None:
    storage = Storage()
    async with stub_of(storage, address) as stub:
        storage.result = EngineStats(1, 2, 3, 4, 5, 6, 7, 8, True, 9, 10, 11, 1 << 40)
        assert await stub.engine_stats(CallContext(user="ada")) == storage.result
        assert storage.arguments == (CallContext(user="ada"),)


@rpc_test
async def test_checkpoint(address: str) -> None:
    storage = Storage()
    async with stub_of(storage, address) as stub:
        storage.result = "/data/checkpoints/1"
        assert await stub.checkpoint(CallContext(user="ada")) == "/data/checkpoints/1"
        assert storage.arguments == (CallContext(user="ada"),)


@rpc_test
async def test_changes_of_the_catalogue(address: str) -> None:
    storage = Storage()
    async with stub_of(storage, address) as stub:
        storage.result = CATALOGUE
        for change in CHANGES:
            assert await stub.change_catalogue(INTERNAL, change) == CATALOGUE
            assert storage.arguments == (INTERNAL, change)
        storage.result = op_failed("Database `d` already exists.")
        with pytest.raises(ReqlError, match="Database `d` already exists"):
            await stub.change_catalogue(INTERNAL, CHANGES[0])


@rpc_test
async def test_get(address: str) -> None:
    storage = Storage()
    async with stub_of(storage, address) as stub:
        storage.result = [b'{"id":1}', None, b"3"]
        keys = [(1, b"\x00key"), (2**32 - 1, b""), (1, b"k" * 1000)]
        assert await stub.get(INTERNAL, keys) == storage.result
        assert storage.arguments[1] == keys
        storage.arguments = ()
        assert await stub.get(INTERNAL, []) == []


@rpc_test
async def test_get_as_programs_ask_that_do_not_pack(address: str) -> None:
    storage = Storage()
    async with stub_of(storage, address) as stub:
        storage.result = [b"1", None]
        keys = [(1, b"a"), (2, b"b")]
        request = (await stub._client._short.ready(None)).service._capability._request("get")
        request.init("context").user = "ada"
        request.tables, request.keys = [table for table, _ in keys], [key for _, key in keys]
        response = await request.send()
        assert (response.which(), list(response.ok)) == ("ok", [b"1", b""])
        assert storage.arguments == (CallContext(user="ada"), keys)


@rpc_test
async def test_get_of_more_than_fits_into_a_reply(address: str) -> None:
    class Large(Storage):
        calls = 0

        async def get(self, context: CallContext, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
            self.calls += 1
            return [key * 10_000_000 for _, key in keys]

    storage = Large()
    async with stub_of(storage, address) as stub:
        keys = [(1, b"%d" % number) for number in range(8)]
        assert await stub.get(INTERNAL, keys) == [key * 10_000_000 for _, key in keys]
        assert storage.calls == 3
        assert await stub.get(INTERNAL, [(1, b"xxxx")]) == [b"xxxx" * 10_000_000]


@rpc_test
async def test_statements(address: str) -> None:
    storage = Storage()
    writes = [
        Write(1, "insert", documents=[{"id": 1, "π": [None, True, 1.5, {"x": "☂"}]}, {"id": 2}]),
        Write(1, "insert", documents=[{"id": 3}], conflict="update", return_changes="always"),
        Write(2, "delete", keys=[b"a\x00", b"b", b""], durability="soft", return_changes=True),
        Write(2, "delete", keys=[], ignore_write_hook=True, durability="hard"),
        Write(3, "insert", documents=[], conflict="replace"),
    ]
    async with stub_of(storage, address) as stub:
        storage.result = [WriteSummary()]
        await stub.write(INTERNAL, writes)
        assert storage.arguments[1] == [
            Write(
                **{
                    **{name: getattr(write, name) for name in Write.__struct_fields__},
                    "keys": list(write.keys),
                    "documents": list(write.documents),
                }
            )
            for write in writes
        ]


@rpc_test
async def test_functions_in_statements(address: str) -> None:
    storage = Storage()
    async with stub_of(storage, address) as stub:
        storage.result = []
        update = Write(1, "update", keys=[b"k"], function=Func.from_wire(ADD_ONE))
        insert = Write(1, "insert", documents=[{"id": 1}], conflict=Func.from_wire(KEEP_OLD))
        assert await stub.write(INTERNAL, [update, insert]) == []
        arrived_update, arrived_insert = storage.arguments[1]
        assert arrived_update.function.call({"n": 41}) == {"n": 42}
        assert arrived_update.keys == [b"k"]
        assert arrived_insert.conflict.call(1, {"id": 1, "v": "old"}, {"id": 1, "v": "new"}) == {"id": 1, "v": "old"}


@pytest.mark.parametrize("other", ["plain", MAXVAL, "half a \ud83d"])
def test_constants_in_statements(address: str, other: Any) -> None:
    constants = [
        {"a": [1, 2.5, -0.0, 1e300, 2**53, {"b": None}], "c": {"$reql_type$": "LITERAL", "value": 1}},
        None,
        5,
        other,
        {"deep": functools.reduce(lambda inner, _: [inner], range(20), 1)},
    ]

    @rpc_test
    async def arrive() -> None:
        storage = Storage()
        async with stub_of(storage, address) as stub:
            storage.result = []
            writes = [Write(1, "update", keys=[b"k"], function=constant_function(value)) for value in constants]
            await stub.write(INTERNAL, writes)
            arrived = [write.function for write in storage.arguments[1]]
            assert all(function.code.literals for function in arrived)
            if other == "plain":
                assert all(function.code.constant for function in arrived)
                assert repr([function.body(function.frame) for function in arrived]) == repr(constants)
            assert arrived[2].call({"id": 1}) == 5

    arrive()


@rpc_test
async def test_what_became_of_statements(address: str) -> None:
    storage = Storage()
    async with stub_of(storage, address) as stub:
        storage.result = [
            WriteSummary(),
            WriteSummary(1, 2, 3, 4, 5, 6, "half a \ud83d", [b'{"new_val":{"a":1.0}}'], ("w1", "w2"), ["id1", 2, [3]]),
            WriteSummary(changes=[]),
            WriteSummary(changes=[b'{"new_val":"%s"}' % (b"x" * 3_000_000)] * 30),
        ]
        expected = list(storage.result)
        expected[1] = WriteSummary(
            1, 2, 3, 4, 5, 6, "half a \ufffd", [b'{"new_val":{"a":1.0}}'], ("w1", "w2"), ["id1", 2, [3]]
        )
        assert await stub.write(INTERNAL, []) == expected


@rpc_test
async def test_statements_that_fail_as_a_whole(address: str, caplog: pytest.LogCaptureFixture) -> None:
    storage = Storage()
    async with stub_of(storage, address) as stub:
        storage.result = [
            TableGone(),
            WriteSummary(inserted=1),
            ReqlError(ErrorKind.LOGIC, "Bad.", [1, "conflict"]),
            KeyError("the secret of the house"),
        ]
        gone, summary, bad, bug = await stub.write(CallContext(request_id="r9"), [])
        assert isinstance(gone, TableGone)
        assert summary == WriteSummary(inserted=1)
        assert isinstance(bad, ReqlError)
        assert (bad.kind, bad.message, bad.frames) == (ErrorKind.LOGIC, "Bad.", (1, "conflict"))
        assert isinstance(bug, InternalError)
        assert bug.request_id == "r9"
        assert "secret" not in bug.message
        assert "secret" in caplog.text


@rpc_test
async def test_large_writes_take_the_bulk_connection(address: str) -> None:
    storage = Storage()
    async with stub_of(storage, address) as stub:
        storage.result = []
        documents = [{"id": number, "text": "x" * 1_000_000} for number in range(50)]
        await stub.write(INTERNAL, [Write(1, "insert", documents=documents)])
        assert storage.arguments[1][0].documents == documents
        assert stub._client._bulk.connection is not None
        assert stub._client._short.connection is None


@rpc_test
async def test_scans_arrive_as_they_are(address: str) -> None:
    storage = Storage()
    storage.result = ScanReply(chunk=Chunk.of_raw([]))
    scans = [
        Scan(1),
        Scan(
            2,
            index=0,
            ranges=[KeyRange(b"a", b"b\xff"), KeyRange(repeat=3)],
            descending=True,
            limit=200,
            chunk_rows=7,
            chunk_bytes=123_456,
            first_chunk_rows=3,
        ),
        Scan(3, index=9, ranges=[], limit=50),
        Scan(4, index=1, primary_order=True, others=(IndexPart(2, [KeyRange(b"a", b"b")]),), every=False),
    ]
    async with stub_of(storage, address) as stub:
        for scan in scans:
            reply = await stub.scan(INTERNAL, scan)
            assert reply.chunk is not None
            assert (len(reply.chunk), reply.cursor) == (0, None)
            arrived = storage.arguments[1]
            assert list(arrived.ranges) == list(scan.ranges)
            arrived.ranges, arrived.steps = scan.ranges, scan.steps
            assert arrived == scan


@rpc_test
async def test_the_pushed_down_part_arrives(address: str) -> None:
    storage = Storage()
    storage.result = ScanReply(partial={"sum": [1, None]})
    steps: list[Step] = [FilterStep(Func.from_wire(IS_TRUE), default=True), MapStep(Func.from_wire(ADD_ONE))]
    async with stub_of(storage, address) as stub:
        scan = Scan(1, steps=steps, aggregate=aggregate_from_wire({"count": None}))
        reply = await stub.scan(INTERNAL, scan)
        assert (reply.chunk, reply.partial, reply.cursor) == (None, {"sum": [1, None]}, None)
        arrived = storage.arguments[1]
        assert steps_to_wire(arrived.steps) == steps_to_wire(steps)
        assert scan.aggregate is not None
        assert arrived.aggregate.to_wire() == scan.aggregate.to_wire()

        storage.result = ScanReply(partial=None)
        assert await stub.scan(INTERNAL, scan) == ScanReply()


@rpc_test
async def test_a_scan_is_read_to_its_end(address: str) -> None:
    storage = Storage()
    async with stub_of(storage, address) as stub:
        chunks = [Chunk.of_raw(ROWS[3:6]), Chunk.of_raw([]), Chunk.of_values([{"id": 6}, 7])]
        storage.result = ScanReply(Chunk.of_raw(ROWS[:3]), cursor=Cursor(storage, chunks))
        # The deadline is the first chunk's: reading on may take as long as the reader likes.
        deadline = time.monotonic() + 1
        reply = await stub.scan(CallContext(deadline=deadline), Scan(1))
        storage.result = None
        assert reply.chunk is not None
        assert reply.chunk.json() == b'{"id":0},{"id":1},{"id":2}'
        assert reply.cursor is not None
        while time.monotonic() <= deadline:
            await asyncio.sleep(0.05)
        chunk, last = await reply.cursor.next()
        assert (chunk.json(), len(chunk), last) == (b'{"id":3},{"id":4},{"id":5}', 3, False)
        chunk, last = await reply.cursor.next()
        assert (chunk.json(), len(chunk), last) == (b"", 0, False)
        chunk, last = await reply.cursor.next()
        assert (chunk.values(), last) == ([{"id": 6}, 7], True)
        assert storage.cursors == []
        await reply.cursor.close()


@pytest.mark.parametrize("how", ["close", "drop", "lose"])
@rpc_test
async def test_a_scan_that_is_not_read_to_its_end_is_freed(address: str, how: str) -> None:
    storage = Storage()
    async with stub_of(storage, address) as stub:
        storage.result = ScanReply(Chunk.of_raw(ROWS), cursor=Cursor(storage, [Chunk.of_raw(ROWS)]))
        cursor = (await stub.scan(INTERNAL, Scan(1))).cursor
        storage.result = None
        assert len(storage.cursors) == 1
        assert cursor is not None
        match how:
            case "close":
                await cursor.close()
                assert storage.cursors == []
                await cursor.close()
                with pytest.raises(ReqlError, match="closed"):
                    await cursor.next()
            case "drop":
                del cursor
            case "lose":
                await stub.close()
                with pytest.raises(ServiceUnavailable):
                    await cursor.next()
                await cursor.close()
        while storage.cursors:
            await asyncio.sleep(0.005)


@rpc_test
async def test_the_log(address: str) -> None:
    storage = Storage()
    async with stub_of(storage, address) as stub:
        storage.result = [
            LogRecord(2**40, 1_700_000_000_000_000, b"k1", None, b'{"id":1}'),
            LogRecord(2**40 + 1, -5, b"k2", b'{"id":2}', None),
            LogRecord(2**40 + 2, 0, b"", b"1", b"2"),
        ]
        assert await stub.read_log(INTERNAL, 1, 63, 2**40 - 1, 100) == storage.result
        assert storage.arguments == (INTERNAL, 1, 63, 2**40 - 1, 100)
        storage.result = []
        assert await stub.read_log(INTERNAL, 1, 0, 0, 1) == []
        storage.result = [LogRecord(number, 0, b"k", None, bytes(20_000_000)) for number in range(3)]
        assert await stub.read_log(INTERNAL, 1, 0, 0, 100) == storage.result[:1]
        storage.result = LogGap(17)
        with pytest.raises(LogGap) as caught:
            await stub.read_log(INTERNAL, 1, 0, 0, 1)
        assert caught.value.oldest == 17


@rpc_test
async def test_the_rest(address: str) -> None:
    storage = Storage()
    async with stub_of(storage, address) as stub:
        await stub.sync(INTERNAL, 5)
        assert storage.arguments == (INTERNAL, 5)
        storage.result = [IndexStatus("i", True, 1.0), IndexStatus("☂", False, 0.25)]
        assert await stub.index_status(INTERNAL, 5) == storage.result
        storage.result = [0, 2**40]
        assert await stub.log_position(INTERNAL, 5) == storage.result
        storage.result = [2**40, 0]
        assert await stub.shard_rows(INTERNAL, 5) == storage.result
        storage.result = TableStats(2**40, 2**50)
        assert await stub.table_stats(INTERNAL, 5) == storage.result
        storage.result = TableGone()
        with pytest.raises(TableGone):
            await stub.table_stats(INTERNAL, 5)


@rpc_test
async def test_a_stub_may_be_called_outside_of_any_task(address: str) -> None:
    storage = Storage()
    storage.result = [b"1"]
    async with stub_of(storage, address) as stub:
        for _ in range(2):  # without a connection, and with one
            context = CallContext(deadline=time.monotonic() + 60)
            started = start_eagerly(stub.get(context, [(1, b"k")]))
            assert started.task is not None
            assert await started.task == [b"1"]
