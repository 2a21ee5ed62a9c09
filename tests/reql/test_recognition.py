"""What is recognised has the shape and the constants that it would be taken apart into."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photondb.datum.errors import DatumError
from photondb.reql.errors import CompileError, ReqlError
from photondb.reql.recognition import Recogniser
from photondb.reql.shape import Shape, Shaper
from photondb.reql.wire import Term
from services.query.plans import RECOGNISED, PlanCache
from tests.examples import examples

TABLE = [15, [[14, ["test"]], "users"]]
NOW = {"$reql_type$": "TIME", "epoch_time": 1, "timezone": "+00:00"}


def taken_apart(term: Any) -> tuple[Shape, list[Any]] | None:
    """The shape and the constants of a term, None where it is wrong."""
    shaper = Shaper(NOW)
    try:
        return shaper.shape(copy.deepcopy(term)), shaper.constants
    except (CompileError, ReqlError, DatumError):
        return None


constants = st.sampled_from(
    (
        *("a", "b", 0, 1, True, False, None, 1.0, 1.5, -0.0, 2**53 + 2, {"a": 1}, {"a": 1.0}, {"b": {"c": True}}),
        *([2, ["x"]], [2, [[24, [1, 2]]]], {"a": [24, [1, 2]]}, [103, []], [181, []], [1, 5], ["x"], [24], []),
        *({"$reql_type$": "GEOMETRY"}, [99_999, []], {"a": [69, [[2, [1]], [10, [1]]]]}),
    )
)


def calls(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    numbers = st.sampled_from((Term.GET, Term.ADD, Term.BRACKET, Term.PLUCK, Term.UPDATE, Term.LIMIT, Term.GET_ALL))
    arguments = st.lists(inner, max_size=3)
    options = st.sampled_from(({}, {"index": "a"}, {"index": "b"}, {"index": True}, {"index": 1}, {"index": [24, [1]]}))
    return st.tuples(numbers.map(int), arguments).map(list) | st.tuples(numbers.map(int), arguments, options).map(list)


terms = st.recursive(constants | st.just(TABLE), calls, max_leaves=6)


@settings(max_examples=examples(500))
@given(terms, st.data())
def test_recognised_terms_are_what_they_would_be_taken_apart_into(first: Any, data: st.DataObject) -> None:
    known = taken_apart(first)
    if known is None or type(first) is not list:
        return
    shape, found = known
    recogniser = Recogniser.of(first, shape)
    if recogniser is None:
        return
    assert recogniser.constants(copy.deepcopy(first)) == found
    second = varied(first, data)
    recognised = recogniser.constants(copy.deepcopy(second))
    if recognised is not None:
        assert (shape, recognised) == taken_apart(second)
        assert list(map(type, recognised)) == list(map(type, taken_apart(second)[1]))  # type: ignore[index]


def varied(term: Any, data: st.DataObject) -> Any:
    """The term with some other constants, names or options in it."""
    if type(term) is list and len(term) >= 2 and type(term[1]) is list and data.draw(st.integers(0, 9)):
        return [term[0], [varied(argument, data) for argument in term[1]], *term[2:]]
    return term if data.draw(st.booleans()) else data.draw(constants)


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ([16, [TABLE, "ada"]], [16, [TABLE, "bob"]], ["bob"]),
        ([16, [TABLE, "ada"]], [16, [TABLE, 7.0]], [7]),
        ([16, [TABLE, "ada"]], [16, [TABLE, [2, [1, 2]]]], [[1, 2]]),
        ([16, [TABLE, "ada"]], [16, [[15, ["users"]], "ada"]], None),
        ([16, [TABLE, "ada"]], [16, [TABLE, [103, []]]], None),
        ([53, [[16, [TABLE, "a"]], {"n": 1}]], [53, [[16, [TABLE, "b"]], {"m": "x"}]], ["b", {"m": "x"}]),
        ([53, [[16, [TABLE, "a"]], {"n": 1}]], [53, [[16, [TABLE, "b"]], {"m": [24, [1, 2]]}]], None),
        ([53, [[16, [TABLE, "a"]], {"n": 1}]], [53, [[16, [TABLE, "b"]], {"m": {"$reql_type$": "x"}}]], None),
        ([33, [[16, [TABLE, "a"]], "x", "y"]], [33, [[16, [TABLE, "b"]], "x", "y"]], ["b"]),
        ([33, [[16, [TABLE, "a"]], "x", "y"]], [33, [[16, [TABLE, "b"]], "x", "z"]], None),
        ([78, [TABLE, 1], {"index": "n"}], [78, [TABLE, 2], {"index": "n"}], [2]),
        ([78, [TABLE, 1], {"index": "n"}], [78, [TABLE, 2], {"index": "m"}], None),
    ],
)
def test_recognition(first: Any, second: Any, found: Any) -> None:
    known = taken_apart(first)
    assert known is not None
    recogniser = Recogniser.of(first, known[0])
    assert recogniser is not None
    assert recogniser.constants(second) == found


@pytest.mark.parametrize(
    "term",
    [
        [39, [TABLE, [69, [[2, [1]], [17, [[170, [[10, [1]], "age"]], 30]]]]]],  # a function
        [170, [[16, [TABLE, "a"]], 0]],  # a number where names belong to the shape
        [24, [[103, []], 1]],  # the present time
        [2, [1, 2]],
        {"a": 1},
        5,
        [53, [[16, [TABLE, "a"]], {"n": [24, [1, 2]]}]],
        [53, [[16, [TABLE, "a"]], {"n": 1}], {"return_changes": True}],
    ],
)
def test_what_cannot_be_seen_from_the_term_alone_is_taken_apart(term: Any) -> None:
    known = taken_apart(term)
    assert known is not None
    assert Recogniser.of(term, known[0]) is None


def test_plans_are_found_for_the_latest_kinds_of_queries() -> None:
    plans, no_options = PlanCache(), frozenset[str]()
    queries = [[16, [[15, [f"table{number}"]], "a"]] for number in range(RECOGNISED + 1)]
    for term in queries:
        assert plans.recognise(term, no_options) is None
        shaper = Shaper(None)
        shape = shaper.shape(term)
        plan = plans.plan(shaper, shape, no_options)
        assert plan.quick
        plans.learn(term, plan, no_options)
        assert plans.recognise(term, no_options) == (plan, ["a"])
        assert plans.recognise(term, frozenset({"db"})) is None
    recognised = [plans.recognise(term, no_options) is not None for term in queries]
    assert recognised == [False, *[True] * RECOGNISED]
    odd_terms: tuple[Any, ...] = (None, 5, [], [None], [[]], {}, "x", [16])
    for odd in odd_terms:
        assert plans.recognise(odd, no_options) is None
