"""What a bus counts."""

from __future__ import annotations

from photondb.telemetry import catalogue
from photondb.telemetry.scrape import Scrape


class BusMetrics:
    """Plain numbers, which a bus counts up."""

    def __init__(self) -> None:
        self.published = 0
        self.published_bytes = 0
        self.received = 0
        self.received_bytes = 0
        self.gaps = 0
        self.connects = 0

    def collect(self, service: str, scrape: Scrape) -> None:
        """Write the numbers into a reading."""
        scrape.add(catalogue.BUS_PUBLISHED, self.published, service)
        scrape.add(catalogue.BUS_PUBLISHED_BYTES, self.published_bytes, service)
        scrape.add(catalogue.BUS_RECEIVED, self.received, service)
        scrape.add(catalogue.BUS_RECEIVED_BYTES, self.received_bytes, service)
        scrape.add(catalogue.BUS_GAPS, self.gaps, service)
        scrape.add(catalogue.BUS_CONNECTS, self.connects, service)
