"""The bus inside one process: messages are passed on in the next turn of the loop, and nothing is copied."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from photondb.bus.interface import BusMessage, Content, GapListener, Handler, Subscription
from photondb.bus.metrics import BusMetrics
from photondb.bus.subjects import check_pattern, check_subject, matches
from photondb.telemetry import catalogue
from photondb.telemetry.scrape import Scrape

log = logging.getLogger(__name__)

MAX_CACHED_ROUTES = 10_000
_NO_HEADERS: Mapping[str, str] = {}


class LocalSubscription:
    """One handler and the pattern it listens to."""

    def __init__(self, bus: LocalBus, pattern: str, handler: Handler) -> None:
        self._bus = bus
        self.pattern = pattern
        self.handler: Handler | None = handler

    def deliver(self, message: BusMessage) -> None:
        """Hand the message over, unless the subscription ended meanwhile."""
        if self.handler is None:
            return
        try:
            self.handler(message)
        except Exception:
            log.exception("a subscriber failed", extra={"subject": message.subject})

    async def close(self) -> None:
        self.handler = None
        self._bus.remove(self)


class LocalBus:
    """A `Bus` whose publishers and subscribers share a process. It loses nothing."""

    message_interval_s = 0.001

    def __init__(self) -> None:
        self._subscriptions: list[LocalSubscription] = []
        # Who gets a subject, looked up once per subject and forgotten when the subscriptions change.
        self._routes: dict[str, tuple[LocalSubscription, ...]] = {}
        self._metrics = BusMetrics()
        self._waiting: list[tuple[tuple[LocalSubscription, ...], BusMessage]] = []

    async def publish(self, subject: str, content: bytes | Content, headers: Mapping[str, str] | None = None) -> None:
        self.publish_nowait(subject, content, headers)

    def publish_nowait(self, subject: str, content: bytes | Content, headers: Mapping[str, str] | None = None) -> None:
        route = self._route(subject)
        self._metrics.published += 1
        self._metrics.published_bytes += len(content) if isinstance(content, bytes) else content.size
        if not route:
            return
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._deliver)
        self._waiting.append((route, BusMessage(subject, content, headers or _NO_HEADERS)))

    def has_subscribers(self, subject: str) -> bool:
        return bool(self._route(subject))

    async def subscribe(self, pattern: str, handler: Handler) -> Subscription:
        check_pattern(pattern)
        subscription = LocalSubscription(self, pattern, handler)
        self._subscriptions.append(subscription)
        self._routes.clear()
        return subscription

    def remove(self, subscription: LocalSubscription) -> None:
        """Forget a subscription; one that was forgotten before is no error."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            self._routes.clear()

    def on_gap(self, listener: GapListener) -> None:
        """There are no gaps to listen for."""

    def collect(self, service: str, scrape: Scrape) -> None:
        self._metrics.collect(service, scrape)
        scrape.add(catalogue.BUS_CONNECTED, 1, service)
        scrape.add(catalogue.BUS_OUTBOX, len(self._waiting), service)
        scrape.add(catalogue.BUS_SUBSCRIPTIONS, len(self._subscriptions), service)
        for reason in ("unsent", "slow_consumer"):
            scrape.add(catalogue.BUS_DROPPED, 0, service, reason)

    async def close(self) -> None:
        self._deliver()
        for subscription in self._subscriptions[:]:
            await subscription.close()

    def _route(self, subject: str) -> tuple[LocalSubscription, ...]:
        route = self._routes.get(subject)
        if route is None:
            check_subject(subject)
            route = tuple(found for found in self._subscriptions if matches(found.pattern, subject))
            if len(self._routes) >= MAX_CACHED_ROUTES:
                self._routes.clear()
            self._routes[subject] = route
        return route

    def _deliver(self) -> None:
        """Pass on what was published before this turn; what handlers publish now has its own turn."""
        waiting, self._waiting = self._waiting, []
        for route, message in waiting:
            self._metrics.received += len(route)
            self._metrics.received_bytes += len(route) * len(message.payload)
            for subscription in route:
                subscription.deliver(message)
