from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from photondb.api.catalogue import CreateIndex
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import KeyRange, Scan
from photondb.datum.keys import after_prefix, encode_key, key_range
from photondb.reql.aggregates import Count, Sum
from photondb.reql.chunk import EMPTY
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.steps import FilterStep, MapStep
from services.storage import scan as scanning
from services.storage.cursors import OpenScans
from services.storage.rocks import Batch
from tests.storage.conftest import Node, Table, key_ranges
from tests.storage.language import constant, func, term

ROWS = 2500


@pytest.fixture
async def full(table: Table) -> Table:
    """A table of documents 0 to 2499; `a` counts down, `parity` is indexed as `p`, `a` as `a`."""
    documents = [{"id": number, "a": ROWS - number, "parity": number % 2} for number in range(ROWS)]
    await table.insert(*documents)
    await table.change(CreateIndex("test", "documents", "a", term(lambda row: row["a"])))
    await table.change(CreateIndex("test", "documents", "p", term(lambda row: row["parity"])))
    while not all(status.ready for status in await table.storage.index_status(INTERNAL, table.info.id)):
        await asyncio.sleep(0)
    return table


def between(left: Any, right: Any) -> tuple[bytes, bytes]:
    return key_range(left, right)


def at(value: Any, repeat: int = 1) -> KeyRange:
    return KeyRange(encode_key(value), after_prefix(encode_key(value)), repeat)


async def ids(table: Table, **fields: Any) -> list[Any]:
    return [row["id"] for row in await table.rows(**fields)]


def settled(table: Table) -> bool:
    """Whether no scan is open any more."""
    return not table.storage._scanner.runs


# --- order, ranges, limits


@pytest.mark.parametrize("chunk_rows", [1, 7, 1000, 100_000])
async def test_whole_table_in_order(full: Table, chunk_rows: int) -> None:
    rows = ROWS if chunk_rows > 1 else 300
    expected = list(range(rows))
    ranges = key_ranges(between(0, rows))
    assert await ids(full, ranges=ranges, chunk_rows=chunk_rows) == expected
    assert await ids(full, ranges=ranges, chunk_rows=chunk_rows, descending=True) == expected[::-1]
    assert settled(full)


@pytest.mark.parametrize("index", [None, "a"])
@pytest.mark.parametrize("chunk_rows", [3, 1000])
@pytest.mark.parametrize("descending", [False, True])
async def test_many_ranges(full: Table, index: str | None, chunk_rows: int, descending: bool) -> None:
    ranges = key_ranges(between(5, 8), between(20, 20), between(30, 33), between(40, 41), between(9000, 9999))
    expected = [5, 6, 7, 30, 31, 32, 40]
    if index is not None:
        expected = [ROWS - value for value in expected]
    found = await ids(
        full,
        index=None if index is None else full.index(index),
        ranges=ranges,
        chunk_rows=chunk_rows,
        descending=descending,
    )
    assert found == (expected[::-1] if descending else expected)
    assert settled(full)


async def test_rows_are_repeated_as_often_as_their_range_says(full: Table) -> None:
    assert await ids(full, ranges=[at(1), at(2, 3), at(3, 2)]) == [1, 2, 2, 2, 3, 3]
    assert await ids(full, index=full.index("a"), ranges=[at(1, 2), at(2)], chunk_rows=1) == [2499, 2499, 2498]


async def test_thousands_of_ranges(full: Table) -> None:
    assert await ids(full, ranges=[at(number) for number in range(0, 2 * ROWS, 2)]) == list(range(0, ROWS, 2))


@pytest.mark.parametrize("limit", [0, 1, 10, 999, 1000, 1001, 5000])
@pytest.mark.parametrize("index", [None, "a"])
async def test_limit(full: Table, limit: int, index: str | None) -> None:
    found = await ids(full, limit=limit, index=None if index is None else full.index(index), chunk_rows=300)
    expected = list(range(ROWS)) if index is None else list(range(ROWS))[::-1]
    assert found == expected[:limit]
    assert settled(full)


async def test_empty_table_and_empty_range(table: Table) -> None:
    assert await table.rows() == []
    await table.insert({"id": 1})
    assert await table.rows(ranges=[]) == []
    assert await table.rows(ranges=[at(2)]) == []


# --- chunks


async def test_chunks_have_their_limits(full: Table) -> None:
    reply = await full.storage.scan(INTERNAL, Scan(full.info.id, first_chunk_rows=10, chunk_rows=600))
    assert reply.chunk is not None
    sizes = [len(reply.chunk)]
    cursor, last = reply.cursor, False
    while not last:
        assert cursor is not None
        chunk, last = await cursor.next()
        sizes.append(len(chunk))
    assert sizes == [10, 600, 600, 600, 600, 90]
    assert cursor is not None
    assert await cursor.next() == (EMPTY, True)


async def test_chunk_of_large_documents_ends_by_bytes(table: Table) -> None:
    await table.insert(*({"id": number, "text": "x" * 200_000} for number in range(50)))
    reply = await table.storage.scan(INTERNAL, Scan(table.info.id, chunk_bytes=1_000_000))
    assert reply.chunk is not None
    assert 5 <= len(reply.chunk) <= 20
    assert reply.cursor is not None
    await reply.cursor.close()
    assert await ids(table) == list(range(50))


async def test_small_read_needs_no_cursor(full: Table) -> None:
    reply = await full.storage.scan(INTERNAL, Scan(full.info.id, ranges=[KeyRange(encode_key(7), b"\xff")], limit=50))
    assert reply.chunk is not None
    assert [row["id"] for row in reply.chunk.values()] == list(range(7, 57))
    assert reply.cursor is None


# --- one point in time


@pytest.mark.parametrize("index", [None, "a", "p"])
@pytest.mark.parametrize("descending", [False, True])
async def test_scan_sees_one_point_in_time(full: Table, index: str | None, descending: bool) -> None:
    index_id = None if index is None else full.index(index)
    ranges = [KeyRange()] if index != "a" else key_ranges(between(1, 1000), between(1000, 3000))
    expected = await full.rows(index=index_id, ranges=ranges, descending=descending)
    reply = await full.storage.scan(
        INTERNAL, Scan(full.info.id, index=index_id, ranges=ranges, descending=descending, chunk_rows=100)
    )
    assert reply.chunk is not None
    found = list(reply.chunk.values())
    cursor, last, turn = reply.cursor, False, 0
    while not last:
        assert cursor is not None
        await full.write("delete", keys=range(turn, ROWS, 40))
        await full.write("update", keys=range(turn + 1, ROWS, 40), function=constant({"a": 7, "parity": 5}))
        await full.insert({"id": 10_000 + turn, "a": 3, "parity": 0}, {"id": turn + 0.5, "a": 9.5, "parity": 1})
        chunk, last = await cursor.next()
        found += chunk.values()
        turn += 1
    assert found == expected
    assert turn > 20
    assert settled(full)


# --- what is pushed down


async def test_steps(full: Table) -> None:
    steps = [
        FilterStep(func(lambda row: row["parity"].eq(1)), False),
        MapStep(func(lambda row: row["id"])),
    ]
    assert await full.rows(steps=steps, chunk_rows=100) == list(range(1, ROWS, 2))
    assert await full.rows(steps=steps, limit=3) == [1, 3, 5]
    assert await ids(full, steps=steps[:1], chunk_rows=100) == list(range(1, ROWS, 2))
    assert await full.rows(steps=steps, index=full.index("p"), ranges=[at(0)]) == []
    assert settled(full)


async def test_selective_filter_over_the_whole_table(full: Table) -> None:
    steps = [FilterStep(func(lambda row: row["id"].eq(2400)), False)]
    reply = await full.storage.scan(INTERNAL, Scan(full.info.id, steps=steps, chunk_rows=10))
    assert reply.chunk is not None
    assert [row["id"] for row in reply.chunk.values()] == [2400]
    assert reply.cursor is None


async def test_aggregates(full: Table) -> None:
    async def partial(**fields: Any) -> Any:
        reply = await full.storage.scan(INTERNAL, Scan(full.info.id, **fields))
        assert reply.cursor is None
        return reply.partial

    assert await partial(aggregate=Count()) == ROWS
    assert await partial(aggregate=Count(), ranges=key_ranges(between(10, 20), between(30, 31))) == 11
    assert await partial(aggregate=Count(), index=full.index("p"), ranges=[at(1, 2)]) == ROWS
    total = await partial(aggregate=Sum(func(lambda row: row["a"])))
    assert total[0] == sum(range(1, ROWS + 1))
    steps = [FilterStep(func(lambda row: row["parity"].eq(1)), False)]
    assert await partial(aggregate=Count(), steps=steps) == ROWS // 2
    assert settled(full)


async def test_error_in_a_step_ends_the_scan(full: Table) -> None:
    steps = [MapStep(func(lambda row: row["nothing"]))]
    with pytest.raises(ReqlError, match="No attribute `nothing`"):
        await full.rows(steps=steps)
    assert settled(full)


# --- sharing the loop, and ends


async def test_others_get_their_turn_during_a_long_scan(full: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "SLICE_S", 0.0)
    monkeypatch.setattr(scanning, "AGGREGATED_BLOCK_ROWS", 500)
    turns = 0

    async def point_reads() -> None:
        nonlocal turns
        while True:
            assert await full.get(turns % ROWS) is not None
            turns += 1
            await asyncio.sleep(0)

    slow = [FilterStep(func(lambda row: row["a"].eq(row["id"]).not_().not_()), False)]
    other = asyncio.create_task(point_reads())
    await full.storage.scan(INTERNAL, Scan(full.info.id, steps=slow, aggregate=Count()))
    other.cancel()
    assert turns >= ROWS // 500 - 1


async def test_deadline_ends_a_scan(full: Table) -> None:
    late = CallContext(deadline=time.monotonic() - 1)
    slow = [FilterStep(func(lambda row: row["a"].eq(row["id"])), False)]

    async def scan_for_ever() -> None:
        while True:
            await full.storage.scan(late, Scan(full.info.id, steps=slow, aggregate=Count()))

    with pytest.raises(ReqlError) as caught:
        await scan_for_ever()
    assert caught.value.kind == ErrorKind.RESOURCE_LIMIT
    assert settled(full)


async def test_cursors_are_freed_when_closed_and_when_dropped(full: Table) -> None:
    scan = Scan(full.info.id, chunk_rows=10)
    closed, dropped = [await full.storage.scan(INTERNAL, scan) for _ in range(2)]
    assert closed.cursor is not None
    await closed.cursor.close()
    await closed.cursor.close()
    assert await closed.cursor.next() == (EMPTY, True)
    assert len(full.storage._scanner.runs) == 1
    del dropped
    assert settled(full)


async def test_oldest_cursor_is_given_up_when_there_are_too_many(full: Table) -> None:
    full.storage._scanner.runs = OpenScans(3, 3600)
    scan = Scan(full.info.id, chunk_rows=10)
    cursors = [(await full.storage.scan(INTERNAL, scan)).cursor for _ in range(4)]
    assert len(full.storage._scanner.runs) == 3
    oldest, *others = cursors
    assert oldest is not None
    with pytest.raises(ReqlError, match="snapshot that this cursor reads was given up, because more than 3 cursors"):
        await oldest.next()
    assert await oldest.next() == (EMPTY, True)
    for cursor in others:
        assert cursor is not None
        assert len((await cursor.next())[0]) == 10
    # Those that are closed or done do not count.
    await cursors.pop().close()  # type: ignore[union-attr]
    others.pop()
    del cursor
    assert len(full.storage._scanner.runs) == 2


async def test_cursor_that_is_too_old_is_given_up(full: Table) -> None:
    now = 0.0
    full.storage._scanner.runs = OpenScans(10, 60, lambda: now)
    scan = Scan(full.info.id, index=full.index("a"), chunk_rows=10)
    old = (await full.storage.scan(INTERNAL, scan)).cursor
    now = 30.0
    young = (await full.storage.scan(INTERNAL, scan)).cursor
    now = 60.0
    full.storage._scanner.runs.expire()
    assert len(full.storage._scanner.runs) == 2
    now = 61.0
    full.storage._scanner.runs.expire()
    assert old is not None
    assert young is not None
    with pytest.raises(ReqlError, match=r"because it was open for longer than 60 seconds\. Run the query again\."):
        await old.next()
    assert len((await young.next())[0]) == 10


async def test_open_cursors_do_not_keep_storage_from_stopping(node: Node, full: Table) -> None:
    scan = Scan(full.info.id, index=full.index("a"), chunk_rows=10)
    replies = [await full.storage.scan(INTERNAL, scan) for _ in range(3)]
    await node.stop()
    await node.start()
    assert len(await (await node.table("documents")).rows()) == ROWS
    assert all(reply.cursor is not None for reply in replies)


async def test_scan_that_is_under_way_when_storage_stops_fails(node: Node, full: Table) -> None:
    slow = [FilterStep(func(lambda row: row["a"].eq(row["id"])), False)]

    async def scan_for_ever() -> None:
        while True:
            await full.storage.scan(INTERNAL, Scan(full.info.id, steps=slow, aggregate=Count()))

    scanning = asyncio.create_task(scan_for_ever())
    while settled(full):
        await asyncio.sleep(0)
    for run in list(full.storage._scanner.runs):
        run.abort()
    with pytest.raises(ReqlError, match="ended before it was done"):
        await scanning


async def test_index_entry_without_its_document_is_an_error(full: Table) -> None:
    batch = Batch()
    stored = full.storage._tables[full.info.id]
    batch.delete(stored.document_prefix + encode_key(5))
    full.storage._store.write(batch)
    full.storage._store.documents.note({stored.document_prefix + encode_key(5): None})
    with pytest.raises(ReqlError, match="an entry without a document") as caught:
        await full.rows(index=full.index("a"))
    assert caught.value.kind == ErrorKind.INTERNAL
    batch = Batch()
    batch.put(stored.document_prefix + encode_key(5), b'{"id":5,"a":2495,"parity":1}')
    full.storage._store.write(batch)
