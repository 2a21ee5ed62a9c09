"""Orders as the source of rows: all rows of another stream sorted, or the first ones, or read in order by an index."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from photondb.reql.accumulators import Accumulator, Aggregate
from photondb.reql.chunk import Chunk
from photondb.reql.ordering import Ordering, Top
from photondb.reql.planner.extremes import is_primary_order
from photondb.reql.scan_source import ScanSource
from photondb.reql.sources import AGGREGATE_CHUNK_ROWS, folded, list_source, through
from photondb.reql.spilling.folding import TooLarge
from photondb.reql.spilling.sorting import sorted_chunks
from photondb.reql.steps import FilterStep, Step, keeps_count

if TYPE_CHECKING:
    from photondb.reql.index_ordered import IndexOrderedScan
    from photondb.reql.runtime import Runtime
    from photondb.reql.stream import Stream


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
        few = wanted is not None and wanted <= runtime.array_limit
        scan = self.sorted_scan(stream, runtime) if few else None
        if scan is not None:
            return scan.chunks(runtime, steps, limit, rows)
        in_order = self._in_index_order(runtime, stream, steps, limit, rows)
        if in_order is not None:
            return in_order
        if wanted is not None and few:
            try:
                first: list[Any] = stream.aggregate(runtime, Top(self.ordering, wanted)).result()
            except TooLarge:
                pass
            else:
                return list_source(first).chunks(runtime, steps, limit, rows)
        return through(self._sorted(runtime, stream, rows), steps, limit)

    def aggregate(self, runtime: Runtime, steps: Sequence[Step], aggregate: Aggregate) -> Accumulator:
        return folded(runtime, self.chunks(runtime, steps, None, AGGREGATE_CHUNK_ROWS), aggregate)

    def _sorted(self, runtime: Runtime, stream: Stream, rows: int) -> Iterator[Chunk]:
        stream.check_finite()
        return sorted_chunks(runtime, stream.chunks(runtime), self.ordering, runtime.sequence_limit, rows)

    def _in_index_order(
        self, runtime: Runtime, stream: Stream, steps: Sequence[Step], limit: int | None, rows: int
    ) -> Iterator[Chunk] | None:
        """The rows after `steps` by an index that has them in order, if that takes less than to sort them."""
        scan, pushed, rest = self.index_ordered(runtime, stream, steps, limit)
        if scan is None:
            return None
        wanted = limit if keeps_count(rest) else None
        chunks = scan.in_order(runtime, (*stream.steps, *pushed), wanted, rows)
        return None if chunks is None else through(chunks, rest, limit)

    def index_ordered(
        self, runtime: Runtime, stream: Stream, steps: Sequence[Step], limit: int | None
    ) -> tuple[IndexOrderedScan | None, Sequence[Step], Sequence[Step]]:
        """The scan that gives the rows of the unsorted stream in order, if there is one, of which after `steps` the
        first `limit` are wanted. With the steps that it takes along, and those that are left."""
        from photondb.reql.index_ordered import index_ordered, pushed_steps

        count = pushed_steps(steps)
        pushed, rest = steps[:count], steps[count:]
        scan = index_ordered(runtime, stream, self.ordering, pushed, limit if keeps_count(rest) else None)
        return scan, pushed, rest

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
