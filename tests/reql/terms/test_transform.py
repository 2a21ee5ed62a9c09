"""Sequences made element by element: `map`, `concat_map`, `filter`, `zip`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r

from photondb.reql.errors import ErrorKind, ReqlError
from tests.reql.database import RunningDatabase
from tests.reql.evaluate import evaluate, failure

ROWS = r.expr([{"a": 1, "b": "x"}, {"a": 2}, {"b": "y"}, {"a": None, "b": "x"}])
NESTED = r.expr([{"a": {"b": 1, "c": 2}}, {"a": {"b": 2}}])


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.expr([1, 2]).map(lambda x: x + 1), [2, 3]),
        (r.expr([1, 2]).map(r.row * 2), [2, 4]),
        (r.expr([1, 2]).map({"n": r.row}), [{"n": 1}, {"n": 2}]),
        (r.expr([]).map(lambda x: x + 1), []),
        (r.map([1, 2, 3], ["a", "b"], lambda x, y: [y, x]), [["a", 1], ["b", 2]]),
        (r.map(r.range(), ["a", "b"], r.range(5, 9), lambda x, y, z: [x, y, z]), [[0, "a", 5], [1, "b", 6]]),
        (r.map([1, 2], [3, 4], lambda: 5), [5, 5]),
        (r.expr([1]).map([2], lambda x, y: x + y).type_of(), "ARRAY"),
        (r.range().map([2], lambda x, y: x + y).type_of(), "STREAM"),
        (r.range(3).map(lambda x: x + 1).type_of(), "STREAM"),
        (r.expr([1, 2]).map(lambda x: r.range(x).coerce_to("array")), [[0], [0, 1]]),
        (r.do(10, lambda n: r.expr([1, 2]).map(lambda x: x + n)), [11, 12]),
    ],
)
def test_map(query: Any, value: Any) -> None:
    assert evaluate(query) == value


@pytest.mark.parametrize(
    ("query", "message", "frames"),
    [
        (
            r.expr([1]).map(lambda x, y: x),
            "The function passed to `map` expects 2 arguments, but 1 sequence was found.",
            (),
        ),
        (
            r.map([1], [2], lambda x: x),
            "The function passed to `map` expects 1 argument, but 2 sequences were found.",
            (),
        ),
        (r.map([1], 2, lambda x, y: x), "Cannot convert NUMBER to SEQUENCE", (1,)),
        ([38, [1, [69, [[2, [1]], [10, [1]]]]]], "Cannot convert NUMBER to SEQUENCE", (0,)),
        ([38, [[2, [1]], 2]], "Expected type FUNCTION but found DATUM:\n2", (1,)),
        ([38, [[2, [1]]]], "Expected 2 or more arguments but found 1.", ()),
        (
            r.map(r.range(), r.range(), lambda x, y: x).count(),
            "Cannot use an infinite stream with an aggregation function (`reduce`, `count`, etc.) or coerce it to an "
            "array.",
            (),
        ),
    ],
)
def test_what_map_refuses(query: Any, message: str, frames: tuple[int, ...]) -> None:
    error = failure(query)
    assert (error.kind, error.message, error.frames) == (ErrorKind.LOGIC, message, frames)


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.expr([[1, 2], [], [3]]).concat_map(lambda x: x), [1, 2, 3]),
        (r.range(3).concat_map(lambda x: r.range(x)), [0, 0, 1]),
        (r.expr([1, 2]).concat_map(lambda x: [x, x]).type_of(), "ARRAY"),
        (r.range(2).concat_map(lambda x: [x]).type_of(), "STREAM"),
    ],
)
def test_concat_map(query: Any, value: Any) -> None:
    assert evaluate(query) == value


def test_concat_map_wants_sequences_that_end() -> None:
    assert failure(r.expr([1]).concat_map(lambda x: x)).message == "Cannot convert NUMBER to SEQUENCE"
    assert "infinite stream" in failure(r.expr([1]).concat_map(lambda x: r.range())).message


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.expr([1, 2, 3]).filter(lambda x: x > 1), [2, 3]),
        (r.expr([1, 2]).filter(True), [1, 2]),
        (r.expr([1, 2]).filter("anything"), [1, 2]),
        (r.expr([1, 2]).filter(None), []),
        (r.expr([0, None, False, "", 1]).filter(lambda x: x), [0, "", 1]),
        (ROWS.filter({"b": "x"}), [{"a": 1, "b": "x"}, {"a": None, "b": "x"}]),
        (ROWS.filter({"a": None}), [{"a": None, "b": "x"}]),
        (ROWS.filter({"a": 1, "b": "x"}), [{"a": 1, "b": "x"}]),
        (ROWS.filter({}), ROWS),
        (r.expr([{"a": True}, {"a": 1}]).filter({"a": 1}), [{"a": 1}]),
        (r.expr([{"a": True}, {"a": 1}]).filter({"a": True}), [{"a": True}]),
        (NESTED.filter({"a": {"b": 1}}), [{"a": {"b": 1, "c": 2}}]),
        (NESTED.filter({"a": r.literal({"b": 2})}), [{"a": {"b": 2}}]),
        (r.expr([{"a": 1, "b": 1}, {"a": 1, "b": 2}]).filter({"a": r.row["b"]}), [{"a": 1, "b": 1}]),
        (r.expr([{"a": 1, "b": 1}, {"a": 1, "b": 2}]).filter(lambda x: {"b": x["a"] + 1}), [{"a": 1, "b": 2}]),
        (r.expr([1, 2]).filter(r.row > 1).type_of(), "ARRAY"),
        (r.range(2).filter(r.row > 0).type_of(), "STREAM"),
    ],
)
def test_filter(query: Any, value: Any) -> None:
    assert evaluate(query) == (evaluate(value) if value is ROWS else value)


@pytest.mark.parametrize("predicate", [lambda row: row["a"] > 1, lambda row: row["a"] == 2])
def test_default_says_what_becomes_of_rows_without_the_field(predicate: Any) -> None:
    assert evaluate(ROWS.filter(predicate)) == [{"a": 2}]
    assert evaluate(ROWS.filter(predicate, default=False)) == [{"a": 2}]
    assert {"b": "y"} in evaluate(ROWS.filter(predicate, default=True))
    error = failure(ROWS.filter(predicate, default=r.error()))
    assert (error.kind, error.message) == (ErrorKind.NON_EXISTENCE, 'No attribute `a` in object:\n{\n\t"b":\t"y"\n}')
    error = failure(ROWS.filter(predicate, default=r.error("none of that")))
    assert (error.kind, error.message) == (ErrorKind.USER, "none of that")


def test_a_pattern_counts_a_missing_field_as_missing() -> None:
    assert evaluate(ROWS.filter({"a": 1}, default=True)) == [{"a": 1, "b": "x"}, {"b": "y"}]
    assert failure(ROWS.filter({"a": 1}, default=r.error())).message == "No attribute `a` in object."


def test_default_is_not_evaluated_unless_a_field_is_missing() -> None:
    assert evaluate(r.expr([{"a": 1}]).filter({"a": 1}, default=r.error("never"))) == [{"a": 1}]
    assert evaluate(r.expr([1, 2]).map(lambda x: r.expr([{}]).filter({"a": 1}, default=x > 1))) == [[], [{}]]


def test_other_errors_of_a_predicate_are_errors() -> None:
    error = failure(ROWS.filter(lambda row: row["b"] / 2, default=True))
    assert (error.kind, error.message) == (ErrorKind.LOGIC, "Expected type NUMBER but found STRING.")


def test_zip_merges_the_sides_of_a_join() -> None:
    pairs = [{"left": {"id": 1, "a": {"x": 1}}, "right": {"id": 2, "a": {"y": 2}}}, {"left": {"id": 3}}]
    assert evaluate(r.expr(pairs).zip()) == [{"id": 2, "a": {"x": 1, "y": 2}}, {"id": 3}]
    assert failure(r.expr([{"right": 1}]).zip()).message == "ZIP can only be called on the result of a join."


@given(st.lists(st.integers(-5, 5), max_size=300), st.integers(-5, 5))
def test_arrays_and_streams_of_the_same_elements_give_the_same(numbers: list[int], bound: int) -> None:
    for sequence in (r.expr(numbers), r.expr(numbers).union(r.range(0))):
        assert evaluate(sequence.filter(lambda x: x > bound)) == [x for x in numbers if x > bound]
        assert evaluate(sequence.map(lambda x: x * 2)) == [x * 2 for x in numbers]
        assert evaluate(sequence.concat_map(lambda x: [x, x * 2])) == [y for x in numbers for y in (x, x * 2)]


def test_arrays_stay_within_the_limit() -> None:
    limit = "Array over size limit `4`.  To raise the number of allowed elements, modify the `array_limit` option to "
    for query in (r.range(5).coerce_to("array"), r.expr([1, 2, 3]).concat_map(lambda x: [x, x])):
        error = failure(query, array_limit=4)
        assert error.kind == ErrorKind.RESOURCE_LIMIT
        assert error.message.startswith(limit)
    assert evaluate(r.expr([1, 2, 3]).map(r.row), array_limit=3) == [1, 2, 3]


def test_only_a_filter_leaves_a_selection_one(database: RunningDatabase) -> None:
    database.run(r.table_create("people"))
    people = r.table("people")
    database.run(people.insert([{"id": i, "age": i * 10} for i in range(5)]))
    assert database.run(people.filter(r.row["age"] > 20).type_of()) == "SELECTION<STREAM>"
    assert database.run(people.filter({"age": 20}).update({"seen": True}))["replaced"] == 1
    assert database.run(people.filter({"seen": True})) == [{"id": 2, "age": 20, "seen": True}]
    assert database.run(people.map(r.row["age"]).type_of()) == "STREAM"
    with pytest.raises(ReqlError, match="Expected type SELECTION but found"):
        database.run(people.map(r.row).update({"seen": False}))
    assert database.run(people.filter(r.row["age"] > 20).map(r.row["id"]).filter(r.row < 4)) == [3]
    assert (
        database.run(people.concat_map(lambda row: people.get_all(row["id"]).map(lambda found: found["age"])).sum())
        == 100
    )
    assert database.run(r.expr([1, 2]).map(lambda i: people.get(i)["age"])) == [10, 20]
