"""One reading of all metrics of a process.

Nothing is kept by the metrics themselves: objects count in plain attributes, and their `collect` writes the numbers
into a `Scrape` when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from photondb.telemetry.declaring import Metric
from photondb.telemetry.histogram import Histogram


class Distribution(NamedTuple):
    """The reading of a histogram: how many values fell into each bucket (the last one has no bound), and their sum."""

    counts: tuple[int, ...]
    sum: float


Labels = tuple[str, ...]
"""The values of a metric's labels, in the catalogue's order."""


class Scrape:
    """Numbers by metric and labels. What is added to the same labels twice is added up."""

    def __init__(self) -> None:
        self.numbers: dict[Metric, dict[Labels, float]] = {}
        self.distributions: dict[Metric, dict[Labels, Distribution]] = {}

    def add(self, metric: Metric, value: float, *labels: str) -> None:
        """Add a number to a counter or gauge."""
        assert metric.kind != "histogram"
        assert len(labels) == len(metric.labels), f"{metric.name} has the labels {metric.labels}"
        numbers = self.numbers.setdefault(metric, {})
        numbers[labels] = numbers.get(labels, 0) + value

    def add_histogram(self, metric: Metric, histogram: Histogram, *labels: str) -> None:
        """Add what a histogram has counted."""
        assert metric.kind == "histogram"
        assert len(labels) == len(metric.labels), f"{metric.name} has the labels {metric.labels}"
        distributions = self.distributions.setdefault(metric, {})
        counts, total = tuple(histogram.counts), histogram.sum
        before = distributions.get(labels)
        if before is not None:
            counts, total = tuple(map(int.__add__, before.counts, counts)), before.sum + total
        distributions[labels] = Distribution(counts, total)


Collect = Callable[[Scrape], None]
"""Writes the numbers of an object into a reading. It runs on the thread of the loop, and must be quick."""
