"""The equality at the beginning of a join's predicate, and the hash table that it makes possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.compiler import compile_function
from photondb.reql.function import Func
from photondb.reql.planner.joins import HashTable, equality_of, hash_table
from tests.reql.evaluate import evaluate, wire_term

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
    assert hash_table([*rows, {}], equality) is None


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
