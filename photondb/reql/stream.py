"""Streams: sequences that are computed while they are read.

A stream is a source and the steps that its rows go through. What a source can do itself it is told to do: a scan of
a table takes steps, limits and aggregates along to storage, as far as they can run there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import KeyRange, Scan
from photondb.datum.keys import key_range
from photondb.reql.aggregates import Accumulator, Aggregate, Collect
from photondb.reql.chunk import Chunk
from photondb.reql.grouping import Group
from photondb.reql.ordering import Ordering, Top
from photondb.reql.steps import FilterStep, Step
from photondb.reql.suspend import wait
from photondb.reql.values import Bounds, TableSlice, as_sequence, check_array_size

if TYPE_CHECKING:
    from photondb.reql.function import Func
    from photondb.reql.runtime import Runtime

LOCAL_CHUNK_ROWS = 500
"""Rows that a computed source hands out at once."""

AGGREGATE_CHUNK_ROWS = 1000


class Source(Protocol):
    """Where a stream's rows come from."""

    def chunks(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        """The rows after `steps`, at most `limit`, in chunks of about `rows`."""
        ...

    def aggregate(self, runtime: Runtime, steps: Sequence[Step], aggregate: Aggregate) -> Accumulator:
        """The rows after `steps`, folded."""
        ...


class ComputedSource:
    """Rows from a generator of lists, made anew for each reading."""

    def __init__(self, make: Callable[[Runtime], Iterator[list[Any]]], infinite: bool = False) -> None:
        self.make = make
        self.infinite = infinite

    def chunks(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        for values in self.make(runtime):
            runtime.checkpoint()
            for start in range(0, len(values), rows):
                part = values if len(values) <= rows else values[start : start + rows]
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
        accumulator = aggregate.start()
        for chunk in self.chunks(runtime, steps, None, AGGREGATE_CHUNK_ROWS):
            accumulator.feed(chunk.values())
        return accumulator


class ScanSource:
    """Rows of a table, in the order of the primary key or of an index."""

    def __init__(
        self, info: TableInfo, index: IndexInfo | None, ranges: Sequence[KeyRange], descending: bool = False
    ) -> None:
        self.info = info
        self.index = index
        self.ranges = tuple(ranges)
        self.descending = descending

    def _scan(self, steps: Sequence[Step]) -> tuple[Scan, Sequence[Step]]:
        """The scan with the longest run of steps that storage can do, and the steps that are left."""
        pushed = 0
        while pushed < len(steps) and steps[pushed].pushable:
            pushed += 1
        scan = Scan(
            table=self.info.id,
            index=None if self.index is None else self.index.id,
            ranges=self.ranges,
            descending=self.descending,
            steps=steps[:pushed],
        )
        return scan, steps[pushed:]

    def chunks(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        scan, rest = self._scan(steps)
        scan.chunk_rows = rows
        if not rest:
            scan.limit = limit
        runtime.require_index(self.info, self.index)
        reply = runtime.scan(self.info, scan)
        chunk, cursor = reply.chunk, reply.cursor
        try:
            while True:
                if chunk is not None and len(chunk):
                    if rest:
                        values = chunk.values()
                        for step in rest:
                            values = step.apply(values)
                        chunk = Chunk.of_values(values)
                    if limit is not None:
                        chunk = chunk.head(limit)
                        limit -= len(chunk)
                    if len(chunk):
                        yield chunk
                    if limit == 0:
                        return
                if cursor is None:
                    return
                chunk, last = wait(cursor.next())
                runtime.checkpoint()
                if last:
                    cursor = None
        finally:
            if cursor is not None:
                runtime.release(cursor)

    def aggregate(self, runtime: Runtime, steps: Sequence[Step], aggregate: Aggregate) -> Accumulator:
        scan, rest = self._scan(steps)
        accumulator = aggregate.start()
        if rest or not aggregate.pushable:
            for chunk in self.chunks(runtime, steps, None, AGGREGATE_CHUNK_ROWS):
                accumulator.feed(chunk.values())
            return accumulator
        runtime.require_index(self.info, self.index)
        scan.aggregate = aggregate
        accumulator.merge(runtime.scan(self.info, scan).partial)
        return accumulator


class SlicedSource:
    """A stretch of another stream: from position `skip`, at most `count` rows."""

    def __init__(self, stream: Stream, skip: int, count: int | None) -> None:
        self.stream = stream
        self.skip = skip
        self.count = count

    def chunks(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        wanted = None if self.count is None else self.skip + self.count
        to_skip = self.skip
        for chunk in self.stream.chunks(runtime, wanted, rows):
            if to_skip:
                skipped = min(to_skip, len(chunk))
                to_skip -= skipped
                chunk = chunk.tail(skipped)
            if steps:
                values = chunk.values()
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

    def aggregate(self, runtime: Runtime, steps: Sequence[Step], aggregate: Aggregate) -> Accumulator:
        accumulator = aggregate.start()
        for chunk in self.chunks(runtime, steps, None, AGGREGATE_CHUNK_ROWS):
            accumulator.feed(chunk.values())
        return accumulator


class SortedSource:
    """All rows of another stream, sorted. It holds them at once, so their number is bounded by the array limit; with
    a limit only that many are kept."""

    def __init__(self, stream: Stream, ordering: Ordering) -> None:
        self.stream = stream
        self.ordering = ordering

    def rows(self, runtime: Runtime, limit: int | None) -> list[Any]:
        """The sorted rows, or the first `limit` of them."""
        if limit is not None and limit <= runtime.array_limit:
            rows: list[Any] = self.stream.aggregate(runtime, Top(self.ordering, limit)).result()
            return rows
        return self.ordering.sort(self.stream.to_list(runtime))

    def chunks(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        replaced = any(type(step) is FilterStep or step.replaces_rows for step in steps)
        source = ComputedSource(lambda _: iter([self.rows(runtime, None if replaced else limit)]))
        return source.chunks(runtime, steps, limit, rows)

    def aggregate(self, runtime: Runtime, steps: Sequence[Step], aggregate: Aggregate) -> Accumulator:
        return ComputedSource(lambda _: iter([self.rows(runtime, None)])).aggregate(runtime, steps, aggregate)


class Grouping:
    """How a grouped stream is divided: what a `Group` aggregate needs besides the steps and the aggregate."""

    __slots__ = ("funcs", "multi", "skip_missing")

    def __init__(self, funcs: Sequence[Func], multi: bool, skip_missing: bool = False) -> None:
        self.funcs = tuple(funcs)
        self.multi = multi
        self.skip_missing = skip_missing


class Stream:
    """A sequence that is computed while it is read.

    `table` is set where the rows are documents of a table that can still be written (a selection). A grouped stream
    has `grouping`; `steps` stand before it, `group_steps` behind it.
    """

    __slots__ = ("group_steps", "grouping", "source", "steps", "table")

    def __init__(
        self,
        source: Source,
        table: TableInfo | None = None,
        steps: tuple[Step, ...] = (),
        grouping: Grouping | None = None,
        group_steps: tuple[Step, ...] = (),
    ) -> None:
        self.source = source
        self.table = table
        self.steps = steps
        self.grouping = grouping
        self.group_steps = group_steps

    def with_step(self, step: Step) -> Stream:
        """The stream with one more step; only a filter leaves a selection one."""
        table = self.table if type(step) is FilterStep else None
        if self.grouping is not None:
            return Stream(self.source, table, self.steps, self.grouping, (*self.group_steps, step))
        return Stream(self.source, table, (*self.steps, step))

    def grouped_by(self, grouping: Grouping) -> Stream:
        """The stream divided into groups."""
        return Stream(self.source, None, self.steps, grouping)

    def sliced(self, skip: int, count: int | None) -> Stream:
        """From position `skip` on, at most `count` rows."""
        return Stream(SlicedSource(self, skip, count), self.table)

    def sorted_by(self, ordering: Ordering) -> Stream:
        """The stream in order."""
        return Stream(SortedSource(self, ordering), self.table)

    @property
    def infinite(self) -> bool:
        """Whether it is known to have no end."""
        return isinstance(self.source, ComputedSource) and self.source.infinite

    def chunks(self, runtime: Runtime, limit: int | None = None, rows: int = LOCAL_CHUNK_ROWS) -> Iterator[Chunk]:
        """Read the stream (not a grouped one)."""
        if limit == 0:
            return iter(())
        return self.source.chunks(runtime, self.steps, limit, rows)

    def rows(self, runtime: Runtime) -> Iterator[Any]:
        """Read the stream row by row, in small steps at first: whoever reads so may stop early."""
        rows = 8
        for chunk in self.chunks(runtime, None, rows):
            yield from chunk.values()

    def aggregate(self, runtime: Runtime, aggregate: Aggregate) -> Accumulator:
        """Fold the stream; a grouped one group by group."""
        if self.grouping is not None:
            grouping = self.grouping
            aggregate = Group(
                grouping.funcs, grouping.multi, aggregate, runtime.array_limit, self.group_steps, grouping.skip_missing
            )
        return self.source.aggregate(runtime, self.steps, aggregate)

    def to_list(self, runtime: Runtime) -> list[Any]:
        """All rows (not of a grouped stream). Raises the array limit's error."""
        out: list[Any] = []
        for chunk in self.chunks(runtime):
            out.extend(chunk.values())
            check_array_size(len(out), runtime.array_limit)
        return out

    def to_grouped(self, runtime: Runtime) -> Any:
        """The grouped data of a grouped stream."""
        return self.aggregate(runtime, Collect(runtime.array_limit, grouped=True)).result()


def slice_ranges(piece: TableSlice) -> tuple[KeyRange, ...]:
    """The key ranges that a slice covers."""
    bounds = piece.bounds
    if bounds is None:
        return (KeyRange(),)
    return (bounds_range(bounds, piece.index is not None),)


def bounds_range(bounds: Bounds, secondary: bool) -> KeyRange:
    """The key range of a `between`."""
    low, high = key_range(
        bounds.left,
        bounds.right,
        "open" if bounds.left_open else "closed",
        "open" if bounds.right_open else "closed",
        secondary=secondary,
    )
    return KeyRange(low, high)


def table_stream(piece: TableSlice) -> Stream:
    """The rows of a table or of a slice of it, as a selection."""
    source = ScanSource(piece.info, piece.index, slice_ranges(piece), piece.ordering == "desc")
    return Stream(source, piece.info)


def list_source(values: list[Any]) -> ComputedSource:
    """A source that has the rows already."""
    return ComputedSource(lambda _: iter([values]))


def apply_step(value: Any, step: Step, runtime: Runtime) -> list[Any] | Stream:
    """A sequence after one more step: arrays at once, streams when they are read."""
    sequence = as_sequence(value)
    if type(sequence) is list:
        result = step.apply(sequence)
        check_array_size(len(result), runtime.array_limit)
        return result
    return sequence.with_step(step)  # type: ignore[union-attr]


def elements(runtime: Runtime, value: Any) -> list[Any] | Iterator[Any]:
    """The elements of an array or a stream, one by one."""
    sequence = as_sequence(value)
    return sequence if type(sequence) is list else sequence.rows(runtime)  # type: ignore[union-attr]


def fold(value: Any, aggregate: Aggregate, runtime: Runtime) -> Any:
    """The aggregate of a sequence (of each group of a grouped one)."""
    sequence = as_sequence(value)
    if type(sequence) is list:
        accumulator = aggregate.start()
        accumulator.feed(sequence)
    else:
        accumulator = sequence.aggregate(runtime, aggregate)  # type: ignore[union-attr]
    return accumulator.result()
