"""Explanations: trees of steps, each with where it runs and what it is expected to cost."""

from __future__ import annotations

from typing import Any

from photondb.reql.measures import StepMeasure
from photondb.reql.steps import Step

Explanation = dict[str, Any]
"""A step: "step" is what is done, "runs_in" the service that does it, "rows" how many rows are expected to leave it,
"cost" what it costs together with its input, "input" the step (or steps) that its rows come from."""


def make_step(name: str, runs_in: str, rows: float, cost: float) -> Explanation:
    """A step, without what it is made of."""
    return {"step": name, "runs_in": runs_in, "rows": round(rows), "cost": round(cost, 1)}


def bottom(of: Explanation) -> Explanation:
    """The scan that the rows of a step come from."""
    while "input" in of:
        of = of["input"]
    return of


def between(top: Explanation, lowest: Explanation) -> list[Explanation]:
    """The steps above `lowest`, up to `top`, the lowest one first."""
    steps = []
    while top is not lowest:
        steps.append(top)
        top = top["input"]
    return steps[::-1]


def note(of: Explanation, measure: StepMeasure) -> None:
    """Add what came of a sequence to the step that it ends with, and to the one below, of which as many rows came, that
    the last of its steps are made of."""
    while "actual_rows" not in of:
        of["actual_rows"] = measure.rows
        of["ms"] = milliseconds(measure.seconds)
        if of["step"] not in ("map", "zip") or not isinstance(of.get("input"), dict):
            return
        of = of["input"]


def milliseconds(seconds: float) -> float:
    """A time as explanations have it."""
    return round(seconds * 1000, 3)


def name_of_step(of: Step) -> str:
    """What a step of a pipeline is called."""
    name = type(of).__name__.removesuffix("Step")
    return {"ConcatMap": "concat_map"}.get(name, name.lower())
