"""Explains how a query is run: a tree of steps, each with where it runs and what it is expected to cost.

The tree is made from the sequences that the query is made of. To make a sequence does not read it, so nothing is read
and nothing is written here; a term that would do either is shown as a step, and what goes into it is explained.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.reql import shape as shapes
from photondb.reql.aggregates import Max, Min
from photondb.reql.compiler import free_variables
from photondb.reql.function import Func
from photondb.reql.join_feeds import JoinedSource
from photondb.reql.join_partners import PartnersSource, chosen_way, eq_join_by_hash, eq_join_look_up
from photondb.reql.measures import StepMeasure
from photondb.reql.ordering import Top
from photondb.reql.parameters import as_field_function
from photondb.reql.planner import costs
from photondb.reql.planner.access import Decision
from photondb.reql.planner.extremes import extreme_of
from photondb.reql.planner.joins import Method, Way, equality_of
from photondb.reql.planner.trace import ScanTrace, Signature, Trace, place, signature
from photondb.reql.shape import Shape
from photondb.reql.sources import ComputedSource, ScanSource, SlicedSource, SortedSource, UnionSource
from photondb.reql.steps import FilterStep, Step, keeps_count
from photondb.reql.stream import Stream, table_stream
from photondb.reql.values import SingleSelection, TableSlice, as_sequence
from photondb.reql.wire import Term

if TYPE_CHECKING:
    from photondb.reql.runtime import Runtime

Explanation = dict[str, Any]
"""A step: "step" is what is done, "runs_in" the service that does it, "rows" how many rows are expected to leave it,
"cost" what it costs together with its input, "input" the step (or steps) that its rows come from."""

FILTER_SHARE = 0.1
"""The share of rows that a filter is taken to keep when nothing is known about it."""

SMALL_COST = 0.5
"""What a step costs for each row, about."""

SEQUENCES = frozenset(
    {
        *(Term.TABLE, Term.GET, Term.GET_ALL, Term.BETWEEN, Term.BETWEEN_DEPRECATED, Term.FILTER, Term.MAP),
        *(Term.CONCAT_MAP, Term.PLUCK, Term.WITHOUT, Term.MERGE, Term.HAS_FIELDS, Term.WITH_FIELDS, Term.GET_FIELD),
        *(Term.ORDER_BY, Term.LIMIT, Term.SKIP, Term.SLICE, Term.ZIP, Term.UNION, Term.GROUP),
    }
)
"""Terms that make a sequence without reading any."""

AGGREGATES = frozenset(
    {Term.COUNT, Term.SUM, Term.AVG, Term.MIN, Term.MAX, Term.REDUCE, Term.DISTINCT, Term.IS_EMPTY, Term.CONTAINS}
)

_JOINS = frozenset({Term.EQ_JOIN, Term.INNER_JOIN, Term.OUTER_JOIN})

ONE_ROW = frozenset({*AGGREGATES, Term.NTH, Term.FOLD}) - {Term.DISTINCT}


class Explainer:
    """Explains one query. `evaluate` gives the value of a part of it."""

    def __init__(self, runtime: Runtime, evaluate: Callable[[Shape], Any]) -> None:
        self.runtime = runtime
        self.evaluate = evaluate
        self._scans: dict[Signature, tuple[Explanation, list[Explanation], list[Explanation]]] = {}
        """The scans, each with the steps that storage does and those that are left to `query`."""
        self._streams: list[tuple[Hashable, Explanation]] = []
        """The steps that sequences end with."""

    def add_actual(self, trace: Trace) -> list[Explanation]:
        """Add to each scan and its steps what came of it. Gives the scans that are no part of the tree: those of
        functions, which are made for each row."""
        others = []
        for key, traced in trace.scans.items():
            total = traced.total
            if key not in self._scans:
                others.append(self._other(traced))
                continue
            scan, pushed, rest = self._scans[key]
            scan["actual_rows"] = total.read
            scan["times"] = traced.times
            scan["ms"] = _ms(total.seconds)
            if total.left_index:
                scan["by"] = "whole table"
                scan["why"] = "the index led to more documents than expected, so that the table was read instead"
            measures = zip([*pushed, *rest], [*total.steps, *traced.rest.steps], strict=True)
            for step, measure in measures:
                step["actual_rows"] = measure.rows
                step["ms"] = _ms(measure.seconds)
        for name, step in self._streams:
            found = trace.streams.get(name)
            if found is not None:
                _note(step, found)
        return others

    def _other(self, traced: ScanTrace) -> Explanation:
        tables = {info.id: info for info in self.runtime.service.catalogue.tables.values()}
        info, total = tables.get(traced.scan.table), traced.total
        indexes = () if info is None else info.indexes
        name = next((index.name for index in indexes if index.id == traced.scan.index), None)
        return {
            "step": "scan",
            "runs_in": "storage",
            "table": "" if info is None else self._table(info),
            "by": "primary key" if name is None else f"index {name}",
            "times": traced.times,
            "actual_rows": total.read,
            "ms": _ms(total.seconds),
        }

    def explain(self, shape: Shape) -> Explanation:
        """A term, and what goes into it."""
        if _is_sequence(shape) and not free_variables(shape):
            value = self.evaluate(shape)
            if isinstance(value, TableSlice):
                value = table_stream(value)
            if isinstance(value, Stream):
                return self.stream(value)
            if isinstance(value, SingleSelection):
                return self.document(value)
        if shape[0] in _JOINS and len(shape[1]) == 3 and not free_variables(shape):
            return self._eq_join(shape) if shape[0] == Term.EQ_JOIN else self._join(shape)
        inputs = [self.explain(arg) for arg in _arguments(shape) if _reads(arg)]
        name = _name(shape)
        rows = 1 if shape[0] in ONE_ROW or not inputs else inputs[0].get("rows", 1)
        cost = sum(step.get("cost", 0) for step in inputs)
        step = _step(name, "query", rows, cost)
        if shape[0] in AGGREGATES and inputs and inputs[0]["runs_in"] == "storage":
            step["runs_in"] = "storage"
        index = self._index_of_aggregate(shape)
        if index is not None:
            _bottom(inputs[0]).update(by=f"index {index.name}", why="the index has what is wanted")
        if len(inputs) == 1:
            step["input"] = inputs[0]
        elif inputs:
            step["input"] = inputs
        return step

    def _index_of_aggregate(self, shape: Shape) -> IndexInfo | None:
        """The index by which the least or greatest or different values of a table are found."""
        if shape[0] not in (Term.MIN, Term.MAX, Term.DISTINCT) or shape[2] or not _is_sequence(shape[1][0]):
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
            return {**_step("eq_join", "query", left["rows"], left["cost"]), "input": left}
        named = dict(shape[2]).get("index")
        name = None if named is None or named[1] == right.info.primary_key else named[1]
        return self._eq_joined(left, right.info, None if name is None else self.runtime.find_index(right.info, name))

    def _join(self, shape: Shape) -> Explanation:
        left, right = self.explain(shape[1][0]), self.explain(shape[1][1])
        predicate = self.evaluate(shape[1][2])
        equality = equality_of(predicate) if isinstance(predicate, Func) else None
        if equality is None or not self.runtime.context.optimizations:
            way = Way(Method.PAIRS, left["rows"] * right["rows"] * SMALL_COST)
        elif shape[1][0][0] == shapes.CONSTANT and _is_sequence(shape[1][1]):
            sides = [self.evaluate(side) for side in shape[1][:2]]
            way = chosen_way(self.runtime, sides[0], as_sequence(sides[1]), equality)
        else:
            way = Way(Method.HASH, (left["rows"] + right["rows"]) * SMALL_COST)
        return self._by_way(_name(shape), left, right, way)

    # --- joins

    def _side(self, side: Any) -> Explanation:
        """An array or a stream that is joined."""
        if isinstance(side, Stream):
            return self.stream(side)
        return _step("array", "query", len(side), 0)

    def _eq_joined(self, left: Explanation, info: TableInfo, index: IndexInfo | None) -> Explanation:
        """A join of a sequence with a table, in which its rows are looked up."""
        look_up = eq_join_look_up(self.runtime, info, index)
        if eq_join_by_hash(self.runtime, left["rows"], info, index):
            rows = self.runtime.statistics(info).rows
            method, cost = Method.HASH.value, rows * (costs.READ_IN_ORDER + costs.TAKE + costs.KEEP)
        else:
            method, cost = "look up the rows of the left side, many at a time", left["rows"] * look_up.cost
        step = _step("eq_join", "query", left["rows"], left["cost"] + cost)
        return {**step, "table": self._table(info), "by": look_up.by, "method": method, "input": left}

    def _joined(self, source: PartnersSource) -> Explanation:
        """A join by a predicate."""
        partners = source.partners
        left, right = self._side(partners.left), self._side(partners.right)
        if partners.equality is None:
            way = Way(Method.PAIRS, left["rows"] * right["rows"] * SMALL_COST)
        else:
            way = chosen_way(self.runtime, partners.left, partners.right, partners.equality)
        return self._by_way(source.name, left, right, way)

    @staticmethod
    def _by_way(name: str, left: Explanation, right: Explanation, way: Way) -> Explanation:
        cost = left["cost"] + way.cost + (right["cost"] if way.method is Method.PAIRS else 0)
        step = _step(name, "query", max(left["rows"], right["rows"]), cost)
        return {**step, "method": way.by, "input": [left, right]}

    # --- documents and streams

    def document(self, selection: SingleSelection) -> Explanation:
        """One document by its primary key."""
        if selection.first_of is not None:
            return self.stream(table_stream(selection.first_of).sliced(0, 1))
        table = self._table(selection.info)
        return {**_step("get", "storage", 1, costs.START + costs.LOOK_UP), "table": table, "by": "primary key"}

    def stream(self, stream: Stream, limit: int | None = None) -> Explanation:
        """A sequence that is read up to `limit` rows."""
        steps = stream.steps
        step = self.source(stream, steps, limit)
        if stream.grouping is not None:
            step = {**_step("group", step["runs_in"], step["rows"], step["cost"]), "input": step}
            group = step
            step = self._with_steps(step, stream.group_steps, "query")
            self._streams.append((place(stream), group))
        else:
            self._streams.append((place(stream), step))
        return step

    def source(self, stream: Stream, steps: Sequence[Step], limit: int | None) -> Explanation:
        source = stream.source
        if isinstance(source, ScanSource):
            return self.scan(source, steps, limit)
        if isinstance(source, SlicedSource):
            wanted = None if source.count is None else source.skip + source.count
            inner = self.stream(source.stream, wanted)
            rows = inner["rows"] - source.skip
            rows = max(0, rows if source.count is None else min(rows, source.count))
            text = "skip" if source.count is None else "limit" if not source.skip else "slice"
            step = {**_step(text, inner["runs_in"], rows, inner["cost"]), "input": inner}
            return self._with_steps(step, steps, "query")
        if isinstance(source, SortedSource):
            top = limit is not None and keeps_count(steps)
            scan = source.sorted_scan(source.stream, self.runtime) if top else None
            if scan is not None:
                return self.scan(scan, steps, limit)
            inner = self.stream(source.stream)
            rows = min(inner["rows"], limit) if top and limit is not None else inner["rows"]
            pushed = top and inner["runs_in"] == "storage" and source.ordering.pushable
            step = _step("first in order" if top else "sort", "storage" if pushed else "query", rows, 0)
            index = self._index_of_order(source, limit) if top and limit is not None else None
            if index is not None:
                cost = round(costs.of_index(2, 2 * rows, None, False), 1)
                inner.update(by=f"index {index}", why="only rows up to a bound are read", rows=rows, cost=cost)
            step["cost"] = round(inner["cost"] + inner["rows"] * SMALL_COST, 1)
            return self._with_steps({**step, "input": inner}, steps, "query")
        if isinstance(source, UnionSource):
            inputs = [self.stream(each, limit) for each in source.streams]
            rows, cost = sum(each["rows"] for each in inputs), sum(each["cost"] for each in inputs)
            return self._with_steps({**_step("union", "query", rows, cost), "input": inputs}, steps, "query")
        if isinstance(source, JoinedSource):
            step = self._eq_joined(self._side(source.left), source.join.right, source.join.index)
            return self._with_steps(step, steps, "query")
        if isinstance(source, PartnersSource):
            return self._with_steps(self._joined(source), steps, "query")
        if isinstance(source, ComputedSource):
            return self._with_steps(_step("computed rows", "query", 0, 0), steps, "query")
        return self._with_steps(_step("rows in the order of an index", "query", 0, 0), steps, "query")

    def _index_of_order(self, source: SortedSource, limit: int) -> str | None:
        """The index by which the first rows of an order are found."""
        below = source.stream
        if not isinstance(below.source, ScanSource) or not below.source.whole or below.steps:
            return None
        extreme = extreme_of(Top(source.ordering, limit))
        index = None if extreme is None else self.runtime.index_for(below.source.info, extreme)
        return None if index is None else index.name

    def scan(self, source: ScanSource, steps: Sequence[Step], limit: int | None) -> Explanation:
        """A scan of a table, with the steps that it takes along."""
        self.runtime.require("read", source.info.database, source.info)
        scan, rest, decision = source.planned(self.runtime, steps, limit)
        statistics = self.runtime.statistics(source.info)
        if decision is not None:
            step = self._chosen(source.info, decision)
            matching: float | None = min(
                (way.rows for way in decision.considered if way.index is not None), default=None
            )
        else:
            matching = None
            known = None if source.index is None else statistics.indexes.get(source.index.id)
            rows = float(statistics.rows)
            if not source.whole and not (source.index is not None and _unbounded(source)):
                rows = source.expected_rows(statistics.rows, known)
            elif known is not None and source.whole_index:
                rows = float(known.entries)
            step = _step("scan", "storage", rows, costs.of_table(rows, rows, limit))
            if source.index is not None:
                step["cost"] = round(costs.of_index(len(source.ranges), rows, limit, True), 1)
            step["table"] = self._table(source.info)
            step["by"] = "primary key" if source.index is None else f"index {source.index.name}"
            step["why"] = _why(source)
        bottom = step
        step = self._with_steps(step, scan.steps, "storage", matching)
        pushed = _between(step, bottom)
        top = self._with_steps(step, rest, "query", None if scan.steps else matching)
        self._scans[signature(scan, rest)] = (bottom, pushed, _between(top, step))
        return top

    def _chosen(self, info: TableInfo, decision: Decision) -> Explanation:
        chosen = decision.chosen
        step = _step("scan", "storage", chosen.rows, chosen.cost)
        step["table"] = self._table(info)
        step["by"] = chosen.by
        if chosen.index is not None:
            step["ranges"] = sum(len(way.ranges) for way in (chosen, *chosen.others))
        step["why"] = chosen.why
        others = [way for way in decision.considered if way.by != chosen.by]
        if others:
            step["instead_of"] = [{"by": way.by, "rows": round(way.rows), "cost": round(way.cost, 1)} for way in others]
        return step

    def _with_steps(
        self, step: Explanation, steps: Sequence[Step], runs_in: str, matching: float | None = None
    ) -> Explanation:
        for each in steps:
            rows = step["rows"]
            if type(each) is FilterStep:
                rows = rows * FILTER_SHARE if matching is None else min(rows, matching)
                matching = None
            cost = step["cost"] + (step["rows"] * SMALL_COST if runs_in == "query" else 0)
            step = {**_step(_name_of_step(each), runs_in, rows, cost), "input": step}
        return step

    @staticmethod
    def _table(info: TableInfo) -> str:
        return f"{info.database}.{info.name}"


def _bottom(step: Explanation) -> Explanation:
    """The scan that the rows of a step come from."""
    while "input" in step:
        step = step["input"]
    return step


def _note(step: Explanation, measure: StepMeasure) -> None:
    """Add what came of a sequence to the step that it ends with, and to the one below, of which as many rows came, that
    the last of its steps are made of."""
    while "actual_rows" not in step:
        step["actual_rows"] = measure.rows
        step["ms"] = _ms(measure.seconds)
        if step["step"] not in ("map", "zip") or not isinstance(step.get("input"), dict):
            return
        step = step["input"]


def _step(name: str, runs_in: str, rows: float, cost: float) -> Explanation:
    return {"step": name, "runs_in": runs_in, "rows": round(rows), "cost": round(cost, 1)}


def _between(top: Explanation, bottom: Explanation) -> list[Explanation]:
    """The steps above `bottom`, up to `top`, the lowest one first."""
    steps = []
    while top is not bottom:
        steps.append(top)
        top = top["input"]
    return steps[::-1]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _why(source: ScanSource) -> str:
    if source.index is not None:
        return "the query names the index"
    return "nothing narrows it" if source.whole else "the query names the keys"


def _unbounded(source: ScanSource) -> bool:
    return any(not wanted.low for wanted in source.ranges)


def _name_of_step(step: Step) -> str:
    name = type(step).__name__.removesuffix("Step")
    return {"ConcatMap": "concat_map"}.get(name, name.lower())


def _name(shape: Shape) -> str:
    if shape[0] == shapes.OBJECT:
        return "object"
    return Term(shape[0]).name.lower() if shape[0] > 0 else "value"


def _is_sequence(shape: Shape) -> bool:
    """Whether a term makes a sequence from a table, or chooses a document, without reading anything else."""
    while shape[0] in SEQUENCES or shape[0] in _JOINS or _takes_field(shape):
        if shape[0] in (Term.TABLE, Term.GET, Term.GET_ALL, Term.BETWEEN) and not any(map(_reads, shape[1][1:])):
            return True
        sequences = shape[1] if shape[0] == Term.UNION else shape[1][:1]
        others = () if shape[0] == Term.UNION else shape[1][1:]
        if shape[0] in _JOINS and len(shape[1]) == 3:
            sequences = shape[1][::2] if shape[0] == Term.EQ_JOIN else shape[1][:2]
            others = ()
        if not sequences or any(_reads(arg) for arg in others if arg[0] != Term.FUNC):
            return False
        if len(sequences) > 1 and not all(map(_is_sequence, sequences[1:])):
            return False
        shape = sequences[0]
    return False


def _takes_field(shape: Shape) -> bool:
    """Whether a term takes a field of each row of a sequence, and not one of its rows."""
    return bool(shape[0] == Term.BRACKET and shape[1][1][0] == shapes.LITERAL)


def _reads(shape: Shape) -> bool:
    """Whether there is a table in a shape."""
    if shape[0] == Term.TABLE:
        return True
    return any(map(_reads, _arguments(shape)))


def _arguments(shape: Shape) -> Sequence[Shape]:
    if shape[0] == shapes.OBJECT:
        return [value for _, value in shape[1]]
    if shape[0] < 0:
        return ()
    if shape[0] == Term.FUNC:
        return (shape[2],)
    return [*shape[1], *(value for _, value in shape[2])]
