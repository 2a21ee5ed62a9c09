"""Which left rows of a join are read when the right side is read first."""

from __future__ import annotations

import msgspec
from rethinkdb import r

from photondb.datum.keys import after_prefix, encode_key
from photondb.reql.index_values import Apart
from photondb.reql.planner.expressions import ROW
from photondb.reql.planner.joins import LookUp
from photondb.reql.planner.narrowing import (
    MAX_VALUES,
    Needed,
    cost_of_right_first,
    expression_below,
    look_up_of_left,
    ranges_of_values,
)
from photondb.reql.steps import FilterStep
from tests.reql.planner.test_access import STATISTICS, TABLE
from tests.reql.planner.test_conditions import function
from tests.reql.planner.test_projections import step

A, B = ("field", ROW, "a"), ("field", ROW, "b")
BY_KEY = LookUp(None, 1.0)
NEEDED = Needed(lacking=False, unkeyed=False)


def test_what_is_compared_is_of_documents() -> None:
    asked = FilterStep(function(r.row["a"] == 1))
    assert expression_below([], A) == expression_below([asked], A) == A
    assert expression_below([asked, step(lambda row: {"a": row["b"].default(1), "c": row})], ("field", ROW, "c")) == ROW
    assert expression_below([step(lambda row: row.pluck("a"))], A) == A
    assert expression_below([step(lambda row: row.pluck("a"))], B) is None
    assert expression_below([FilterStep(function(r.row["a"] + 1 == 1))], A) is None  # all rows must go through it
    assert expression_below([step(lambda row: row["a"])], A) is None


def test_the_index() -> None:
    found = look_up_of_left(TABLE, A, STATISTICS, NEEDED)
    assert found is not None
    assert found.named is TABLE.indexes[0]
    assert found.matching == 10
    assert look_up_of_left(TABLE, A, STATISTICS, NEEDED._replace(lacking=True)) is None  # it does not list those
    assert look_up_of_left(TABLE, ("field", ROW, "id"), STATISTICS, Needed(True, True)) == BY_KEY
    assert look_up_of_left(TABLE, ("field", ROW, "tags"), STATISTICS, NEEDED) is None  # a multi index
    geo = msgspec.structs.replace(TABLE.indexes[0], geo=True)
    assert look_up_of_left(msgspec.structs.replace(TABLE, indexes=(geo,)), A, STATISTICS, NEEDED) is None


def test_ranges() -> None:
    by_index = LookUp(TABLE.indexes[0], 10.0)
    found = ranges_of_values(by_index, [2, 1, 2], Needed(lacking=True, unkeyed=True))
    assert found is not None
    places = [Apart.ARRAY, Apart.FAILED, Apart.LACKING, Apart.OBJECT]
    assert [wanted.low for wanted in found] == [encode_key(1), encode_key(2), *(place.value for place in places)]
    assert found[0].high == after_prefix(encode_key(1))
    alone = ranges_of_values(by_index, [None], NEEDED)
    assert alone is not None
    assert [wanted.low for wanted in alone] == [Apart.FAILED.value, Apart.NULL.value]
    by_key = ranges_of_values(BY_KEY, ["b", "a", {}, "x" * 200, "a"], NEEDED)
    assert by_key is not None
    assert [wanted.low for wanted in by_key] == [encode_key("a"), encode_key("b")]  # the others are no keys
    for look_up in (BY_KEY, by_index):
        assert ranges_of_values(look_up, range(MAX_VALUES + 1), NEEDED) is None


def test_costs() -> None:
    assert cost_of_right_first(BY_KEY, 10, 50) < cost_of_right_first(BY_KEY, 100, 50)
    assert cost_of_right_first(BY_KEY, 10, 50) < cost_of_right_first(LookUp(TABLE.indexes[0], 10.0), 10, 50)
