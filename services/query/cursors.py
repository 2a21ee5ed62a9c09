"""Cursors: streams of which the client has had some rows and may ask for more."""

from __future__ import annotations

import time
from collections.abc import Iterator

from photondb.reql.chunk import Chunk
from photondb.reql.runtime import Runtime
from photondb.reql.stream import Stream
from services.query import responses
from services.query.options import RunOptions


class Cursor:
    """The rest of a stream. `next_response` must run inside an evaluation.

    A batch ends at the options' limits of rows, bytes or seconds, whichever comes first, and is never empty unless
    the stream has ended.
    """

    def __init__(self, runtime: Runtime, stream: Stream, options: RunOptions) -> None:
        self.runtime = runtime
        self.options = options
        self.chunks: Iterator[Chunk] = stream.chunks(runtime, None, options.max_batch_rows)
        self.held: Chunk | None = None
        self.ended = False

    def next_response(self) -> bytes:
        """The next batch as response JSON; `ended` tells whether it was the last one."""
        parts: list[bytes] = []
        rows_left, bytes_left = self.options.max_batch_rows, self.options.max_batch_bytes
        give_up = time.monotonic() + self.options.max_batch_seconds
        while rows_left > 0 and bytes_left > 0:
            chunk = self.held
            self.held = None
            if chunk is None:
                chunk = next(self.chunks, None)
                if chunk is None:
                    self.ended = True
                    break
            if len(chunk) > rows_left:
                self.held = chunk.tail(rows_left)
                chunk = chunk.head(rows_left)
            json = chunk.json()
            parts.append(json)
            rows_left -= len(chunk)
            bytes_left -= len(json)
            if time.monotonic() > give_up:
                break
        if not self.ended and self.held is None and rows_left <= 0:
            self._look_ahead()
        return responses.rows(b",".join(parts), not self.ended)

    def _look_ahead(self) -> None:
        """Learn whether there is more, so that a client need not ask for an empty batch."""
        self.held = next(self.chunks, None)
        self.ended = self.held is None

    def close(self) -> None:
        """Free what the stream holds."""
        close = getattr(self.chunks, "close", None)
        if close is not None:
            close()
