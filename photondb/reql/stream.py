"""Streams: sequences that are computed while they are read.

A stream is a source and the steps that its rows go through (`photondb.reql.sources`). The functions below treat arrays
and streams alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from time import perf_counter
from typing import TYPE_CHECKING, Any

from photondb.api.catalogue import TableInfo
from photondb.api.storage import KeyRange
from photondb.datum.keys import key_range
from photondb.reql.accumulators import Accumulator, Aggregate
from photondb.reql.chunk import Chunk
from photondb.reql.errors import logic_error
from photondb.reql.feed_streams import NO_FEED, FeedNotes, MergedSource, united_notes
from photondb.reql.grouping import Group, Grouping
from photondb.reql.ordering import Ordering
from photondb.reql.row_aggregates import Collect
from photondb.reql.scan_source import ScanSource
from photondb.reql.sorted_source import SortedSource
from photondb.reql.sources import ComputedSource, SlicedSource, Source, UnionSource, folded, list_source
from photondb.reql.spilling.folding import Folding
from photondb.reql.steps import ConcatMapStep, FilterStep, Step
from photondb.reql.values import Bounds, Grouped, TableSlice, as_sequence, check_array_size

if TYPE_CHECKING:
    from photondb.reql.planner.trace import Trace
    from photondb.reql.runtime import Runtime

LOCAL_CHUNK_ROWS = 500
"""Rows that a computed source hands out at once."""

PART_ROWS = 128
"""How many elements of an array are worked on between two looks at the clock."""


class Stream:
    """A sequence that is computed while it is read.

    `table` is set where the rows are documents of a table that can still be written (a selection). A grouped stream
    has `grouping`; `steps` stand before it, `group_steps` behind it. `array_of` is set where the language has an array
    that need not be computed yet (rows in order, of which perhaps only the first are asked for): the query in which
    it is one. `feed` is what to tell about a stream that comes from changefeeds.
    """

    __slots__ = ("array_of", "feed", "group_steps", "grouping", "infinite", "source", "steps", "table")

    def __init__(
        self,
        source: Source,
        table: TableInfo | None = None,
        steps: tuple[Step, ...] = (),
        grouping: Grouping | None = None,
        group_steps: tuple[Step, ...] = (),
        *,
        array_of: Runtime | None = None,
        infinite: bool = False,
        feed: FeedNotes = NO_FEED,
    ) -> None:
        self.source = source
        self.table = table
        self.steps = steps
        self.grouping = grouping
        self.group_steps = group_steps
        self.array_of = array_of
        self.infinite = infinite
        self.feed = feed

    def with_step(self, step: Step) -> Stream:
        """The stream with one more step; only a filter leaves a selection one."""
        table = self.table if type(step) is FilterStep else None
        infinite, feed = self.infinite, self.feed
        if self.grouping is not None:
            group_steps = (*self.group_steps, step)
            return Stream(self.source, table, self.steps, self.grouping, group_steps, infinite=infinite, feed=feed)
        return Stream(self.source, table, (*self.steps, step), array_of=self.array_of, infinite=infinite, feed=feed)

    def grouped_by(self, grouping: Grouping) -> Stream:
        """The stream divided into groups."""
        if self.grouping is not None:
            raise logic_error("Cannot call `group` on the output of `group` (did you mean to `ungroup`?).")
        return Stream(self.source, None, self.steps, grouping, infinite=self.infinite, feed=self.feed)

    def sliced(self, skip: int, count: int | None) -> Stream:
        """From position `skip` on, at most `count` rows."""
        infinite = self.infinite and count is None
        source = SlicedSource(self, skip, count)
        return Stream(source, self.table, array_of=self.array_of, infinite=infinite, feed=self.feed)

    def sorted_by(self, ordering: Ordering, runtime: Runtime) -> Stream:
        """The stream in order, which is an array."""
        return Stream(SortedSource(self, ordering), self.table, array_of=runtime)

    def chunks(self, runtime: Runtime, limit: int | None = None, rows: int = LOCAL_CHUNK_ROWS) -> Iterator[Chunk]:
        """Read the stream, or the first `limit` rows of it, in chunks of about `rows`."""
        self.check_ungrouped()
        if limit == 0:
            return iter(())
        chunks = self.source.chunks(runtime, self.steps, limit, rows)
        return chunks if runtime.trace is None else runtime.trace.watched(self, chunks)

    def lists(self, runtime: Runtime) -> Iterator[list[Any]]:
        """Read the stream as lists of rows."""
        for chunk in self.chunks(runtime):
            yield chunk.values()

    def aggregate(self, runtime: Runtime, aggregate: Aggregate) -> Accumulator:
        """Fold the stream; a grouped one group by group."""
        self.check_finite()
        if self.grouping is not None:
            aggregate = Group(self.grouping, aggregate, runtime.sequence_limit, self.group_steps)
            if runtime.trace is not None:
                return self._traced(runtime, aggregate, runtime.trace)
        elif runtime.trace is not None and not isinstance(self.source, ScanSource | UnionSource):
            return folded(runtime, self.chunks(runtime), aggregate)
        return self.source.aggregate(runtime, self.steps, aggregate)

    def _traced(self, runtime: Runtime, group: Group, trace: Trace) -> Accumulator:
        began = perf_counter()
        accumulator = self.source.aggregate(runtime, self.steps, group)
        seconds = perf_counter() - began
        parts: Iterable[Any] = accumulator.parts() if isinstance(accumulator, Folding) else (accumulator,)
        trace.note_groups(self, sum(len(part.pairs()) for part in parts), seconds)
        return accumulator

    def folded(self, runtime: Runtime, aggregate: Aggregate) -> Any:
        """The value of the aggregate; that of a grouped stream is grouped data, which may come in parts."""
        accumulator = self.aggregate(runtime, aggregate)
        if self.grouping is None or not runtime.streams or not isinstance(accumulator, Folding):
            return accumulator.result()
        whole = Group(self.grouping, aggregate, runtime.array_limit, self.group_steps)
        return Grouped(None, accumulator.results, whole.combined)

    def check_ungrouped(self) -> None:
        """Raise for a grouped stream."""
        if self.grouping is not None:
            raise logic_error("Cannot treat the output of `group` as a stream (did you mean to `ungroup`?).")

    def check_finite(self) -> None:
        """Raise for a stream that has no end."""
        if self.infinite and self.feed:
            raise logic_error(
                "Cannot call a terminal (`reduce`, `count`, etc.) on an infinite stream (such as a changefeed)."
            )
        if self.infinite:
            raise logic_error(
                "Cannot use an infinite stream with an aggregation function (`reduce`, `count`, etc.) or coerce it to "
                "an array."
            )

    def to_list(self, runtime: Runtime) -> list[Any]:
        """All rows. Raises the array limit's error."""
        self.check_finite()
        out: list[Any] = []
        for rows in self.lists(runtime):
            out.extend(rows)
            check_array_size(len(out), runtime.array_limit)
        return out

    def to_grouped(self, runtime: Runtime) -> Any:
        """The grouped data of a grouped stream."""
        return self.folded(runtime, Collect())


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
    source = ScanSource(piece.info, piece.index, slice_ranges(piece), piece.ordering == "desc", piece.ordering != "")
    return Stream(source, piece.info)


def united_stream(streams: Sequence[Stream], array_of: Runtime | None = None) -> Stream:
    """The rows of several streams: one after the other, or, where there are changefeeds among them, as they come."""
    for stream in streams:
        stream.check_ungrouped()
    feed = united_notes([stream.feed for stream in streams])
    source = MergedSource(streams) if feed else UnionSource(streams)
    return Stream(source, array_of=array_of, infinite=any(map(is_infinite, streams)), feed=feed)


def as_stream(sequence: list[Any] | Stream) -> Stream:
    """An array or a stream as a stream."""
    return Stream(list_source(sequence)) if type(sequence) is list else sequence  # type: ignore[return-value]


def is_infinite(sequence: list[Any] | Stream) -> bool:
    """Whether a sequence has no end."""
    return type(sequence) is not list and sequence.infinite  # type: ignore[union-attr]


def feed_notes(sequence: list[Any] | Stream) -> FeedNotes:
    """What to tell about a sequence that comes from changefeeds."""
    return NO_FEED if type(sequence) is list else sequence.feed  # type: ignore[union-attr]


def is_array(sequence: list[Any] | Stream) -> bool:
    """Whether a sequence is an array in the language."""
    return type(sequence) is list or sequence.array_of is not None  # type: ignore[union-attr]


def computed(
    runtime: Runtime,
    origins: Sequence[list[Any] | Stream],
    make: Callable[[Runtime], Iterator[list[Any]]],
    infinite: bool = False,
) -> list[Any] | Stream:
    """A sequence that is made from others, in lists of rows: an array when all of them are arrays, else a stream."""
    if not all(map(is_array, origins)):
        return Stream(ComputedSource(make), infinite=infinite, feed=united_notes(list(map(feed_notes, origins))))
    out: list[Any] = []
    for rows in make(runtime):
        runtime.checkpoint(len(rows))
        out.extend(rows)
        check_array_size(len(out), runtime.array_limit)
    return out


def batches(rows: Iterator[Any], size: int = LOCAL_CHUNK_ROWS) -> Iterator[list[Any]]:
    """Rows in lists of `size`."""
    while batch := list(islice(rows, size)):
        yield batch


def parts(values: list[Any], runtime: Runtime, size: int = PART_ROWS) -> Iterator[list[Any]]:
    """An array in parts, with a look at the clock before each: short arrays within long ones add up, too."""
    runtime.checkpoint(min(len(values), size))
    if len(values) <= size:
        yield values
        return
    for start in range(0, len(values), size):
        yield values[start : start + size]
        runtime.checkpoint(size)


def lists(runtime: Runtime, value: Any) -> Iterator[list[Any]]:
    """The rows of any sequence in lists."""
    sequence = as_sequence(value)
    return parts(sequence, runtime) if type(sequence) is list else sequence.lists(runtime)  # type: ignore[union-attr]


def elements(runtime: Runtime, value: Any) -> Iterator[Any]:
    """All rows of a sequence, one by one; raises for one without end."""
    sequence = as_sequence(value)
    if type(sequence) is not list:
        sequence.check_finite()  # type: ignore[union-attr]
    return chain.from_iterable(lists(runtime, sequence))


def apply_step(value: Any, step: Step, runtime: Runtime) -> list[Any] | Stream:
    """A sequence after one more step: arrays at once, streams when they are read."""
    sequence = as_sequence(value)
    if type(sequence) is not list:
        return sequence.with_step(step)  # type: ignore[union-attr]
    size = 1 if type(step) is ConcatMapStep else PART_ROWS  # each element may become very many
    if len(sequence) <= size:
        runtime.checkpoint(len(sequence))
        result = step.apply(sequence)
        check_array_size(len(result), runtime.array_limit)
        return result
    result = []
    for part in parts(sequence, runtime, size):
        result.extend(step.apply(part))
        check_array_size(len(result), runtime.array_limit)
    return result


def fold(value: Any, aggregate: Aggregate, runtime: Runtime) -> Any:
    """The aggregate of a sequence (of each group of a grouped one)."""
    sequence = as_sequence(value)
    if type(sequence) is not list:
        return sequence.folded(runtime, aggregate)  # type: ignore[union-attr]
    accumulator = aggregate.start()
    for part in parts(sequence, runtime):
        accumulator.feed(part)
    return accumulator.result()
