"""Explains sequences: where their rows come from, what is done to them, and what that is expected to cost.

To make a sequence does not read it, so nothing is read here: all is told by what the sequence is made of.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.reql.equality_join import JoinedSource
from photondb.reql.join_partners import PartnersSource, eq_join_by_hash, eq_join_look_up, expected_rows
from photondb.reql.narrowed_sides import Narrowing
from photondb.reql.ordering import Top
from photondb.reql.planner import costs
from photondb.reql.planner.access import Decision
from photondb.reql.planner.explanation import Explanation, between, bottom, make_step, milliseconds, name_of_step, note
from photondb.reql.planner.extremes import extreme_of
from photondb.reql.planner.joins import LookUp, Method, Way
from photondb.reql.planner.narrowing import WHY
from photondb.reql.planner.trace import ScanTrace, Signature, Trace, place
from photondb.reql.scan_source import ScanSource
from photondb.reql.sorted_source import SortedSource
from photondb.reql.sources import ComputedSource, SlicedSource, UnionSource
from photondb.reql.steps import FilterStep, Step, keeps_count
from photondb.reql.stream import Stream, table_stream
from photondb.reql.values import SingleSelection

if TYPE_CHECKING:
    from photondb.reql.runtime import Runtime

FILTER_SHARE = 0.1
"""The share of rows that a filter is taken to keep when nothing is known about it."""

SMALL_COST = 0.5
"""What a step costs for each row, about."""


class StreamExplainer:
    """Explains the sequences of one query."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
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
            scan["ms"] = milliseconds(total.seconds)
            if total.left_index:
                scan["by"] = "whole table"
                scan["why"] = "the index led to more documents than expected, so that the table was read instead"
            measures = zip([*pushed, *rest], [*total.steps, *traced.rest.steps], strict=True)
            for step, measure in measures:
                step["actual_rows"] = measure.rows
                step["ms"] = milliseconds(measure.seconds)
        for name, step in self._streams:
            found = trace.streams.get(name)
            if found is not None:
                note(step, found)
        return others

    def _other(self, traced: ScanTrace) -> Explanation:
        tables = {info.id: info for info in self.runtime.service.catalogue.tables.values()}
        info, total = tables.get(traced.scan.table), traced.total
        indexes = () if info is None else info.indexes
        name = next((index.name for index in indexes if index.id == traced.scan.index), None)
        return {
            "step": "scan",
            "runs_in": "storage",
            "table": "" if info is None else self.table_name(info),
            "by": "primary key" if name is None else f"index {name}",
            "times": traced.times,
            "actual_rows": total.read,
            "ms": milliseconds(total.seconds),
        }

    # --- joins

    def _side(self, side: Any) -> Explanation:
        """An array or a stream that is joined."""
        if isinstance(side, Stream):
            return self.stream(side)
        return make_step("array", "query", len(side), 0)

    def eq_join_by_estimate(self, left: Explanation, info: TableInfo, index: IndexInfo | None) -> Explanation:
        """A join of so many rows, of which nothing else is known, with a table."""
        look_up, rows = eq_join_look_up(self.runtime, info, index), self.runtime.statistics(info).rows
        cost = rows * (costs.READ_IN_ORDER + costs.TAKE + costs.KEEP)
        hashed = eq_join_by_hash(self.runtime, left["rows"], info, look_up, rows, cost)
        return self._eq_joined(left, info, look_up, cost if hashed else None, None)

    def _eq_joined(
        self, left: Explanation, info: TableInfo, look_up: LookUp, hashed: float | None, right: Explanation | None
    ) -> Explanation:
        """A join with a table, in which rows are looked up, or which has been read as `right` at some cost."""
        method = "look up the rows of the left side, many at a time" if hashed is None else Method.HASH.value
        cost = left["rows"] * look_up.cost if hashed is None else hashed
        step = make_step("eq_join", "query", left["rows"], left["cost"] + cost)
        step |= {"table": self.table_name(info), "by": look_up.by, "method": method}
        return {**step, "input": left if right is None else [left, right]}

    def _equality_joined(self, source: JoinedSource, steps: Sequence[Step], limit: int | None) -> Explanation:
        """An `eq_join` with `steps` behind it, of whose rows so many are read."""
        plan, join = source.plan(self.runtime, steps, limit), source.join
        narrowed = plan.narrowing is not None
        left = self._side(plan.left) if plan.narrowing is None else self._narrowed(plan.narrowing, plan.right)
        right = None if plan.right is None or not (narrowed or plan.right.steps) else self.stream(plan.right)
        look_up = eq_join_look_up(self.runtime, join.right, join.index)
        step = self._eq_joined(left, join.right, look_up, None if plan.right is None else plan.cost, right)
        return {**step, "first": "right"} if narrowed else step

    def _narrowed(self, narrowing: Narrowing, right: Any) -> Explanation:
        """A left side of which only those rows are read that the right side may have partners for."""
        explained = self.stream(narrowing.expected(expected_rows(self.runtime, right)))
        bottom(explained)["why"] = WHY
        return explained

    def _joined(self, source: PartnersSource, wanted: int | None) -> Explanation:
        """A join by a predicate, of which so many pairs are wanted."""
        partners = source.partners
        narrowing = partners.narrowing(wanted)
        left = self._side(partners.left) if narrowing is None else self._narrowed(narrowing, partners.right)
        right = self._side(partners.right)
        if partners.equality is None:
            way = Way(Method.PAIRS, left["rows"] * right["rows"] * SMALL_COST)
        elif narrowing is not None:
            way = Way(Method.HASH, right["cost"] + right["rows"] * (costs.TAKE + costs.KEEP))
        else:
            way = partners.chosen_way(partners.left)
        step = self.by_way(source.name, left, right, way)
        return step if narrowing is None else {**step, "first": "right"}

    @staticmethod
    def by_way(name: str, left: Explanation, right: Explanation, way: Way) -> Explanation:
        cost = left["cost"] + way.cost + (right["cost"] if way.method is Method.PAIRS else 0)
        step = make_step(name, "query", max(left["rows"], right["rows"]), cost)
        return {**step, "method": way.by, "input": [left, right]}

    # --- documents and streams

    def document(self, selection: SingleSelection) -> Explanation:
        """One document by its primary key."""
        if selection.first_of is not None:
            return self.stream(table_stream(selection.first_of).sliced(0, 1))
        table = self.table_name(selection.info)
        return {**make_step("get", "storage", 1, costs.START + costs.LOOK_UP), "table": table, "by": "primary key"}

    def stream(self, stream: Stream, limit: int | None = None) -> Explanation:
        """A sequence that is read up to `limit` rows."""
        steps = stream.steps
        step = self.source(stream, steps, limit)
        if stream.grouping is not None:
            step = {**make_step("group", step["runs_in"], step["rows"], step["cost"]), "input": step}
            group = step
            step = self._with_steps(step, stream.group_steps, "query")
            self._streams.append((place(stream), group))
        else:
            self._streams.append((place(stream), step))
        return step

    def source(self, stream: Stream, steps: Sequence[Step], limit: int | None) -> Explanation:
        """The rows of a stream after `steps`, of which so many are read."""
        source = stream.source
        if isinstance(source, ScanSource):
            return self.scan(source, steps, limit)
        if isinstance(source, SlicedSource):
            wanted = None if source.count is None else source.skip + source.count
            inner = self.stream(source.stream, wanted)
            rows = inner["rows"] - source.skip
            rows = max(0, rows if source.count is None else min(rows, source.count))
            text = "skip" if source.count is None else "limit" if not source.skip else "slice"
            step = {**make_step(text, inner["runs_in"], rows, inner["cost"]), "input": inner}
            return self._with_steps(step, steps, "query")
        if isinstance(source, SortedSource):
            top = limit is not None and keeps_count(steps)
            scan = source.sorted_scan(source.stream, self.runtime) if top else None
            if scan is not None:
                return self.scan(scan, steps, limit)
            in_order = self._in_index_order(source, steps, limit)
            if in_order is not None:
                return in_order
            inner = self.stream(source.stream)
            rows = min(inner["rows"], limit) if top and limit is not None else inner["rows"]
            pushed = top and inner["runs_in"] == "storage" and source.ordering.pushable
            step = make_step("first in order" if top else "sort", "storage" if pushed else "query", rows, 0)
            index = self._index_of_order(source, limit) if top and limit is not None else None
            if index is not None:
                cost = round(costs.of_index(2, 2 * rows, None, False), 1)
                inner.update(by=f"index {index}", why="only rows up to a bound are read", rows=rows, cost=cost)
            step["cost"] = round(inner["cost"] + inner["rows"] * SMALL_COST, 1)
            return self._with_steps({**step, "input": inner}, steps, "query")
        if isinstance(source, UnionSource):
            inputs = [self.stream(each, limit) for each in source.streams]
            rows, cost = sum(each["rows"] for each in inputs), sum(each["cost"] for each in inputs)
            return self._with_steps({**make_step("union", "query", rows, cost), "input": inputs}, steps, "query")
        if isinstance(source, JoinedSource):
            return self._with_steps(self._equality_joined(source, steps, limit), steps, "query")
        if isinstance(source, PartnersSource):
            return self._with_steps(self._joined(source, limit if keeps_count(steps) else None), steps, "query")
        if isinstance(source, ComputedSource):
            return self._with_steps(make_step("computed rows", "query", 0, 0), steps, "query")
        return self._with_steps(make_step("rows in the order of an index", "query", 0, 0), steps, "query")

    def _in_index_order(self, source: SortedSource, steps: Sequence[Step], limit: int | None) -> Explanation | None:
        """An order that is that of an index."""
        stream, steps = source.filtered(steps)
        scan, pushed, rest = source.index_ordered(self.runtime, stream, steps, limit)
        if scan is None:
            return None
        wanted = limit if keeps_count(rest) else None
        explained = self.scan(scan, (*stream.steps, *pushed), wanted)
        found = bottom(explained)
        why = "its order is wanted, and it carries what is" if scan.order.carried else "its order is wanted"
        found.update(why=why, rows=round(scan.order.reads), cost=round(scan.order.cost, 1))
        return self._with_steps(explained, rest, "query")

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
                (way.rows for way in decision.considered if not way.is_whole_table), default=None
            )
        else:
            matching = None
            known = None if source.index is None else statistics.indexes.get(source.index.id)
            rows = float(statistics.rows)
            if not source.whole and not (source.index is not None and _unbounded(source)):
                rows = source.expected_rows(statistics.rows, known)
            elif known is not None and source.whole_index:
                rows = float(known.entries)
            step = make_step("scan", "storage", rows, costs.of_table(rows, rows, limit))
            if source.index is not None:
                step["cost"] = round(costs.of_index(len(source.ranges), rows, limit, True), 1)
            step["table"] = self.table_name(source.info)
            step["by"] = "primary key" if source.index is None else f"index {source.index.name}"
            step["why"] = _why(source)
        bottom = step
        step = self._with_steps(step, scan.steps, "storage", matching)
        pushed = between(step, bottom)
        top = self._with_steps(step, rest, "query", None if scan.steps else matching)
        self._scans[source.signature(scan, rest)] = (bottom, pushed, between(top, step))
        return top

    def _chosen(self, info: TableInfo, decision: Decision) -> Explanation:
        chosen = decision.chosen
        step = make_step("scan", "storage", chosen.rows, chosen.cost)
        step["table"] = self.table_name(info)
        step["by"] = chosen.by
        if not chosen.is_whole_table:
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
            step = {**make_step(name_of_step(each), runs_in, rows, cost), "input": step}
        return step

    @staticmethod
    def table_name(info: TableInfo) -> str:
        """A table as explanations name it."""
        return f"{info.database}.{info.name}"


def _why(source: ScanSource) -> str:
    if source.index is not None:
        return "the query names the index"
    return "nothing narrows it" if source.whole else "the query names the keys"


def _unbounded(source: ScanSource) -> bool:
    return any(not wanted.low for wanted in source.ranges)
