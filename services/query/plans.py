"""Plans: compiled queries, kept by shape.

A query's constants are lifted out before its plan is looked up, so that the thousandth query of a kind costs a walk
over its term and one dictionary look-up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import photondb.reql.terms  # noqa: F401  # registers the terms
from photondb.reql.compiled import CompiledCache
from photondb.reql.compiler import Compiler
from photondb.reql.effects import Effects
from photondb.reql.function import Frame
from photondb.reql.nesting import check_nesting
from photondb.reql.recognition import Recogniser
from photondb.reql.runtime import Runtime
from photondb.reql.shape import Shape, Shaper
from photondb.reql.wire import Term
from services.query.families import family_of
from services.query.fastpaths import PointRead, PointWrite, point_read, point_write_of
from services.query.pure_queries import is_pure
from services.query.short_reads import ShortRead, short_read
from services.query.summaries import QuerySummary


class Plan:
    """A compiled query. `read` or `write` is set for a query that does nothing with tables but read or write one
    document: such queries of many clients travel to storage together. `short_read` is for one that reads some documents
    and does nothing with them, and `pure` says that it needs no evaluation, because it is about its constants alone."""

    __slots__ = (
        "_summary",
        "constants",
        "effects",
        "family",
        "frame_size",
        "pure",
        "read",
        "reads",
        "recogniser",
        "repeated",
        "run",
        "shape",
        "shares",
        "short_read",
        "weight",
        "write",
    )

    def __init__(
        self,
        shape: Shape,
        constants: int,
        variables: int,
        options: frozenset[str],
        pause: Callable[[], None] | None = None,
    ) -> None:
        compiler = Compiler(constants, variables, options, pause)
        check_nesting(shape)
        if compiler.sharing is not None:
            compiler.sharing.look_at(shape)
        node = compiler.compile(shape, ())
        self.shape = shape
        self.constants = constants
        self.run = node.run
        self.effects: Effects = node.effects
        self.family = family_of(compiler.tags, node.effects)
        self.shares = (
            compiler.sharing is not None
            and compiler.sharing.found
            and not node.effects & (Effects.WRITES | Effects.ENDLESS)
            and Term.CHANGES not in compiler.tags
        )
        """Whether there are parts of it whose values are computed once and kept while it runs."""
        self.repeated = compiler.sharing.repeated if compiler.sharing is not None and self.shares else None
        self.reads: tuple[tuple[str | None, str], ...] | str | None = None
        """What the result cache found out: the tables that are read, or why the answer cannot be kept."""
        self.read: PointRead | None = None
        self.short_read: ShortRead | None = None
        self.write: PointWrite | None = None
        self.pure = False
        if not options - {"durability", "db"}:
            self.read = point_read(compiler, shape)
            self.write = None if self.read else point_write_of(compiler, shape)
            self.short_read = short_read(shape)
            self.pure = is_pure(node.effects) and not self.shares
        self._summary: QuerySummary | None = None
        self.recogniser: Recogniser | None = None
        """What recognises the query, where it has been made."""
        self.frame_size = compiler.frame_size
        self.weight = compiler.weight

    @property
    def quick(self) -> bool:
        """Whether running it takes so little that finding it counts."""
        return bool(self.read or self.write or self.short_read or self.pure)

    @property
    def summary(self) -> QuerySummary:
        """What the query is, without its values."""
        if self._summary is None:
            self._summary = QuerySummary(self.shape)
        return self._summary

    def frame(self, runtime: Runtime | None, constants: list[Any]) -> Frame:
        """A frame to run the plan in."""
        frame: Frame = [runtime, *constants]
        frame.extend([None] * (self.frame_size - len(frame)))
        return frame


RECOGNISED = 4
"""How many kinds of queries with the same outermost term are recognised: the latest ones."""


class PlanCache(CompiledCache[Plan]):
    """The plans by shape. `hits` and `misses` count how often there was one."""

    def __init__(self) -> None:
        super().__init__()
        self.hits = 0
        self.misses = 0
        self._recognised: dict[frozenset[str], dict[int, list[Plan]]] = {}
        """By option names and outermost term the plans whose queries can be recognised, the latest first."""

    def recognise(self, term: Any, options: frozenset[str]) -> tuple[Plan, list[Any]] | None:
        """The plan for a wire term and its constants, if it is one of those that were asked for lately."""
        try:
            plans = self._recognised[options][term[0]]
        except (KeyError, TypeError, IndexError):
            return None
        for plan in plans:
            constants = plan.recogniser.constants(term)  # type: ignore[union-attr]
            if constants is not None:
                self.hits += 1
                return plan, constants
        return None

    def learn(self, term: Any, plan: Plan, options: frozenset[str]) -> None:
        """See that queries like this term, whose plan was found by its shape, are recognised from now on."""
        recogniser = plan.recogniser or Recogniser.of(term, plan.shape)
        if recogniser is None:
            return
        plan.recogniser = recogniser
        plans = self._recognised.setdefault(options, {}).setdefault(term[0], [])
        if plan in plans:
            plans.remove(plan)
        plans.insert(0, plan)
        del plans[RECOGNISED:]

    def plan(
        self, shaper: Shaper, shape: Shape, options: frozenset[str], pause: Callable[[], None] | None = None
    ) -> Plan:
        """The plan for a shape, compiled if need be; `pause` is called while that is done. Raises CompileError."""
        plan = self.find(shape, options)
        if plan is None:
            self.misses += 1
            plan = Plan(shape, len(shaper.constants), shaper.variables, options, pause)
            self.keep((shape, options), plan, plan.weight)
        return plan

    def find(self, shape: Shape, options: frozenset[str]) -> Plan | None:
        """The plan for a shape, if it has been compiled."""
        plan = self.get((shape, options))
        if plan is not None:
            self.hits += 1
        return plan
