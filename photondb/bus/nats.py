"""The bus over a NATS server.

The connection is made again whenever it ends, for whatever reason. nats-py can reconnect by itself, but gives up for
good on most errors that the server reports; so its own reconnecting is off, and there is one way back, through
`_keep_connected`. What is published without a connection is dropped and counted: the bus may lose, and says so to its
gap listeners.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from contextlib import suppress

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsClientSubscription

from photondb.bus.interface import BusMessage, Content, GapListener, Handler, Subscription
from photondb.bus.metrics import BusMetrics
from photondb.bus.subjects import check_pattern, check_subject
from photondb.telemetry import catalogue
from photondb.telemetry.scrape import Scrape

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 0.5
FIRST_CONNECT_WAIT_S = 2.0
RECONNECT_WAIT_S = 0.05
MAX_RECONNECT_WAIT_S = 1.0
PING_INTERVAL_S = 1
ROUND_TRIP_TIMEOUT_S = 2
CLOSE_TIMEOUT_S = 0.5
GAP_INTERVAL_S = 0.1
MAX_OUTBOX_BYTES = 64 << 20
MAX_PENDING_MESSAGES = 65_536
MAX_PENDING_BYTES = 64 << 20

# What nats-py raises when a connection cannot be made or is gone. Its time-outs are OSErrors since Python 3.11.
_CONNECTION_ERRORS = (OSError, nats.errors.Error)


class NatsSubscription:
    """One handler and its pattern. It outlives connections: each new one is told of it."""

    def __init__(self, bus: NatsBus, pattern: str, handler: Handler) -> None:
        self._bus = bus
        self.pattern = pattern
        self.handler: Handler | None = handler
        self.registered: tuple[Client, NatsClientSubscription] | None = None

    def is_registered(self, client: Client) -> bool:
        """Whether the server knows of it by this connection."""
        return self.registered is not None and self.registered[0] is client

    async def deliver(self, message: Msg) -> None:
        """Hand a message over, unless the subscription ended meanwhile."""
        if self.handler is None:
            return
        self._bus.metrics.received += 1
        self._bus.metrics.received_bytes += len(message.data)
        try:
            self.handler(BusMessage(message.subject, message.data, message.headers or {}))
        except Exception:
            log.exception("a subscriber failed", extra={"subject": message.subject})

    async def close(self) -> None:
        self.handler = None
        await self._bus.remove(self)


class NatsBus:
    """A `Bus` over a NATS server. Make one with `NatsBus.connect`.

    `dropped` counts the messages that were published here and not sent, `slow_consumer_drops` those that arrived
    faster than their handlers took them.
    """

    message_interval_s = 0.001

    def __init__(self, url: str, name: str = "photondb", *, max_pending_messages: int = MAX_PENDING_MESSAGES) -> None:
        self._servers = [server.strip() for server in url.split(",")]
        self._name = name
        self._max_pending_messages = max_pending_messages
        self._client: Client | None = None
        self._subscriptions: list[NatsSubscription] = []
        self._gap_listeners: list[GapListener] = []
        self._outbox: deque[tuple[str, bytes, Mapping[str, str] | None, int]] = deque()
        self._outbox_bytes = 0
        self._outbox_filled = asyncio.Event()
        self._outbox_empty = asyncio.Event()
        self._outbox_empty.set()
        self._connected = asyncio.Event()
        self._lost = asyncio.Event()
        self._outage_logged = False
        self._tasks: list[asyncio.Task[None]] = []
        self.metrics = BusMetrics()
        self.dropped = 0
        self.slow_consumer_drops = 0

    @classmethod
    async def connect(
        cls, url: str, name: str = "photondb", *, max_pending_messages: int = MAX_PENDING_MESSAGES
    ) -> NatsBus:
        """A bus on the servers of `url` (one, or several with commas), called `name` in their monitoring.

        A server that is not there is no error: the bus comes back as soon as it is, and meanwhile drops what is
        published, because a database must not depend on its bus. It is waited for two seconds, no longer.
        """
        bus = cls(url, name, max_pending_messages=max_pending_messages)
        bus._tasks = [asyncio.create_task(bus._keep_connected()), asyncio.create_task(bus._report_gaps())]
        try:
            async with asyncio.timeout(FIRST_CONNECT_WAIT_S):
                await bus._connected.wait()
        except TimeoutError:
            pass  # it was logged
        except BaseException:
            await bus.close()
            raise
        return bus

    async def publish(self, subject: str, content: bytes | Content, headers: Mapping[str, str] | None = None) -> None:
        self.publish_nowait(subject, content, headers)

    def publish_nowait(self, subject: str, content: bytes | Content, headers: Mapping[str, str] | None = None) -> None:
        check_subject(subject)
        payload = content if isinstance(content, bytes) else content.encode()
        size = len(payload)
        self.metrics.published += 1
        self.metrics.published_bytes += size
        if headers:  # "NATS/1.0", then a line each with a colon and a space; all but payloads are small
            size += 32 + sum(len(name) + len(value) * 4 + 4 for name, value in headers.items())
        client = self._client
        if client is None or size > client.max_payload or self._outbox_bytes + size > MAX_OUTBOX_BYTES:
            self.dropped += 1
            self._lost.set()
            return
        self._outbox.append((subject, payload, headers, size))
        self._outbox_bytes += size
        self._outbox_filled.set()
        self._outbox_empty.clear()

    def has_subscribers(self, subject: str) -> bool:
        return True

    async def subscribe(self, pattern: str, handler: Handler) -> Subscription:
        check_pattern(pattern)
        subscription = NatsSubscription(self, pattern, handler)
        self._subscriptions.append(subscription)
        try:
            client = self._client
            if client is None:
                raise nats.errors.ConnectionClosedError
            await self._register(client, subscription)
            await _round_trip(client)
        except _CONNECTION_ERRORS:
            self._lost.set()  # the next connection registers it; until then it hears nothing
        return subscription

    async def remove(self, subscription: NatsSubscription) -> None:
        """Forget a subscription; one that was forgotten before is no error."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
        registered = subscription.registered
        if registered is not None and registered[0] is self._client:
            with suppress(*_CONNECTION_ERRORS):  # then it ended with its connection
                await registered[1].unsubscribe()

    def on_gap(self, listener: GapListener) -> None:
        self._gap_listeners.append(listener)

    def collect(self, service: str, scrape: Scrape) -> None:
        self.metrics.collect(service, scrape)
        scrape.add(catalogue.BUS_CONNECTED, self._client is not None, service)
        scrape.add(catalogue.BUS_OUTBOX, len(self._outbox), service)
        scrape.add(catalogue.BUS_SUBSCRIPTIONS, len(self._subscriptions), service)
        scrape.add(catalogue.BUS_DROPPED, self.dropped, service, "unsent")
        scrape.add(catalogue.BUS_DROPPED, self.slow_consumer_drops, service, "slow_consumer")

    async def close(self) -> None:
        with suppress(*_CONNECTION_ERRORS):  # what cannot be sent in time is lost
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._outbox_empty.wait()
                if self._client is not None:
                    await _round_trip(self._client)
        for subscription in self._subscriptions:
            subscription.handler = None
        self._subscriptions.clear()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT_S)

    async def _register(self, client: Client, subscription: NatsSubscription) -> None:
        """Tell the server of a subscription."""
        found = await client.subscribe(
            subscription.pattern,
            cb=subscription.deliver,
            pending_msgs_limit=self._max_pending_messages,
            pending_bytes_limit=MAX_PENDING_BYTES,
        )
        subscription.registered = (client, found)

    async def _register_all(self, client: Client) -> None:
        """Tell the server of all subscriptions and wait until it knows them.

        Without the wait a gap could be reported, and another be made by a message that overtakes a subscription.
        """
        while waiting := [found for found in self._subscriptions if not found.is_registered(client)]:
            for subscription in waiting:
                await self._register(client, subscription)
            await _round_trip(client)

    async def _keep_connected(self) -> None:
        """Connect, register the subscriptions, send what is published, and all that again when the connection ends."""
        wait_s = RECONNECT_WAIT_S
        while True:
            ended = asyncio.Event()
            client = Client()
            try:
                await self._open(client, ended)
                await self._register_all(client)
                self._client = client
                self.metrics.connects += 1
                self._connected.set()
                wait_s = RECONNECT_WAIT_S
                if self._outage_logged:
                    log.info("connected to NATS again", extra={"server": _without_secrets(client)})
                    self._outage_logged = False
                await self._send_until(client, ended)
                log.warning("the connection to NATS ended; trying again")
                self._outage_logged = True
            except _CONNECTION_ERRORS as error:
                await self._report_error(error)
            finally:
                self._client = None
                self._connected.clear()
                self.dropped += len(self._outbox)
                self._outbox.clear()
                self._outbox_bytes = 0
                self._outbox_empty.set()
                await client.close()
            self._lost.set()
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, MAX_RECONNECT_WAIT_S)

    async def _open(self, client: Client, ended: asyncio.Event) -> None:
        """Connect; `ended` is set when the connection is gone."""

        async def note_end() -> None:
            ended.set()

        await client.connect(
            self._servers,
            name=self._name,
            error_cb=self._report_error,
            closed_cb=note_end,
            allow_reconnect=False,
            max_reconnect_attempts=-1,
            connect_timeout=CONNECT_TIMEOUT_S,  # type: ignore[arg-type]  # seconds; any number will do
            reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]
            ping_interval=PING_INTERVAL_S,
        )

    async def _send_until(self, client: Client, ended: asyncio.Event) -> None:
        """Send what is published until the connection is gone."""
        sender = asyncio.create_task(self._send(client, ended))
        try:
            await ended.wait()
        finally:
            ended.set()
            self._outbox_filled.set()
            sender.cancel()

    async def _send(self, client: Client, ended: asyncio.Event) -> None:
        # nats-py swallows cancellation in places, hence the look at `ended` before each step.
        while not ended.is_set():
            await self._outbox_filled.wait()
            self._outbox_filled.clear()
            while self._outbox and not ended.is_set():
                subject, payload, headers, size = self._outbox.popleft()
                self._outbox_bytes -= size
                try:
                    await client.publish(subject, payload, headers=dict(headers) if headers else None)
                except _CONNECTION_ERRORS as error:
                    self.dropped += 1
                    self._lost.set()
                    await self._report_error(error)
            self._outbox_empty.set()

    async def _report_gaps(self) -> None:
        """Call the gap listeners once there is a connection, and not more often than the interval says."""
        while True:
            await self._lost.wait()
            await self._connected.wait()
            self._lost.clear()
            self.metrics.gaps += 1
            for listener in self._gap_listeners[:]:
                try:
                    listener()
                except Exception:
                    log.exception("a gap listener failed")
            await asyncio.sleep(GAP_INTERVAL_S)

    async def _report_error(self, error: Exception) -> None:
        """Log an error of the connection: once for each time that the server is away, since every try fails alike."""
        if isinstance(error, nats.errors.SlowConsumerError):
            if not self._lost.is_set():
                log.warning("messages arrive faster than they are handled", extra={"subject": error.subject})
            self.slow_consumer_drops += 1
            self._lost.set()
        elif self._client is not None:
            log.warning("NATS reports an error", extra={"error": str(error) or type(error).__name__})
        elif not self._outage_logged:
            self._outage_logged = True
            log.warning("NATS cannot be reached; trying again", extra={"error": str(error) or type(error).__name__})


async def _round_trip(client: Client) -> None:
    """Return when the server has processed everything that was asked of `client` before."""
    # The ping of nats-py's `flush` overtakes commands that its sending task has not taken up yet. They are on the way
    # when the answer is there, so that a second ping comes after them.
    await client.flush(ROUND_TRIP_TIMEOUT_S)
    await client.flush(ROUND_TRIP_TIMEOUT_S)


def _without_secrets(client: Client) -> str:
    """The address of the server that `client` is connected to."""
    url = client.connected_url
    return f"{url.hostname}:{url.port}" if url is not None else ""
