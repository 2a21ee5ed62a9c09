"""Different values and groups by an index: which index, and when it pays."""

from __future__ import annotations

from typing import Any

import msgspec
from rethinkdb import r

from photondb.api.storage_status import TableStatistics
from photondb.reql.index_values import Apart
from photondb.reql.planner.distincts import index_of_values, is_sparse, places_of_values
from photondb.reql.steps import FilterStep, MapStep
from tests.reql.planner.test_access import ROWS, TABLE, spread
from tests.reql.planner.test_conditions import function

ALL_LISTED = msgspec.structs.replace(
    TABLE, indexes=tuple(msgspec.structs.replace(index, lists_lacking=True) for index in TABLE.indexes)
)
FEW = TableStatistics(ROWS, 1, {1: spread(10), 3: spread(10), 4: spread(10)})
A = MapStep(function(lambda row: row["a"]), skip_missing=True)


def found(*steps: Any, table: Any = TABLE, statistics: TableStatistics = FEW) -> str | None:
    index = index_of_values(table, steps, statistics)
    return None if index is None else index.name


def test_the_index() -> None:
    assert found(A) == "a"
    all_of_them = MapStep(function(lambda row: row["a"]))
    assert found(all_of_them) is None  # it fails on documents without the field, which may be anywhere
    assert found(all_of_them, table=ALL_LISTED) == "a"
    assert found(MapStep(function(lambda row: row["tags"]), skip_missing=True)) is None  # a multi index
    assert found(MapStep(function(lambda row: row["x"]["y"]), skip_missing=True)) is None
    assert found(FilterStep(function(r.row["a"] == 1)), A) is None
    assert found(A, statistics=TableStatistics(ROWS, 1, {1: spread(1000)})) is None
    assert found(A, statistics=TableStatistics(ROWS, 1, {1: spread(10, OBJECT=ROWS)})) is None
    assert found(A, statistics=TableStatistics(ROWS, 1, {1: spread(10, LACKING=ROWS)})) == "a"
    assert found(A, statistics=TableStatistics(ROWS, 1, {})) is None


def test_where_other_values_are() -> None:
    lows = [wanted.low for wanted in places_of_values(A)]
    assert lows == [Apart.ARRAY.value, Apart.NULL.value, Apart.OBJECT.value]
    assert Apart.LACKING.value in [wanted.low for wanted in places_of_values(MapStep(A.func))]


def test_sparse_indexes() -> None:
    index = TABLE.indexes[0]
    few = msgspec.structs.replace(spread(10), entries=ROWS // 10)
    assert is_sparse(index, TableStatistics(ROWS, 1, {1: few}))
    assert not is_sparse(index, FEW)
    assert not is_sparse(index, TableStatistics(ROWS, 1, {}))
