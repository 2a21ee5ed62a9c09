"""The query services that a gateway has, and which of them a client's queries go to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from photondb.address import Address
from photondb.api.context import CallContext
from photondb.api.query import UNKNOWN_ENTRANCE, AnswerSink, Entrance, QueryApi, QueryChannel
from photondb.telemetry import catalogue
from photondb.telemetry.scrape import Scrape
from services.gateway.busy_polling import BusyPolling
from services.gateway.dispatcher import Dispatcher
from services.gateway.limits import Limits
from services.gateway.metrics import GatewayMetrics

if TYPE_CHECKING:
    from services.gateway.session import Session

logger = logging.getLogger(__name__)

LOOK_INTERVAL_MS = 2_000
"""How often new instances of `query` are looked for."""


class QueryConnection(QueryApi, Protocol):
    """A connection to the query service, which goes to one of its instances at a time."""

    @property
    def instance(self) -> Address | None:
        """The instance; None while there is no connection."""
        ...

    async def close(self) -> None: ...


class QueryInstances(Protocol):
    """The instances of the query service, wherever they are."""

    async def instances(self) -> Sequence[Address]:
        """Those that there are now. Raises OSError when that cannot be found out."""
        ...

    def connect(self) -> QueryConnection:
        """One more connection, which goes to the instance that has the fewest, and moves to another when that is
        lost."""
        ...


class QueryHere(QueryInstances):
    """The query service as an object in this process: its one instance."""

    _ADDRESS = Address()

    def __init__(self, query: QueryApi) -> None:
        self._query = query

    @property
    def instance(self) -> Address:
        """Where it is, which says nothing here."""
        return self._ADDRESS

    async def instances(self) -> Sequence[Address]:
        """The one."""
        return [self._ADDRESS]

    def connect(self) -> QueryConnection:
        """The object itself, as a connection."""
        return self

    async def open(self, context: CallContext, sink: AnswerSink, entrance: Entrance = UNKNOWN_ENTRANCE) -> QueryChannel:
        """Open a channel to it."""
        return await self._query.open(context, sink, entrance)

    async def close(self) -> None:
        """Leave the object alone: it is its owner's."""


@dataclass(frozen=True)
class _Member:
    dispatcher: Dispatcher
    connection: QueryConnection


class DispatcherPool:
    """A dispatcher for each instance of `query`.

    A client stays with its dispatcher, and a dispatcher that loses its instance goes on with another one. When an
    instance has come (back) to which no dispatcher has a connection, there is a new dispatcher for it, which takes the
    next clients. Of several dispatchers with the same instance only the first takes new clients, and the others end
    with their last one.
    """

    def __init__(self, query: QueryInstances, limits: Limits, polling: BusyPolling) -> None:
        self._query = query
        self._limits = limits
        self._polling = polling
        self.metrics = GatewayMetrics()
        self._members = [self._new_member()]
        self._entrance: Entrance
        self._looking: asyncio.Task[None]

    async def start(self, entrance: Entrance) -> None:
        """Begin to open the channels, which are told where clients come in. Queries may come before one is open."""
        self._entrance = entrance
        self._polling.start()
        await self._members[0].dispatcher.start(entrance)
        await self._look()
        self._looking = asyncio.get_running_loop().create_task(self._keep_looking())

    def choose(self) -> Dispatcher:
        """The dispatcher for a new client: among those that can reach `query`, the one with the fewest clients."""
        surplus = self._surplus()
        candidates = [member.dispatcher for member in self._members if member not in surplus]
        return min(candidates, key=lambda dispatcher: (not dispatcher.is_open, dispatcher.sessions))

    @property
    def clients(self) -> list[Session]:
        """The clients of all dispatchers, those with the most queries first."""
        clients = [client for member in self._members for client in member.dispatcher.clients]
        return sorted(clients, key=lambda client: -client.owed)

    def collect(self, scrape: Scrape) -> None:
        """Write what is counted into a reading."""
        self.metrics.requests.in_flight = sum(client.owed for client in self.clients)
        self.metrics.collect(scrape)
        self._polling.collect(scrape)
        scrape.add(catalogue.GATEWAY_QUEUED, sum(member.dispatcher.queued for member in self._members))

    async def check(self) -> None:
        """Raise an exception if no instance of `query` answers."""
        checks = [member.dispatcher.check() for member in self._members]
        results = await asyncio.gather(*checks, return_exceptions=True)
        if None not in results:
            assert isinstance(results[0], BaseException)
            raise results[0]

    async def drain(self, timeout_ms: int) -> None:
        """Return when no client waits for an answer any more, or after `timeout_ms`."""
        await asyncio.gather(*(member.dispatcher.drain(timeout_ms) for member in self._members))

    async def stop(self) -> None:
        """End the channels, and with them all sessions."""
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)
        await asyncio.gather(*(self._end(member) for member in self._members))

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_INTERVAL_MS / 1000)
            await self._look()

    async def _look(self) -> None:
        """Have a dispatcher for each instance, and none that is not needed."""
        try:
            instances = await self._query.instances()
        except OSError as error:
            logger.debug("the query services cannot be looked up", extra={"reason": str(error)})
            return
        reached = [member.connection.instance for member in self._members]
        # Those that have no connection now will go where there is none.
        for _ in range(len(set(instances).difference(reached)) - reached.count(None)):
            member = self._new_member()
            self._members.append(member)
            await member.dispatcher.start(self._entrance)
        for member in self._surplus():
            if member.dispatcher.sessions == 0:
                self._members.remove(member)
                await self._end(member)

    def _surplus(self) -> list[_Member]:
        """The dispatchers whose instance is that of another one before them."""
        seen: set[Address] = set()
        surplus = []
        for member in self._members:
            instance = member.connection.instance
            if instance is not None:
                if instance in seen:
                    surplus.append(member)
                seen.add(instance)
        return surplus

    def _new_member(self) -> _Member:
        connection = self._query.connect()
        return _Member(Dispatcher(connection, self._limits, self.metrics, self._polling), connection)

    async def _end(self, member: _Member) -> None:
        await member.dispatcher.stop()
        await member.connection.close()
