"""Profiles: what a query spent its time on, as the tree of tasks that `profile=True` answers with.

A query that is to be profiled is compiled a second time, with every term wrapped; others cost nothing. What happens
many times in a row (a function called for each row) is one task with the number and the mean of its times.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from photondb.reql.function import Frame


class Task:
    """A node of the tree. Times are in milliseconds; `count` is how often it happened, one after the other."""

    __slots__ = ("count", "description", "parts", "total_ms")

    def __init__(self, description: str) -> None:
        self.description = description
        self.total_ms = 0.0
        self.count = 0
        self.parts: list[Task] = []

    def part(self, description: str) -> Task:
        """The task for what happens next within this one."""
        if self.parts and self.parts[-1].description == description:
            return self.parts[-1]
        task = Task(description)
        self.parts.append(task)
        return task

    def datum(self) -> dict[str, Any]:
        """The task as drivers show it, with RethinkDB's names."""
        parts = [part.datum() for part in self.parts]
        if self.count > 1:
            sample = {"mean_duration(ms)": self.total_ms / self.count, "n_samples": self.count}
            parts = [sample, *parts]
        return {"description": self.description, "duration(ms)": self.total_ms, "sub_tasks": parts}


class Profile:
    """The tree of one query while it grows."""

    __slots__ = ("_now", "root")

    def __init__(self) -> None:
        self.root = Task("")
        self._now = self.root

    def measure(self, description: str, work: Callable[[], Any]) -> Any:
        """Do `work` as a task within the one under way."""
        outer = self._now
        task = self._now = outer.part(description)
        began = time.perf_counter()
        try:
            return work()
        finally:
            task.total_ms += (time.perf_counter() - began) * 1000
            task.count += 1
            self._now = outer

    def measure_call(self, runtime: Any, description: str, work: Callable[[], Any]) -> Any:
        """The same for work that calls storage with the context of the query's `runtime`."""
        return self.measure(description, work)

    def datum(self) -> list[dict[str, Any]]:
        """The tasks so far, as drivers show them."""
        return [task.datum() for task in self.root.parts]


def profiled(name: str, run: Callable[[Frame], Any]) -> Callable[[Frame], Any]:
    """A term's closure that measures itself where the query's runtime has a profile."""
    description = f"Evaluating {name}."

    def measured(frame: Frame) -> Any:
        profile = frame[0].profile
        return run(frame) if profile is None else profile.measure(description, lambda: run(frame))

    return measured
