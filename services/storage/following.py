"""How a node other than home keeps up with home: it joins the suite, adopts the catalogue, and tells what it has built.

Nothing that is announced is relied on: home is asked for its version every few seconds, too. So a node that has missed
an announcement, or was not there, catches up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

import msgspec

from photondb.api.catalogue import Catalogue, IndexBuilt, JoinNode, ResumeCopy
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import CATALOGUE_SUBJECT, StorageApi
from photondb.bus import Bus, Subscription
from photondb.config import StartupError
from photondb.reql.errors import ReqlError
from photondb.rpc.errors import DeadlineExceeded, Overloaded, ServiceUnavailable
from services.storage.adoption import check_home, to_report
from services.storage.live_catalogue import LiveCatalogue
from services.storage.rocks import StoreError

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 5.0
RETRY_S = 0.2
"""How long to wait before home is asked again when it did not answer."""

ASK_EVERY_S = 5.0
"""How often home is asked whether there is something new that was announced and not heard."""


class HomeFollower:
    """Follows `home` on behalf of the node whose catalogue is `live`."""

    def __init__(self, home: StorageApi, live: LiveCatalogue, bus: Bus) -> None:
        self._home = home
        self._live = live
        self._bus = bus
        self._news = asyncio.Event()
        self._problem = ""
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None
        live.built = self._news.set

    async def start(self) -> None:
        """Wait for home, join, and adopt its catalogue. Raises StartupError where the data does not belong there."""
        self._bus.on_gap(self._news.set)
        self._subscription = await self._bus.subscribe(CATALOGUE_SUBJECT, lambda _: self._news.set())
        while True:
            try:
                await self._join()
                break
            except (ServiceUnavailable, DeadlineExceeded, Overloaded) as error:
                self._complain("waiting for storage node 0", error)
                await asyncio.sleep(RETRY_S)
            except ReqlError as error:
                raise StartupError(error.message) from None
        self._problem = ""
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop following."""
        if self._subscription is not None:
            await self._subscription.close()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _join(self) -> None:
        catalogue = await self._home.catalogue(_context())
        counters = self._live.state.counters
        problem = check_home(self._live.state, catalogue)
        if problem is not None:
            raise problem
        if catalogue.nodes[counters.node : counters.node + 1] != (counters.node_id,):
            catalogue = await self._home.change_catalogue(_context(), JoinNode(counters.node, counters.node_id))
        for copy in catalogue.copies:
            table = next(info for info in catalogue.tables.values() if info.id == copy.copy_of)
            if counters.node in (*copy.nodes, *table.nodes):  # what it had not on the disk is gone
                catalogue = await self._home.change_catalogue(_context(), ResumeCopy(copy.id))
        await self._catch_up(catalogue)

    async def settle(self, table: int) -> None:
        """Find out from home what has become of a table that was paused and left alone: where it was not finished, the
        attempt at its copy is over. Raises ReqlError, StoreError."""
        catalogue = await self._home.catalogue(_context())
        for copy in catalogue.copies:
            if table in (copy.id, copy.copy_of):
                catalogue = await self._home.change_catalogue(_context(), ResumeCopy(copy.id))
        await self._live.adopt(catalogue)

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_EVERY_S):
                    await self._news.wait()
            self._news.clear()
            try:
                await self._ask_home()
                self._problem = ""
            except (ReqlError, StoreError) as error:
                self._live.unreported = True
                self._complain("this node does not follow storage node 0", error)
                await asyncio.sleep(RETRY_S)
                self._news.set()

    async def _ask_home(self) -> None:
        before = self._live.state.counters.version
        version = (await self._home.positions(_context(), ())).catalogue
        if version == before and not self._live.unreported:
            return
        catalogue = await self._home.catalogue(_context())
        if before <= catalogue.version < self._live.state.counters.version:
            self._news.set()  # a newer one came by another way meanwhile
        else:
            await self._catch_up(catalogue)

    async def _catch_up(self, catalogue: Catalogue) -> None:
        """Adopt a catalogue, and tell home which indexes are built here that it waits for."""
        self._live.unreported = False
        await self._live.adopt(catalogue)
        built = to_report(self._live.state, catalogue)
        if built:
            await self._live.sync()  # home must not count on what this node may forget
        for table, index in built:
            await self._home.change_catalogue(_context(), IndexBuilt(table, index, self._live.state.counters.node))

    def _complain(self, what: str, error: Exception) -> None:
        reason = error.message if isinstance(error, ReqlError) else str(error)
        if reason != self._problem:
            self._problem = reason
            log.warning(what, extra={"reason": reason})


def _context() -> CallContext:
    return msgspec.structs.replace(INTERNAL, deadline=time.monotonic() + CALL_TIMEOUT_S)
