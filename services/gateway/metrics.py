"""What the gateway counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter

from photondb.api.query import Request
from photondb.telemetry import catalogue
from photondb.telemetry.histogram import Histogram
from photondb.telemetry.requests import RequestMetrics
from photondb.telemetry.scrape import Scrape

QUERY = "query"
"""The only kind of request that the gateway knows."""


class GatewayMetrics:
    """Plain numbers, which sessions, the listener and the dispatcher count up."""

    def __init__(self) -> None:
        self.requests = RequestMetrics("gateway")
        self.batch_queries = Histogram(catalogue.GATEWAY_BATCH)
        self.accepted = 0
        self.refused = 0
        self.dropped = 0
        self.received_bytes = 0
        self.sent_bytes = 0
        self.channel_losses = 0

    def answered_later(self, requests: Sequence[Request], since: float) -> None:
        """Count queries whose answers leave now and were not ready at once. `since` stands in for the time of arrival
        of those that do not have it yet."""
        now = perf_counter()
        for arrived, count in _runs(requests):
            self.requests.observe(QUERY, now - (arrived or since), count)

    def collect(self, scrape: Scrape) -> None:
        """Write the numbers into a reading."""
        self.requests.collect(scrape)
        scrape.add_histogram(catalogue.GATEWAY_BATCH, self.batch_queries)
        scrape.add(catalogue.GATEWAY_ACCEPTED, self.accepted)
        scrape.add(catalogue.GATEWAY_REFUSED, self.refused)
        scrape.add(catalogue.GATEWAY_DROPPED, self.dropped)
        scrape.add(catalogue.GATEWAY_RECEIVED_BYTES, self.received_bytes)
        scrape.add(catalogue.GATEWAY_SENT_BYTES, self.sent_bytes)
        scrape.add(catalogue.GATEWAY_CHANNEL_LOSSES, self.channel_losses)


def _runs(requests: Sequence[Request]) -> Iterator[tuple[float, int]]:
    """When the requests arrived, and how many at once: many came together, and are answered together."""
    start = 0
    total = len(requests)
    while start < total:
        arrived = requests[start].arrived
        end = start + 1
        while end < total and requests[end].arrived == arrived:
            end += 1
        yield arrived, end - start
        start = end
