"""The first rows of an order by an index: which aggregates, which index, and the bound."""

from __future__ import annotations

import msgspec
import pytest
from rethinkdb import r

from photondb.api.storage import KeyRange
from photondb.datum.keys import HIGHEST, encode_key
from photondb.reql.aggregates import Count
from photondb.reql.index_values import Apart
from photondb.reql.ordering import Ordering, Top
from photondb.reql.planner.extremes import (
    Extreme,
    bound_of,
    bound_ranges,
    extreme_of,
    index_for,
    is_primary_order,
    pays,
    reaches,
)
from photondb.reql.row_aggregates import Max, Min
from tests.reql.planner.test_access import TABLE, spread
from tests.reql.planner.test_conditions import function

A, DEEP = function(r.row["a"]), function(r.row["x"]["y"])


def test_what_is_wanted() -> None:
    assert extreme_of(Top(Ordering([(A, True)]), 5)) == Extreme(A, 5, True)
    assert extreme_of(Max(A)) == Extreme(A, 1, True)
    assert extreme_of(Min(A)) == Extreme(A, 1, False)
    assert extreme_of(Top(Ordering([(A, False)]), 5)) == Extreme(A, 5, False, lacking=True)
    assert extreme_of(Top(Ordering([(DEEP, True), (A, False)]), 5)) == Extreme(DEEP, 5, True)
    for other in (Top(Ordering([(A, True), (DEEP, True)]), 5), Top(Ordering([(A, True)]), 0)):
        assert extreme_of(other) is None  # the second part may fail; nothing is wanted
    assert extreme_of(Max()) is extreme_of(Count()) is None


def test_the_index() -> None:
    found = index_for(TABLE, Extreme(A, 5, True), 1000)
    assert found is not None
    assert found.name == "a"
    assert index_for(TABLE, Extreme(A, 5, True), 99) is None
    assert index_for(TABLE, Extreme(function(r.row["b"]), 5, True), 1000) is None
    assert index_for(TABLE, Extreme(function(r.row["tags"]), 5, True), 1000) is None  # a multi index
    ascending = Extreme(A, 5, False, lacking=True)
    assert index_for(TABLE, ascending, 1000) is None
    all_listed = msgspec.structs.replace(TABLE.indexes[0], lists_lacking=True)
    assert index_for(msgspec.structs.replace(TABLE, indexes=(all_listed,)), ascending, 1000) == all_listed
    old = msgspec.structs.replace(TABLE.indexes[0], complete=False)
    assert index_for(msgspec.structs.replace(TABLE, indexes=(old,)), Extreme(A, 5, True), 1000) is None


@pytest.mark.parametrize("greatest", [True, False])
def test_the_bound(greatest: bool) -> None:
    index = TABLE.indexes[0]
    extreme = Extreme(A, 2, greatest)
    assert bound_of(index, extreme, [{"a": 9}]) is None
    bound = bound_of(index, extreme, [{"a": 9}, {"a": 7}])
    assert bound is not None
    assert bound.value == [7]
    lows = {wanted.low for wanted in bound.ranges}
    assert Apart.FAILED.value not in lows
    if greatest:
        assert bound.ranges[0].low == encode_key(7)
        assert bound.ranges[0].high == HIGHEST
        assert lows == {encode_key(7), Apart.OBJECT.value}
    else:
        assert lows == {b"", Apart.NULL.value, Apart.ARRAY.value}
    assert reaches(bound, extreme, [{"a": 7}, {"a": 7}])
    assert not reaches(bound, extreme, [{"a": 7}])
    assert reaches(bound, extreme, [{"a": 7}, {"a": 9}]) is greatest
    assert not reaches(bound, extreme, [{"a": 7}, {}])


def test_a_function_that_may_fail() -> None:
    bound = bound_of(TABLE.indexes[3], Extreme(DEEP, 1, True), [{"x": {"y": 1}}])
    assert bound is not None
    assert Apart.FAILED.value in {wanted.low for wanted in bound.ranges}


def test_documents_without_a_value_come_first() -> None:
    index = msgspec.structs.replace(TABLE.indexes[0], lists_lacking=True)
    extreme = Extreme(A, 2, False, lacking=True)
    lacking, values = bound_ranges(extreme)
    assert (lacking.low, type(lacking.low), values) == (b"\xffL", bytes, KeyRange())  # as messages take it
    enough = bound_of(index, extreme, [{}, {"b": 1}])
    assert enough is not None
    assert [wanted.low for wanted in enough.ranges] == [Apart.LACKING.value]
    assert reaches(enough, extreme, [{}, {}])
    assert not reaches(enough, extreme, [{}, {"a": 1}])
    bound = bound_of(index, extreme, [{}, {"a": 7}])
    assert bound is not None
    assert {Apart.LACKING.value, b""} < {wanted.low for wanted in bound.ranges}
    assert reaches(bound, extreme, [{}, {"a": 7}])
    assert reaches(bound, extreme, [{}, {}])
    assert not reaches(bound, extreme, [{}, {"a": 8}])


def test_a_bound_that_many_documents_reach_does_not_pay() -> None:
    bound = bound_of(TABLE.indexes[0], Extreme(A, 1, True), [{"a": 990}])
    assert bound is not None
    assert pays(bound, 10_000, spread(1000))
    low = bound_of(TABLE.indexes[0], Extreme(A, 1, True), [{"a": 10}])
    assert low is not None
    assert not pays(low, 10_000, spread(1000))


def test_the_order_of_the_primary_key() -> None:
    key = function(r.row["id"])
    assert is_primary_order(TABLE, Ordering([(key, False), (A, True)])) is False
    assert is_primary_order(TABLE, Ordering([(key, True)])) is True
    assert is_primary_order(TABLE, Ordering([(A, True), (key, True)])) is None
    assert is_primary_order(TABLE, Ordering([(key, True), (DEEP, True)])) is None
