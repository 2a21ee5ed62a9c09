"""Feeds on aggregates: `count`, `sum` and `avg` of a selection, also by group."""

from __future__ import annotations

import asyncio

from photondb.api.changefeed import FeedRequest
from photondb.datum.errors import DatumError
from photondb.datum.json import loads_stored
from photondb.reql.aggregates import aggregate_from_wire
from photondb.reql.errors import ReqlError, logic_error
from photondb.reql.feed_notices import aggregate_notice
from services.changefeed.documents import Row
from services.changefeed.follower import TableFollower
from services.changefeed.notices import Change
from services.changefeed.range_feed import RangeFeed
from services.changefeed.selection import Selection
from services.changefeed.totals import Totals


class AggregateFeed(RangeFeed):
    """Tells of what an aggregate of the selection's rows has become.

    A reader that is slow gets the newest value, and does not hear of those in between: they cannot pile up.
    """

    def __init__(self, follower: TableFollower, request: FeedRequest, selection: Selection) -> None:
        super().__init__(follower, request, selection)
        assert request.aggregate is not None
        # Compiled anew: the query that it comes from may go on using its own.
        self._totals = Totals(aggregate_from_wire(request.aggregate.to_wire()))
        self._failed = False

    async def show_beginning(self) -> bool:
        last = await self.read_rows()
        if last:
            changes = self._totals.show()
            if self.request.include_initial:
                types = self.request.include_types
                self.notices.extend(aggregate_notice(change.group, None, change.new, types, True) for change in changes)
        return last

    def show_initial(self, value: bytes | None) -> None:
        if value is not None:
            self._count([Change(b"", 0, None, value)])

    def take(self, row: Row) -> None:
        self._count(self.selection.changes(row))

    def push(self, row: Row, changes: list[Change]) -> None:
        if row.sequence <= self.positions[row.shard] or self._failed:
            return
        try:
            self._count(changes)
        except ReqlError as error:
            self._failed = True
            asyncio.get_running_loop().call_soon(self.fail, error)  # not now: the router is going through its feeds
        self.caused_by(row)
        self.wake()

    def _count(self, changes: list[Change]) -> None:
        try:
            for change in changes:
                if change.old is not None:
                    self._totals.remove(loads_stored(change.old))
                if change.new is not None:
                    self._totals.add(loads_stored(change.new))
        except DatumError as error:
            raise logic_error(str(error)) from None

    def take_changes(self, count: int, max_bytes: int) -> list[bytes]:
        types = self.request.include_types
        return [
            aggregate_notice(change.group, change.old, change.new, types, False) for change in self._totals.show(count)
        ]

    def has_changes(self) -> bool:
        return not self.behind and self._totals.changed

    def nearly_full(self) -> bool:
        return False
