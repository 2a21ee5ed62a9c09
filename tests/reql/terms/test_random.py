from __future__ import annotations

import sys
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r

from photondb.reql.compiler import compile_function
from tests.reql.evaluate import evaluate, failure, wire_term

bounds = st.integers(-(2**53), 2**53)


@given(bounds, bounds)
def test_random_integers_stay_within_their_bounds(a: int, b: int) -> None:
    low, high = sorted((a, b))
    if low == high:
        assert failure(r.random(low, high)).message == (f"Lower bound ({low}) is not less than upper bound ({high}).")
    else:
        number = evaluate(r.random(low, high))
        assert type(number) is int
        assert low <= number < high


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_random_floats_stay_within_their_bounds(low: float, high: float) -> None:
    number = evaluate(r.random(low, high, float=True))
    assert number == low or min(low, high) < number < max(low, high)


def test_random_reaches_all_of_its_range() -> None:
    assert {*evaluate(r.expr([r.random(3) for _ in range(200)]))} == {0, 1, 2}
    assert all(0 <= number < 1 for number in evaluate(r.expr([r.random() for _ in range(50)])))
    assert all(0 <= number < 5 for number in evaluate(r.expr([r.random(5, float=True) for _ in range(50)])))
    assert any(number < 0 for number in evaluate(r.expr([r.random(-1, float=True) for _ in range(5)])))
    largest = sys.float_info.max
    assert {
        number > 0 for number in evaluate(r.expr([r.random(-largest, largest, float=True) for _ in range(100)]))
    } == {
        True,
        False,
    }


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (r.random(0.5), "Upper bound (0.5) could not be safely converted to an integer."),
        (r.random(-1.5, 3), "Lower bound (-1.5) could not be safely converted to an integer."),
        (r.random(5, 2), "Lower bound (5) is not less than upper bound (2)."),
        (r.random(0), "Lower bound (0) is not less than upper bound (0)."),
        (r.random(float=False), "Generating a random integer requires one or two bounds."),
        (r.random("a"), "Expected type NUMBER but found STRING."),
    ],
)
def test_bounds_that_make_no_sense_are_refused(query: Any, message: str) -> None:
    assert failure(query).message == message


def test_uuids_are_random_or_belong_to_a_name() -> None:
    first, second = evaluate(r.expr([r.uuid(), r.uuid()]))
    assert first != second
    assert str(uuid.UUID(first)) == first
    assert evaluate(r.uuid("name")) == evaluate(r.uuid("name")) != evaluate(r.uuid("other"))
    assert evaluate(r.uuid("magic")) == "97dd10a5-4fc4-554f-86c5-0d2c2e3d5330"


@pytest.mark.parametrize(
    ("function", "pushable"),
    [
        (lambda x: r.uuid(), False),
        (lambda x: r.uuid(r.args([x])), False),
        (lambda x: r.uuid(x), True),
        (lambda x: r.random(5), False),
        (lambda x: x + 1, True),
    ],
)
def test_only_what_is_not_random_may_run_in_storage(function: Any, pushable: bool) -> None:
    assert compile_function(wire_term(r.expr([1]).map(function))[1][1]).pushable is pushable
