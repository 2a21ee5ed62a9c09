"""Short scans asked for at the same time share calls, and each has its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from photondb.api.catalogue import CreateIndex, CreateTable
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import KeyRange, Scan, ScanReply, TableGone, Write
from photondb.bus import LocalBus
from photondb.datum.keys import primary_key
from photondb.reql.errors import ReqlError
from photondb.reql.function import Func
from photondb.reql.steps import FilterStep, MapStep
from photondb.rpc.errors import ServiceUnavailable
from photondb.rpc.short_scans import MAX_ROWS, MAX_SCANS, is_short
from photondb.rpc.storage import StorageStub
from photondb.rpc.storage_servant import storage_servant
from services.storage.service import Storage
from tests.rpc.probe import rpc_test, served
from tests.rpc.terms import ADD_ONE, IS_TRUE

ROWS = 300


class CountedStorage(Storage):
    """Counts the scans that arrive, by their contexts."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.contexts: list[CallContext] = []

    async def scan(self, context: CallContext, scan: Scan) -> ScanReply:
        self.contexts.append(context)
        return await super().scan(context, scan)


@asynccontextmanager
async def stub_and_table(directory: Path) -> AsyncIterator[tuple[StorageStub, CountedStorage, int]]:
    storage = CountedStorage(directory / "data", LocalBus())
    await storage.start()
    async with served(storage_servant(storage), f"unix:{directory}/storage") as address:
        stub = StorageStub(address)
        catalogue = await stub.change_catalogue(INTERNAL, CreateTable("test", "t"))
        table = catalogue.tables["test", "t"].id
        documents = [{"id": n, "n": n, "flag": n % 2 == 0} for n in range(ROWS)]
        await stub.write(INTERNAL, [Write(table, "insert", documents=documents)])
        yield stub, storage, table
        await stub.close()
    await storage.stop()


def calls_of(stub: StorageStub) -> list[str]:
    """The names of the methods that the stub calls from now on."""
    names: list[str] = []
    client = stub._client
    call = client.call

    async def noted(method: Any, *arguments: Any, **parameters: Any) -> Any:
        names.append(method.name)
        return await call(method, *arguments, **parameters)

    client.call = noted  # type: ignore[method-assign]
    return names


def first(table: int, number: int, limit: int = 5, **more: Any) -> Scan:
    return Scan(table, ranges=[KeyRange(primary_key(number))], limit=limit, **more)


def ids(reply: ScanReply) -> list[int]:
    assert reply.chunk is not None
    assert reply.cursor is None
    return [row["id"] for row in reply.chunk.values()]


@rpc_test
async def test_scans_of_a_turn_share_calls(tmp_path: Path) -> None:
    async with stub_and_table(tmp_path) as (stub, storage, table):
        calls = calls_of(stub)
        replies = await asyncio.gather(*(stub.scan(INTERNAL, first(table, n)) for n in range(200)))
        assert [ids(reply) for reply in replies] == [list(range(n, min(n + 5, ROWS))) for n in range(200)]
        assert set(calls) == {"shortScans"}
        assert len(calls) == -(-200 // MAX_SCANS)
        assert len(storage.contexts) == 200
        await stub.scan(INTERNAL, first(table, 3))
        assert len(calls) == -(-200 // MAX_SCANS) + 1


@rpc_test
async def test_each_has_its_own_answer(tmp_path: Path) -> None:
    async with stub_and_table(tmp_path) as (stub, storage, table):
        info = (await stub.change_catalogue(INTERNAL, CreateIndex("test", "t", "flag", IS_TRUE))).tables["test", "t"]
        (index,) = info.indexes
        while not (await stub.index_status(INTERNAL, table))[0].ready:
            await asyncio.sleep(0.01)
        scans = [
            first(table, 290, 100),
            first(table, 10, 3, descending=True),
            Scan(table, ranges=[KeyRange(primary_key(1), primary_key(3), 2), KeyRange(primary_key(9))], limit=6),
            first(table, 10, 2, steps=[MapStep(Func.from_wire(ADD_ONE))]),
            Scan(table, index=index.id, limit=4),
            Scan(table, ranges=[], limit=4),
            first(table, 0, 0),
        ]
        assert all(is_short(scan, INTERNAL) for scan in scans)
        together = await asyncio.gather(*(stub.scan(INTERNAL, scan) for scan in scans))
        for scan, reply in zip(scans, together, strict=True):
            expected = await storage.scan(INTERNAL, scan)
            assert reply.chunk is not None
            assert expected.chunk is not None
            assert reply.chunk.values() == expected.chunk.values()
            assert reply.cursor is None


@rpc_test
async def test_one_that_fails_leaves_the_others_alone(tmp_path: Path) -> None:
    async with stub_and_table(tmp_path) as (stub, _storage, table):
        failing = first(table, 0, steps=[MapStep(Func.from_wire([69, [[2, [1]], [12, ["my error"]]]]))])
        replies = await asyncio.gather(
            stub.scan(INTERNAL, first(table, 7)),
            stub.scan(INTERNAL, first(table + 99, 7)),
            stub.scan(INTERNAL, failing),
            stub.scan(INTERNAL, first(table, 8)),
            return_exceptions=True,
        )
        good, gone, failed, other = replies
        assert isinstance(good, ScanReply)
        assert isinstance(other, ScanReply)
        assert (ids(good), ids(other)) == ([7, 8, 9, 10, 11], [8, 9, 10, 11, 12])
        assert isinstance(gone, TableGone)
        assert isinstance(failed, ReqlError)
        assert failed.message == "my error"


@rpc_test
async def test_each_has_its_own_context(tmp_path: Path) -> None:
    async with stub_and_table(tmp_path) as (stub, storage, table):
        contexts = [CallContext(user=user) for user in ("ada", "bob", "ada", "eve", "bob")]
        replies = await asyncio.gather(
            *(stub.scan(context, first(table, number)) for number, context in enumerate(contexts))
        )
        assert [ids(reply)[0] for reply in replies] == [0, 1, 2, 3, 4]
        assert sorted(context.user for context in storage.contexts) == ["ada", "ada", "bob", "bob", "eve"]


@rpc_test
async def test_rows_that_are_too_long_come_by_themselves(tmp_path: Path) -> None:
    async with stub_and_table(tmp_path) as (stub, _storage, table):
        documents = [{"id": n, "text": "x" * 300_000} for n in range(20)]
        await stub.write(INTERNAL, [Write(table, "insert", documents=documents, conflict="replace")])
        calls = calls_of(stub)
        scans = [first(table, 0, 20), *(first(table, n, 3) for n in range(12))]
        replies = await asyncio.gather(*(stub.scan(INTERNAL, scan) for scan in scans))
        assert replies[0].cursor is not None  # more than a chunk
        assert [ids(reply) for reply in replies[1:]] == [[n, n + 1, n + 2] for n in range(12)]
        assert calls.count("shortScans") == 1
        assert 1 < calls.count("scan") < len(scans)
        await replies[0].cursor.close()


@rpc_test
async def test_a_cancelled_scan_leaves_the_others_alone(tmp_path: Path) -> None:
    async with stub_and_table(tmp_path) as (stub, storage, table):
        tasks = [asyncio.ensure_future(stub.scan(INTERNAL, first(table, n))) for n in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        assert ids(await tasks[0]) == [0, 1, 2, 3, 4]
        assert ids(await tasks[2]) == [2, 3, 4, 5, 6]
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        assert len(storage.contexts) == 2


@rpc_test
async def test_a_lost_connection_fails_all_of_them(tmp_path: Path) -> None:
    async with stub_and_table(tmp_path) as (stub, _storage, table):
        await stub.scan(INTERNAL, first(table, 0))
        tasks = [asyncio.ensure_future(stub.scan(INTERNAL, first(table, n))) for n in range(3)]
        await stub.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, ServiceUnavailable) for result in results)


def test_which_scans_are_short() -> None:
    kept = Func.from_wire(IS_TRUE)
    assert is_short(Scan(1, limit=MAX_ROWS), INTERNAL)
    assert not is_short(Scan(1, limit=MAX_ROWS + 1), INTERNAL)
    assert not is_short(Scan(1), INTERNAL)
    assert not is_short(Scan(1, limit=1, steps=[FilterStep(kept)]), INTERNAL)  # may read the whole table
    assert not is_short(Scan(1, limit=1), CallContext(deadline=1.0))
