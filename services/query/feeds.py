"""Cursors of changefeeds: their batches are what has changed, however little that is, and come when it has."""

from __future__ import annotations

from photondb.api.changefeed import Feed
from photondb.reql.chunk import Chunk
from photondb.reql.feed_streams import FeedSource
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
        source = stream.source
        self.direct: Feed | None = source.feed if isinstance(source, FeedSource) and not stream.steps else None
        """The feed whose changes are the rows, as they are, so that they can be waited for without an evaluation."""
        self.limits = self._later_limits
        runtime.untimed = True

    def first_response(self) -> bytes:
        """The answer to the query itself."""
        return responses.rows(b"", True, self.notes)

    async def next_changes(self) -> bytes:
        """The next batch of a `direct` feed. Raises what the feed raises, which is its end."""
        assert self.direct is not None
        chunk, self.held = self.held, None
        if chunk is None:
            chunk = await self.direct.next(self.chunk_rows)
        if self.runtime.permit is not None:
            await self.runtime.permit.renew()
        return self._batch(chunk)

    def close(self) -> None:
        super().close()
        if self.direct is not None:
            self.runtime.release(self.direct)

    def next_response(self) -> bytes:
        chunk = self.next_chunk()
        if chunk is None:
            return responses.rows(b"", False, self.notes)
        return self._batch(chunk)

    def _batch(self, chunk: Chunk) -> bytes:
        """A response with as much of a chunk as is allowed."""
        count = self.limits.fitting(chunk, 0, 0)
        if count < len(chunk):
            self.held = chunk.tail(count)
            chunk = chunk.head(count)
        return responses.rows(chunk.json(), True, self.notes)
