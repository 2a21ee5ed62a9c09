"""The real storage service behind a stub: callers cannot tell the stub from the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from photondb.api.catalogue import CreateIndex, CreateTable, DropTable
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import KeyRange, LogGap, Scan, ScanReply, StorageApi, TableGone, Write, WriteSummary
from photondb.api.transactions import TransactionConflict
from photondb.bus import LocalBus
from photondb.datum.keys import primary_key
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.function import Func
from photondb.reql.pipeline import aggregate_from_wire
from photondb.reql.steps import FilterStep, MapStep
from photondb.rpc import schema
from photondb.rpc.context import read_context, write_context
from photondb.rpc.storage import StorageStub
from photondb.rpc.storage_servant import storage_servant
from services.storage.service import Storage
from tests.rpc.probe import rpc_test, served
from tests.rpc.terms import ADD_ONE, IS_TRUE, KEEP_OLD

ROWS = 2_500


@asynccontextmanager
async def both(directory: Path) -> AsyncIterator[tuple[StorageApi, StorageApi, int]]:
    """The service, its stub, and a table with documents."""
    storage = Storage(directory / "data", LocalBus())
    await storage.start()
    async with served(storage_servant(storage), f"unix:{directory}/storage") as address:
        stub = StorageStub(address)
        catalogue = await stub.change_catalogue(INTERNAL, CreateTable("test", "t"))
        table = catalogue.tables["test", "t"].id
        documents = [{"id": n, "n": n, "flag": n % 2 == 0, "text": "☂" * (n % 50)} for n in range(ROWS)]
        (summary,) = await stub.write(INTERNAL, [Write(table, "insert", documents=documents)])
        assert isinstance(summary, WriteSummary)
        assert summary.inserted == ROWS
        yield storage, stub, table
        await stub.close()
    await storage.stop()


async def rows_of(storage: StorageApi, reply: ScanReply) -> list[Any]:
    """All rows of a scan, to its end."""
    assert reply.chunk is not None
    rows = list(reply.chunk.values())
    cursor = reply.cursor
    last = cursor is None
    while not last:
        assert cursor is not None
        chunk, last = await cursor.next()
        rows += chunk.values()
    return rows


@rpc_test
async def test_reads(tmp_path: Path) -> None:
    async with both(tmp_path) as (storage, stub, table):
        keys = [(table, primary_key(n)) for n in (0, 7, ROWS, 2)]
        assert await stub.get(INTERNAL, keys) == await storage.get(INTERNAL, keys)
        assert await stub.catalogue(INTERNAL) == await storage.catalogue(INTERNAL)
        assert await stub.log_position(INTERNAL, table) == await storage.log_position(INTERNAL, table)
        assert await stub.table_stats(INTERNAL, table) == await storage.table_stats(INTERNAL, table)
        for after, limit in ((0, 10), (ROWS - 3, 100), (ROWS, 100)):
            assert await stub.read_log(INTERNAL, table, 0, after, limit) == await storage.read_log(
                INTERNAL, table, 0, after, limit
            )


@rpc_test
async def test_scans(tmp_path: Path) -> None:
    async with both(tmp_path) as (storage, stub, table):
        flagged = FilterStep(Func.from_wire(IS_TRUE))
        scans = [
            Scan(table),
            Scan(table, descending=True, chunk_rows=100, first_chunk_rows=3),
            Scan(table, limit=1234, chunk_bytes=1000),
            Scan(table, ranges=[KeyRange(primary_key(10), primary_key(20)), KeyRange(primary_key(99), repeat=2)]),
            Scan(table, steps=[flagged, MapStep(Func.from_wire(ADD_ONE))]),
            Scan(table, ranges=[]),
        ]
        for scan in scans:
            ours = await rows_of(stub, await stub.scan(INTERNAL, scan))
            assert ours == await rows_of(storage, await storage.scan(INTERNAL, scan))
        counted = Scan(table, steps=[flagged], aggregate=aggregate_from_wire({"count": None}))
        ours_reply, theirs_reply = await stub.scan(INTERNAL, counted), await storage.scan(INTERNAL, counted)
        assert ours_reply.chunk is None
        assert ours_reply.partial == theirs_reply.partial


@rpc_test
async def test_what_the_planner_asks_for(tmp_path: Path) -> None:
    async with both(tmp_path) as (storage, stub, table):
        field: list[Any] = [69, [[2, [1]], [170, [[10, [1]], "n"]]]]
        catalogue = await stub.change_catalogue(INTERNAL, CreateIndex("test", "t", "n", field))
        while not catalogue.tables["test", "t"].indexes[0].ready:
            await asyncio.sleep(0.01)
            catalogue = await stub.catalogue(INTERNAL)
        (index,) = catalogue.tables["test", "t"].indexes
        assert index.complete
        await stub.write(INTERNAL, [Write(table, "insert", documents=[{"id": "null", "n": None}])])
        assert isinstance(storage, Storage)
        await storage.collect_statistics()
        assert await stub.statistics(INTERNAL, table) == await storage.statistics(INTERNAL, table)
        assert (await stub.statistics(INTERNAL, table)).indexes[index.id].entries == ROWS
        assert await stub.positions(INTERNAL, [table]) == await storage.positions(INTERNAL, [table])
        assert (await stub.positions(INTERNAL, [table])).tables == ((ROWS + 1,),)
        with pytest.raises(TableGone):
            await stub.positions(INTERNAL, [table, table + 1000])
        low = KeyRange(primary_key(5), primary_key(50))
        flagged = FilterStep(Func.from_wire(IS_TRUE))
        scan = Scan(table, index.id, [low], steps=[flagged], primary_order=True, measured=True, descending=True)
        reply = await stub.scan(INTERNAL, scan)
        assert [row["id"] for row in await rows_of(stub, reply)] == list(range(48, 5, -2))
        assert reply.chunk is not None
        measures = reply.chunk.measures
        assert measures is not None
        assert (measures.read, [step.rows for step in measures.steps], measures.left_index) == (45, [22], False)
        counted = Scan(table, index.id, [low], aggregate=aggregate_from_wire({"count": None}), measured=True)
        partial = await stub.scan(INTERNAL, counted)
        assert partial.partial == 45
        assert partial.measures is not None


@rpc_test
async def test_writes(tmp_path: Path) -> None:
    async with both(tmp_path) as (storage, stub, table):
        keys = [primary_key(1), primary_key(ROWS + 1)]
        update = Write(table, "update", keys=keys, function=Func.from_wire(ADD_ONE), return_changes=True)
        insert = Write(table, "insert", documents=[{"id": 1, "n": 0}], conflict=Func.from_wire(KEEP_OLD))
        gone = Write(table + 1000, "delete", keys=keys)
        updated, inserted, error = await stub.write(INTERNAL, [update, insert, gone])
        assert isinstance(updated, WriteSummary)
        assert (updated.replaced, updated.skipped) == (1, 1)
        assert updated.changes is not None
        (change,) = map(orjson.loads, updated.changes)
        assert (change["old_val"]["n"], change["new_val"]["n"]) == (1, 2)
        assert isinstance(inserted, WriteSummary)
        assert inserted.unchanged == 1
        assert isinstance(error, TableGone)
        (document,) = await storage.get(INTERNAL, [(table, primary_key(1))])
        assert document is not None
        assert orjson.loads(document)["n"] == 2
        await stub.sync(INTERNAL, table)


@rpc_test
async def test_errors(tmp_path: Path) -> None:
    async with both(tmp_path) as (storage, stub, table):
        for api in (storage, stub):
            with pytest.raises(ReqlError) as caught:
                await api.change_catalogue(INTERNAL, CreateTable("test", "t"))
            assert (caught.value.kind, caught.value.message) == (
                ErrorKind.OP_FAILED,
                "Table `test.t` already exists.",
            )
        await stub.change_catalogue(
            INTERNAL, CreateIndex("test", "t", "by_n", [69, [[2, [1]], [170, [[10, [1]], "n"]]]])
        )
        assert [status.name for status in await stub.index_status(INTERNAL, table)] == ["by_n"]
        await stub.change_catalogue(INTERNAL, DropTable("test", "t"))
        for call in (stub.log_position, stub.table_stats, stub.index_status, stub.sync):
            with pytest.raises(TableGone):
                await call(INTERNAL, table)
        with pytest.raises((TableGone, LogGap)):
            await stub.read_log(INTERNAL, table, 0, 0, 1)


@rpc_test
async def test_transactions(tmp_path: Path) -> None:
    async with both(tmp_path) as (storage, stub, table):
        user = CallContext(user="ada")
        begun = await stub.begin_transaction(user, "tx", "snapshot", False, 5_000)
        assert (begun.id, begun.user, begun.isolation, begun.timeout_ms) == ("tx", "ada", "snapshot", 5_000)
        inside = CallContext(user="ada", transaction="tx")
        (summary,) = await stub.write(inside, [Write(table, "delete", keys=[primary_key(n) for n in range(10)])])
        assert isinstance(summary, WriteSummary)
        assert summary.deleted == 10
        assert await stub.get(inside, [(table, primary_key(5))]) == [None]
        assert len(await rows_of(stub, await stub.scan(inside, Scan(table)))) == ROWS - 10
        assert len(await rows_of(stub, await stub.scan(INTERNAL, Scan(table)))) == ROWS
        assert await stub.transactions(user) == await storage.transactions(user)
        assert [(info.state, info.writes) for info in await stub.transactions(user, "tx")] == [("open", 10)]
        await stub.write(INTERNAL, [Write(table, "delete", keys=[primary_key(5)])])
        with pytest.raises(TransactionConflict, match=r"document 5 of table `test\.t`"):
            await stub.commit_transaction(inside, "tx")
        with pytest.raises(ReqlError, match="is over"):
            await stub.get(inside, [(table, primary_key(5))])
        await stub.begin_transaction(user, "other", "serializable", True, 5_000)
        assert (await stub.abort_transaction(user, "other", "no more of it")).reason == "no more of it"
        await stub.begin_transaction(user, "third", "serializable", False, 5_000)
        assert (await stub.commit_transaction(user, "third")).state == "committed"


def test_the_whole_context_crosses_the_wire() -> None:
    context = CallContext(
        ((b"t" * 16, b"s" * 8), (b"u" * 16, b"v" * 8)), None, "request", "ada", "tx", 1_700_000_000_000_000, True, False
    )
    message = schema.COMMON.Context.new_message()
    write_context(message, context, None)
    assert read_context(message) == context
    message = schema.COMMON.Context.new_message()
    write_context(message, CallContext(as_of_us=0), None)
    assert read_context(message) == CallContext(as_of_us=0)
