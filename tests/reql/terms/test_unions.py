"""`union` and `range`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r

from photondb.reql.errors import CompileError, ErrorKind
from tests.reql.database import RunningDatabase
from tests.reql.evaluate import evaluate, failure


def rows(*numbers: Any) -> Any:
    return r.expr([{"n": n} for n in numbers])


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.union(), []),
        (r.expr([1]).union([2, 3]), [1, 2, 3]),
        (r.union([1], r.range(2), [3]), [1, 0, 1, 3]),
        (r.union([1], [2]).type_of(), "ARRAY"),
        (r.range(1).union([2]).type_of(), "STREAM"),
        (r.range(3).order_by(r.row).union([2]).type_of(), "ARRAY"),
        (r.range(3).order_by(r.row).union([2]).append(7), [0, 1, 2, 2, 7]),
        (r.union(r.args([[1], [2]]), [3]), [1, 2, 3]),
        (r.range(3).union(r.range(3)).count(), 6),
        (r.range(3).union(r.range(3)).map(lambda x: x + 1).sum(), 12),
        (r.range(5).union(r.range(5)).filter(lambda x: x > 2).limit(3), [3, 4, 3]),
        (r.range(5).union(r.range(5)).group(lambda x: x % 2).count(), [[0, 6], [1, 4]]),
        (r.range(2).union(r.range()).limit(5), [0, 1, 0, 1, 2]),
        (r.expr([1]).union([2], interleave=False), [1, 2]),
        (r.expr([1]).union([2], interleave=True), [1, 2]),
        (rows(1, 3).union(rows(2, 4), interleave="n")["n"], [1, 2, 3, 4]),
        (rows(3, 1).union(rows(4, 2), interleave=r.desc("n"))["n"], [4, 3, 2, 1]),
        (rows(1, 3).union(rows(2, 4), interleave=r.asc("n")).type_of(), "ARRAY"),
        (rows(1, 2).union(rows(1, 2), rows(0), interleave=lambda x: x["n"])["n"], [0, 1, 1, 2, 2]),
        (
            r.expr([[1, 2], [2, 1]]).union([[1, 1], [2, 2]], interleave=[lambda x: x[0], r.desc(lambda x: x[1])]),
            [[1, 2], [1, 1], [2, 2], [2, 1]],
        ),
        (rows(1).union([{}], interleave="n"), [{}, {"n": 1}]),
        (
            r.expr([{"a": 1, "b": 2}]).union([{"a": 1, "b": 1}], interleave=["a", "b"])["b"],
            [1, 2],
        ),
        (r.range().map(lambda n: {"n": n}).union(rows(0, 1), interleave="n").limit(4)["n"], [0, 0, 1, 1]),
    ],
)
def test_union(query: Any, value: Any) -> None:
    assert evaluate(query) == value


@pytest.mark.parametrize(
    ("query", "message", "frames"),
    [
        (r.expr([1]).union(2), "Cannot convert NUMBER to SEQUENCE", (1,)),
        (
            rows(1, 2).union(rows(2, 1), interleave="n"),
            "The streams given as arguments are not ordered by given ordering.",
            (),
        ),
        (
            rows(1, 2).union(rows(2), interleave=r.desc("n")),
            "The streams given as arguments are not ordered by given ordering.",
            (),
        ),
        (
            r.expr([1]).union([2], interleave=lambda x: r.random()),
            "Sorting by a non-deterministic function is not supported.",
            (),
        ),
        (
            [44, [[2, [1]]], {"interleave": [154, [[2, ["a"]]]]}],
            "r.args is not supported in an order_by or union command yet.",
            (),
        ),
    ],
)
def test_what_cannot_be_united(query: Any, message: str, frames: tuple[Any, ...]) -> None:
    error = failure(query)
    assert (error.kind, error.message, error.frames) == (ErrorKind.LOGIC, message, frames)


def test_unions_stay_within_the_array_limit() -> None:
    assert failure(r.expr([1, 2]).union([3]), array_limit=2).kind == ErrorKind.RESOURCE_LIMIT
    assert evaluate(r.range(2).union([3]).count(), array_limit=2) == 3
    assert failure(rows(1, 2).union(rows(3), interleave="n"), array_limit=2).kind == ErrorKind.RESOURCE_LIMIT


@given(st.lists(st.lists(st.integers(-5, 5), max_size=8), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_merging_ordered_sequences_gives_an_ordered_sequence(lists: list[Any], descending: bool, lazy: bool) -> None:
    ordered = [[{"n": n} for n in sorted(numbers, reverse=descending)] for numbers in lists]
    sequences = [r.expr(each).union(r.range(0)) if lazy else r.expr(each) for each in ordered]
    merged = sequences[0].union(*sequences[1:], interleave=r.desc("n") if descending else "n")
    assert [row["n"] for row in evaluate(merged)] == sorted((n for each in lists for n in each), reverse=descending)


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.range(3), [0, 1, 2]),
        (r.range(2, 5), [2, 3, 4]),
        (r.range(-2, 1), [-2, -1, 0]),
        (r.range(0), []),
        (r.range(-3), []),
        (r.range(5, 2), []),
        (r.range().limit(2), [0, 1]),
        (r.range(1500).count(), 1500),
        (r.range(2**53 - 1, 2**53), [2**53 - 1]),
        (r.range().type_of(), "STREAM"),
    ],
)
def test_range(query: Any, value: Any) -> None:
    assert evaluate(query) == value


def test_what_is_no_range() -> None:
    assert failure(r.range("a")).message == "Expected type NUMBER but found STRING."
    assert failure(r.range(0.5)).message == "Number not an integer: 0.5"
    error = failure([173, [1, 2, 3]])
    assert isinstance(error, CompileError)
    assert error.message == "Expected between 0 and 2 arguments but found 3."


def test_tables_are_united_where_they_are(database: RunningDatabase) -> None:
    for name in ("odd", "even"):
        database.run(r.table_create(name))
    odd, even = r.table("odd"), r.table("even")
    database.run(odd.insert([{"id": n} for n in range(1, 100, 2)]))
    database.run(even.insert([{"id": n} for n in range(0, 100, 2)]))
    assert database.run(odd.union(even).count()) == 100
    assert database.run(odd.union(even, [{"id": 7}]).filter(r.row["id"] < 3)["id"]) == [1, 0, 2]
    assert database.run(odd.union(even).type_of()) == "STREAM"
    assert database.run(odd.union(even).order_by(r.desc("id")).limit(2)["id"]) == [99, 98]
    assert database.run(odd.union(even).max("id")) == {"id": 99}
    assert database.run(odd.union(even).group(r.row["id"] % 3).count().ungroup()["reduction"]) == [34, 33, 33]
    merged = odd.order_by(index="id").union(even.order_by(index="id"), interleave="id")
    assert database.run(merged.limit(4)["id"]) == [0, 1, 2, 3]
    assert database.run(merged.count()) == 100
