"""Answers to queries with the run option `explain`: how the query is run, and what came of it if it was."""

from __future__ import annotations

from collections.abc import Hashable
from time import perf_counter
from typing import Any

from photondb.reql.compiler import Compiler
from photondb.reql.effects import Effects
from photondb.reql.errors import logic_error
from photondb.reql.function import Frame
from photondb.reql.planner.explain import Explainer
from photondb.reql.planner.trace import Trace
from photondb.reql.runtime import Runtime
from photondb.reql.shape import Shape
from photondb.reql.stream import Stream, table_stream
from photondb.reql.values import Grouped, TableSlice
from services.query import responses
from services.query.options import RunOptions
from services.query.plans import Plan
from services.query.results import state_of


def explained(plan: Plan, frame: Frame, options: RunOptions) -> bytes:
    """The response (to be made inside an evaluation)."""
    return responses.atom(explanation(plan, frame, options))


def explanation(plan: Plan, frame: Frame, options: RunOptions) -> dict[str, Any]:
    """How the query is run (to be found out inside an evaluation)."""
    runtime: Runtime = frame[0]
    base = 1 + plan.constants

    def evaluate(shape: Shape) -> Any:
        compiler = Compiler(plan.constants, plan.frame_size - base, options.plan_names)
        run = compiler.compile(shape, ()).run
        mine = frame[:]
        mine.extend([None] * (compiler.frame_size - len(mine)))
        return run(mine)

    repeated = plan.repeated

    def repeats(shape: Shape) -> Hashable | None:
        return None if repeated is None else repeated.key(shape, frame)

    explainer = Explainer(runtime, evaluate, repeats)
    tree = explainer.explain(plan.shape)
    if options.explain == "analyze":
        _analyze(explainer, tree, plan, frame)
    if options.cache:
        tree["cache"] = state_of(plan, frame, options)
    return tree


def _analyze(explainer: Explainer, tree: dict[str, Any], plan: Plan, frame: Frame) -> None:
    """Run the query, and add what came of it."""
    if plan.effects & Effects.WRITES:
        raise logic_error(
            'A query that writes cannot be run with `explain="analyze"`: use `explain=True`, which does not run it, or '
            "`profile=True`, which runs it and answers as usual."
        )
    runtime: Runtime = frame[0]
    trace = runtime.trace = Trace()
    began = perf_counter()
    rows = _rows(plan.run(frame), runtime)
    seconds = perf_counter() - began
    others = explainer.add_actual(trace)
    tree["actual_rows"] = rows
    tree["ms"] = round(seconds * 1000, 3)
    if others:
        tree["other_scans"] = others


def _rows(value: Any, runtime: Runtime) -> int:
    """How many rows or groups a query's value has; 1 for what is no sequence."""
    if isinstance(value, TableSlice):
        value = table_stream(value)
    if isinstance(value, Stream):
        value.check_finite()
        if value.grouping is not None:
            return len(value.to_grouped(runtime).pairs)
        return sum(map(len, value.chunks(runtime)))
    if type(value) is Grouped:
        return len(value.pairs)
    datum = responses.result_datum(value)
    return len(datum) if type(datum) is list else 1
