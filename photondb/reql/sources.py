"""Where the rows of streams come from: computed rows, stretches of other streams, and several streams together.

Scans of tables are in `scan_source.py`, orders in `sorted_source.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from photondb.reql.accumulators import Accumulator, Aggregate
from photondb.reql.chunk import Chunk
from photondb.reql.spilling.folding import partials, started
from photondb.reql.steps import Step, keeps_count

if TYPE_CHECKING:
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
