"""Feeds on the first rows of an ordered selection: `order_by(index).limit(n)`, `min(index)` and `max(index)`."""

from __future__ import annotations

from photondb.api.changefeed import FeedRequest
from photondb.api.storage import Scan, ScanCursor
from photondb.reql.feed_notices import change_notice, initial_notice, offset_notice
from services.changefeed.documents import Row
from services.changefeed.feed import OpenFeed
from services.changefeed.follower import TableFollower
from services.changefeed.ordered import OrderedSelection, ScannedEntries
from services.changefeed.selection import Selection, same
from services.changefeed.window import Window

RESERVE_ROWS = 32
"""Rows that are kept ready to move up when others leave."""

MAX_SCAN_ROWS = 1000
SCAN_BYTES = 256 << 10


class LimitFeed(OpenFeed):
    """Tells of what comes into and leaves the first `limit` rows."""

    def __init__(self, follower: TableFollower, request: FeedRequest, selection: Selection) -> None:
        super().__init__(follower, request, selection)
        assert request.limit is not None
        (whole_range,) = request.ranges
        self._ordered = OrderedSelection(selection, whole_range, request.descending, follower.info.primary_key)
        self._window = Window(request.limit, RESERVE_ROWS)
        self._fetched_at: list[int] = []
        """The positions that the feed must get to before the window is as it was at one time."""

    # --- the beginning, and rows from storage

    async def show_beginning(self) -> bool:
        self.positions = await self.follower.log_position()
        self._fetched_at = self.positions.copy()
        while not self._is_consistent():
            await self.catch_up()
        self._window.show()
        if self.request.include_initial:
            types, offsets = self.request.include_types, self.request.include_offsets
            for offset, value in enumerate(self._window.rows()):
                self.notices.append(initial_notice(value, types, offset if offsets else None))
        return True

    def add_logs(self) -> None:
        super().add_logs()
        self.follower.info.add_logs(self._fetched_at)

    def targets(self) -> list[int]:
        return list(map(max, super().targets(), self._fetched_at))

    def settled(self) -> bool:
        return not self._window.wants and super().settled()

    async def catch_up(self) -> None:
        if self._window.wants:
            await self._fetch()
        else:
            await super().catch_up()
        if not self.behind and self._is_consistent():
            self._tell()

    async def _fetch(self) -> None:
        """Add to the window what comes after the rows that are known."""
        window, follower = self._window, self.follower
        after = window.complete_to
        assert after is not None
        rows = min(window.wants, MAX_SCAN_ROWS)
        scan = Scan(
            table=self.request.table,
            index=self.request.index,
            ranges=(self._ordered.range_after(after),),
            descending=self.request.descending,
            steps=self.selection.filters,
            chunk_rows=rows,
            chunk_bytes=SCAN_BYTES,
        )
        scanned = ScannedEntries(self._ordered, after)
        reply = await follower.scan(scan)
        cursor: ScanCursor | None = reply.cursor
        assert reply.chunk is not None
        scanned.add(reply.chunk.rows())
        while cursor is not None and len(scanned.entries) < window.wants:
            chunk, last = await cursor.next()
            scanned.add(chunk.rows())
            if last:
                cursor = None
        if cursor is not None:
            await cursor.close()
        # The scan may have seen more of the log than the feed has. Applying it again does no harm, as the last change
        # of a document counts, but until that is done the window may show a document twice, or an old state of it.
        self._fetched_at = await follower.log_position()
        self.add_logs()
        window.extend(scanned.entries, None if cursor is None else scanned.reached)

    def _is_consistent(self) -> bool:
        return not self._window.wants and all(map(int.__ge__, self.positions, self._fetched_at))

    # --- changes

    def take(self, row: Row) -> None:
        if row.sequence <= self.positions[row.shard]:
            return
        self.positions[row.shard] = row.sequence
        entries = self._ordered.entries(row.key, row.new)
        if not self._window.concerns(row.key, entries):
            return
        self._window.apply(row.key, entries)
        self.caused_by(row)
        if self.live:
            if self._window.wants:
                self.fall_behind()
            elif self.squash or self._is_full():
                self.wake()
            else:
                self._tell()
                self.wake()

    def _is_full(self) -> bool:
        """Whether so many notices wait for the reader that changes had better come together in the window."""
        return len(self.notices) >= self.request.queue_size

    def _tell(self) -> None:
        types, offsets = self.request.include_types, self.request.include_offsets
        for change in self._window.show():
            if offsets:
                self.notices.append(offset_notice(*change, types))
            elif change.old is None or change.new is None or not same(change.old, change.new):
                self.notices.append(change_notice(change.old, change.new, types))

    def take_changes(self, count: int, max_bytes: int) -> list[bytes]:
        self._tell()
        return self.take_notices(count, max_bytes)

    def has_changes(self) -> bool:
        return self._window.changed and self._is_consistent()

    def nearly_full(self) -> bool:
        return False

    def attach(self) -> None:
        self.follower.router.add_row_listener(self)

    def detach(self) -> None:
        self.follower.router.remove_row_listener(self)
