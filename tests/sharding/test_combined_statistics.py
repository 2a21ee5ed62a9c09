"""Estimates about a table, from those about its parts."""

from __future__ import annotations

import random
from bisect import bisect_left

import pytest

from photondb.api.storage_status import (
    EngineStats,
    IndexStatistics,
    IndexStatus,
    TableSizes,
    TableStatistics,
    TableStats,
)
from photondb.datum.keys import encode_key
from photondb.sharding import statistics


@pytest.mark.parametrize("values", [1, 10, 300, 3_000, 20_000])
@pytest.mark.parametrize("parts", [2, 3, 8])
def test_different_values(values: int, parts: int) -> None:
    """As many as there are, to within some percent, whether every part has nearly all of them or only its own."""
    chance = random.Random(7)
    seen: list[list[int]] = [[] for _ in range(parts)]
    for number in range(20_000):
        chance.choice(seen).append(number % values)
    found = statistics.distinct_values([(len(part), len(set(part))) for part in seen])
    assert found == pytest.approx(values, rel=0.03)


def test_no_values() -> None:
    assert statistics.distinct_values([(0, 0), (0, 0)]) == 0
    assert statistics.distinct_values([(5, 5), (0, 0)]) == 5


def index_statistics(values: list[int], bounds: int) -> IndexStatistics:
    values = sorted(values)
    chosen = tuple(encode_key(values[len(values) * number // bounds]) for number in range(bounds))
    return IndexStatistics(len(values), len(set(values)), chosen, {"MISSING": 2}, 10)


def test_bounds_lie_at_equal_distances() -> None:
    chance = random.Random(3)
    seen: list[list[int]] = [[], [], []]
    for _ in range(30_000):
        chance.choices(seen, [1, 2, 5])[0].append(int(chance.expovariate(0.001)))
    whole = statistics.statistics_of_index([index_statistics(part, 64) for part in seen])
    assert whole.entries == 30_000
    assert whole.apart == {"MISSING": 6}
    assert whole.sequence == 30
    assert len(whole.bounds) == 64
    every = sorted(encode_key(value) for part in seen for value in part)
    assert whole.bounds[0] == every[0]
    for number, bound in enumerate(whole.bounds):
        assert abs(bisect_left(every, bound) / len(every) - number / 64) < 0.03


def test_tables() -> None:
    both = index_statistics([1, 2, 3], 2)
    parts = [TableStatistics(3, 30, {1: both, 2: both}), TableStatistics(4, 50, {1: both})]
    whole = statistics.statistics_of_table(parts)
    assert (whole.rows, whole.bytes, sorted(whole.indexes)) == (7, 80, [1])
    assert statistics.sum_of_stats([TableStats(1, 2), TableStats(3, 4)]) == TableStats(4, 6)


def test_an_index_is_ready_when_all_parts_are() -> None:
    built = [IndexStatus("a", True, 1.0), IndexStatus("b", True, 1.0), IndexStatus("new", True, 1.0)]
    building = [IndexStatus("a", True, 1.0), IndexStatus("b", False, 0.5, "why")]
    assert statistics.status_of_indexes([built, building]) == [
        IndexStatus("a", True, 1.0),
        IndexStatus("b", False, 0.75, "why"),
    ]


def test_stores() -> None:
    def engine(number: int, tables: dict[int, TableSizes]) -> EngineStats:
        return EngineStats(*[number] * 8, bool(number == 2), *[number] * 4, tables)

    one = engine(1, {1: TableSizes(10, 20, {5: 1}), 2: TableSizes(1, 1)})
    two = engine(2, {1: TableSizes(1, 2, {5: 3, 6: 4})})
    whole = statistics.sum_of_engines([one, two])
    tables = {1: TableSizes(11, 22, {5: 4, 6: 4}), 2: TableSizes(1, 1)}
    assert whole == EngineStats(*[3] * 8, True, *[3] * 4, tables)
    assert one.tables[1].documents == 10
