"""Cursors: streams of which the client has had some rows and may ask for more."""

from __future__ import annotations

import time
from collections.abc import Iterator

from photondb.reql.chunk import Chunk
from photondb.reql.runtime import Runtime
from photondb.reql.stream import Stream
from services.query import responses
from services.query.batching import DEFAULT_BATCHING, BatchLimits, read_batching
from services.query.options import RunOptions

CHUNK_ROWS = 1000
"""How many rows are asked for at a time, at most."""


class Cursor:
    """The rest of a stream. `next_response` must run inside an evaluation.

    A batch is as large as the run options say, and never empty unless the stream has ended.
    """

    def __init__(self, runtime: Runtime, stream: Stream, options: RunOptions) -> None:
        self.runtime = runtime
        batching = read_batching(options.batching) if options.batching else DEFAULT_BATCHING
        self.limits = batching.first
        self._later_limits = batching.others
        self.chunk_rows = int(min(batching.others.max_rows, CHUNK_ROWS))
        self.chunks: Iterator[Chunk] = stream.chunks(runtime, None, self.chunk_rows)
        self.held: Chunk | None = None
        self.ended = False

    def next_response(self) -> bytes:
        """The next batch as response JSON; `ended` tells whether it was the last one."""
        limits, self.limits = self.limits, self._later_limits
        parts = self._next_rows(limits)
        return responses.rows(b",".join(parts), not self.ended)

    def _next_rows(self, limits: BatchLimits) -> list[bytes]:
        parts: list[bytes] = []
        rows = size = 0
        give_up = time.monotonic() + limits.max_seconds
        while True:
            chunk = self.next_chunk()
            if chunk is None:
                break
            count = limits.fitting(chunk, rows, size)
            if count < len(chunk):
                self.held = chunk.tail(count)
                chunk = chunk.head(count)
            json = chunk.json()
            parts.append(json)
            rows += len(chunk)
            size += len(json) + 1
            if limits.full(rows, size):
                if rows >= limits.max_rows and self.held is None:
                    self._look_ahead()
                break
            if time.monotonic() >= give_up:
                break
        return parts

    def next_chunk(self) -> Chunk | None:
        """Some more rows; None at the end."""
        chunk, self.held = self.held, None
        if chunk is None:
            chunk = next(self.chunks, None)
            self.ended = chunk is None
        return chunk

    def _look_ahead(self) -> None:
        """Learn whether there is more, so that a client need not ask for an empty batch."""
        self.held = self.next_chunk()

    def close(self) -> None:
        """Free what the stream holds."""
        close = getattr(self.chunks, "close", None)
        if close is not None:
            close()
