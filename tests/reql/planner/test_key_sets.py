"""Where documents stand in an index: every value that fulfils a comparison is in the key set of that comparison."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photondb.datum.errors import DatumError
from photondb.datum.extreme import MAXVAL
from photondb.datum.keys import after_prefix, secondary_key
from photondb.datum.order import compare
from photondb.datum.time import make_time
from photondb.reql.function import Func
from photondb.reql.index_values import Apart, IndexValues
from photondb.reql.planner.key_sets import (
    EVERYTHING,
    NOTHING,
    KeySet,
    NotComparable,
    compared,
    compound,
    element,
    equal_to,
    one_of,
    single_key,
)
from photondb.reql.stored_functions import field_term
from photondb.reql.wire import Term
from tests.examples import examples

GEOMETRY = {"$reql_type$": "GEOMETRY", "type": "Point", "coordinates": [1, 2]}
BINARY = {"$reql_type$": "BINARY", "data": "aGk="}
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 3),
        st.floats(-2, 2),
        st.sampled_from(["", "a", "b\0", "\U0001f600"]),
        st.sampled_from([GEOMETRY, BINARY, make_time(-5, "+00:00"), make_time(5, "+01:00")]),
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=1),
    max_leaves=3,
)
HOLDS = {
    Term.EQ: lambda order: order == 0,
    Term.NE: lambda order: order != 0,
    Term.LT: lambda order: order < 0,
    Term.LE: lambda order: order <= 0,
    Term.GT: lambda order: order > 0,
    Term.GE: lambda order: order >= 0,
}

INDEX = IndexValues(Func.from_wire(field_term("f")), multi=False)


def has(keys: KeySet, value: Any) -> bool:
    """Whether the set has one of the entries that a document with the value has in a complete index."""
    places = {place.value for place in keys.apart}
    entries = INDEX.complete_keys({"f": value})
    assert entries
    return any(entry in places or any(low <= entry < high for low, high in keys.ranges) for entry in entries)


@settings(max_examples=examples(400))
@given(st.sampled_from(sorted(HOLDS)), values, values)
def test_no_value_that_fulfils_a_comparison_is_left_out(operator: Term, found: Any, wanted: Any) -> None:
    if HOLDS[operator](compare(found, wanted)):
        assert has(compared(operator, wanted), found)


@settings(max_examples=examples(400))
@given(st.sampled_from([Term.EQ, Term.NE, Term.LT, Term.GT]), values, values)
def test_values_with_keys_are_told_apart_exactly(operator: Term, found: Any, wanted: Any) -> None:
    try:
        secondary_key(found), secondary_key(wanted)
    except DatumError:
        return
    assert has(compared(operator, wanted), found) == HOLDS[operator](compare(found, wanted))


@given(values)
def test_everything(value: Any) -> None:
    assert has(EVERYTHING, value)
    assert not has(NOTHING, value)


def test_comparing_with_null_and_objects() -> None:
    assert equal_to(None) == KeySet((), frozenset({Apart.NULL}))
    assert equal_to({"a": 1}) == equal_to(GEOMETRY) == KeySet((), frozenset({Apart.OBJECT}))
    assert equal_to([None]) == KeySet((), frozenset({Apart.ARRAY}))
    assert compared(Term.LT, 5).apart == {Apart.NULL, Apart.ARRAY}
    assert compared(Term.GT, 5).apart == {Apart.OBJECT}
    assert compared(Term.GT, "a").apart == frozenset()
    assert (compared(Term.GT, 5) & compared(Term.LT, 9)).apart == frozenset()


def test_and_or() -> None:
    low, high = secondary_key(2), after_prefix(secondary_key(4))
    both = compared(Term.GE, 2) & compared(Term.LE, 4)
    assert both.ranges == ((low, high),)
    assert (equal_to(2) | equal_to(2)).ranges == equal_to(2).ranges
    assert (equal_to(1) & equal_to(2)) == NOTHING
    assert one_of([3, 1, 3, None]) == equal_to(1) | equal_to(3) | equal_to(None)


def test_single_keys() -> None:
    assert single_key(equal_to("a")) == secondary_key("a")
    assert single_key(compared(Term.GT, "a")) is None
    assert single_key(equal_to(1) | equal_to(3)) is None
    assert single_key(equal_to(None)) is None


@given(values, values, values, values)
def test_compound(first: Any, second: Any, wanted: Any, low: Any) -> None:
    pair = IndexValues(Func.from_wire(field_term("f")), multi=False)
    keys = compound([equal_to(wanted), compared(Term.GT, low)])
    if compare(first, wanted) == 0 and compare(second, low) > 0:
        entries = pair.complete_keys({"f": [first, second]})
        places = {place.value for place in keys.apart}
        assert any(entry in places or any(a <= entry < b for a, b in keys.ranges) for entry in entries)


def test_compound_of_single_keys_is_one() -> None:
    keys = compound([equal_to(1), equal_to("x")])
    assert single_key(keys) == secondary_key([1, "x"])


def test_elements() -> None:
    assert element(3) == KeySet(equal_to(3).ranges, frozenset({Apart.SINGLE}))
    for impossible in (None, {"a": 1}):
        with pytest.raises(NotComparable):
            element(impossible)
    with pytest.raises(NotComparable):
        equal_to(MAXVAL)
