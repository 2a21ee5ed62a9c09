"""Explains how a query is run: a tree of steps, each with where it runs and what it is expected to cost.

The tree is made from the sequences that the query is made of. To make a sequence does not read it, so nothing is read
and nothing is written here; a term that would do either is shown as a step, and what goes into it is explained.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from photondb.api.catalogue import IndexInfo
from photondb.reql import shape as shapes
from photondb.reql.compiler import free_variables
from photondb.reql.function import Func
from photondb.reql.join_partners import chosen_way
from photondb.reql.parameters import as_field_function
from photondb.reql.planner.explained_streams import SMALL_COST, StreamExplainer
from photondb.reql.planner.explained_terms import AGGREGATES, JOINS, ONE_ROW, arguments, is_sequence, name_of, reads
from photondb.reql.planner.explanation import Explanation, bottom, make_step
from photondb.reql.planner.extremes import extreme_of
from photondb.reql.planner.joins import Method, Way, equality_of
from photondb.reql.planner.trace import Trace
from photondb.reql.row_aggregates import Max, Min
from photondb.reql.scan_source import ScanSource
from photondb.reql.shape import Shape
from photondb.reql.stream import Stream, table_stream
from photondb.reql.values import SingleSelection, TableSlice, as_sequence
from photondb.reql.wire import Term

if TYPE_CHECKING:
    from photondb.reql.runtime import Runtime


class Explainer:
    """Explains one query. `evaluate` gives the value of a part of it, and `repeats` what it has in common with those
    that are equal to it, of which only one is computed; None for a part without any."""

    def __init__(
        self, runtime: Runtime, evaluate: Callable[[Shape], Any], repeats: Callable[[Shape], Hashable | None]
    ) -> None:
        self.runtime = runtime
        self.evaluate = evaluate
        self.repeats = repeats
        self._explained: set[Hashable] = set()
        self.streams = StreamExplainer(runtime)

    def add_actual(self, trace: Trace) -> list[Explanation]:
        """Add to each scan and its steps what came of it. Gives the scans that are no part of the tree: those of
        functions, which are made for each row."""
        return self.streams.add_actual(trace)

    def explain(self, shape: Shape) -> Explanation:
        """A term, and what goes into it. What has been computed before costs nothing."""
        repeated = self.repeats(shape)
        if repeated is not None and repeated in self._explained:
            return {**make_step(name_of(shape), "query", 1, 0), "why": "an equal part of the query has been computed"}
        if repeated is not None:
            self._explained.add(repeated)
        if is_sequence(shape) and not free_variables(shape):
            value = self.evaluate(shape)
            if isinstance(value, TableSlice):
                value = table_stream(value)
            if isinstance(value, Stream):
                return self.streams.stream(value)
            if isinstance(value, SingleSelection):
                return self.streams.document(value)
        if shape[0] in JOINS and len(shape[1]) == 3 and not free_variables(shape):
            return self._eq_join(shape) if shape[0] == Term.EQ_JOIN else self._join(shape)
        inputs = [self.explain(arg) for arg in arguments(shape) if reads(arg)]
        name = name_of(shape)
        rows = 1 if shape[0] in ONE_ROW or not inputs else inputs[0].get("rows", 1)
        cost = sum(step.get("cost", 0) for step in inputs)
        step = make_step(name, "query", rows, cost)
        if shape[0] in AGGREGATES and inputs and inputs[0]["runs_in"] == "storage":
            step["runs_in"] = "storage"
        index = self._index_of_aggregate(shape)
        if index is not None:
            bottom(inputs[0]).update(by=f"index {index.name}", why="the index has what is wanted")
        if len(inputs) == 1:
            step["input"] = inputs[0]
        elif inputs:
            step["input"] = inputs
        return step

    def _index_of_aggregate(self, shape: Shape) -> IndexInfo | None:
        """The index by which the least or greatest or different values of a table are found."""
        if shape[0] not in (Term.MIN, Term.MAX, Term.DISTINCT) or shape[2] or not is_sequence(shape[1][0]):
            return None
        stream = self.evaluate(shape[1][0])
        stream = table_stream(stream) if isinstance(stream, TableSlice) else stream
        if not isinstance(stream, Stream) or stream.grouping is not None:
            return None
        source = stream.source
        if not isinstance(source, ScanSource) or not source.whole:
            return None
        if shape[0] == Term.DISTINCT:
            return self.runtime.index_of_values(source.info, stream.steps)
        if stream.steps or len(shape[1]) != 2:
            return None
        func = as_field_function(self.evaluate(shape[1][1]))
        extreme = extreme_of(Max(func) if shape[0] == Term.MAX else Min(func))
        return None if extreme is None else self.runtime.index_for(source.info, extreme)

    # --- joins of what is not known before it is computed

    def _eq_join(self, shape: Shape) -> Explanation:
        left = self.explain(shape[1][0])
        right = self.evaluate(shape[1][2])
        if not isinstance(right, TableSlice):
            return {**make_step("eq_join", "query", left["rows"], left["cost"]), "input": left}
        named = dict(shape[2]).get("index")
        name = None if named is None or named[1] == right.info.primary_key else named[1]
        return self.streams.eq_join_by_estimate(
            left, right.info, None if name is None else self.runtime.find_index(right.info, name)
        )

    def _join(self, shape: Shape) -> Explanation:
        left, right = self.explain(shape[1][0]), self.explain(shape[1][1])
        predicate = self.evaluate(shape[1][2])
        equality = equality_of(predicate) if isinstance(predicate, Func) else None
        if equality is None or not self.runtime.context.optimizations:
            way = Way(Method.PAIRS, left["rows"] * right["rows"] * SMALL_COST)
        elif shape[1][0][0] == shapes.CONSTANT and is_sequence(shape[1][1]):
            sides = [self.evaluate(side) for side in shape[1][:2]]
            way = chosen_way(self.runtime, sides[0], as_sequence(sides[1]), equality)
        else:
            way = Way(Method.HASH, (left["rows"] + right["rows"]) * SMALL_COST)
        return self.streams.by_way(name_of(shape), left, right, way)
