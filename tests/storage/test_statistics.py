"""Statistics of indexes."""

from __future__ import annotations

import asyncio
from typing import Any

from photondb.api.catalogue import CreateIndex
from photondb.api.context import INTERNAL
from photondb.api.storage_status import IndexStatistics
from photondb.datum.keys import encode_key
from services.storage.statistics import MAX_BOUNDS, MIN_CHANGES
from tests.storage.conftest import Table
from tests.storage.language import term


async def indexed(table: Table, function: Any, multi: bool = False) -> None:
    await table.change(CreateIndex("test", "documents", "i", term(function), multi=multi))
    while not all(status.ready for status in await table.storage.index_status(INTERNAL, table.info.id)):
        await asyncio.sleep(0)


async def statistics(table: Table) -> IndexStatistics:
    await table.storage.collect_statistics()
    known = await table.storage.statistics(INTERNAL, table.info.id)
    return known.indexes[table.index("i")]


async def test_entries_and_values(table: Table) -> None:
    await table.insert(*({"id": n, "a": n % 100} for n in range(20_000)))
    await indexed(table, lambda row: row["a"])
    found = await statistics(table)
    assert found.entries == 20_000
    assert 50 < found.distinct < 200
    assert len(found.bounds) == -(-20_000 // 512)
    assert list(found.bounds) == sorted(found.bounds)
    assert found.bounds[0] == encode_key(0)
    whole = await table.storage.statistics(INTERNAL, table.info.id)
    assert whole.rows == 20_000
    assert whole.bytes > 0


async def test_a_small_index_is_looked_at_as_a_whole(table: Table) -> None:
    await table.insert(*({"id": n, "a": n // 2} for n in range(30)))
    await indexed(table, lambda row: row["a"])
    found = await statistics(table)
    assert (found.entries, found.distinct) == (30, 15)
    assert found.bounds == tuple(encode_key(n // 2) for n in range(30))


async def test_bounds_are_few_and_short(table: Table) -> None:
    await table.insert(*({"id": n, "a": f"{n:06}" + "x" * 100} for n in range(500)))
    await indexed(table, lambda row: row["a"])
    found = await statistics(table)
    assert len(found.bounds) <= 2 * MAX_BOUNDS
    assert all(len(bound) <= 64 for bound in found.bounds)
    assert found.distinct == 500


async def test_what_is_listed_apart_is_counted(table: Table) -> None:
    values = [None, None, {"x": 1}, [None], 1, "a"]
    await table.insert(*({"id": n, "a": value} for n, value in enumerate(values)), {"id": "without"})
    await indexed(table, lambda row: row["a"])
    found = await statistics(table)
    assert found.entries == 2
    assert found.apart == {"NULL": 2, "OBJECT": 1, "ARRAY": 1, "LACKING": 1}


async def test_they_are_taken_anew_when_enough_has_changed(table: Table) -> None:
    await indexed(table, lambda row: row["a"])
    assert (await statistics(table)).entries == 0
    await table.insert(*({"id": n, "a": n} for n in range(MIN_CHANGES - 1)))
    assert (await statistics(table)).entries == 0
    await table.insert({"id": "last", "a": 0})
    assert (await statistics(table)).entries == MIN_CHANGES
