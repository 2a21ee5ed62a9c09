"""Scans that tell the place of each row, by which the scans of several nodes are merged."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from photondb.api.catalogue import AlterTable, CreateIndex, TableSettings
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import TOO_MANY_READ, KeyRange, Scan, StorageApi, Write
from photondb.datum.keys import after_prefix, encode_key, primary_key
from photondb.reql.errors import ReqlError
from photondb.reql.steps import ConcatMapStep, FilterStep, MapStep
from photondb.rpc.storage import StorageStub
from photondb.rpc.storage_servant import storage_servant
from tests.rpc.probe import rpc_test, served
from tests.storage.conftest import Node, Table
from tests.storage.language import func, term

ROWS = 700

Row = tuple[bytes, Any]
"""The place of a row, and the row."""


@pytest.fixture
async def full(table: Table) -> Table:
    return await filled(table)


async def filled(table: Table) -> Table:
    """Documents whose `a`, in the indexes `a` and `covering`, goes down by twos as their ids go up; index `tags` has
    three tags of each."""
    await table.insert(*({"id": n, "a": (ROWS - n) // 2, "tags": [n % 10, n % 3, n % 10]} for n in range(ROWS)))
    await table.change(CreateIndex("test", "documents", "a", term(lambda row: row["a"])))
    await table.change(CreateIndex("test", "documents", "covering", term(lambda row: row["a"]), include=("tags",)))
    await table.change(CreateIndex("test", "documents", "tags", term(lambda row: row["tags"]), multi=True))
    while not all(status.ready for status in await table.storage.index_status(INTERNAL, table.info.id)):
        await asyncio.sleep(0)
    return table


async def keyed(storage: StorageApi, table: int, context: CallContext = INTERNAL, **fields: Any) -> list[Row]:
    """All rows of a keyed scan with their places, which are in the scan's order."""
    reply = await storage.scan(context, Scan(table, keyed=True, **fields))
    chunk, cursor = reply.chunk, reply.cursor
    rows: list[Row] = []
    while chunk is not None:
        keys = chunk.keys or ()
        assert len(keys) == len(chunk)
        rows += zip(keys, chunk.values(), strict=True)
        chunk, last = (None, True) if cursor is None else await cursor.next()
        cursor = None if last else cursor
    places = [place for place, _ in rows]
    assert places == sorted(places, reverse=fields.get("descending", False))
    return rows


def place_of(row: dict[str, Any]) -> bytes:
    return primary_key(row["id"])


@pytest.mark.parametrize("limit", [None, 5, 90])
@pytest.mark.parametrize("descending", [False, True])
async def test_places_of_documents_are_their_primary_keys(full: Table, descending: bool, limit: int | None) -> None:
    rows = await keyed(full.storage, full.info.id, descending=descending, limit=limit, chunk_rows=100)
    assert len(rows) == (limit or ROWS)
    assert all(place == place_of(row) for place, row in rows)


@pytest.mark.parametrize("limit", [None, 5])
@pytest.mark.parametrize("index", ["a", "covering"])
async def test_places_in_an_index_are_its_key_and_the_primary_key(full: Table, index: str, limit: int | None) -> None:
    rows = await keyed(full.storage, full.info.id, index=full.index(index), limit=limit, chunk_rows=100)
    assert len(rows) == (limit or ROWS)
    assert all(place == encode_key(row["a"]) + place_of(row) for place, row in rows)


@pytest.mark.parametrize("limit", [None, 7, 333])
@pytest.mark.parametrize("index", ["a", "covering"])
@pytest.mark.parametrize("descending", [False, True])
async def test_in_the_order_of_values_equal_ones_are_in_that_of_the_table(
    full: Table, descending: bool, index: str, limit: int | None
) -> None:
    await full.insert(*({"id": n, "a": 20 if n < 1200 else n} for n in range(1000, 1300)))
    ranges = (KeyRange(encode_key(20), encode_key(30)), KeyRange(b"", encode_key(20)), KeyRange(encode_key(30)))
    steps = (MapStep(func(lambda row: row.pluck("id", "a"))),)
    rows: list[Any] = []
    context = INTERNAL
    scan = Scan(
        full.info.id,
        full.index(index),
        ranges,
        descending,
        steps if index == "a" else (),
        limit=limit,
        keyed=True,
        by_value=True,
        chunk_rows=90,
    )
    reply = await full.storage.scan(context, scan)
    chunk, cursor = reply.chunk, reply.cursor
    while chunk is not None:
        rows += zip(chunk.keys or (), chunk.values(), strict=True)
        await full.insert({"id": -1 - len(rows), "a": 20})  # what comes now is not seen
        chunk, last = (None, True) if cursor is None else await cursor.next()
        cursor = None if last else cursor
    places = [place for place, _ in rows]
    assert places == sorted(set(places))
    everything = [(n, (ROWS - n) // 2) for n in range(ROWS)] + [(n, 20 if n < 1200 else n) for n in range(1000, 1300)]
    parts = [[one for one in everything if low <= one[1] < high] for low, high in ((20, 30), (0, 20), (30, 10**6))]
    expected = [one for part in parts for one in sorted(part, key=lambda one: one[1], reverse=descending)]
    assert [row["id"] for _, row in rows] == [n for n, _ in expected][:limit]


async def test_a_scan_reads_no_more_than_it_may(full: Table) -> None:
    none = FilterStep(func(lambda row: row["id"] == -1))
    scan = Scan(full.info.id, full.index("a"), steps=(none,), keyed=True, by_value=True, limit=1, most_read=ROWS)
    assert (await full.storage.scan(INTERNAL, scan)).chunk is not None
    scan.most_read = ROWS - 1
    with pytest.raises(ReqlError, match=TOO_MANY_READ):
        await full.storage.scan(INTERNAL, scan)


@pytest.mark.parametrize("limit", [None, 7, 61])
async def test_repeated_rows_have_the_same_place(full: Table, limit: int | None) -> None:
    seven = KeyRange(encode_key(7), after_prefix(encode_key(7)), repeat=2)
    rows = await keyed(full.storage, full.info.id, index=full.index("tags"), ranges=(seven,), limit=limit)
    every_entry_twice = [n for n in range(ROWS) if n % 10 == 7 for _ in range(4)]
    wanted = every_entry_twice if limit is None else every_entry_twice[:limit]
    assert [row["id"] for _, row in rows][: len(wanted)] == wanted
    assert all(place.startswith(encode_key(7) + place_of(row)) for place, row in rows)


@pytest.mark.parametrize("limit", [None, 11])
async def test_steps_leave_each_row_its_place(full: Table, limit: int | None) -> None:
    async def places(*steps: Any) -> list[Row]:
        return await keyed(full.storage, full.info.id, steps=steps, limit=limit, chunk_rows=90)

    odd = FilterStep(func(lambda row: row["id"] % 2 == 1))
    number = MapStep(func(lambda row: row["id"]))
    missing = MapStep(func(lambda row: row["tags"][row["id"] % 4]), skip_missing=True)
    tags = ConcatMapStep(func(lambda row: row["tags"]))
    some = slice(limit)
    ids = range(ROWS)
    assert [(p, row["id"]) for p, row in await places(odd)] == [(primary_key(n), n) for n in ids if n % 2][some]
    assert await places(number) == [(primary_key(n), n) for n in ids][some]
    assert await places(odd, number) == [(primary_key(n), n) for n in ids if n % 2][some]
    assert [place for place, _ in await places(missing)] == [primary_key(n) for n in ids if n % 4 != 3][some]
    each = [(primary_key(n), tag) for n in ids if n % 2 for tag in (n % 10, n % 3, n % 10)]
    assert await places(odd, tags) == each[some]


async def test_an_error_behind_the_limit_does_no_harm(full: Table) -> None:
    failing = MapStep(func(lambda row: row["id"] / (row["id"] - 5)))
    rows = await keyed(full.storage, full.info.id, steps=(failing,), limit=5)
    assert [place for place, _ in rows] == [primary_key(n) for n in range(5)]


@pytest.mark.parametrize("below", [3, ROWS])
async def test_places_in_primary_order_are_primary_keys_by_whatever_way(full: Table, below: int) -> None:
    """Also where all entries have one value, so that they are in that order already."""
    wanted = KeyRange(b"", encode_key(below))
    rows = await keyed(full.storage, full.info.id, index=full.index("a"), ranges=(wanted,), primary_order=True)
    assert all(place == place_of(row) for place, row in rows)
    assert [row["id"] for _, row in rows] == list(range(ROWS - 2 * below + 1 if below == 3 else 0, ROWS))
    one = KeyRange(encode_key(2), after_prefix(encode_key(2)))
    of_one = await keyed(full.storage, full.info.id, index=full.index("a"), ranges=(one,), primary_order=True, limit=9)
    assert [(place, row["id"]) for place, row in of_one] == [(primary_key(n), n) for n in (ROWS - 5, ROWS - 4)]


@pytest.mark.parametrize("limit", [None, 20])
async def test_transactions_and_the_past_have_places_too(full: Table, limit: int | None) -> None:
    storage, table = full.storage, full.info.id
    await full.change(AlterTable("test", "documents", settings=TableSettings(history_s=3600)))
    then = CallContext(as_of_us=time.time_ns() // 1000)
    before = await keyed(storage, table, limit=limit)
    by_index = await keyed(storage, table, index=full.index("a"), limit=limit)
    assert await keyed(storage, table, limit=limit, context=then) == before
    context = CallContext(transaction="t")
    await storage.begin_transaction(context, "t", "serializable", False, 0)
    await storage.write(context, [Write(table, "insert", documents=[{"id": 0.5, "a": -1}])])
    found = await keyed(storage, table, limit=limit, context=context)
    assert [row["id"] for _, row in found][:3] == [0, 0.5, 1]
    assert all(place == place_of(row) for place, row in found)
    found = await keyed(storage, table, index=full.index("a"), limit=limit, context=context)
    assert found[0] == (encode_key(-1) + primary_key(0.5), {"id": 0.5, "a": -1})
    await storage.abort_transaction(context, "t")
    await full.write("delete", keys=[0, ROWS - 1])
    assert await keyed(storage, table, limit=limit, context=then) == before
    assert await keyed(storage, table, index=full.index("a"), limit=limit, context=then) == by_index


async def test_chunks_keep_the_places_of_their_parts(full: Table) -> None:
    reply = await full.storage.scan(INTERNAL, Scan(full.info.id, keyed=True, limit=10))
    assert reply.chunk is not None
    assert reply.chunk.head(3).keys == [primary_key(n) for n in range(3)]
    assert reply.chunk.tail(8).keys == [primary_key(n) for n in (8, 9)]


def test_places_cross_the_wire(tmp_path: Path) -> None:
    """With long scans, their cursors, and short scans that share a call with others that want no places."""

    @rpc_test
    async def check() -> None:
        node = Node(tmp_path / "data")
        await node.start()
        table = await filled(await node.table("documents"))
        async with served(storage_servant(node.storage), f"unix:{tmp_path}/storage") as address:
            stub = StorageStub(address)
            for fields in ({}, {"limit": 3}, {"index": table.index("a"), "limit": 20, "descending": True}):
                here = await keyed(node.storage, table.info.id, chunk_rows=100, **fields)
                assert await keyed(stub, table.info.id, chunk_rows=100, **fields) == here
            plain = stub.scan(INTERNAL, Scan(table.info.id, limit=2))
            none = stub.scan(INTERNAL, Scan(table.info.id, ranges=(KeyRange(b"\xf0"),), limit=2, keyed=True))
            with_places = stub.scan(INTERNAL, Scan(table.info.id, limit=2, keyed=True))
            replies = await asyncio.gather(plain, none, with_places)
            chunks = [reply.chunk for reply in replies]
            assert all(chunk is not None for chunk in chunks)
            assert [list(chunk.keys or ()) for chunk in chunks if chunk] == [[], [primary_key(0), primary_key(1)]]
            assert chunks[1] is not None
            assert len(chunks[1]) == 0
            await stub.close()
        await node.stop()

    check()
