"""The steps of a traced query: what its terms took, and which of them called storage.

They are measured where profiles are. A step that happens many times in a row (a function called for each row) is one
span, from the first time to the last.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from photondb.api.context import CURRENT, INTERNAL
from photondb.reql.profile import Profile
from photondb.telemetry.operations import STEP
from photondb.telemetry.spans import Span

MAX_STEPS = 100
"""Steps of one batch of a query that have spans. What comes later counts as part of the step that it is in."""

MAX_CALLS = 200
"""Calls of one batch of a query that are traced; those after them are not."""


class _Step:
    __slots__ = ("count", "description", "end_ns", "last", "span")

    def __init__(self, description: str, span: Span) -> None:
        self.description = description
        self.span = span
        self.count = 0
        self.end_ns = 0
        self.last: _Step | None = None


class QuerySteps(Profile):
    """The profile of a traced query, whose `span` is that of the batch of it that is being worked on."""

    __slots__ = ("_calls", "_last", "_step", "_steps", "span")

    def __init__(self, span: Span) -> None:
        super().__init__()
        self.span = span
        self._step: _Step | None = None
        self._last: _Step | None = None
        self._steps: list[_Step] = []
        self._calls = 0

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run the query, or the next batch of it, and end the spans of its steps, however it ends."""
        CURRENT.set(self.span.within(INTERNAL))  # for what is logged; an evaluation's greenlet has variables of its own
        try:
            return function(*args)
        finally:
            CURRENT.set(INTERNAL)
            for step in self._steps:
                if step.count > 1:
                    step.span.note("photondb.step.count", step.count)
                step.span.end(step.end_ns)
            self._steps.clear()
            self._step = self._last = None
            self._calls = 0

    def measure(self, description: str, work: Callable[[], Any]) -> Any:
        outer = self._step
        step = self._next_step(outer, description)
        if step is None:
            return super().measure(description, work)
        self._step = step
        try:
            return super().measure(description, work)
        except BaseException as error:
            step.span.fail(error)
            raise
        finally:
            step.end_ns = time.time_ns()
            step.count += 1
            self._step = outer

    def _next_step(self, outer: _Step | None, description: str) -> _Step | None:
        last = self._last if outer is None else outer.last
        if last is not None and last.description == description:
            return last
        if len(self._steps) >= MAX_STEPS:
            return None
        step = _Step(description, (self.span if outer is None else outer.span).child(STEP))
        step.span.name = description.removeprefix("Evaluating ").removeprefix("Perform ").removesuffix(".")
        self._steps.append(step)
        if outer is None:
            self._last = step
        else:
            outer.last = step
        return step

    def measure_call(self, runtime: Any, description: str, work: Callable[[], Any]) -> Any:
        def call() -> Any:
            context = runtime.context
            self._calls += 1
            step = self._step
            if self._calls > MAX_CALLS or step is None:
                runtime.context = context.traced(())
            else:
                runtime.context = step.span.within(context)
            try:
                return work()
            finally:
                runtime.context = context

        return self.measure(description, call)
