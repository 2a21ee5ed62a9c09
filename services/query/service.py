"""The query service: what all channels share."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
import weakref
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec

from photondb.api.auth import AuthApi
from photondb.api.catalogue import Catalogue, CatalogueChange
from photondb.api.changefeed import ChangefeedApi
from photondb.api.context import INTERNAL, CallContext
from photondb.api.query import UNKNOWN_ENTRANCE, AnswerSink, Entrance
from photondb.api.storage import CATALOGUE_SUBJECT, StorageApi
from photondb.bus import Bus, BusMessage, Subscription
from photondb.reql import system_feeds
from photondb.reql.errors import ReqlError
from photondb.reql.memory import MemoryBudget, MemoryUse
from photondb.reql.profile import Profile
from photondb.reql.runtime import Runtime
from photondb.reql.spilling.space import SpillSpace
from photondb.reql.surroundings import Closable
from photondb.reql.suspend import wait
from photondb.sharding.router import Router
from photondb.telemetry.debug import Report
from photondb.telemetry.scrape import Scrape
from services.query.access import Access
from services.query.channel import Channel
from services.query.jobs import Job
from services.query.limits import QueryLimits
from services.query.metrics import QueryMetrics
from services.query.options import NO_OPTIONS, RunOptions
from services.query.peers import PeerQuery, Peers
from services.query.plans import PlanCache
from services.query.point_writes import PointWrites
from services.query.results import ResultCache
from services.query.slow_queries import SlowQueries
from services.query.statistics import StatisticsCache

logger = logging.getLogger(__name__)

LONGEST_LOOK_SECONDS = 0.5
"""How late a query may be ended whose time is up, at most."""

STOP_WAIT_SECONDS = 0.3
"""How long `stop` waits for cursors and feeds to be closed."""


class Query:
    """The query service (QueryApi)."""

    def __init__(
        self,
        storage: StorageApi,
        bus: Bus,
        auth: AuthApi | None = None,
        changefeed: ChangefeedApi | None = None,
        limits: QueryLimits | None = None,
        default_shards: int = 1,
    ) -> None:
        self.limits = limits or QueryLimits()
        self.default_shards = default_shards
        self._watch: asyncio.Task[None] | None = None
        self.storage = storage
        self.router = storage if isinstance(storage, Router) else None
        """What knows where documents are, when there are several storage nodes."""
        self.auth = auth
        self.changefeed = changefeed
        self.bus = bus
        self.access = Access(auth)
        self.plans = PlanCache()
        self.slow_queries = SlowQueries(self)
        self.results = ResultCache(self.limits.result_cache_bytes)
        self.memory = MemoryBudget(self.limits.total_memory_bytes, self.limits.part_bytes)
        self.spills = SpillSpace(self.limits.spill_dir, self.limits.spill_bytes)
        self.statistics = StatisticsCache(storage, self._in_background)
        self.metrics = QueryMetrics()
        self.channels: weakref.WeakSet[Channel] = weakref.WeakSet()
        self._point_writes: dict[tuple[int | None, bool], PointWrites] = {}
        self.server_id = ""
        self.server_name = socket.gethostname()
        self.catalogue = Catalogue(version=-1, databases={}, tables={})
        self._subscription: Subscription | None = None
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._peers = Peers(bus, self.own_queries, self._know_catalogue, self._in_background)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop
        self._stopped = False
        self._now: dict[str, Any] = {}
        self._now_ms = -1

    async def start(self) -> None:
        """Learn the catalogue and follow its changes."""
        self._loop = asyncio.get_running_loop()
        self._subscription = await self.bus.subscribe(CATALOGUE_SUBJECT, self._catalogue_changed)
        self.bus.on_gap(lambda: self._in_background(self.refresh_catalogue()))
        await self.refresh_catalogue()
        await self._peers.start()
        self._watch = asyncio.create_task(self._end_overdue(self.limits.time_s))

    async def stop(self) -> None:
        """End all channels."""
        if self._watch is not None:
            self._watch.cancel()
        if self._subscription is not None:
            await self._subscription.close()
            await self._peers.stop()
        for channel in list(self.channels):
            await channel.close()
        if self._tasks:  # what is being closed may get there
            await asyncio.wait(self._tasks, timeout=STOP_WAIT_SECONDS)
        self._stopped = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def open(self, context: CallContext, sink: AnswerSink, entrance: Entrance = UNKNOWN_ENTRANCE) -> Channel:
        """Open a gateway's channel."""
        channel = Channel(self, sink, entrance)
        self.channels.add(channel)
        return channel

    def collect(self, scrape: Scrape) -> None:
        """Write what is counted into a reading."""
        self.metrics.collect(self, scrape)

    def reports(self) -> dict[str, Report]:
        """What can be said about queries."""
        return {"queries": lambda: [job.report() for job in self.own_queries()]}

    # --- what queries run with

    def runtime(self, context: CallContext, options: RunOptions = NO_OPTIONS) -> Runtime:
        """The runtime of one query."""
        if options.transaction or options.atomic:
            context = msgspec.structs.replace(context, transaction=options.transaction, atomic=options.atomic)
        if options.as_of_us is not None:
            context = msgspec.structs.replace(context, as_of_us=options.as_of_us)
        if not options.optimizations:
            context = msgspec.structs.replace(context, optimizations=False)
        permit = self.access.permit(context.user, self.catalogue)
        memory = MemoryUse(self.limits.memory_bytes, self.memory)
        runtime = Runtime(self, context, options.language, permit, memory)
        runtime.streams = options.stream
        if options.profile:
            runtime.profile = Profile()
        return runtime

    def point_writes(self, goal: tuple[int | None, bool]) -> PointWrites:
        """The writes that go to a storage node (None: where each belongs, of several nodes), and are hard or soft."""
        found = self._point_writes.get(goal)
        if found is None:
            router, node = self.router, goal[0]
            write = self.storage.write if router is None or node is None else partial(router.write_to, node)
            found = self._point_writes[goal] = PointWrites(write, self.keep, self.metrics.batch_writes)
        return found

    async def queries(self) -> list[Job | PeerQuery]:
        """The queries that are being worked on, or have cursors, here and in other query services."""
        return [*self.own_queries(), *await self._peers.queries()]

    def own_queries(self) -> list[Job]:
        """Those of this service."""
        sessions = [session for channel in self.channels for session in channel.sessions.values()]
        return [job for session in sessions for job in session.jobs.values() if job.ended_by is None]

    async def _end_overdue(self, limit_s: float) -> None:
        """Look now and then for queries whose time is up."""
        while True:
            await asyncio.sleep(min(limit_s / 4, LONGEST_LOOK_SECONDS))
            now = time.monotonic()
            sessions = [session for channel in self.channels for session in channel.sessions.values()]
            for session in sessions:
                for token in list(session.running):
                    job = session.jobs.get(token)
                    if job is not None and job.overdue(now, limit_s):
                        job.time_out(limit_s)
                        self.metrics.timeouts += 1

    def now(self) -> dict[str, Any]:
        """The present time as a datum, to the millisecond."""
        now_ms = int(time.time() * 1000)
        if now_ms != self._now_ms:
            self._now_ms = now_ms
            self._now = {
                "$reql_type$": "TIME",
                "epoch_time": now_ms // 1000 if now_ms % 1000 == 0 else now_ms / 1000,
                "timezone": "+00:00",
            }
        return self._now

    @contextmanager
    def turn(self, transaction: str) -> Iterator[None]:
        """The turn of one query (inside an evaluation) among all that use a transaction: they run one after another."""
        lock = self._turns.get(transaction)
        if lock is None:
            lock = self._turns[transaction] = asyncio.Lock()
        wait(lock.acquire())
        try:
            yield
        finally:
            lock.release()

    async def refresh_catalogue(self) -> Catalogue:
        """Ask storage for the catalogue."""
        return self._learn(await self.storage.catalogue(INTERNAL))

    async def change_catalogue(self, context: CallContext, change: CatalogueChange) -> Catalogue:
        """Carry out a change, know the catalogue after it, and let the other query services know it."""
        catalogue = self._learn(await self.storage.change_catalogue(context, change))
        await self._peers.tell_catalogue(catalogue.version)
        return catalogue

    async def _know_catalogue(self, version: int) -> None:
        if version > self.catalogue.version:
            await self.refresh_catalogue()

    def _learn(self, catalogue: Catalogue) -> Catalogue:
        if catalogue.version >= self.catalogue.version:
            if catalogue.version > self.catalogue.version:
                system_feeds.note_change(self)
            self.catalogue = catalogue
            if catalogue.node_id != self.server_id:
                self.server_id = catalogue.node_id
                self.server_name = f"{socket.gethostname()}_{self.server_id[:3]}"
        return catalogue

    def _catalogue_changed(self, message: BusMessage) -> None:
        if int(message.payload) > self.catalogue.version:
            self._in_background(self.refresh_catalogue())

    # --- background work

    def release(self, opened: Closable) -> None:
        """Close a cursor or a feed some time soon. One that is left when the service has stopped ends with its
        connection: there may be no loop any more to close it on.

        Where an error has kept a stream alive, Python's collector gives back its cursor, in whatever thread it runs.
        """
        if self._stopped:
            return
        if asyncio._get_running_loop() is self._loop:
            self._in_background(opened.close())
        else:
            self._loop.call_soon_threadsafe(self.release, opened)

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Hold on to a task until it is done."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _in_background(self, work: Coroutine[Any, Any, Any]) -> None:
        async def run() -> None:
            try:
                await work
            except ReqlError as error:
                logger.warning("background work failed: %s", error.message)

        self.keep(asyncio.get_running_loop().create_task(run()))
