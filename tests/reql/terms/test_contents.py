"""`contains`, `offsets_of`, `distinct`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r

from photondb.reql.errors import ErrorKind, ReqlError
from tests.reql.database import RunningDatabase
from tests.reql.evaluate import evaluate, failure

MIXED = r.expr([1, True, None, "a", [1], {"a": 1}, 1])


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (MIXED.contains("a"), True),
        (MIXED.contains("b"), False),
        (MIXED.contains(1), True),
        (MIXED.contains(1, 1), True),
        (MIXED.contains(1, 1, 1), False),
        (MIXED.contains(True), True),
        (MIXED.contains(False), False),
        (MIXED.contains(None, [1], {"a": 1}), True),
        (r.expr([0, 1]).contains(True), False),
        (MIXED.contains(lambda x: x == "a"), True),
        (r.expr([1, 2, 3]).contains(lambda x: x > 2, 1), True),
        (r.expr([1, 2, 3]).contains(lambda x: x > 2, lambda x: x > 1), True),
        (r.expr([1, 2, 3]).contains(lambda x: x > 2, lambda x: x > 2), False),
        (r.expr([1]).contains(), True),
        (r.expr([]).contains(), False),
        (r.range(2000).contains(1999), True),
        (r.expr(["a", "b"]).contains(r.args(["a", "b"])), True),
        (MIXED.offsets_of(1), [0, 6]),
        (MIXED.offsets_of(True), [1]),
        (MIXED.offsets_of("z"), []),
        (r.expr([{"a": 1}, {}, {"a": 2}]).offsets_of(lambda x: x["a"] > 0), [0, 2]),
        (r.range(1000).offsets_of(lambda x: x % 400 == 0), [0, 400, 800]),
        (r.range().offsets_of(lambda x: x % 3 == 0).limit(3), [0, 3, 6]),
        (r.expr([1]).offsets_of(1).type_of(), "ARRAY"),
        (r.range(1).offsets_of(1).type_of(), "STREAM"),
        (r.expr([3, 1, 3, "a", None, 1]).distinct(), [None, 1, 3, "a"]),
        (r.range(9).map(lambda x: x % 3).distinct(), [0, 1, 2]),
        (r.expr([1, True, 1.0]).distinct(), [True, 1]),
        (r.expr([{"a": 1, "b": 2}, {"b": 2, "a": 1}]).distinct().count(), 1),
        (r.expr([]).distinct(), []),
    ],
)
def test_contents(query: Any, value: Any) -> None:
    assert evaluate(query) == value


@pytest.mark.parametrize(
    ("query", "kind", "message", "frames"),
    [
        (r.expr(1).contains(1), ErrorKind.LOGIC, "Cannot convert NUMBER to SEQUENCE", (0,)),
        (
            r.expr([{}]).contains(lambda x: x["a"]),
            ErrorKind.NON_EXISTENCE,
            "No attribute `a` in object:\n{}",
            (1, 1),
        ),
        (
            r.expr([1]).contains(2, r.range(2)),
            ErrorKind.LOGIC,
            "Expected type DATUM but found SEQUENCE:\nVALUE SEQUENCE",
            (2,),
        ),
        (
            r.expr([1]).offsets_of(r.range(2)),
            ErrorKind.LOGIC,
            "Expected type DATUM but found SEQUENCE:\nVALUE SEQUENCE",
            (1,),
        ),
        (r.expr([1]).distinct(index="a"), ErrorKind.LOGIC, "Can only perform an indexed distinct on a TABLE.", ()),
    ],
)
def test_what_is_refused(query: Any, kind: ErrorKind, message: str, frames: tuple[int, ...]) -> None:
    error = failure(query)
    assert (error.kind, error.message, error.frames) == (kind, message, frames)


@pytest.mark.parametrize("query", [r.range().contains(-1), r.range().distinct()])
def test_sequences_without_end_are_refused(query: Any) -> None:
    assert "infinite stream" in failure(query).message


def test_an_error_of_a_function_is_an_error_for_streams_too() -> None:
    rows = r.range(3).map(lambda x: {"x": x})
    assert evaluate(rows.contains(lambda row: row["x"] == 2)) is True
    assert evaluate(rows.contains({"x": 1})) is True
    assert evaluate(rows.contains(lambda row: {"x": 5})) is True  # an object is true, and no pattern here
    assert failure(rows.contains(lambda row: row["y"])).kind == ErrorKind.NON_EXISTENCE


def test_distinct_values_stay_within_the_array_limit() -> None:
    assert failure(r.range(5).distinct(), array_limit=4).kind == ErrorKind.RESOURCE_LIMIT
    assert evaluate(r.range(50).map(lambda x: x % 4).distinct(), array_limit=4) == [0, 1, 2, 3]


@given(st.lists(st.integers(0, 5) | st.booleans(), max_size=30), st.integers(0, 5))
def test_offsets_are_where_the_value_stands(values: list[Any], wanted: int) -> None:
    offsets = [i for i, value in enumerate(values) if value == wanted and type(value) is int]
    assert evaluate(r.expr(values).offsets_of(wanted)) == offsets
    assert evaluate(r.expr(values).contains(wanted)) == bool(offsets)
    assert evaluate(r.expr(values).count(wanted)) == len(offsets)


def test_tables_have_distinct_values_in_their_indexes(database: RunningDatabase) -> None:
    database.run(r.table_create("visits"))
    visits = r.table("visits")
    rows = [{"id": i, "day": i // 300, "user": i * 7 % 1200, "tags": [i % 5, i % 2]} for i in range(1200)]
    database.run(visits.insert(rows))
    database.run(visits.insert([{"id": 5000, "day": None}, {"id": 5001, "day": "x"}]))
    for name in ("day", "user"):
        database.run(visits.index_create(name))
    database.run(visits.index_create("tags", multi=True))
    database.run(visits.index_wait())

    assert database.run(visits.distinct(index="day")) == [0, 1, 2, 3, "x"]
    assert database.run(visits.order_by(index=r.desc("day")).distinct(index="day")) == ["x", 3, 2, 1, 0]
    assert database.run(visits.between(1, 3, index="day").distinct(index="day")) == [1, 2]
    assert database.run(visits.distinct(index="user")) == list(range(1200))
    assert database.run(visits.distinct(index="user"), array_limit=10) == list(range(1200))
    assert database.run(visits.distinct(index="user").limit(3)) == [0, 1, 2]
    assert database.run(visits.distinct(index="tags")) == [0, 1, 2, 3, 4]
    assert database.run(visits.between(2, 4, index="tags").distinct(index="tags")) == [2, 3]
    assert database.run(visits.order_by(index=r.desc("tags")).distinct(index="tags")) == [4, 3, 2, 1, 0]
    assert database.run(visits.distinct(index="id").count()) == 1202
    assert database.run(visits.distinct().count()) == 1202
    assert database.run(visits.distinct().limit(1)) == [rows[0]]
    assert database.run(visits.distinct(index="day").type_of()) == "STREAM"
    assert database.run(visits.between(0, 2, index="tags").count()) == 1680
    assert database.run(visits.between(0, 2, index="tags").distinct().count()) == 1200
    assert database.run(visits["day"].distinct()) == [None, 0, 1, 2, 3, "x"]
    assert database.run(visits.contains(lambda row: row["id"] == 700)) is True
    assert database.run(visits.contains(visits.get(3))) is True
    with pytest.raises(ReqlError, match="Index `nix` was not found on table"):
        database.run(visits.distinct(index="nix"))
    with pytest.raises(ReqlError, match="Can only perform an indexed distinct on a TABLE"):
        database.run(visits.filter({"day": 1}).distinct(index="day"))
