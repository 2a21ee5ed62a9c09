"""Plans: compiled queries, kept by shape.

A query's constants are lifted out before its plan is looked up, so that the thousandth query of a kind costs a walk
over its term and one dictionary look-up.
"""

from __future__ import annotations

from typing import Any

import photondb.reql.terms  # noqa: F401  # registers the terms
from photondb.reql.compiler import Compiler
from photondb.reql.effects import Effects
from photondb.reql.function import Frame
from photondb.reql.nesting import check_nesting
from photondb.reql.runtime import Runtime
from photondb.reql.shape import Shape, Shaper
from services.query.fastpaths import PointRead, PointWrite, point_read, point_write_of

PLAN_CACHE_SIZE = 4096


class Plan:
    """A compiled query. `read` or `write` is set for a query that does nothing with tables but read or write one
    document: such queries of many clients travel to storage together."""

    __slots__ = ("effects", "frame_size", "read", "run", "shape", "write")

    def __init__(self, shape: Shape, constants: int, variables: int, options: frozenset[str]) -> None:
        compiler = Compiler(constants, variables, options)
        check_nesting(shape)
        node = compiler.compile(shape, ())
        self.shape = shape
        self.run = node.run
        self.effects: Effects = node.effects
        self.read: PointRead | None = None
        self.write: PointWrite | None = None
        if not options - {"durability", "db"}:
            self.read = point_read(compiler, shape)
            self.write = None if self.read else point_write_of(compiler, shape)
        self.frame_size = compiler.frame_size

    def frame(self, runtime: Runtime | None, constants: list[Any]) -> Frame:
        """A frame to run the plan in."""
        frame: Frame = [runtime, *constants]
        frame.extend([None] * (self.frame_size - len(frame)))
        return frame


class PlanCache:
    """The plans by shape; the ones not used for longest leave first."""

    def __init__(self, capacity: int = PLAN_CACHE_SIZE) -> None:
        self.capacity = capacity
        self.plans: dict[tuple[Shape, frozenset[str]], Plan] = {}
        self.hits = 0
        self.misses = 0

    def plan(self, shaper: Shaper, shape: Shape, options: frozenset[str]) -> Plan:
        """The plan for a shape, compiled if need be. Raises CompileError."""
        key = (shape, options)
        plan = self.plans.get(key)
        if plan is not None:
            self.hits += 1
            return plan
        self.misses += 1
        plan = Plan(shape, len(shaper.constants), shaper.variables, options)
        if len(self.plans) >= self.capacity:
            for old in list(self.plans)[: self.capacity // 8]:
                del self.plans[old]
        self.plans[key] = plan
        return plan
