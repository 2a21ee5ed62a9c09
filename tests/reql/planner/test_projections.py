"""Projections: what a field behind one is of the document, and which maps are none."""

from __future__ import annotations

from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.compiler import compile_function
from photondb.reql.planner.conditions import conditions_of
from photondb.reql.planner.expressions import ROW, Expression
from photondb.reql.planner.projections import projection_of
from photondb.reql.steps import FilterStep, MapStep
from tests.reql.evaluate import wire_term
from tests.reql.planner.test_conditions import function

A, B, C = (("field", ROW, name) for name in "abc")
row = r.row


def step(on: Any) -> MapStep:
    return MapStep(compile_function(wire_term(r.table("t").map(on))[1][1]))


@pytest.mark.parametrize(
    ("on", "fields"),
    [
        (lambda row: row.pluck("a", "b"), [A, B, None]),
        (lambda row: row.without("a"), [None, B, C]),
        (lambda row: row.merge({"a": 1}), [None, B, C]),
        (lambda row: row.merge({"a": row["b"].default(1)}, {"b": 1}), [None, None, C]),
        (lambda row: row.merge(lambda old: {"a": old["b"].default(1)}), [None, B, C]),
        (lambda row: {"a": row, "b": 1}, [ROW, None, None]),
        (lambda row: {"b": row.has_fields("a")}, [None, None, None]),
        (lambda row: r.expr({"a": 1}), [None, None, None]),
    ],
)
def test_what_fields_are(on: Any, fields: list[Expression | None]) -> None:
    projection = projection_of(step(on))
    assert projection is not None
    found = [projection.of(field) for field in (A, B, C)]
    assert [None if one is not None and one[0] in ("call", "is") else one for one in found] == fields
    assert projection.of(ROW) is None
    assert projection.of(("is", 5)) == ("is", 5)


@pytest.mark.parametrize(
    "on",
    [
        lambda row: row["a"],
        lambda row: row.pluck({"a": "b"}),
        lambda row: row["a"].pluck("b"),
        lambda row: row.merge({"a": row["b"]}),
        lambda row: row.merge(row["a"]),
        lambda row: row.merge(lambda old: {"a": old["b"] + 1}),
        lambda row: {"a": row["b"]},
        lambda row: r.expr([row]),
    ],
)
def test_what_may_fail_or_is_no_object(on: Any) -> None:
    assert projection_of(step(on)) is None


def test_filters_behind_them_have_conditions_on_the_document() -> None:
    renamed = step(lambda row: {"x": row["a"].default(0), "id": row})
    kept = step(lambda row: row.without("b"))
    asked = FilterStep(function(row["a"] == 1))
    (condition,) = conditions_of([kept, asked])
    assert condition.expression == A
    assert conditions_of([step(lambda row: row.without("a")), asked]) == []
    (deep,) = conditions_of([kept, renamed, FilterStep(function(row["id"]["a"] == 1))])
    assert deep.expression == A
    assert conditions_of([step(lambda row: row["a"]), asked]) == []
