from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from rethinkdb import r

from photondb.datum.order import compare, equal
from tests.datum.values import values
from tests.reql.evaluate import evaluate, failure


def literal(value: Any) -> Any:
    """A wire term for a value (the driver would take pseudo types apart)."""
    if type(value) is list:
        return [2, [literal(element) for element in value]]
    if type(value) is dict:
        return {name: literal(field) for name, field in value.items()}
    return value


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.eq(1, 1, 1), True),
        (r.eq(1, 1, 2), False),
        (r.ne(1, 1, 1), False),
        (r.ne(1, 2, 1), True),
        (r.lt(1, 2, 3), True),
        (r.lt(1, 3, 2), False),
        (r.le(1, 1, 2), True),
        (r.gt(3, 2, 1), True),
        (r.gt(3, 3, 1), False),
        (r.ge(3, 3, 1), True),
        (r.eq(1, 1.0), True),
        (r.eq(True, 1), False),
        (r.eq({"a": [1]}, {"a": [1]}), True),
        (r.epoch_time(5).in_timezone("+01:00") == r.epoch_time(5), True),
        (r.minval < r.expr([]), True),
        (r.maxval > "z", True),
        (r.expr(2) < 1.5, False),
        (r.expr(1) < 1.5, True),
    ],
)
def test_values_are_compared(query: Any, value: bool) -> None:
    assert evaluate(query) is value


def test_types_come_in_the_order_of_their_names() -> None:
    ordered = [r.minval, [], False, True, None, -1, 1.5, {}, r.binary(b"x"), r.now(), "", r.maxval]
    for position, left in enumerate(ordered):
        for right in ordered[position + 1 :]:
            assert evaluate(r.lt(left, right)) is True
            assert evaluate(r.gt(left, right)) is False


def test_what_comes_after_the_decision_is_not_evaluated() -> None:
    assert evaluate(r.eq(1, 2, r.error("unreached"))) is False
    assert evaluate(r.ne(1, 2, r.error("unreached"))) is True
    assert evaluate(r.lt(2, 1, r.error("unreached"))) is False
    assert failure(r.eq(1, 1, r.error("reached"))).message == "reached"


def test_only_datums_are_compared() -> None:
    for query, position in ((r.eq(1, r.db("test")), 1), (r.lt(r.db("test"), 1, 2), 0)):
        error = failure(query)
        assert error.message == 'Expected type DATUM but found DATABASE:\ndb("test")'
        assert error.frames == (position,)


def test_arguments_may_be_spread_out() -> None:
    assert evaluate(r.lt(r.args([1, 2]), 3)) is True
    assert evaluate(r.eq(r.args([1, 1, 2]))) is False


def test_each_group_is_compared() -> None:
    grouped = r.expr([1, 2, 3, 4]).group(lambda n: n % 2).sum()
    assert evaluate(grouped > 5) == [[0, True], [1, False]]
    assert evaluate(r.eq(grouped, 6, 6)) == [[0, True], [1, False]]


@given(values, values)
def test_comparison_is_the_order_of_values(left: Any, right: Any) -> None:
    order = compare(left, right)
    args = [literal(left), literal(right)]
    eq, ne, lt, le, gt, ge = 17, 18, 19, 20, 21, 22
    assert evaluate([eq, args]) is equal(left, right) is not evaluate([ne, args])
    assert evaluate([lt, args]) is (order < 0) is not evaluate([ge, args])
    assert evaluate([gt, args]) is (order > 0) is not evaluate([le, args])
