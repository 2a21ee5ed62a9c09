"""`count`, `sum`, `avg`, `min`, `max`, `reduce`, `fold`."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r

from photondb.reql.errors import ErrorKind, ReqlError
from tests.reql.database import RunningDatabase
from tests.reql.evaluate import evaluate, failure

ROWS = r.expr([{"n": 3, "k": "c"}, {"n": 1.5, "k": "a"}, {"k": "d"}, {"n": None, "k": "b"}, {"n": 1.5, "k": "z"}])


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.expr([1, 2]).count(), 2),
        (r.expr([]).count(), 0),
        (r.range(2500).count(), 2500),
        (r.expr("aéü").count(), 3),
        (r.binary(b"abcd").count(), 4),
        (r.expr({"a": 1, "b": 2}).count(), 2),
        (r.expr([1, 2, 1, None]).count(1), 2),
        (r.expr([1, 2, 1, None]).count(None), 1),
        (r.expr([1, True]).count(1), 1),
        (r.expr([{"a": 1}, {"a": 1, "b": 2}]).count({"a": 1}), 1),
        (r.expr([1, 2, 3]).count(lambda x: x > 1), 2),
        (r.expr([{"a": 1}, {}]).count(lambda x: x["a"] == 1), 1),
        (ROWS.sum("n"), 6),
        (r.expr([1, 2.5]).sum(), 3.5),
        (r.expr([]).sum(), 0),
        (r.expr([1, None]).sum(), 1),
        (ROWS.sum(lambda row: row["n"] * 2), 12),
        (r.range(1000).sum(), 499500),
        (ROWS.avg("n"), 2),
        (r.expr([1, 2]).avg(), 1.5),
        (ROWS.avg(lambda row: row["n"]), 2),
        (r.expr([3, 1, 2]).min(), 1),
        (r.expr([3, 1, 2]).max(), 3),
        (r.expr([3, "a", None, [1]]).max(), "a"),
        (ROWS.min("n"), {"n": None, "k": "b"}),
        (ROWS.filter(lambda row: row["n"] > 0).min("n"), {"n": 1.5, "k": "a"}),
        (ROWS.max("n"), {"n": 3, "k": "c"}),
        (ROWS.max("k"), {"n": 1.5, "k": "z"}),
        (ROWS.max(lambda row: 0 - row["n"]), {"n": 1.5, "k": "a"}),
        (r.expr([1, 2, 3]).reduce(lambda a, b: a + b), 6),
        (r.expr([7]).reduce(lambda a, b: r.error("not called")), 7),
        ([37, [[2, [1, 2]], [69, [[2, [1, 2]], [24, [[10, [1]], [10, [2]]]]]]], {"base": 100}], 3),
        (r.expr([1, 2, 3]).fold(10, lambda a, b: a * b), 60),
        (r.expr([]).fold(10, lambda a, b: a * b), 10),
        (r.expr([1, 2]).fold("", lambda a, b: a + b.coerce_to("string")), "12"),
        (r.expr([1, 2]).fold(0, lambda a, b: a + b, final_emit=lambda a: [a]), [3]),
        (r.expr([1, 2]).fold(0, lambda: 5), 5),
        (
            r.expr([1, 2, 3]).fold(0, lambda a, b: a + b, emit=lambda old, row, new: [[old, row, new]]),
            [[0, 1, 1], [1, 2, 3], [3, 3, 6]],
        ),
        (
            r.expr([1, 2, 3]).fold(0, lambda a, b: a + b, emit=lambda old, row, new: [], final_emit=lambda a: [a, a]),
            [6, 6],
        ),
        (r.expr([]).fold(0, lambda a, b: a, emit=lambda old, row, new: [1], final_emit=lambda a: [a]), [0]),
        (r.range().fold(0, lambda a, b: a + b, emit=lambda old, row, new: [new]).limit(4), [0, 1, 3, 6]),
        (r.range(3).fold(0, lambda a, b: a, emit=lambda old, row, new: [row]).type_of(), "STREAM"),
        (r.expr([1]).fold(0, lambda a, b: a, emit=lambda old, row, new: [row]).type_of(), "ARRAY"),
    ],
)
def test_aggregates(query: Any, value: Any) -> None:
    assert evaluate(query) == value


EMPTY = (
    "Cannot take the {what} of an empty stream.  (If you passed `{name}` a field name, it may be that no elements of "
    "the stream had that field.)"
)
ENDLESS = (
    "Cannot use an infinite stream with an aggregation function (`reduce`, `count`, etc.) or coerce it to an array."
)


@pytest.mark.parametrize(
    ("query", "kind", "message", "frames"),
    [
        (r.expr([]).avg(), ErrorKind.NON_EXISTENCE, EMPTY.format(what="average", name="avg"), ()),
        (ROWS.avg("x"), ErrorKind.NON_EXISTENCE, EMPTY.format(what="average", name="avg"), ()),
        (r.expr([]).min(), ErrorKind.NON_EXISTENCE, EMPTY.format(what="min", name="min"), ()),
        (r.range(0).max("a"), ErrorKind.NON_EXISTENCE, EMPTY.format(what="max", name="max"), ()),
        (r.expr([]).reduce(lambda a, b: a), ErrorKind.NON_EXISTENCE, "Cannot reduce over an empty stream.", (1,)),
        (r.expr(["a"]).sum(), ErrorKind.LOGIC, "Expected type NUMBER but found STRING.", ()),
        (r.expr([True]).avg(), ErrorKind.LOGIC, "Expected type NUMBER but found BOOL.", ()),
        (ROWS.sum("k"), ErrorKind.LOGIC, "Expected type NUMBER but found STRING.", ()),
        (r.expr([1]).sum("a"), ErrorKind.LOGIC, "Cannot perform get_field on a non-object non-sequence `1`.", None),
        (r.expr(1).count(), ErrorKind.LOGIC, "Cannot convert NUMBER to SEQUENCE", ()),
        (r.expr(None).sum(), ErrorKind.NON_EXISTENCE, "Cannot convert NULL to SEQUENCE", ()),
        (r.range().count(), ErrorKind.LOGIC, ENDLESS, ()),
        (r.range().map(lambda x: x).reduce(lambda a, b: a), ErrorKind.LOGIC, ENDLESS, ()),
        (r.range().skip(5).fold(0, lambda a, b: a), ErrorKind.LOGIC, ENDLESS, ()),
        (
            r.range().fold(0, lambda a, b: a, emit=lambda a, b, c: []).count(),
            ErrorKind.LOGIC,
            ENDLESS,
            (),
        ),
        (
            r.expr([1]).fold(0, lambda a: a),
            ErrorKind.LOGIC,
            "The accumulator function passed to `fold` should expect 2 arguments",
            (),
        ),
        (
            r.expr([1, 2]).reduce(lambda a: a),
            ErrorKind.LOGIC,
            "Expected function with 2 arguments but found function with 1 argument.",
            (),
        ),
        (
            r.range(3).fold(0, lambda a, b: a, emit=lambda a, b, c: c),
            ErrorKind.LOGIC,
            "Expected type ARRAY but found NUMBER.",
            None,
        ),
        (
            [145, [[2, [1]], "a"], {"index": "b"}],
            ErrorKind.LOGIC,
            "Cannot provide both a function and an index to sum.",
            (),
        ),
        ([145, [[2, [1]]], {"index": "b"}], ErrorKind.LOGIC, "Expected type TABLE but found DATUM:\n[\n\t1\n]", ()),
    ],
)
def test_what_has_no_aggregate(query: Any, kind: ErrorKind, message: str, frames: tuple[int, ...] | None) -> None:
    error = failure(query)
    assert (error.kind, error.message) == (kind, message)
    assert frames is None or error.frames == frames


@given(st.lists(st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=300))
def test_numbers_add_up(numbers: list[Any]) -> None:
    assert math.isclose(evaluate(r.expr(numbers).sum()), math.fsum(numbers), abs_tol=1e-6)
    assert math.isclose(evaluate(r.expr(numbers).avg()), math.fsum(numbers) / len(numbers), abs_tol=1e-6)
    assert evaluate(r.expr(numbers).min()) == min(numbers)
    assert evaluate(r.expr(numbers).max()) == max(numbers)


@given(st.lists(st.integers(), min_size=1, max_size=300))
def test_a_reduction_is_a_fold_of_the_rest(numbers: list[int]) -> None:
    greater = lambda a, b: r.branch(a > b, a, b)  # noqa: E731
    folded = r.expr(numbers).skip(1).fold(numbers[0], greater)
    assert evaluate(r.expr(numbers).reduce(greater)) == evaluate(folded)


def test_tables_are_aggregated_where_they_are(database: RunningDatabase) -> None:
    database.run(r.table_create("sales"))
    sales = r.table("sales")
    with pytest.raises(ReqlError, match="`min` found no entries in the specified index"):
        database.run(sales.min())
    database.run(sales.insert([{"id": i, "n": i % 10, "k": {"x": i}} for i in range(2000)]))
    database.run(sales.insert({"id": "last"}))
    database.run(sales.index_create("n"))
    database.run(sales.index_wait())
    assert database.run(sales.count()) == 2001
    assert database.run(sales.count(lambda row: row["n"] > 7)) == 400
    assert database.run(sales.count({"id": "last"})) == 1
    assert database.run(sales.sum("n")) == 9000
    assert database.run(sales.avg(lambda row: row["n"])) == 4.5
    assert database.run(sales.map(lambda row: row["k"]["x"].default(0)).sum()) == 1999000
    assert database.run(sales.filter(r.row["n"] < 2).max(lambda row: row["k"]["x"])["id"]) == 1991
    assert database.run(sales.min()["id"]) == 0
    assert database.run(sales.max()) == {"id": "last"}
    assert database.run(sales.max(index="n")["n"]) == 9
    assert database.run(sales.min(index="n")["id"]) == 0
    assert database.run(sales.min(index="n").update({"least": True}))["replaced"] == 1
    assert database.run(sales.filter({"least": True})["id"]) == [0]
    assert database.run(sales.map(lambda row: row["n"].default(0)).reduce(lambda a, b: a + b)) == 9000
    assert database.run(sales.order_by(index="id").limit(3).fold(0, lambda a, row: a + row["n"])) == 3
    with pytest.raises(ReqlError, match="Cannot call sum on an index"):
        database.run([145, [[15, ["sales"]]], {"index": "n"}])
    with pytest.raises(ReqlError, match="Cannot provide both a function and an index to max"):
        database.run(sales.max("n", index="n"))
    with pytest.raises(ReqlError, match="Index `nix` was not found on table"):
        database.run(sales.min(index="nix"))
