"""The equality at the beginning of a join's predicate, and the hash table that it makes possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from rethinkdb import r

from photondb.reql.compiler import compile_function
from photondb.reql.errors import ReqlError
from photondb.reql.function import Func
from photondb.reql.planner.expressions import ROW
from photondb.reql.planner.joins import HashTable, LookUp, Method, equality_of, look_up_of, ways_of_join
from tests.reql.evaluate import evaluate, wire_term
from tests.reql.planner.test_access import STATISTICS, TABLE

ALL_LISTED = msgspec.structs.replace(
    TABLE, indexes=tuple(msgspec.structs.replace(index, lists_lacking=not index.multi) for index in TABLE.indexes)
)

Rows = list[dict[str, Any]]


def predicate(function: Callable[[Any, Any], Any]) -> Func:
    return compile_function(wire_term(r.expr([]).inner_join([], function))[1][2])


@pytest.mark.parametrize(
    "function",
    [
        lambda left, right: left["a"] == right["b"],
        lambda left, right: right["b"] == left["a"],
        lambda left, right: (left["a"] == right["b"]) & (left["x"] > right["x"]),
        lambda left, right: ((right["b"] == left["a"]) & (left["x"] > 1)) & (right["x"] > 1),
        lambda left, right: left["a"] + 0 == right["b"].default(0),
    ],
)
def test_predicates_that_begin_with_an_equality(function: Callable[[Any, Any], Any]) -> None:
    equality = equality_of(predicate(function))
    assert equality is not None
    assert equality.left({"a": 5}) == 5
    assert equality.right({"b": 6}) == 6
    assert ("field", ROW, "b") in (equality.right_expression, *(equality.right_expression or ()))


@pytest.mark.parametrize(
    "function",
    [
        lambda left, right: left["a"] > right["b"],
        lambda left, right: left["a"] == 5,
        lambda left, right: left["a"] == left["b"],
        lambda left, right: left["a"] + right["b"] == 5,
        lambda left, right: (left["a"] > 1) & (left["a"] == right["b"]),
        lambda left, right: (left["a"] == right["b"]) | (left["x"] > 1),
        lambda left, right: r.expr(left["a"]).eq(right["b"], 5),
        lambda left, right: (left["a"] == right["b"]) & (r.random(5) > 1),
    ],
)
def test_those_that_do_not(function: Callable[[Any, Any], Any]) -> None:
    assert equality_of(predicate(function)) is None


def test_the_table_tells_values_apart_as_the_language_does() -> None:
    rows = [{"b": 1}, {"b": True}, {"b": 1.0}, {"b": [1]}, {"b": None}]
    equality = equality_of(predicate(lambda left, right: left["a"] == right["b"]))
    assert equality is not None
    table = HashTable(rows, equality.right)
    assert table.matching(1) == [{"b": 1}, {"b": 1.0}]
    assert table.matching(True) == [{"b": True}]
    assert table.matching(None) == [{"b": None}]
    assert table.matching("1") == []
    with pytest.raises(ReqlError, match="No attribute"):
        HashTable([*rows, {}], equality.right)


def test_joins() -> None:
    left = [{"id": n, "a": n % 3} for n in range(5)]
    right = [{"b": 2, "n": 1}, {"b": 0, "n": 2}, {"b": 2, "n": 3}]
    same: Callable[[Any, Any], Any] = lambda one, other: (one["a"] == other["b"]) & (other["n"] > 1)  # noqa: E731
    assert evaluate(r.expr(left).inner_join(right, same)["right"]["n"]) == [2, 3, 2]
    outer = evaluate(r.expr(left).outer_join(right, same))
    assert [(row["left"]["id"], row.get("right", {}).get("n")) for row in outer] == [
        (0, 2),
        (1, None),
        (2, 3),
        (3, 2),
        (4, None),
    ]


def methods(*how: Any) -> list[Method]:
    return [way.method for way in ways_of_join(*how)]


def test_the_cheapest_method_comes_first() -> None:
    key, index = LookUp(None, 1.0), LookUp(ALL_LISTED.indexes[0], 10.0)
    assert methods(10, 10_000, index, False, 100_000) == [Method.LOOK_UP, Method.HASH]
    assert methods(10_000, 10_000, index, False, 100_000) == [Method.HASH, Method.LOOK_UP]
    assert methods(10_000, 10_000, None, False, 100_000) == [Method.HASH]
    assert methods(10, 10**6, None, False, 100_000) == [Method.PASSES]  # they are too many to be kept
    assert methods(500, 10**6, key, True, 100_000)[0] == Method.LOOK_UP
    assert methods(10**6, 10**6, key, True, 100_000) == [Method.MERGE, Method.LOOK_UP, Method.PASSES]
    assert methods(10_000, 10_000, key, True, 100_000)[0] == Method.MERGE


def test_how_rows_are_looked_up() -> None:
    assert look_up_of(ALL_LISTED, ("field", ROW, "id"), STATISTICS) == LookUp(None, 1.0)
    found = look_up_of(ALL_LISTED, ("field", ROW, "a"), STATISTICS)
    assert found is not None
    assert (found.by, found.matching) == ("index a", 10)
    assert look_up_of(ALL_LISTED, ("field", ROW, "c"), STATISTICS) is None
    assert look_up_of(ALL_LISTED, None, STATISTICS) is None
    assert look_up_of(TABLE, ("field", ROW, "a"), STATISTICS) is None  # documents without the field are unknown
