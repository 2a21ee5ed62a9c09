"""What aggregates came to in blocks of columns is used again as long as a block is there, and takes bounded memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from photondb.api.catalogue import CreateTable
from photondb.api.context import INTERNAL
from photondb.api.storage import KeyRange, Scan
from photondb.bus import LocalBus
from photondb.datum.keys import primary_key
from photondb.reql.accumulators import Aggregate
from photondb.reql.aggregates import Avg, Count, Sum
from photondb.reql.grouping import Group, Grouping
from photondb.reql.ordering import Ordering, Top
from photondb.reql.row_aggregates import Distinct, Max
from photondb.reql.steps import FilterStep, MapStep
from photondb.reql.values import Grouped
from photondb.reql.vector_plan import VectorPlan
from services.storage import columns
from services.storage.column_evaluation import evaluated as evaluated_over
from services.storage.columns import GiveWay, TableColumns
from services.storage.options import StorageOptions
from services.storage.service import Storage
from tests.storage.conftest import Table
from tests.storage.language import func

ROWS = 4000
BLOCKS = 32


def row(number: int, value: float) -> dict[str, Any]:
    return {"id": number, "n": value, "part": value / 7, "s": f"s{number % 9}", "moved": 0}


@pytest.fixture
async def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Table]:
    monkeypatch.setattr(columns, "BLOCK_ROWS", ROWS // BLOCKS)
    monkeypatch.setattr("services.storage.column_cache.BUILD_ROWS", ROWS // BLOCKS)
    storage = Storage(tmp_path / "data", LocalBus(), options=StorageOptions())
    await storage.start()
    catalogue = await storage.change_catalogue(INTERNAL, CreateTable("test", "t"))
    found = Table(storage, catalogue.tables["test", "t"])
    await found.insert(*(row(number, number) for number in range(ROWS)), durability="soft")
    everything = [FilterStep(func(lambda row: row.has_fields("n", "part", "s", "moved")))]
    while not storage._scanner.columns._kept:
        await storage.scan(INTERNAL, Scan(found.info.id, steps=everything, aggregate=Count()))
    yield found
    await storage.stop()


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of rows of all blocks that are evaluated."""
    rows: list[int] = []
    summary = VectorPlan.summary

    def noted(self: VectorPlan, columns: Any) -> Any:
        rows.append(columns.rows)
        return summary(self, columns)

    monkeypatch.setattr(VectorPlan, "summary", noted)
    return rows


def kept_columns(table: Table) -> TableColumns:
    return table.storage._scanner.columns._kept[table.info.id]


def field(name: str) -> Callable[[Any], Any]:
    return lambda row: row[name]


def top(name: str) -> Aggregate:
    return Top(Ordering([(func(field(name)), True)]), 5)


AGGREGATES: dict[str, tuple[list[Any], Callable[[], Aggregate]]] = {
    "filtered": ([FilterStep(func(lambda row: row["n"] > 700))], Count),
    "integers": ([], lambda: Sum(func(field("n")))),
    "fractions": ([], lambda: Avg(func(field("part")))),
    "first": ([], lambda: top("part")),
    "first strings": ([], lambda: top("s")),
    "groups": ([], lambda: Group(Grouping([func(field("s"))]), Count(), 1000)),
    "sums of groups": ([], lambda: Group(Grouping([func(field("s"))]), Sum(func(field("part"))), 1000)),
    "different": ([MapStep(func(field("s")))], lambda: Distinct(1000)),
}


@pytest.mark.parametrize("name", AGGREGATES)
async def test_only_blocks_that_have_changed_are_evaluated_again(table: Table, evaluated: list[int], name: str) -> None:
    steps, aggregate = AGGREGATES[name]

    async def asked(storage: Storage = table.storage) -> Any:
        reply = await storage.scan(INTERNAL, Scan(table.info.id, steps=steps, aggregate=aggregate()))
        accumulator = aggregate().start()
        accumulator.merge(reply.partial)
        result = accumulator.result()
        return result.pairs if isinstance(result, Grouped) else result

    async def asked_of_documents() -> Any:
        cache = table.storage._scanner.columns
        size, cache.max_bytes = cache.max_bytes, 0
        try:
            return await asked()
        finally:
            cache.max_bytes = size

    for change, expected in (
        ((), BLOCKS),
        ((), 0),
        ((row(1000, 0.5),), 1),
        ((row(1000, 0.25), row(3999, 10_000)), 2),
        ((row(5000, 1),), 1),
        ((), 0),
    ):
        if change:
            await table.insert(*change, conflict="replace", durability="soft")
        evaluated.clear()
        found = await asked()
        assert len(evaluated) == expected
        assert found == await asked_of_documents()


async def test_a_part_of_a_block_is_not_taken_for_all_of_it(table: Table, evaluated: list[int]) -> None:
    def scan(low: int, high: int) -> Scan:
        ranges = [KeyRange(primary_key(low), primary_key(high))]
        return Scan(table.info.id, ranges=ranges, aggregate=Sum(func(field("n"))))

    for low, high, expected in ((10, 3990, BLOCKS), (10, 3990, 0), (11, 3990, 2), (0, ROWS, 2)):
        evaluated.clear()
        reply = await table.storage.scan(INTERNAL, scan(low, high))
        assert reply.partial == [sum(range(low, high)), high - low]
        assert len(evaluated) == expected


async def test_a_string_that_no_row_has_is_found_once_a_row_has_it(table: Table) -> None:
    steps = [FilterStep(func(lambda row: row["s"] == "new"))]
    for expected in (0, 0, 1, 1):
        if expected:
            await table.insert({**row(7, 7), "s": "new"}, conflict="replace", durability="soft")
        reply = await table.storage.scan(INTERNAL, Scan(table.info.id, steps=steps, aggregate=Count()))
        assert reply.partial == expected


async def test_a_block_that_is_not_plain_is_not_evaluated_again(table: Table, evaluated: list[int]) -> None:
    await table.insert({**row(7, 7), "n": [1]}, conflict="replace", durability="soft")
    count = Scan(table.info.id, steps=[FilterStep(func(lambda row: row["n"] == 5))], aggregate=Count())
    blocks = len(kept_columns(table)._blocks)
    for _ in range(3):
        assert (await table.storage.scan(INTERNAL, count)).partial == 1
    assert len([rows for rows in evaluated if rows <= 2 * ROWS // BLOCKS]) < blocks
    await table.insert(row(7, 7), conflict="replace", durability="soft")
    hits = table.storage._scanner.columns.metrics.hits
    assert (await table.storage.scan(INTERNAL, count)).partial == 1
    assert table.storage._scanner.columns.metrics.hits == hits + 1


async def test_summaries_take_bounded_memory(
    table: Table, evaluated: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not used for the longest time leaves, and what is left of a block when it has changed is nothing."""
    monkeypatch.setattr(columns, "MIN_SUMMARY_BYTES", 100_000)
    cache, summaries = table.storage._scanner.columns, kept_columns(table).summaries
    without = cache.size - summaries.size

    async def ask(least: int) -> None:
        steps = [FilterStep(func(lambda row: row["n"] > least))]
        await table.storage.scan(INTERNAL, Scan(table.info.id, steps=steps, aggregate=Sum(func(field("part")))))

    for least in range(40):
        await ask(least)
        assert summaries.size <= 100_000 + 10_000
        assert cache.size == without + summaries.size
    evaluated.clear()
    await ask(39)
    assert not evaluated
    await ask(0)
    assert len(evaluated) == BLOCKS
    cache.max_bytes = without + 1000  # there is no room beside the columns themselves
    await ask(50)
    assert summaries.size == 0
    cache.max_bytes = without + 1_000_000
    await ask(51)
    assert summaries.size > 0
    await table.write("delete", keys=range(ROWS // 2))
    await ask(51)
    assert set(summaries._of_blocks) == {block.number for block in kept_columns(table)._blocks}
    summaries.trim(0)
    assert summaries.size == 0


async def test_who_reads_while_others_write_sees_one_moment_and_what_was_acknowledged(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers move between pairs of documents, each pair in one commit, while aggregates give way after each block."""
    monkeypatch.setattr("services.storage.column_evaluation.TURN_S", 0.0)
    chance = random.Random(1)
    values = {number: float(number) for number in range(ROWS)}
    acknowledged = 0
    scans = [
        Scan(table.info.id, aggregate=Sum(func(field("n")))),
        Scan(table.info.id, aggregate=Max(func(field("moved")))),
    ]
    hits = table.storage._scanner.columns.metrics.hits

    async def write() -> None:
        nonlocal acknowledged
        for moved in range(1, 201):
            giver, taker = chance.sample(range(ROWS), 2)
            values[giver] -= moved
            values[taker] += moved
            rows = [{**row(number, values[number]), "moved": moved} for number in (giver, taker)]
            await table.insert(*rows, conflict="replace", durability="soft")
            acknowledged = moved
            await asyncio.sleep(0)

    async def read() -> None:
        while not writing.done():
            before = acknowledged
            total, latest = await asyncio.gather(*[table.storage.scan(INTERNAL, scan) for scan in scans])
            assert total.partial == [sum(range(ROWS)), ROWS]
            (last,) = latest.partial
            assert last["moved"] >= before

    writing = asyncio.create_task(write())
    await asyncio.gather(writing, *[read() for _ in range(3)])
    assert table.storage._scanner.columns.metrics.hits > hits + 10


async def test_a_result_of_the_past_is_not_kept(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a query which others have overtaken."""
    monkeypatch.setattr("services.storage.column_evaluation.TURN_S", 0.0)
    inner = table.storage._tables[table.info.id]
    plan = VectorPlan([], Sum(func(field("n"))))
    turns = 0

    async def asked(give_way: GiveWay) -> Any:
        columns, ranges = kept_columns(table), [KeyRange()]
        return await evaluated_over(table.storage._store, columns, plan, ranges, inner.document_prefix, give_way)

    async def nobody_waits() -> None:
        pass

    async def overtaken() -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            await table.insert(row(1, 1_000_001), conflict="replace", durability="soft")
            assert await asked(nobody_waits) == [sum(range(ROWS)) + 1_000_000, ROWS]
            await table.insert(row(1, 2_000_001), conflict="replace", durability="soft")
            await kept_columns(table).caught_up(nobody_waits)

    assert await asked(overtaken) == [sum(range(ROWS)), ROWS]
    assert turns > 3
    assert await asked(nobody_waits) == [sum(range(ROWS)) + 2_000_000, ROWS]
