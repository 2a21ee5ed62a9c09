"""Changefeeds as streams: what `changes` gives, and what can be made of several of them."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from photondb.api.changefeed import Feed
from photondb.reql.accumulators import Accumulator, Aggregate
from photondb.reql.chunk import Chunk
from photondb.reql.steps import Step
from photondb.reql.suspend import Evaluation, wait
from photondb.reql.wire import ResponseNote

if TYPE_CHECKING:
    from photondb.reql.runtime import Runtime
    from photondb.reql.stream import Stream

FeedNotes = frozenset[ResponseNote]
"""What a client is told about a stream that comes from feeds: what kind of feed it is, and whether it has states."""

NO_FEED: FeedNotes = frozenset()


def united_notes(notes: Sequence[FeedNotes]) -> FeedNotes:
    """What to tell about a stream that is made of several ones."""
    every: FeedNotes = NO_FEED.union(*notes)
    states = every & {ResponseNote.INCLUDES_STATES}
    return every if len(every - states) <= 1 else states | {ResponseNote.UNIONED_FEED}


class FeedSource:
    """The changes of one feed, which has been opened. It can be read once, and is closed then."""

    about: tuple[Hashable, ...] = ()
    inputs: Sequence[Any] = ()

    def __init__(self, feed: Feed) -> None:
        self.feed = feed

    def chunks(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        feed = self.feed
        try:
            while True:
                given = wait(feed.next(rows))
                chunk = after_steps(given, steps)
                if limit is not None:
                    chunk = chunk.head(limit)
                    limit -= len(chunk)
                if len(chunk) or not len(given):  # the client is to see an empty chunk of the feed's own
                    yield chunk
                if limit == 0:
                    return
                runtime.checkpoint()
        finally:
            runtime.release(feed)

    def aggregate(self, runtime: Runtime, steps: Sequence[Step], aggregate: Aggregate) -> Accumulator:
        raise AssertionError("a stream without end has no aggregate")


class MergedSource:
    """The rows of several streams as they come, each read by an evaluation of its own so that none waits for another.

    With `one_state` the streams' states are made one: initializing with the first, ready with the last.
    """

    about: tuple[Hashable, ...] = ()
    inputs: Sequence[Any] = ()

    def __init__(self, streams: Sequence[Stream], one_state: bool = False) -> None:
        self.streams = tuple(streams)
        self.one_state = one_state

    def chunks(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        states = StateMerger(len(self.streams)) if self.one_state else None
        readers = [ReaderOfChunks(stream.chunks(runtime, None, rows)) for stream in self.streams]
        try:
            while readers:
                for reader in ready_readers(readers):
                    chunk = reader.take()
                    if chunk is None:
                        readers.remove(reader)
                        continue
                    given = len(chunk)
                    if states is not None:
                        chunk = states.merge(chunk)
                    chunk = after_steps(chunk, steps)
                    if limit is not None:
                        chunk = chunk.head(limit)
                        limit -= len(chunk)
                    if len(chunk) or not given:
                        yield chunk
                    if limit == 0:
                        return
                runtime.checkpoint()
        finally:
            for reader in readers:
                reader.close()

    def aggregate(self, runtime: Runtime, steps: Sequence[Step], aggregate: Aggregate) -> Accumulator:
        accumulator = aggregate.start()
        for stream in self.streams:
            accumulator.merge(stream.source.aggregate(runtime, (*stream.steps, *steps), aggregate).partial())
        return accumulator


def after_steps(chunk: Chunk, steps: Sequence[Step]) -> Chunk:
    """The rows of a chunk after steps."""
    if not steps:
        return chunk
    values = chunk.values()
    for step in steps:
        values = step.apply(values)
    return Chunk.of_values(values)


class StateMerger:
    """Makes one sequence of states of those of several feeds. Rows are left as they are."""

    def __init__(self, feeds: int) -> None:
        self._initialized = False
        self._not_ready = feeds

    def merge(self, chunk: Chunk) -> Chunk:
        """The rows of a feed's chunk, with the states that the whole has."""
        if self._not_ready == 0:
            return chunk
        return Chunk.of_values([row for row in chunk.values() if self._keeps(row)])

    def _keeps(self, row: Any) -> bool:
        state = row.get("state") if type(row) is dict else None
        if state == "initializing":
            first, self._initialized = not self._initialized, True
            return first
        if state == "ready":
            self._not_ready -= 1
            return self._not_ready == 0
        return True


class ReaderOfChunks:
    """Reads the next chunk of a stream in the background, when it is wanted: to ask a consumer group for more is to
    acknowledge what came before."""

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self._chunks = chunks
        self.task: asyncio.Task[Chunk | None] | None = None
        self.begin()

    def begin(self) -> asyncio.Task[Chunk | None]:
        """The reading of the next chunk, if it is not under way already."""
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._read())
        return self.task

    async def _read(self) -> Chunk | None:
        chunk: Chunk | None = await Evaluation().begin(next, self._chunks, None).complete()
        return chunk

    def take(self) -> Chunk | None:
        """What was read: None at the end of the stream. Raises what reading raised."""
        assert self.task is not None
        task, self.task = self.task, None
        return task.result()

    def close(self) -> None:
        """Read no more. What is read just now ends by its cancellation, and frees what it has."""
        close = getattr(self._chunks, "close", None)
        if (self.task is None or not self.task.cancel()) and close is not None:
            close()


def ready_readers(readers: Sequence[ReaderOfChunks]) -> list[ReaderOfChunks]:
    """Wait for the first of them that has read something; in their order, all that have."""
    tasks = {reader.begin(): reader for reader in readers}
    wait(asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))
    return [reader for task, reader in tasks.items() if task.done()]
