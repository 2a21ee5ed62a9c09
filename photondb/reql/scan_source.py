"""Scans of tables as the source of rows. What storage can do itself it is told to do: a scan takes steps, limits and
aggregates along, as far as they can run there."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import KeyRange, Scan, ScanReply
from photondb.api.storage_status import IndexStatistics
from photondb.reql.accumulators import Accumulator, Aggregate
from photondb.reql.aggregates import Avg, Count, Sum
from photondb.reql.chunk import Chunk
from photondb.reql.grouping import Group
from photondb.reql.planner.access import Decision
from photondb.reql.planner.estimates import documents
from photondb.reql.planner.extremes import Bound, Extreme, bound_of, bound_ranges, extreme_of, pays, reaches
from photondb.reql.planner.key_sets import KeySet, single_key
from photondb.reql.planner.trace import Signature, signature
from photondb.reql.row_aggregates import Distinct
from photondb.reql.sources import AGGREGATE_CHUNK_ROWS, folded, through
from photondb.reql.spilling.folding import started
from photondb.reql.steps import FilterStep, Step
from photondb.reql.suspend import wait

if TYPE_CHECKING:
    from photondb.reql.planner.trace import ScanTrace
    from photondb.reql.runtime import Runtime

_WHOLE = (KeyRange(),)


class ScanSource:
    """Rows of a table, in the order of the primary key or of an index."""

    def __init__(
        self,
        info: TableInfo,
        index: IndexInfo | None,
        ranges: Sequence[KeyRange],
        descending: bool = False,
        ordered: bool = False,
        short_cut: bool = False,
    ) -> None:
        self.info = info
        self.index = index
        self.ranges = tuple(ranges)
        self.descending = descending
        self.ordered = ordered
        """Whether the query asks for the order, and does not only happen to get it."""
        self.short_cut = short_cut
        """Whether the index only finds rows of the table, perhaps with others: they come in the table's order."""

    @property
    def about(self) -> tuple[Hashable, ...]:
        return self.info.id, None if self.index is None else self.index.id, self.ranges, self.descending

    @property
    def inputs(self) -> Sequence[Any]:
        return ()

    @property
    def whole(self) -> bool:
        """Whether these are all rows of the table, in the order of the primary key."""
        return self.index is None and self.ranges == _WHOLE

    @property
    def whole_index(self) -> bool:
        """Whether these are all rows that have a place in the order of an index."""
        return self.index is not None and self.ranges == _WHOLE

    def planned(
        self, runtime: Runtime, steps: Sequence[Step], limit: int | None = None
    ) -> tuple[Scan, Sequence[Step], Decision | None]:
        """The scan with the longest run of steps that storage can do, and the steps that are left. Where the planner
        knows a short cut to the rows that the filters at the beginning keep, the scan takes it: then its decision is
        given, too."""
        pushed = 0
        if runtime.context.optimizations:
            while pushed < len(steps) and steps[pushed].pushable:
                pushed += 1
        scan = Scan(
            table=self.info.id,
            index=None if self.index is None else self.index.id,
            ranges=self.ranges,
            descending=self.descending,
            steps=steps[:pushed],
            primary_order=self.short_cut,
        )
        decision = None
        if pushed and self.whole and any(type(step) is FilterStep for step in steps[:pushed]):
            decision = runtime.choose_access(self.info, steps[:pushed], limit if pushed == len(steps) else None)
            chosen = None if decision is None else decision.chosen
            if chosen is not None and not chosen.is_whole_table:
                scan.ranges = chosen.ranges
                if chosen.index is not None:
                    scan.index, scan.primary_order = chosen.index.id, True
                    scan.others, scan.every = chosen.parts, chosen.every
        return scan, steps[pushed:], decision

    def _bound(self, runtime: Runtime, extreme: Extreme | None) -> tuple[IndexInfo, Bound] | None:
        """Up to where an index has the first rows of an order, if there is one for that, and it pays."""
        index = None if extreme is None else runtime.index_for(self.info, extreme)
        if extreme is None or index is None:
            return None
        found: list[Any] = []
        for wanted in bound_ranges(extreme):
            if len(found) < extreme.number:
                source = ScanSource(self.info, index, (wanted,), extreme.greatest)
                for chunk in source.chunks(runtime, (), extreme.number - len(found), AGGREGATE_CHUNK_ROWS):
                    found += chunk.values()
        bound = bound_of(index, extreme, found)
        statistics = runtime.statistics(self.info)
        if bound is None or not pays(bound, statistics.rows, statistics.indexes.get(index.id)):
            return None
        return index, bound

    def signature(self, scan: Scan, rest: Sequence[Step]) -> Signature:
        """What tells a scan of these rows from the query's others."""
        return signature(scan, rest)

    def expected_rows(self, rows: int, known: IndexStatistics | None) -> float:
        """About how many documents are in the ranges, of a table with so many `rows`."""
        pairs = tuple((wanted.low, wanted.high) for wanted in self.ranges)
        if self.index is None:
            return float(sum(1 if single_key(KeySet((pair,))) else rows / 10 for pair in pairs))
        return sum(
            wanted.repeat * documents(KeySet((pair,)), rows, known)
            for wanted, pair in zip(self.ranges, pairs, strict=True)
        )

    def chunks(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        scan, rest, _ = self.planned(runtime, steps, limit)
        scan.chunk_rows = rows
        if not rest:
            scan.limit = limit
        trace = None if runtime.trace is None else runtime.trace.begin(scan, rest, self.signature(scan, rest))
        runtime.require_index(self.info, self.index)
        read = _read(runtime, runtime.scan(self.info, scan), trace)
        try:
            yield from through(read, rest, limit, trace)
        finally:
            read.close()

    def aggregate(self, runtime: Runtime, steps: Sequence[Step], aggregate: Aggregate) -> Accumulator:
        scan, rest, _ = self.planned(runtime, steps)
        in_order = self.ordered and self.info.is_spread and depends_on_order(aggregate)
        if rest or in_order or not aggregate.pushable or not runtime.context.optimizations:
            return folded(runtime, self.chunks(runtime, steps, None, AGGREGATE_CHUNK_ROWS), aggregate)
        runtime.require_index(self.info, self.index)
        scan.aggregate = aggregate
        trace = None if runtime.trace is None else runtime.trace.begin(scan, rest, self.signature(scan, rest))
        extreme = extreme_of(aggregate) if self.whole and not steps else None
        short_cut = self._bound(runtime, extreme)
        if extreme is not None and short_cut is not None:
            index, bound = short_cut
            quick = msgspec.structs.replace(scan, index=index.id, ranges=bound.ranges, primary_order=True)
            reply = runtime.scan(self.info, quick)
            if reply.cursor is not None:  # they are too large to come at once
                runtime.release(reply.cursor)
            if reply.chunk is not None or not reaches(bound, extreme, reply.partial):
                reply = runtime.scan(self.info, scan)
        else:
            reply = runtime.scan(self.info, scan)
        accumulator = started(aggregate, runtime)
        for partial in _partials(runtime, reply, trace):
            accumulator.merge(partial)
        return accumulator


def _read(runtime: Runtime, reply: ScanReply, trace: ScanTrace | None) -> Generator[Chunk]:
    """All chunks of a scan that has begun. Its cursor is given back when the generator is closed."""
    chunk, cursor = reply.chunk, reply.cursor
    try:
        while True:
            if chunk is not None:
                if trace is not None:
                    trace.learn(chunk.measures)
                yield chunk
            if cursor is None:
                return
            chunk, last = wait(cursor.next())
            runtime.checkpoint()
            if last:
                cursor = None
    finally:
        if cursor is not None:
            runtime.release(cursor)


def _partials(runtime: Runtime, reply: ScanReply, trace: ScanTrace | None) -> Iterator[Any]:
    """All partial results of a scan with an aggregate that has begun."""
    if trace is not None:
        trace.learn(reply.measures)
    if reply.chunk is None:
        yield reply.partial
    else:
        for chunk in _read(runtime, reply, trace):
            yield from chunk.values()


def depends_on_order(aggregate: Aggregate) -> bool:
    """Whether the order of the rows shows in what they are folded into."""
    if type(aggregate) is Group:
        return depends_on_order(aggregate.aggregate)
    return type(aggregate) not in (Count, Sum, Avg, Distinct)
