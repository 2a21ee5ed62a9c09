from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r

from photondb.datum.order import equal
from photondb.reql.errors import ErrorKind
from tests.datum.values import values
from tests.reql.evaluate import evaluate, failure
from tests.reql.terms.test_comparison import literal

APPEND, DIFFERENCE, INSERT_AT, DELETE_AT = 29, 95, 82, 83
SET_INSERT, SET_INTERSECTION, SET_UNION, SET_DIFFERENCE = 88, 89, 90, 91
arrays = st.lists(values | st.integers(0, 3), max_size=6)


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.expr([1]).append(2), [1, 2]),
        (r.expr([1]).append([2]), [1, [2]]),
        (r.expr([1]).prepend(None), [None, 1]),
        (r.expr([1, 3]).insert_at(1, 2), [1, 2, 3]),
        (r.expr([1, 2]).insert_at(2, 3), [1, 2, 3]),
        (r.expr([1, 2]).insert_at(-1, 3), [1, 2, 3]),
        (r.expr([2, 3]).insert_at(-3, 1), [1, 2, 3]),
        (r.expr([1, 4]).splice_at(1, [2, 3]), [1, 2, 3, 4]),
        (r.expr([1]).splice_at(-1, [2, 3]), [1, 2, 3]),
        (r.expr([1, 2, 3]).delete_at(0), [2, 3]),
        (r.expr([1, 2, 3]).delete_at(-1), [1, 2]),
        (r.expr([1, 2, 3]).delete_at(1, 3), [1]),
        (r.expr([1, 2, 3]).delete_at(0, -1), [3]),
        (r.expr([1, 2, 3]).delete_at(3, 3), [1, 2, 3]),
        (r.expr([1, 2, 3]).change_at(1, "x"), [1, "x", 3]),
        (r.expr([1, 2, 3]).change_at(-3, "x"), ["x", 2, 3]),
        (r.expr([1, 1, 2]).set_insert(1), [1, 2]),
        (r.expr([1, 1, 2]).set_insert(3), [1, 2, 3]),
        (r.expr([2, 1, 1]).set_union([3, 2, 3]), [2, 1, 3]),
        (r.expr([1, 1, 2, 3]).set_intersection([3, 1, 1, 5]), [3, 1]),
        (r.expr([1, 1, 2, 3]).set_difference([2]), [1, 3]),
        (r.expr([1, 1, 2, 3]).difference([2, 2]), [1, 1, 3]),
        (r.range(5).difference(r.range(3)), [3, 4]),
        (r.expr([True, 1]).set_union([1.0, False]), [True, 1, False]),
        (r.expr([r.epoch_time(1)]).set_union([r.epoch_time(1).in_timezone("+01:00")]).count(), 1),
    ],
)
def test_arrays_are_changed(query: Any, value: Any) -> None:
    assert evaluate(query) == value


@pytest.mark.parametrize(
    ("query", "kind", "message", "frames"),
    [
        (
            r.expr([1, 2]).insert_at(3, 0),
            ErrorKind.NON_EXISTENCE,
            "Index `3` out of bounds for array of size: `2`.",
            (),
        ),
        (r.expr([1, 2]).insert_at(-4, 0), ErrorKind.NON_EXISTENCE, "Index out of bounds: -4", ()),
        (
            r.expr([1, 2]).splice_at(3, []),
            ErrorKind.NON_EXISTENCE,
            "Index `3` out of bounds for array of size: `2`.",
            (),
        ),
        (r.expr([1]).splice_at(0, 1), ErrorKind.LOGIC, "Expected type ARRAY but found NUMBER.", (2,)),
        (r.expr([1]).delete_at(1), ErrorKind.NON_EXISTENCE, "Index `1` out of bounds for array of size: `1`.", ()),
        (
            r.expr([1]).delete_at(0, 2),
            ErrorKind.NON_EXISTENCE,
            "Index `2` out of bounds for array of size: `1`.",
            (),
        ),
        (r.expr([1, 2]).delete_at(1, 0), ErrorKind.LOGIC, "Start index `1` is greater than end index `0`.", ()),
        (r.expr([1]).change_at(1, 0), ErrorKind.NON_EXISTENCE, "Index `1` out of bounds for array of size: `1`.", ()),
        (r.expr([1]).change_at(-2, 0), ErrorKind.NON_EXISTENCE, "Index out of bounds: -2", ()),
        (r.expr([1]).change_at(0.5, 0), ErrorKind.LOGIC, "Number not an integer: 0.5", (1,)),
        (r.expr("a").append(1), ErrorKind.LOGIC, "Expected type ARRAY but found STRING.", (0,)),
        (r.expr(None).prepend(1), ErrorKind.NON_EXISTENCE, "Expected type ARRAY but found NULL.", (0,)),
        (r.expr([]).set_union(1), ErrorKind.LOGIC, "Expected type ARRAY but found NUMBER.", (1,)),
        (r.expr([1]).difference(1), ErrorKind.LOGIC, "Cannot convert NUMBER to SEQUENCE", (1,)),
    ],
)
def test_what_makes_no_sense_is_refused(query: Any, kind: ErrorKind, message: str, frames: tuple[int, ...]) -> None:
    error = failure(query)
    assert (error.kind, error.message, error.frames) == (kind, message, frames)


@pytest.mark.parametrize(
    "query",
    [
        r.expr([1, 2, 3]).append(4),
        r.expr([1, 2, 3]).prepend(4),
        r.expr([1, 2, 3]).insert_at(0, 4),
        r.expr([1, 2]).splice_at(0, [3, 4]),
        r.expr([1, 2, 3]).set_insert(4),
        r.expr([1, 2, 3]).set_union([4]),
    ],
)
def test_no_array_grows_over_the_limit(query: Any) -> None:
    assert failure(query, array_limit=3).kind == ErrorKind.RESOURCE_LIMIT


def test_each_group_is_changed() -> None:
    grouped = r.expr([1, 2, 3]).group(lambda n: n % 2)
    assert evaluate(grouped.append(0)) == [[0, [2, 0]], [1, [1, 3, 0]]]
    assert evaluate(grouped.difference([3])) == [[0, [2]], [1, [1]]]


@given(arrays, values)
def test_what_is_appended_can_be_deleted_again(array: list[Any], value: Any) -> None:
    appended = [APPEND, [literal(array), literal(value)]]
    assert evaluate([DELETE_AT, [appended, -1]]) == array
    assert evaluate([DELETE_AT, [[INSERT_AT, [literal(array), 0, literal(value)]], 0]]) == array


@given(arrays, arrays)
def test_arrays_obey_the_laws_of_sets(left: list[Any], right: list[Any]) -> None:
    args = [literal(left), literal(right)]
    union, common, only_left = (evaluate([term, args]) for term in (SET_UNION, SET_INTERSECTION, SET_DIFFERENCE))

    def among(value: Any, array: list[Any]) -> bool:
        return any(equal(value, element) for element in array)

    for result in (union, common, only_left):
        assert not any(equal(a, b) for i, a in enumerate(result) for b in result[:i])
    assert all(among(value, union) for value in (*left, *right))
    assert all(among(value, left) and among(value, right) for value in common)
    assert all(among(value, left) and not among(value, right) for value in only_left)
    assert len(union) == len(only_left) + len(evaluate([SET_UNION, [literal(right), [2, []]]]))
    assert all(among(value, right) for value in left if not among(value, evaluate([DIFFERENCE, args])))
    if right:
        assert equal(
            evaluate([SET_INSERT, [literal(left), literal(right[0])]]),
            evaluate([SET_UNION, [literal(left), literal(right[:1])]]),
        )
