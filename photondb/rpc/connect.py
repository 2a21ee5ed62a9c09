"""One connection to a service, which is made anew whenever it is lost."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from asyncio import FIRST_COMPLETED
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import capnp
from capnp import KjException

from photondb.address import Address
from photondb.api.context import CallContext
from photondb.rpc.backoff import Backoff
from photondb.rpc.deadline import within
from photondb.rpc.endpoints import Endpoints
from photondb.rpc.errors import ConnectionLost, ServiceUnavailable
from photondb.rpc.limits import MESSAGE_WORDS, NESTING_LEVELS
from photondb.rpc.remote import Method, Remote
from photondb.rpc.stream import ClientStream, open_stream

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConnectOptions:
    """How to reach a service.

    `tls` is the context to connect with (TCP only), `tls_name` the name that the certificate must have, by default the
    address's host. `reconnect_wait_ms` is how long a call without a deadline waits for a lost connection to come back.
    A connection whose peer does not answer a ping, and neither sends nor takes anything else, for `ping_timeout_ms`
    counts as lost.
    """

    tls: ssl.SSLContext | None = None
    tls_name: str | None = None
    connect_timeout_ms: int = 3_000
    reconnect_wait_ms: int = 10_000
    backoff_first_ms: int = 20
    backoff_longest_ms: int = 2_000
    ping_every_ms: int = 5_000
    ping_timeout_ms: int = 10_000


DEFAULT_OPTIONS = ConnectOptions()

_LOOKS = 4
"""How often a silent peer is looked at before it counts as lost: once would not do, because it may be this process that
did not get round to reading."""


class Connection:
    """A connection that stands: the service's bootstrap capability, and the stream below it."""

    def __init__(self, stream: ClientStream, service: str, interface: Any) -> None:
        self._stream = stream
        self._client = capnp.TwoPartyClient(
            stream.stream, traversal_limit_in_words=MESSAGE_WORDS, nesting_limit=NESTING_LEVELS
        )
        self._bootstrap = self._client.bootstrap().cast_as(interface)
        self._lost = asyncio.ensure_future(self._client.on_disconnect())
        self._closed = False
        self.service = Remote(self._bootstrap, service)
        self.version = 0
        """The version of the interfaces that the other end has, once it has answered a ping: see `versions`."""

    @property
    def lost(self) -> bool:
        """Whether it is known to be lost."""
        return self._closed or self._stream.lost

    async def call(self, method: Method, context: CallContext, /, **parameters: Any) -> Any:
        """Call a method of the service, as `Remote.call` says; what turns out to be lost is closed."""
        try:
            return await self.service.call(method, context, **parameters)
        except ConnectionLost:
            self.close()
            raise

    async def ping(self) -> str:
        """The name of the service at the other end. Raises KjException."""
        answer = await self._bootstrap.ping()
        self.version = answer.version
        name: str = answer.service
        return name

    async def wait_lost(self, ping_every_ms: int, ping_timeout_ms: int) -> None:
        """Return when the connection is lost, or the peer hangs."""
        while True:
            await asyncio.wait([self._lost], timeout=ping_every_ms / 1000)
            if self._lost.done() or self.lost or not await self._answers(ping_timeout_ms):
                return

    async def _answers(self, timeout_ms: int) -> bool:
        """Whether the peer answers a ping. The answer may be behind a lot of others, as the ping may be behind long
        calls, so only a peer that neither sends nor takes anything for `timeout_ms` counts as one that does not."""
        ping = asyncio.create_task(self.ping())
        silent = 0
        try:
            while silent < _LOOKS:
                before = self._stream.mark()
                timeout_s = timeout_ms / 1000 / _LOOKS
                await asyncio.wait([ping, self._lost], timeout=timeout_s, return_when=FIRST_COMPLETED)
                if ping.done():
                    return ping.exception() is None
                if self._lost.done() or self.lost:
                    return False
                silent = silent + 1 if self._stream.mark() == before else 0
            return False
        finally:
            ping.cancel()

    def close(self) -> None:
        """Close the socket: calls in flight fail at once."""
        self._closed = True
        self._stream.close()


async def open_connection(address: Address, service: str, interface: Any, options: ConnectOptions) -> Connection:
    """Connect, and make sure that the service answers.

    Raises OSError (ssl.SSLError included), TimeoutError, KjException, or ServiceUnavailable when another service
    answers.
    """
    async with asyncio.timeout(options.connect_timeout_ms / 1000):
        stream = await open_stream(address, options.tls, options.tls_name)
    connection = Connection(stream, service, interface)
    try:
        async with asyncio.timeout(options.connect_timeout_ms / 1000):
            found = await connection.ping()
        if found != service:
            raise ServiceUnavailable(f"{address} is the {found} service, not the {service} service.")
    except BaseException:
        connection.close()
        raise
    return connection


class PeerCounters:
    """How many connections to a service were made, how many of them anew, and how many attempts failed."""

    __slots__ = ("connects", "failures", "reconnects")

    def __init__(self) -> None:
        self.connects = 0
        self.reconnects = 0
        self.failures = 0


PEERS: defaultdict[str, PeerCounters] = defaultdict(PeerCounters)
"""What this process has counted, by the name of the service. It outlives the connections."""


class Link:
    """A connection that comes back: from the first use until `close` a task keeps it up."""

    def __init__(self, endpoints: Endpoints, service: str, interface: Any, options: ConnectOptions) -> None:
        self._endpoints = endpoints
        self._service = service
        self._interface = interface
        self._options = options
        self._connection: Connection | None = None
        self._instance: Address | None = None
        self._waiting: set[asyncio.Future[Connection]] = set()
        self._problem = "not connected yet"
        self._lost_before = False
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._connected_before = False
        self._counters = PEERS[service]

    @property
    def addresses(self) -> str:
        """Where the service may be."""
        return str(self._endpoints)

    @property
    def waiting(self) -> int:
        """How many calls wait for the connection."""
        return len(self._waiting)

    @property
    def problem(self) -> str:
        """Why there is no connection; empty while there is one."""
        return self._problem

    @property
    def instance(self) -> Address | None:
        """The instance of the service to which there is a connection, or one is being made."""
        return self._instance

    @property
    def connection(self) -> Connection | None:
        """The connection, where it stands now."""
        if self._connection is not None and self._connection.lost:
            self._connection = None
        return self._connection

    async def ready(self, remaining_ms: int | None) -> Connection:
        """The connection, as soon as it stands. Waits for `remaining_ms`, or for the options' `reconnect_wait_ms`.

        Raises ServiceUnavailable when it takes longer, or the link is closed.
        """
        if self._closed:
            raise self._closed_error()
        connection = self.connection
        if connection is not None:
            return connection
        if self._task is None:
            self._task = asyncio.create_task(self._keep_up())
        waiting: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            return await within(waiting, self._options.reconnect_wait_ms if remaining_ms is None else remaining_ms)
        except TimeoutError:
            raise ServiceUnavailable(
                f"The {self._service} service at {self._endpoints} cannot be reached: {self._problem}."
            ) from None
        finally:
            self._waiting.discard(waiting)

    async def close(self) -> None:
        """Close the connection for good."""
        self._closed = True
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(self._closed_error())
        task, self._task = self._task, None  # kept, it would hold the connection in a cycle of references
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _closed_error(self) -> ServiceUnavailable:
        return ServiceUnavailable(f"The connection to the {self._service} service was closed.")

    async def _keep_up(self) -> None:
        """Connect, again and again."""
        options = self._options
        backoff = Backoff(options.backoff_first_ms, options.backoff_longest_ms)
        while True:
            try:
                await self._connect_once(backoff)
            except Exception as error:  # whatever it is, the next try may do better
                self._counters.failures += 1
                self._report(_reason(error))
            await asyncio.sleep(backoff.next_delay_ms() / 1000)

    async def _connect_once(self, backoff: Backoff) -> None:
        """Connect to an instance of the service, and offer the connection until it is lost.

        Raises what `open_connection` raises.
        """
        self._instance = instance = await self._endpoints.take()
        failed = True
        try:
            connection = await open_connection(instance, self._service, self._interface, self._options)
            connected_at = time.monotonic()
            self._counters.connects += 1
            self._counters.reconnects += self._connected_before
            self._connected_before = True
            self._problem = ""
            await self._use(connection)
            self._report("the connection was lost")
            # A service that dies as soon as it is connected to must not be tried without a pause.
            if (time.monotonic() - connected_at) * 1000 > self._options.backoff_longest_ms:
                backoff.reset()
        except asyncio.CancelledError:
            failed = False
            raise
        finally:
            self._instance = None
            self._endpoints.give_back(instance, failed=failed)

    async def _use(self, connection: Connection) -> None:
        """Offer the connection to callers until it is lost."""
        self._connection = connection
        level = logging.INFO if self._lost_before else logging.DEBUG  # the first time is as it should be
        _log.log(level, "connected to a service", extra={"peer": self._service, "address": str(self._instance)})
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(connection)
        try:
            await connection.wait_lost(self._options.ping_every_ms, self._options.ping_timeout_ms)
        finally:
            self._connection = None
            connection.close()

    def _report(self, problem: str) -> None:
        """Log what is wrong, once until it changes."""
        self._lost_before = True
        if problem != self._problem:
            self._problem = problem
            _log.warning(
                "no connection to a service",
                extra={"peer": self._service, "address": str(self._endpoints), "reason": problem},
            )


def _reason(error: Exception) -> str:
    """What an error of connecting means, in a few words."""
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, KjException):
        return "the connection was lost" if error.type == "DISCONNECTED" else "it does not speak Cap'n Proto"
    return str(error) or type(error).__name__
