"""Cursors of changefeeds: their batches are what has changed, however little that is, and come when it has."""

from __future__ import annotations

from photondb.reql.runtime import Runtime
from photondb.reql.stream import Stream
from services.query import responses
from services.query.cursors import Cursor
from services.query.options import RunOptions


class FeedCursor(Cursor):
    """The changes of a stream that comes from feeds.

    The query is answered at once, with an empty batch; so its feeds are open when the client has the answer. The
    batches after that wait for at least one row.
    """

    def __init__(self, runtime: Runtime, stream: Stream, options: RunOptions) -> None:
        super().__init__(runtime, stream, options)
        self.notes = tuple(sorted(stream.feed))

    def first_response(self) -> bytes:
        """The answer to the query itself."""
        return responses.rows(b"", True, self.notes)

    def next_response(self) -> bytes:
        chunk = self.held
        self.held = None
        if chunk is None:
            chunk = next(self.chunks, None)
        if chunk is None:
            self.ended = True
            return responses.rows(b"", False, self.notes)
        rows = self.options.max_batch_rows
        if len(chunk) > rows:
            self.held = chunk.tail(rows)
            chunk = chunk.head(rows)
        return responses.rows(chunk.json(), True, self.notes)
