"""The changefeed service: what is followed, and the feeds that live on it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

import photondb.reql.terms  # noqa: F401  # registers the terms, which indexes and steps are made of
from photondb.api.catalogue import Catalogue, TableInfo
from photondb.api.changefeed import ChangefeedApi, FeedRequest
from photondb.api.context import INTERNAL, CallContext
from photondb.api.feed_records import SINKS_TABLE
from photondb.api.storage import CATALOGUE_SUBJECT, KeyRange, StorageApi, TableGone
from photondb.bus import Bus, BusMessage, Subscription
from photondb.datum.keys import after_prefix
from photondb.reql.errors import ReqlError, op_failed, resource_limit
from photondb.reql.names import SYSTEM_DATABASE
from photondb.reql.steps import Step
from photondb.telemetry import catalogue
from photondb.telemetry.debug import Report
from photondb.telemetry.requests import RequestMetrics, measured
from photondb.telemetry.scrape import Scrape
from services.changefeed.aggregate_feed import AggregateFeed
from services.changefeed.feed import FeedHandle, OpenFeed
from services.changefeed.follower import TableFollower, aborted
from services.changefeed.groups import FeedGroups
from services.changefeed.limit_feed import LimitFeed
from services.changefeed.metrics import FeedMetrics
from services.changefeed.range_feed import PointFeed, RangeFeed
from services.changefeed.selection import Selection, identity_of
from services.changefeed.sinks import Sinks

log = logging.getLogger(__name__)

CHECK_INTERVAL_S = 2.0
"""How often storage is asked whether commits were missed. It finds what a bus loses without any trace."""


STOP_TIMEOUT_S = 1.0
"""How long stopping waits for what is under way."""

MAX_FEEDS = 100_000
"""Feeds that may be open."""

_KINDS: dict[type, str] = {PointFeed: "point", RangeFeed: "range", LimitFeed: "limit", AggregateFeed: "aggregate"}


class Changefeed(ChangefeedApi):
    """The changefeed service. It follows a table while there are feeds on it."""

    def __init__(self, storage: StorageApi, bus: Bus, *, check_interval_s: float = CHECK_INTERVAL_S) -> None:
        self.requests = RequestMetrics("changefeed")
        self._metrics = FeedMetrics()
        self._storage = storage
        self._bus = bus
        self._check_interval_s = check_interval_s
        self._tables: dict[int, TableInfo] = {}
        """By id, also by the ids that tables had before they were divided anew."""
        self._version = -1
        self._followers: dict[int, TableFollower] = {}
        self._feeds = 0
        self._groups = FeedGroups(storage)
        self._sinks = Sinks(storage, self._following, self._metrics)
        self._sinking: asyncio.Task[None]
        self._loop: asyncio.AbstractEventLoop
        self._subscription: Subscription
        self._checking: asyncio.Task[None]
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def start(self) -> None:
        """Learn the catalogue and follow its changes."""
        self._loop = asyncio.get_running_loop()
        self._subscription = await self._bus.subscribe(CATALOGUE_SUBJECT, self._catalogue_changed)
        self._bus.on_gap(self._check)
        await self._refresh_catalogue()
        self._checking = self._loop.create_task(self._check_for_ever())
        self._sinking = self._loop.create_task(self._sinks.run())
        self._in_background(self._groups.forget_dropped(self._storage))

    async def stop(self) -> None:
        """End all feeds."""
        self._stopped = True
        await self._subscription.close()
        self._checking.cancel()
        self._sinking.cancel()
        await asyncio.wait([self._sinking])
        followers, self._followers = self._followers, {}
        for follower in followers.values():
            await follower.stop()
        await self._groups.stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT_S)
            for task in late:
                task.cancel()

    def collect(self, scrape: Scrape) -> None:
        """Write what is counted into a reading."""
        self.requests.collect(scrape)
        self._metrics.collect(scrape)
        followers = list(self._followers.values())
        feeds = [feed for follower in followers for feed in follower.feeds if isinstance(feed, OpenFeed)]
        kinds = Counter(_KINDS[type(feed)] for feed in feeds)
        groups = list(self._groups)
        kinds["group"] = sum(group.consumers for group in groups)
        for kind in (*_KINDS.values(), "group"):
            scrape.add(catalogue.FEEDS_OPEN, kinds[kind], kind)
        scrape.add(catalogue.FEED_TABLES, len(followers))
        scrape.add(catalogue.FEED_BACKLOG, sum(follower.backlog for follower in followers))
        scrape.add(catalogue.FEED_MISSING, sum(follower.missing for follower in followers))
        scrape.add(catalogue.FEED_QUEUED, sum(feed.waiting for feed in feeds))
        scrape.add(catalogue.FEED_GROUPS, len(groups))
        scrape.add(catalogue.SINKS, len(self._sinks))

    def reports(self) -> dict[str, Report]:
        """What can be said about what is followed."""
        return {"feeds": self._report}

    def _report(self) -> list[dict[str, Any]]:
        return [
            {
                "table": f"{follower.info.database}.{follower.info.name}",
                "feeds": dict(Counter(_KINDS.get(type(feed), "group or sink") for feed in follower.feeds)),
                "backlog_records": follower.backlog,
                "missing_records": follower.missing,
                "delivered": follower.delivered(),
            }
            for follower in self._followers.values()
        ]

    @measured
    async def open(self, context: CallContext, request: FeedRequest) -> FeedHandle:
        if self._feeds >= MAX_FEEDS:
            raise resource_limit(f"Too many open changefeeds (the limit is {MAX_FEEDS}). Close some.")
        follower = await self._follower(request.table)
        self._enter(follower)
        feed: OpenFeed | None = None
        try:
            await follower.started()
            if request.group is not None:
                consumer = await self._groups.join(follower, request, self._selection_of(follower, request))
                consumer.spans = context.spans
                return FeedHandle(consumer, lambda: self._leave(follower), self._metrics)
            feed = self._feed(follower, request)
            feed.spans = context.spans
            await feed.begin()
        except BaseException:
            if feed is not None:
                feed.close()
            self._leave(follower)
            raise
        return FeedHandle(feed, lambda: self._leave(follower), self._metrics)

    def _feed(self, follower: TableFollower, request: FeedRequest) -> OpenFeed:
        selection = self._selection_of(follower, request)
        if request.aggregate is not None:
            return AggregateFeed(follower, request, selection)
        if request.key is not None:
            return PointFeed(follower, request, selection)
        return (RangeFeed if request.limit is None else LimitFeed)(follower, request, selection)

    def _selection_of(self, follower: TableFollower, request: FeedRequest) -> Selection:
        if request.key is not None:
            point = KeyRange(request.key, after_prefix(request.key))
            return self._selection(follower, None, (point,), ())
        return self._selection(follower, request.index, request.ranges, request.steps)

    def _selection(
        self, follower: TableFollower, index_id: int | None, ranges: Sequence[KeyRange], steps: Sequence[Step]
    ) -> Selection:
        """The selection of a feed: one that other feeds have already, where there is one."""
        found = follower.router.selection(identity_of(index_id, ranges, steps))
        if found is not None:
            return found
        index = None
        if index_id is not None:
            index = follower.index(index_id)
            if index is None:
                raise op_failed("Changefeed aborted: its index was dropped.")
        return Selection(index, ranges, steps)

    # --- followers

    async def _follower(self, table: int) -> TableFollower:
        """The follower of the table. Raises TableGone."""
        if table not in self._tables:
            await self._refresh_catalogue()
        info = self._tables.get(table)
        if info is None or self._stopped:
            raise TableGone
        follower = self._followers.get(info.id)
        if follower is None:
            follower = self._followers[info.id] = TableFollower(
                self._storage, self._bus, info, self._forget, self._metrics
            )
            follower.start()
        return follower

    @contextlib.asynccontextmanager
    async def _following(self, table_uuid: str) -> AsyncIterator[TableFollower]:
        """Follow the table with that uuid. Raises TableGone, ReqlError."""
        found = [info.id for info in self._tables.values() if info.uuid == table_uuid]
        if not found:
            await self._refresh_catalogue()
            found = [info.id for info in self._tables.values() if info.uuid == table_uuid]
        if not found:
            raise TableGone
        follower = await self._follower(found[0])
        self._enter(follower)
        try:
            await follower.started()
            yield follower
        finally:
            self._leave(follower)

    def _enter(self, follower: TableFollower) -> None:
        self._feeds += 1
        follower.users += 1

    def _leave(self, follower: TableFollower) -> None:
        """A user of the follower has gone. The last one shuts the door."""
        self._feeds -= 1
        follower.users -= 1
        if follower.users == 0:
            self._forget(follower)

    def _forget(self, follower: TableFollower) -> None:
        """Follow a table no longer: nobody wants it, or it failed."""
        if self._followers.get(follower.info.id) is follower:
            del self._followers[follower.info.id]
            self._in_background(follower.stop())

    async def _check_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._check_interval_s)
            self._check_positions()

    def _check_positions(self) -> None:
        """Ask storage whether commits were missed."""
        for follower in list(self._followers.values()):
            follower.check()

    def _check(self) -> None:
        """Ask storage for all that may have been missed."""
        self._check_positions()
        self._in_background(self._refresh_catalogue())

    # --- the catalogue

    def _catalogue_changed(self, message: BusMessage) -> None:
        if int(message.payload) > self._version:
            self._in_background(self._refresh_catalogue())

    async def _refresh_catalogue(self) -> None:
        self._learn(await self._storage.catalogue(INTERNAL))

    def _learn(self, catalogue: Catalogue) -> None:
        if catalogue.version <= self._version:
            return
        self._version = catalogue.version
        self._tables = {info.id: info for info in catalogue.tables.values()}
        for info in catalogue.tables.values():
            self._tables.update((ended.table, info) for ended in info.ended)
        self._sinks.there_may_be_some = (SYSTEM_DATABASE, SINKS_TABLE) in catalogue.tables
        for table, follower in list(self._followers.items()):
            found = self._tables.get(table)
            if found is None:
                follower.fail(aborted())
            elif found.id != table:
                self._followers[found.id] = self._followers.pop(table)
                follower.divided(found)
            elif found is not follower.info:
                follower.update(found)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        if self._stopped or self._loop.is_closed():
            work.close()
            return
        task = self._loop.create_task(self._logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _logged(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except ReqlError as error:
            log.warning("background work failed", extra={"reason": error.message})
