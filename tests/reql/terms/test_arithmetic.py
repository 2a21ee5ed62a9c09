from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r

from photondb.datum.time import make_time
from photondb.datum.types import normalise_number
from photondb.reql.errors import ErrorKind
from tests.datum.values import numbers
from tests.reql.evaluate import evaluate, failure

exact = st.integers(-(2**20), 2**20)
TIME = r.epoch_time(100)


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.add(1, 2), 3),
        (r.add(5), 5),
        (r.add("a", "b", "c"), "abc"),
        (r.add([1], [2, 3], []), [1, 2, 3]),
        (r.add(1, 2.5, 0.5), 4),
        (TIME + 50, make_time(150, "+00:00")),
        (50 + TIME, make_time(150, "+00:00")),
        (r.sub(10, 1, 2), 7),
        (TIME - 50, make_time(50, "+00:00")),
        (TIME - TIME - 1, -1),
        (r.mul(2, 3, 4), 24),
        (r.mul([1, 2], 2), [1, 2, 1, 2]),
        (r.mul(0, ["x"]), []),
        (r.div(12, 3, 2), 2),
        (r.div(1, 4), 0.25),
        (r.expr(17) % 5, 2),
        (r.expr(-17) % 5, -2),
        (r.expr(17) % -5, 2),
        (r.floor(1.7), 1),
        (r.floor(-1.2), -2),
        (r.ceil(1.2), 2),
        (r.ceil(-1.7), -1),
        (r.round(0.5), 1),
        (r.round(-0.5), -1),
        (r.round(2.4999), 2),
        (r.round(0.49999999999999994), 0),
        (r.round(1e300), 1e300),
        (r.expr(3).floor(), 3),
    ],
)
def test_values_are_computed(query: Any, value: Any) -> None:
    result = evaluate(query)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("query", "message", "frames"),
    [
        (r.add(1, "a"), "Expected type NUMBER but found STRING.", ()),
        (r.add("a", 1), "Expected type STRING but found NUMBER.", ()),
        (r.add([], 1), "Expected type ARRAY but found NUMBER.", ()),
        (r.add({}, 1), "Expected type NUMBER but found OBJECT.", ()),
        (TIME + TIME, "Expected type NUMBER but found PTYPE<TIME>.", ()),
        (r.sub("b", "a"), "Expected type NUMBER but found STRING.", ()),
        (r.mul([1], -1), "Cannot multiply an ARRAY by a negative number.", ()),
        (r.mul([1], 1.5), "Number not an integer: 1.5", ()),
        (r.div(1, 0), "Cannot divide by zero.", ()),
        (r.div(1, 2, 0.0), "Cannot divide by zero.", ()),
        (r.expr(5) % 0, "Cannot take a number modulo 0.", ()),
        (r.expr(1.5) % 2, "Number not an integer: 1.5", (0,)),
        (r.expr(2) % "a", "Expected type NUMBER but found STRING.", (1,)),
        (r.expr(1e200) * 1e200, "Non-finite number: inf", ()),
        (r.floor("x"), "Expected type NUMBER but found STRING.", (0,)),
        (r.add(1, r.db("test")), 'Expected type DATUM but found DATABASE:\ndb("test")', (1,)),
    ],
)
def test_what_makes_no_sense_is_refused(query: Any, message: str, frames: tuple[int, ...]) -> None:
    error = failure(query)
    assert (error.kind, error.message, error.frames) == (ErrorKind.LOGIC, message, frames)


def test_null_counts_as_missing() -> None:
    assert failure(r.expr(None) + 1).kind == ErrorKind.NON_EXISTENCE
    assert evaluate((r.expr(1) - None).default("none")) == "none"


def test_results_are_limited_in_size() -> None:
    assert failure(r.expr([1, 2, 3]) * 4, array_limit=10).kind == ErrorKind.RESOURCE_LIMIT
    assert failure(r.expr([1, 2, 3]).add([4, 5]), array_limit=4).kind == ErrorKind.RESOURCE_LIMIT
    doubled: Any = r.expr("x" * 1000)
    for _ in range(30):
        doubled = doubled.do(lambda text: text + text)
    assert failure(doubled).kind == ErrorKind.RESOURCE_LIMIT


def test_each_group_is_computed_with() -> None:
    grouped = r.expr([1, 2, 3, 4]).group(lambda n: n % 2).sum()
    assert evaluate(grouped + 10) == [[0, 16], [1, 14]]
    assert evaluate(grouped.add(r.args([1, 2]))) == [[0, 9], [1, 7]]


@given(numbers, numbers)
def test_numbers_add_and_multiply_as_doubles_do(a: float, b: float) -> None:
    for query, expected in ((r.add(a, b), float(a) + float(b)), (r.mul(a, b), float(a) * float(b))):
        if math.isfinite(expected):
            assert evaluate(query) == normalise_number(expected)
        else:
            assert failure(query).message.startswith("Non-finite number")


@given(exact, exact, exact)
def test_integers_obey_the_laws_of_arithmetic(a: int, b: int, c: int) -> None:
    assert evaluate(r.mul(a, r.add(b, c))) == evaluate(r.add(r.mul(a, b), r.mul(a, c))) == a * (b + c)
    assert evaluate(r.sub(a, b, c)) == a - b - c
    if b:
        quotient = evaluate((r.expr(a) - r.expr(a) % b) / b)
        assert quotient * b + evaluate(r.expr(a) % b) == a


@given(numbers)
def test_rounding_goes_to_the_nearest_integer(number: float) -> None:
    rounded = evaluate(r.round(number))
    assert abs(Fraction(rounded) - Fraction(number)) <= Fraction(1, 2)
    assert evaluate(r.floor(number)) <= number <= evaluate(r.ceil(number))
