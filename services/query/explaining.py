"""Answers to queries with the run option `explain`: how the query is run, and what came of it if it was."""

from __future__ import annotations

from typing import Any

from photondb.reql.compiler import Compiler
from photondb.reql.function import Frame
from photondb.reql.planner.explain import explain
from photondb.reql.shape import Shape
from services.query import responses
from services.query.options import RunOptions
from services.query.plans import Plan


def explained(plan: Plan, frame: Frame, options: RunOptions) -> bytes:
    """The response (to be made inside an evaluation)."""
    runtime = frame[0]
    base = 1 + plan.constants

    def evaluate(shape: Shape) -> Any:
        compiler = Compiler(plan.constants, plan.frame_size - base, options.plan_names)
        run = compiler.compile(shape, ()).run
        mine = frame[:]
        mine.extend([None] * (compiler.frame_size - len(mine)))
        return run(mine)

    tree = explain(runtime, plan.shape, frame, evaluate)
    return responses.atom(tree)
