"""Reads through the router: what several nodes have comes as if one had it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from photondb.api.context import INTERNAL
from photondb.api.storage import KeyRange, Scan, ScanCursor, TableGone
from photondb.datum.keys import key_range, primary_key
from photondb.datum.order import sort_key
from photondb.reql.accumulators import Aggregate
from photondb.reql.aggregates import Avg, Count, Sum
from photondb.reql.errors import ReqlError
from photondb.reql.grouping import Group, Grouping
from photondb.reql.ordering import Ordering, Top
from photondb.reql.row_aggregates import Collect, Distinct, Max, Min, Reduce
from photondb.reql.steps import ConcatMapStep, FilterStep, MapStep, Step
from photondb.sharding.placement import part_of
from photondb.sharding.scans import has_shares, share_of
from services.storage.options import StorageOptions
from tests.rpc.probe import rpc_test
from tests.sharding.suite import ROWS, SpreadTable, compare, layouts, pair, ranges_of, running_nodes
from tests.storage.language import func


@layouts
@rpc_test
async def test_reads(tmp_path: Path, count: int, remote: bool) -> None:
    async with pair(tmp_path, count, remote) as both:
        for wanted in ([], [3], [5, ROWS, 3, 5], list(range(ROWS))):
            found = [
                await table.storage.get(INTERNAL, [(table.info.id, primary_key(key)) for key in wanted])
                for table in both.tables
            ]
            assert found[0] == found[1]
        stats, expected = [await table.storage.table_stats(INTERNAL, table.info.id) for table in both.tables]
        assert stats == expected
        assert stats.rows == ROWS
        rows = await both.spread.storage.shard_rows(INTERNAL, both.spread.info.id)
        assert len(rows) == count
        assert sum(rows) == ROWS
        assert all(rows)
        await both.spread.storage.sync(INTERNAL, both.spread.info.id)
        with pytest.raises(TableGone):
            await both.spread.storage.get(INTERNAL, [(99, b"")])
        for call in (
            lambda s: s.scan(INTERNAL, Scan(99)),
            lambda s: s.sync(INTERNAL, 99),
            lambda s: s.table_stats(INTERNAL, 99),
            lambda s: s.positions(INTERNAL, [99]),
            lambda s: s.read_log(INTERNAL, 99, 0, 0, 1),
        ):
            with pytest.raises(TableGone):
                await call(both.spread.storage)


@pytest.mark.parametrize("count", [3, 4])
@rpc_test
async def test_a_limit_is_asked_for_in_shares(tmp_path: Path, count: int) -> None:
    """Also where the first rows of an order are all on one node, or most of them are."""
    async with pair(tmp_path, count, remote=False) as both:
        first = [key for key in range(5_000, 5_900) if part_of(primary_key(key), count) == 1][:80]
        rows = [{"id": key, "n": -1 if number % 4 else -2} for number, key in enumerate(first)]
        for table in both.tables:
            await table.insert(*rows)
        for limit in (20, 50, 79, 81, 100):
            for descending in (False, True):
                for ranges in ([ranges_of(-3, 95, secondary=True)], [ranges_of(2, 4, secondary=True)]):
                    found = await compare(both, "n", ranges=ranges, limit=limit, descending=descending)
                    assert len(found) == limit
                await compare(both, ranges=[ranges_of(0, 9_000)], limit=limit, descending=descending)
                few = [KeyRange(*key_range(-2, -2, "closed", "closed", secondary=True), repeat=4)]
                await compare(both, "n", ranges=few, limit=limit, descending=descending)
            await compare(both, "n", limit=limit, steps=[MapStep(func(lambda row: row["id"]))])
        assert has_shares(Scan(1, limit=50, keyed=True), count)
        asked = []
        for node in both.nodes.storages:
            scan = node.scan
            node.scan = lambda context, wanted, scan=scan: (asked.append(wanted.limit), scan(context, wanted))[1]  # type: ignore[method-assign]
        await both.spread.rows(index=both.spread.index("n"), ranges=[ranges_of(-3, 95, secondary=True)], limit=50)
        assert asked == [share_of(50, count)] * count + [50]


PRIMARY: list[dict[str, Any]] = [
    {},
    {"ranges": [ranges_of(100, 200)]},
    {"ranges": [ranges_of(7, 7, right="closed")]},
    {"ranges": [ranges_of(ROWS, ROWS, right="closed")]},
    {"ranges": [ranges_of(8, 7)]},
    {"ranges": []},
    {"ranges": [ranges_of(key, key, right="closed") for key in (3, 100, 101, 102, 599)]},
    {"ranges": [KeyRange(*key_range(5, 5, "closed", "closed"), repeat=3), ranges_of(50, 60)]},
]
STEPS: list[list[Step]] = [
    [],
    [FilterStep(func(lambda row: row["n"] > 3))],
    [MapStep(func(lambda row: row["text"]))],
    [MapStep(func(lambda row: row["n"]), True)],
    [ConcatMapStep(func(lambda row: row["tags"]))],
    [FilterStep(func(lambda row: row["id"] % 2 == 0)), MapStep(func(lambda row: {"a": row["id"]}))],
]


@layouts
@rpc_test
async def test_scans_come_in_order(tmp_path: Path, count: int, remote: bool) -> None:
    async with pair(tmp_path, count, remote) as both:
        for ranges in PRIMARY:
            for descending in (False, True):
                for limit in (None, 1, 7, 250):
                    await compare(both, **ranges, descending=descending, limit=limit)
        for steps in STEPS:
            for limit in (None, 5, 250):
                await compare(both, steps=steps, limit=limit)
                await compare(both, steps=steps, limit=limit, descending=True, chunk_rows=50)
        for size in ({"chunk_rows": 7}, {"chunk_bytes": 300}, {"first_chunk_rows": 3}, {"chunk_rows": 100}):
            assert len(await compare(both, **size)) == ROWS


@layouts
@rpc_test
async def test_scans_of_indexes_come_in_order(tmp_path: Path, count: int, remote: bool) -> None:
    async with pair(tmp_path, count, remote) as both:
        for index in ("n", "tags"):
            for ranges in (
                [KeyRange()],
                [ranges_of(2, 4, secondary=True)],
                [ranges_of(3, 3, right="closed", secondary=True)],
            ):
                for descending in (False, True):
                    for limit in (None, 4, 90, 300):
                        await compare(both, index, ranges=ranges, descending=descending, limit=limit)
            for steps in STEPS[1:]:
                await compare(both, index, steps=steps, ranges=[ranges_of(1, 5, secondary=True)], chunk_rows=20)
            several = [ranges_of(key, key, right="closed", secondary=True) for key in (1, 2, 4)]
            assert await compare(both, index, ranges=several)
            await compare(both, index, ranges=several, limit=30)
            await compare(both, index, ranges=[several[1]], primary_order=True, limit=30)
            await compare(both, index, ranges=several, primary_order=True)
        n = both.spread.index("n")
        backwards = [ranges_of(key, key, right="closed", secondary=True) for key in (4, 1)]
        rows = await both.spread.rows(index=n, ranges=backwards)
        assert sorted(row["id"] for row in rows) == [k for k in range(ROWS) if k % 11 and k % 7 in (1, 4)]


@layouts
@rpc_test
async def test_a_geo_index_has_no_order(tmp_path: Path, count: int, remote: bool) -> None:
    async with pair(tmp_path, count, remote) as both:
        for limit in (None, 100):
            found = [await table.rows(index=table.index("place"), limit=limit, chunk_rows=40) for table in both.tables]
            assert len(found[0]) == len(found[1]) == (limit or ROWS)
            assert len({row["id"] for row in found[0]}) == len(found[0])


by_n = Grouping([func(lambda row: row["n"])])
AGGREGATES: list[Aggregate] = [
    Count(),
    Sum(func(lambda row: row["n"])),
    Avg(func(lambda row: row["n"])),
    Min(func(lambda row: row["id"])),
    Max(func(lambda row: row["id"])),
    Min(func(lambda row: row["nothing"])),
    Reduce(func(lambda left, right: {"id": left["id"] + right["id"]})),
    Top(Ordering([(func(lambda row: row["n"]), True), (func(lambda row: row["id"]), False)]), 9),
    Group(by_n, Count(), 1000),
    Group(by_n, Sum(func(lambda row: row["id"])), 1000),
    Group(by_n, Max(func(lambda row: row["id"])), 1000, [FilterStep(func(lambda row: row["id"] < 300))]),
    Group(Grouping([func(lambda row: row["tags"])], multi=True), Count(), 1000),
]


async def folded(table: SpreadTable, aggregate: Aggregate, **fields: Any) -> Any:
    reply = await table.storage.scan(INTERNAL, Scan(table.info.id, aggregate=aggregate, **fields))
    accumulator = aggregate.start()
    accumulator.merge(reply.partial)
    result = accumulator.result()
    return result.pairs if hasattr(result, "pairs") else result


@layouts
@rpc_test
async def test_aggregates(tmp_path: Path, count: int, remote: bool) -> None:
    async with pair(tmp_path, count, remote) as both:
        for number, aggregate in enumerate(AGGREGATES):
            for fields in ({}, {"ranges": [ranges_of(100, 300)]}, {"ranges": [ranges_of(9, 9, right="closed")]}):
                found = []
                for table in both.tables:
                    try:
                        found.append(await folded(table, aggregate, **fields))
                    except ReqlError as error:
                        found.append(error.message)
                assert found[0] == found[1], (number, fields)
        values = Distinct(100_000)
        steps = [MapStep(func(lambda row: row["n"]), True)]
        for table in both.tables:
            assert await folded(table, values, steps=steps) == list(range(7))
        groups = Group(by_n, Collect(), 100_000)
        found = [
            [(value, sorted(rows, key=sort_key)) for value, rows in await folded(table, groups)]
            for table in both.tables
        ]
        assert found[0] == found[1]
        for table in both.tables:
            with pytest.raises(ReqlError, match="Too many groups"):
                await folded(table, Group(Grouping([func(lambda row: row["id"])]), Count(), ROWS * 3 // 4))
            with pytest.raises(ReqlError, match="over size limit"):
                await folded(table, Group(by_n, Collect(), ROWS * 3 // 4))
            with pytest.raises(ReqlError, match="over size limit"):
                await folded(table, Distinct(ROWS * 3 // 4), steps=[MapStep(func(lambda row: row["id"]))])


@layouts
@rpc_test
async def test_groups_that_come_in_several_parts(tmp_path: Path, count: int, remote: bool) -> None:
    """Where a node has more groups than it keeps in memory it hands them on in parts: so does the router."""
    options = StorageOptions(aggregate_bytes=40_000)
    async with running_nodes(tmp_path, count, remote, options) as nodes:
        table = await nodes.table("t", count)
        await table.insert(*({"id": key, "text": f"{key % 3000:01000}"} for key in range(6000)), durability="soft")
        by_text = Group(Grouping([func(lambda row: row["text"])]), Collect(), 100_000)
        reply = await nodes.router.scan(INTERNAL, Scan(table.info.id, aggregate=by_text))
        assert reply.chunk is not None
        accumulator = by_text.start()
        parts = 0
        chunk, cursor = reply.chunk, reply.cursor
        while True:
            for partial in chunk.values():
                accumulator.merge(partial)
                parts += 1
            if cursor is None:
                break
            chunk, last = await cursor.next()
            cursor = None if last else cursor
        assert parts > count
        assert [len(rows) for _, rows in accumulator.result().pairs] == [2] * 3000


@layouts
@rpc_test
async def test_measured_scans(tmp_path: Path, count: int, remote: bool) -> None:
    async with pair(tmp_path, count, remote) as both:
        steps = [FilterStep(func(lambda row: row["id"] % 2 == 0))]
        for table in both.tables:
            reply = await table.storage.scan(INTERNAL, Scan(table.info.id, steps=steps, chunk_rows=50, measured=True))
            chunk, cursor = reply.chunk, reply.cursor
            assert chunk is not None
            last = False
            while not last:
                assert cursor is not None
                chunk, last = await cursor.next()
            assert chunk.measures is not None
            assert (chunk.measures.read, chunk.measures.steps[0].rows) == (ROWS, ROWS // 2)
            reply = await table.storage.scan(
                INTERNAL, Scan(table.info.id, aggregate=Count(), steps=steps, measured=True)
            )
            assert reply.measures is not None
            assert (reply.measures.read, reply.measures.steps[0].rows) == (ROWS, ROWS // 2)


async def rest(cursor: ScanCursor) -> None:
    """Read a cursor to its end."""
    last = False
    while not last:
        _, last = await cursor.next()


@layouts
@rpc_test
async def test_errors_of_scans(tmp_path: Path, count: int, remote: bool) -> None:
    async with pair(tmp_path, count, remote) as both:
        failing = [MapStep(func(lambda row: row["text"] + 1))]
        for fields in ({"steps": failing}, {"steps": failing, "aggregate": Count()}, {"index": 77}):
            messages = []
            for table in both.tables:
                with pytest.raises(ReqlError) as raised:
                    await table.storage.scan(INTERNAL, Scan(table.info.id, **fields))  # type: ignore[arg-type]
                messages.append((raised.value.kind, raised.value.message.split("\n")[0]))
            assert messages[0] == messages[1]
        late = [MapStep(func(lambda row: 1 / (row["id"] - 400)))]
        reply = await both.spread.storage.scan(INTERNAL, Scan(both.spread.info.id, steps=late, chunk_rows=20))
        assert reply.cursor is not None
        with pytest.raises(ReqlError, match="divide by zero"):
            await rest(reply.cursor)
        assert (await reply.cursor.next())[1]
        assert [len(storage._scanner.runs) for storage in both.nodes.storages] == [0] * count


@layouts
@rpc_test
async def test_a_cursor_that_is_closed_frees_all_nodes(tmp_path: Path, count: int, remote: bool) -> None:
    async with pair(tmp_path, count, remote) as both:
        for limit in (None, 300):
            reply = await both.spread.storage.scan(INTERNAL, Scan(both.spread.info.id, chunk_rows=40, limit=limit))
            assert reply.cursor is not None
            assert reply.chunk is not None
            assert 0 < len(reply.chunk) <= 80
            assert all(storage._scanner.runs for storage in both.nodes.storages)
            if limit is None:
                await reply.cursor.close()
                await reply.cursor.close()
            else:
                count_rows, last = len(reply.chunk), False
                while not last:
                    chunk, last = await reply.cursor.next()
                    count_rows += len(chunk)
                assert count_rows == limit
            assert not any(storage._scanner.runs for storage in both.nodes.storages)
