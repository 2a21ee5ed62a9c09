"""What the changefeed service counts."""

from __future__ import annotations

from collections import Counter
from time import perf_counter

from photondb.telemetry import catalogue
from photondb.telemetry.histogram import Histogram
from photondb.telemetry.scrape import Scrape

SINK_KINDS = ("webhook", "jetstream")


class FeedMetrics:
    """Plain numbers, which followers, feeds and sinks count up."""

    def __init__(self) -> None:
        self.lag = Histogram(catalogue.FEED_LAG)
        self.records = 0
        self.changes = 0
        self.skipped = 0
        self.gap_reads = 0
        self._deliveries: Counter[tuple[str, str]] = Counter()
        self._delivered: Counter[str] = Counter()
        self._durations = {kind: Histogram(catalogue.SINK_DURATION) for kind in SINK_KINDS}

    def sink_delivery(self, kind: str, started: float, delivered: int) -> None:
        """Count a delivery to a sink that began at that reading of `perf_counter`: of so many changes, or 0 when it
        has failed."""
        self._deliveries[kind, "success" if delivered else "failure"] += 1
        self._delivered[kind] += delivered
        self._durations[kind].observe(perf_counter() - started)

    def collect(self, scrape: Scrape) -> None:
        """Write the numbers into a reading."""
        scrape.add_histogram(catalogue.FEED_LAG, self.lag)
        scrape.add(catalogue.FEED_RECORDS, self.records)
        scrape.add(catalogue.FEED_CHANGES, self.changes)
        scrape.add(catalogue.FEED_SKIPPED, self.skipped)
        scrape.add(catalogue.FEED_LOG_READS, self.gap_reads)
        for kind in SINK_KINDS:
            for outcome in ("success", "failure"):
                scrape.add(catalogue.SINK_DELIVERIES, self._deliveries[kind, outcome], kind, outcome)
            scrape.add(catalogue.SINK_CHANGES, self._delivered[kind], kind)
        for kind, histogram in self._durations.items():
            scrape.add_histogram(catalogue.SINK_DURATION, histogram, kind)
