"""What filters ask of a document, found in their functions."""

from __future__ import annotations

from typing import Any

import pytest
from rethinkdb import r

import photondb.reql.terms  # noqa: F401  # registers the terms
from photondb.reql.compiler import compile_function
from photondb.reql.parameters import constant_function
from photondb.reql.planner.conditions import Condition, conditions_of, drops_missing
from photondb.reql.planner.expressions import ROW
from photondb.reql.planner.key_sets import KeySet, compared, element, equal_to, one_of
from photondb.reql.steps import FilterStep, MapStep
from photondb.reql.wire import Term
from tests.reql.evaluate import wire_term

A, B = ("field", ROW, "a"), ("field", ROW, "b")
row = r.row


def function(predicate: Any) -> Any:
    func = wire_term(r.table("t").filter(predicate))[1][1]
    return compile_function(func)


def found(predicate: Any, **options: Any) -> list[Condition]:
    return conditions_of([FilterStep(function(predicate), **options)])


def keys_on(expression: Any, conditions: list[Condition]) -> KeySet:
    (condition,) = [condition for condition in conditions if condition.expression == expression]
    return condition.keys


@pytest.mark.parametrize(
    ("predicate", "keys"),
    [
        (row["a"] == 5, equal_to(5)),
        (r.expr(5) == row["a"], equal_to(5)),
        (row["a"] < 5, compared(Term.LT, 5)),
        (r.expr(5).gt(row["a"]), compared(Term.LT, 5)),
        (r.expr(5).le(row["a"]), compared(Term.GE, 5)),
        (r.expr(1).lt(row["a"], 5), compared(Term.GT, 1) & compared(Term.LT, 5)),
        ((row["a"] == 1) | (row["a"] == 2), one_of([1, 2])),
        (
            (row["a"] == 1) | ((row["a"] > 3) & (row["a"] < 5)),
            equal_to(1) | (compared(Term.GT, 3) & compared(Term.LT, 5)),
        ),
        (lambda doc: r.expr([1, 2]).contains(doc["a"]), one_of([1, 2])),
        (row["a"] == r.expr(2) * 3, equal_to(6)),
        (row.get_field("a") == "x", equal_to("x")),
        (row["a"] == None, equal_to(None)),  # noqa: E711
    ],
)
def test_conditions_on_a_field(predicate: Any, keys: KeySet) -> None:
    assert keys_on(A, found(predicate)) == keys


def test_every_part_of_a_conjunction_is_one() -> None:
    conditions = found((row["a"] == 1) & ((row["b"] > 2) & (row["a"] < 9)))
    assert [condition.expression for condition in conditions] == [A, B, A]
    assert all(condition.safe for condition in conditions)


def test_patterns() -> None:
    pattern = constant_function({"a": 1, "b": {"c": "x"}})
    conditions = conditions_of([FilterStep(pattern)])
    assert [(condition.expression, condition.keys) for condition in conditions] == [
        (A, equal_to(1)),
        (("field", B, "c"), equal_to("x")),
    ]
    assert conditions_of([FilterStep(constant_function({"$reql_type$": "LITERAL", "value": {"a": 1}}))]) == []


def test_what_may_fail_ends_what_an_index_can_be_used_for() -> None:
    """Parts behind it are evaluated only for documents on which it does not fail."""
    nested = row["a"]["x"] == 1
    assert [condition.expression for condition in found((row["b"] == 1) & nested & (row["a"] == 2))] == [
        B,
        ("field", A, "x"),
    ]
    assert found((row["b"] + 1 > 2) & (row["a"] == 1))[1:] == []
    assert found(row["b"].match("x") & (row["a"] == 1)) == []
    assert [condition.safe for condition in found(nested)] == [False]


def test_a_value_that_cannot_be_computed_ends_it_too() -> None:
    assert found((row["b"] == 1) & (row["a"] == r.expr({})["x"])) == found(row["b"] == 1)


def test_neither_is_anything_behind_what_fails_for_every_document() -> None:
    def no_array(doc: Any) -> Any:
        return (doc["b"] == 1) & r.expr(False).contains(doc["a"]) & (doc["id"] == 2)

    assert found(no_array) == found(row["b"] == 1)
    without = MapStep(
        function(lambda doc: doc.without("a"))
    )  # what is looked at is no field of the documents that are read
    assert conditions_of([without, FilterStep(function(no_array))]) == found(row["b"] == 1)


@pytest.mark.parametrize(
    "predicate",
    [
        lambda doc: doc["a"].ne(5, 6),
        (row["a"] == 1) | (row["b"] == 2),
        row["a"] == row["b"],
        row["a"],
        ~(row["a"] == 1),
        row["a"] < r.maxval,
        lambda doc: doc.contains(5),
    ],
)
def test_what_says_nothing_about_an_index(predicate: Any) -> None:
    assert [condition for condition in found(predicate) if condition.expression == A] == []


def test_what_differs_from_a_value() -> None:
    for predicate in (row["a"] != 5, lambda doc: r.expr(5).ne(doc["a"])):
        (condition,) = found(predicate)
        assert (condition.keys, condition.safe) == (compared(Term.NE, 5), True)


def test_elements_of_arrays() -> None:
    (condition,) = found(row["a"].contains("x"))
    assert condition.elements
    assert condition.keys == element("x")


def test_defaults() -> None:
    def ends(default: Any) -> bool:
        return drops_missing(FilterStep(function(row["a"] == 1), default))

    assert ends(False)
    assert not ends(True)
    delayed = [69, [[2, []], False]]
    assert ends(compile_function(delayed)) is False  # a constant that was lifted out: of no driver's filter
    assert not found(row["a"] == 1, default=True)


def test_several_filters() -> None:
    first, second = FilterStep(function(row["a"] == 1)), FilterStep(function(row["b"] == 2))
    both = conditions_of([first, second])
    assert [condition.expression for condition in both] == [A, B]
    assert len(conditions_of([first, MapStep(function(row["x"])), second])) == 1
    assert len(conditions_of([first, FilterStep(function(row["b"] == 2), default=True)])) == 1
