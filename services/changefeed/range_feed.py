"""Feeds on a document, on ranges of keys, and on whole tables."""

from __future__ import annotations

from photondb.api.changefeed import FeedRequest
from photondb.api.storage import Scan, ScanCursor, ScanReply
from photondb.datum.keys import primary_key
from photondb.reql.chunk import Chunk
from photondb.reql.feed_notices import initial_notice, with_position
from services.changefeed.documents import Document, Row
from services.changefeed.feed import OpenFeed
from services.changefeed.follower import TableFollower
from services.changefeed.notices import Change
from services.changefeed.positions import Place, TokenMaker
from services.changefeed.queues import ChangeQueue, PositionedQueue, make_queue
from services.changefeed.resuming import place_at, resumed_place
from services.changefeed.router import SharedSelection
from services.changefeed.selection import Selection
from services.changefeed.snapshot import Snapshot, take_snapshot

POSITION_INTERVAL_S = 60.0
"""How often a reader that nothing comes for is told its position, so that it does not grow older than the log."""

INITIAL_CHUNK_ROWS = 500
INITIAL_CHUNK_BYTES = 256 << 10


class RangeFeed(OpenFeed):
    """Tells of every change among the rows of a selection."""

    def __init__(self, follower: TableFollower, request: FeedRequest, selection: Selection) -> None:
        super().__init__(follower, request, selection)
        self._place: Place | None = None
        """Where the reader stands, where it wants to know."""
        self._queue: ChangeQueue = make_queue(self.squash, request.queue_size, request.include_types)
        self._partly_seen: dict[int, int] = {}
        """By shard, how many changes of its next record the reader has seen before this feed."""
        self._overflowed = False
        self._shared: SharedSelection | None = None
        self._newer: dict[bytes, Document | None] = {}
        self._cursor: ScanCursor | None = None

    # --- the beginning

    async def show_beginning(self) -> bool:
        if not self.request.include_initial:
            place = await self._first_place()
            self.positions = place.sequences.copy()
            self._partly_seen = {shard: seen for shard, seen in enumerate(place.seen) if seen}
            self._keep_place(place)
            return True
        return await self.read_rows()

    async def read_rows(self) -> bool:
        """Read some of the rows as of the feed's beginning; True when these were the last."""
        if not self.positions:
            return await self._begin_scan()
        assert self._cursor is not None
        chunk, last = await self._cursor.next()
        return self._show_chunk(chunk, last)

    async def _first_place(self) -> Place:
        request = self.request
        if request.resume is not None:
            return await resumed_place(self.follower, self._tokens(), request.resume)
        if request.since_us is not None:
            return await place_at(self.follower, request.since_us)
        return Place(await self.follower.log_position())

    def _keep_place(self, place: Place) -> None:
        """The reader's first position, after the initial values."""
        if self.request.include_position:
            self._place = place
            self._queue = PositionedQueue(self.request.queue_size, self.request.include_types, place, self._tokens())
            self.idle_s = POSITION_INTERVAL_S

    def add_logs(self) -> None:
        super().add_logs()
        if self._place is not None:
            self._place.add_logs(self.follower.info)

    def _tokens(self) -> TokenMaker:
        return TokenMaker(self.request.table_uuid, self.selection)

    def ready_notice(self) -> bytes:
        notice = super().ready_notice()
        return notice if self._place is None else with_position(notice, self._tokens().token(self._place))

    def idle(self) -> None:
        if self._place is None or self.has_changes():
            return
        if self._place.skip_to(self.follower.delivered()):
            self.notices.append(self.ready_notice())

    async def _begin_scan(self) -> bool:
        request = self.request
        scan = Scan(
            table=request.table,
            index=request.index,
            ranges=request.ranges,
            steps=self.selection.filters,
            chunk_rows=INITIAL_CHUNK_ROWS,
            chunk_bytes=INITIAL_CHUNK_BYTES,
        )
        snapshot: Snapshot[ScanReply] = await take_snapshot(self.follower, lambda: self.follower.scan(scan))
        self.positions, self._newer = snapshot.positions, snapshot.newer
        self._keep_place(Place(snapshot.positions))
        self._cursor = snapshot.read.cursor
        assert snapshot.read.chunk is not None
        return self._show_chunk(snapshot.read.chunk, self._cursor is None)

    def _show_chunk(self, chunk: Chunk, last: bool) -> bool:
        field = self.follower.info.primary_key
        for raw in chunk.rows():
            document = Document(raw)
            if not self._newer or primary_key(document.value[field]) not in self._newer:
                self.show_initial(self.selection.show_filtered(document))
        if last:
            for key, newer in self._newer.items():
                for _ in range(self.selection.copies(key, newer)):
                    assert newer is not None
                    self.show_initial(self.selection.show(newer))
            self._newer = {}
            self._cursor = None
        return last

    def show_initial(self, value: bytes | None) -> None:
        """Take a row as of the feed's beginning (None for what the steps leave out)."""
        if value is not None:
            self.notices.append(initial_notice(value, self.request.include_types))

    # --- changes

    def take(self, row: Row) -> None:
        for change in self._unseen(row, self.selection.changes(row)):
            self._queue.push(change)

    def push(self, row: Row, changes: list[Change]) -> None:
        """Take changes from the router."""
        if row.sequence <= self.positions[row.shard] or self._overflowed:
            return
        if self._place is not None and self._queue.full:
            self._overflowed = True  # what comes now is left to the log, from here on
            self.positions = self.follower.delivered().copy()
            return
        for change in self._unseen(row, changes):
            self._queue.push(change)
            if self._place is None:
                self.follower.metrics.skipped += self._queue.drop_if_too_many()
        self.caused_by(row)
        self.wake()

    def _unseen(self, row: Row, changes: list[Change]) -> list[Change]:
        return changes[self._partly_seen.pop(row.shard, 0) :] if self._partly_seen else changes

    def take_changes(self, count: int, max_bytes: int) -> list[bytes]:
        taken = self._queue.take(count, max_bytes)
        if self._overflowed and not len(self._queue):
            self._overflowed = False
            self.fall_behind()
        return taken

    @property
    def waiting(self) -> int:
        return super().waiting + len(self._queue)

    def has_changes(self) -> bool:
        return len(self._queue) > 0

    def nearly_full(self) -> bool:
        return self._queue.nearly_full

    def attach(self) -> None:
        self._shared = self.follower.router.add(self.selection, self)
        self.selection = self._shared.selection  # and forget our own

    def detach(self) -> None:
        if self._shared is not None:
            self.follower.router.remove(self._shared, self)
            self._shared = None


class PointFeed(RangeFeed):
    """Tells of every change of one document. At the beginning it tells of one that is not there, too."""

    async def show_beginning(self) -> bool:
        if not self.request.include_initial:
            return await super().show_beginning()
        key = self.request.key
        assert key is not None
        snapshot: Snapshot[bytes | None] = await take_snapshot(self.follower, lambda: self.follower.get(key))
        self.positions = snapshot.positions
        self._keep_place(Place(snapshot.positions))
        document = snapshot.read
        if key in snapshot.newer:
            newer = snapshot.newer[key]
            document = None if newer is None else newer.raw
        self.notices.append(initial_notice(document, self.request.include_types))
        return True
