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
        self.limits = self._later_limits

    def first_response(self) -> bytes:
        """The answer to the query itself."""
        return responses.rows(b"", True, self.notes)

    def next_response(self) -> bytes:
        chunk = self.next_chunk()
        if chunk is None:
            return responses.rows(b"", False, self.notes)
        count = self.limits.fitting(chunk, 0, 0)
        if count < len(chunk):
            self.held = chunk.tail(count)
            chunk = chunk.head(count)
        return responses.rows(chunk.json(), True, self.notes)
