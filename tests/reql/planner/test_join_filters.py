"""What filters behind a join ask of one side alone."""

from __future__ import annotations

from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.compiler import compile_function
from photondb.reql.planner.join_filters import keeps_objects, side_filters
from photondb.reql.steps import FilterStep
from photondb.reql.wire import Term
from tests.reql.planner.test_conditions import function
from tests.reql.planner.test_projections import step

LEFT, RIGHT = r.row["left"], r.row["right"]
ROWS: list[dict[str, Any]] = [{"a": 1, "b": 2}, {"a": 2}, {"b": 1}, {}]


def kept(filters: tuple[FilterStep, ...]) -> list[Any]:
    rows = ROWS
    for each in filters:
        rows = each.apply(rows)
    return rows


@pytest.mark.parametrize(
    ("predicate", "left", "right"),
    [
        (LEFT["a"] == 1, ROWS[:1], ROWS),
        (RIGHT["b"] < 2, ROWS, ROWS[2:3]),
        ((LEFT["a"] > 1) & (RIGHT["b"] == 2), ROWS[1:2], ROWS[:1]),
        ({"left": {"a": 2}, "right": {"b": 1}}, ROWS[1:2], ROWS[2:3]),
        ({"left": {"a": 2}, "n": 1}, ROWS[1:2], ROWS),
        (r.expr(2) > LEFT["a"], ROWS[:1], ROWS),
        (LEFT.has_fields("a"), ROWS[:2], ROWS),
        ((LEFT["a"] == 1) | (LEFT["b"] == 1), ROWS[:1], ROWS),  # without an `a` the second part is not asked for
        ((LEFT["a"] + 0 == 1) & (RIGHT["b"] == 1), ROWS, ROWS),  # the first part may fail
        ((RIGHT["b"] == 1) & (LEFT["a"] + 0 == 1), ROWS, ROWS[2:3]),
        (LEFT["a"] == RIGHT["a"], ROWS, ROWS),
        (LEFT["a"]["c"] == 1, ROWS, ROWS),
        (r.row["a"] == 1, ROWS, ROWS),
        (LEFT == {"a": 2}, ROWS[1:2], ROWS),
        ({"left": 1}, ROWS, ROWS),
    ],
)
def test_sides(predicate: Any, left: list[Any], right: list[Any]) -> None:
    if type(predicate) is dict:
        func = compile_function([int(Term.FUNC), [[int(Term.MAKE_ARRAY), []], predicate]])
    else:
        func = function(predicate)
    filters = side_filters([FilterStep(func)])
    assert (kept(filters.left), kept(filters.right)) == (left, right)


def test_what_else_stands_behind_the_join() -> None:
    asked, other = FilterStep(function(LEFT["a"] == 1)), FilterStep(function(LEFT["b"] == 2))
    assert len(side_filters([asked, other]).left) == 2
    assert len(side_filters([asked, step(lambda pair: pair["left"]), other]).left) == 1
    assert side_filters([FilterStep(function(LEFT["a"] == 1), default=True)]).left == ()
    assert side_filters([FilterStep(function(LEFT["a"] / 1 == 1)), other]).left == ()


def test_rows_that_are_objects() -> None:
    assert keeps_objects([FilterStep(function(r.row["a"] == 1)), step(lambda row: row.pluck("a"))])
    assert not keeps_objects([FilterStep(function(r.row["a"] + 1 == 1))])
    assert not keeps_objects([step(lambda row: row["a"])])
