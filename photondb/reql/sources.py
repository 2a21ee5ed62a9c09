"""Where the rows of streams come from: scans of tables, computed rows, and other streams.

What a source can do itself it is told to do: a scan of a table takes steps, limits and aggregates along to storage, as
far as they can run there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import IndexStatistics, KeyRange, Scan, ScanReply
from photondb.reql.accumulators import Accumulator, Aggregate
from photondb.reql.aggregates import Avg, Count, Sum
from photondb.reql.chunk import Chunk
from photondb.reql.grouping import Group
from photondb.reql.ordering import Ordering, Top
from photondb.reql.planner.access import Decision
from photondb.reql.planner.estimates import documents
from photondb.reql.planner.extremes import (
    Bound,
    Extreme,
    bound_of,
    bound_ranges,
    extreme_of,
    is_primary_order,
    pays,
    reaches,
)
from photondb.reql.planner.key_sets import KeySet, single_key
from photondb.reql.planner.trace import Signature, signature
from photondb.reql.row_aggregates import Distinct
from photondb.reql.spilling.folding import TooLarge, partials, started
from photondb.reql.spilling.sorting import sorted_chunks
from photondb.reql.steps import FilterStep, Step, keeps_count
from photondb.reql.suspend import wait

if TYPE_CHECKING:
    from photondb.reql.index_ordered import IndexOrderedScan
    from photondb.reql.planner.trace import ScanTrace
    from photondb.reql.runtime import Runtime
    from photondb.reql.stream import Stream

AGGREGATE_CHUNK_ROWS = 1000


class Source(Protocol):
    """Where a stream's rows come from."""

    @property
    def about(self) -> tuple[Hashable, ...]:
        """What tells it from others of its kind, besides its inputs."""
        ...

    @property
    def inputs(self) -> Sequence[Any]:
        """The arrays and streams that its rows are made of."""
        ...

    def chunks(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        """The rows after `steps`, at most `limit`, in chunks of about `rows`."""
        ...

    def aggregate(self, runtime: Runtime, steps: Sequence[Step], aggregate: Aggregate) -> Accumulator:
        """The rows after `steps`, folded."""
        ...


class ComputedSource:
    """Rows from a generator of lists, made anew for each reading."""

    about: tuple[Hashable, ...] = ()
    inputs: Sequence[Any] = ()

    def __init__(self, make: Callable[[Runtime], Iterator[list[Any]]]) -> None:
        self.make = make

    def chunks(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        for values in self.make(runtime):
            for start in range(0, len(values), rows):
                part = values if len(values) <= rows else values[start : start + rows]
                runtime.checkpoint(len(part))
                for step in steps:
                    part = step.apply(part)
                if limit is not None:
                    part = part[:limit]
                    limit -= len(part)
                if part:
                    yield Chunk.of_values(part)
                if limit == 0:
                    return

    def aggregate(self, runtime: Runtime, steps: Sequence[Step], aggregate: Aggregate) -> Accumulator:
        return folded(runtime, self.chunks(runtime, steps, None, AGGREGATE_CHUNK_ROWS), aggregate)


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


class SlicedSource:
    """A stretch of another stream: from position `skip`, at most `count` rows."""

    def __init__(self, stream: Stream, skip: int, count: int | None) -> None:
        self.stream = stream
        self.skip = skip
        self.count = count

    @property
    def about(self) -> tuple[Hashable, ...]:
        return self.skip, self.count

    @property
    def inputs(self) -> Sequence[Any]:
        return (self.stream,)

    def chunks(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        return through(self._slice(runtime, steps, limit, rows), steps, limit)

    def _slice(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        counts = [self.count, limit if keeps_count(steps) else None]
        wanted = min((self.skip + count for count in counts if count is not None), default=None)
        to_skip = self.skip
        for chunk in self.stream.chunks(runtime, wanted, rows):
            if to_skip:
                skipped = min(to_skip, len(chunk))
                to_skip -= skipped
                chunk = chunk.tail(skipped)
            yield chunk

    def aggregate(self, runtime: Runtime, steps: Sequence[Step], aggregate: Aggregate) -> Accumulator:
        return folded(runtime, self.chunks(runtime, steps, None, AGGREGATE_CHUNK_ROWS), aggregate)


class SortedSource:
    """All rows of another stream, sorted: as many as an array may have, if they are one in the language; with a limit
    only that many are kept."""

    def __init__(self, stream: Stream, ordering: Ordering) -> None:
        self.stream = stream
        self.ordering = ordering

    @property
    def about(self) -> tuple[Hashable, ...]:
        return tuple(descending for _, descending in self.ordering.parts)

    @property
    def inputs(self) -> Sequence[Any]:
        return (self.stream,)

    def chunks(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        stream, steps = self.filtered(steps)
        wanted = limit if keeps_count(steps) else None
        if wanted is not None and wanted <= runtime.array_limit:
            scan = self.sorted_scan(stream, runtime)
            if scan is not None:
                return scan.chunks(runtime, steps, limit, rows)
            try:
                first: list[Any] = stream.aggregate(runtime, Top(self.ordering, wanted)).result()
            except TooLarge:
                pass
            else:
                return list_source(first).chunks(runtime, steps, limit, rows)
        in_order = self._in_index_order(runtime, stream, steps, limit, rows)
        return through(self._sorted(runtime, stream, rows), steps, limit) if in_order is None else in_order

    def aggregate(self, runtime: Runtime, steps: Sequence[Step], aggregate: Aggregate) -> Accumulator:
        return folded(runtime, self.chunks(runtime, steps, None, AGGREGATE_CHUNK_ROWS), aggregate)

    def _sorted(self, runtime: Runtime, stream: Stream, rows: int) -> Iterator[Chunk]:
        stream.check_finite()
        return sorted_chunks(runtime, stream.chunks(runtime), self.ordering, runtime.sequence_limit, rows)

    def _in_index_order(
        self, runtime: Runtime, stream: Stream, steps: Sequence[Step], limit: int | None, rows: int
    ) -> Iterator[Chunk] | None:
        """The rows after `steps` by an index that has them in order, if that takes less than to sort them."""
        from photondb.reql.index_ordered import pushed_steps

        pushed = pushed_steps(steps)
        scan = self.index_ordered(runtime, stream, steps[:pushed])
        if scan is None:
            return None
        chunks = scan.in_order(runtime, (*stream.steps, *steps[:pushed]), rows)
        return None if chunks is None else through(chunks, steps[pushed:], limit)

    def index_ordered(self, runtime: Runtime, stream: Stream, steps: Sequence[Step]) -> IndexOrderedScan | None:
        """The scan that gives the rows of the unsorted stream in order, with `steps` behind them, if there is one."""
        from photondb.reql.index_ordered import index_ordered

        return index_ordered(runtime, stream, self.ordering, steps)

    def sorted_scan(self, stream: Stream, runtime: Runtime) -> ScanSource | None:
        """The scan of a table that gives the rows in order by itself, which is so for that of the primary key."""
        source = stream.source
        if not isinstance(source, ScanSource) or not source.whole or stream.steps or not runtime.context.optimizations:
            return None
        descending = is_primary_order(source.info, self.ordering)
        return None if descending is None else ScanSource(source.info, None, source.ranges, descending)

    def filtered(self, steps: Sequence[Step]) -> tuple[Stream, Sequence[Step]]:
        """The unsorted stream with the filters that come first, which need not wait for the order, and the rest."""
        stream = self.stream
        for position, step in enumerate(steps):
            if type(step) is not FilterStep:
                return stream, steps[position:]
            stream = stream.with_step(step)
        return stream, ()


class UnionSource:
    """The rows of several streams, one stream after the other."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self.streams = tuple(streams)

    @property
    def about(self) -> tuple[Hashable, ...]:
        return ()

    @property
    def inputs(self) -> Sequence[Any]:
        return self.streams

    def chunks(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        for stream in self.streams:
            chunks = stream.source.chunks(runtime, (*stream.steps, *steps), limit, rows) if steps else None
            for chunk in chunks or stream.chunks(runtime, limit, rows):
                yield chunk
                if limit is not None:
                    limit -= len(chunk)
            if limit == 0:
                return

    def aggregate(self, runtime: Runtime, steps: Sequence[Step], aggregate: Aggregate) -> Accumulator:
        accumulator = started(aggregate, runtime)
        for stream in self.streams:
            part = stream.source.aggregate(runtime, (*stream.steps, *steps), aggregate)
            for partial in partials(part):
                accumulator.merge(partial)
        return accumulator


def depends_on_order(aggregate: Aggregate) -> bool:
    """Whether the order of the rows shows in what they are folded into."""
    if type(aggregate) is Group:
        return depends_on_order(aggregate.aggregate)
    return type(aggregate) not in (Count, Sum, Avg, Distinct)


def through(
    chunks: Iterator[Chunk], steps: Sequence[Step], limit: int | None, trace: ScanTrace | None = None
) -> Iterator[Chunk]:
    """The rows of chunks after `steps`, at most `limit`. A `trace` notes what the steps do."""
    for chunk in chunks:
        if steps and len(chunk):
            values = chunk.values()
            if trace is not None:
                values = trace.apply(steps, values)
            else:
                for step in steps:
                    values = step.apply(values)
            chunk = Chunk.of_values(values)
        if limit is not None:
            chunk = chunk.head(limit)
            limit -= len(chunk)
        if len(chunk):
            yield chunk
        if limit == 0:
            return


def folded(runtime: Runtime, chunks: Iterator[Chunk], aggregate: Aggregate) -> Accumulator:
    """The rows of chunks, folded."""
    accumulator = started(aggregate, runtime)
    for chunk in chunks:
        accumulator.feed(chunk.values())
    return accumulator


def list_source(values: list[Any]) -> ComputedSource:
    """A source that has the rows already."""
    return ComputedSource(lambda _: iter([values]))
