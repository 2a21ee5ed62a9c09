"""How metrics are declared: what each has, the parts of a catalogue, and the usual bounds of histograms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

DURATION_BUCKETS_S = (
    *(0.000_025, 0.000_05, 0.0001, 0.0002, 0.0003, 0.0004, 0.0005, 0.0006, 0.0007, 0.0008, 0.0009, 0.001),
    *(0.0012, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
)
"""Bounds of histograms of durations, in seconds: every 100 us up to one millisecond, then ever wider."""

LAG_BUCKETS_S = (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)
"""Bounds of histograms of delays that are of interest only when they are long, in seconds."""

SIZE_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)
"""Bounds of histograms of how many things came together."""


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric. `buckets` are the upper bounds (inclusive) of a histogram's buckets, without infinity."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    unit: str
    area: str
    buckets: tuple[float, ...] = ()


class Area:
    """A part of a catalogue, to which what is declared through it is added."""

    def __init__(self, title: str, catalogue: list[Metric]) -> None:
        self.title = title
        self._catalogue = catalogue

    def counter(self, name: str, meaning: str, *labels: str, unit: str = "1") -> Metric:
        """Declare a number that only grows, from 0 at the start of the process."""
        return self._declare(Metric(name, "counter", meaning, labels, unit, self.title))

    def gauge(self, name: str, meaning: str, *labels: str, unit: str = "1") -> Metric:
        """Declare a number that goes up and down."""
        return self._declare(Metric(name, "gauge", meaning, labels, unit, self.title))

    def histogram(
        self, name: str, meaning: str, *labels: str, buckets: tuple[float, ...] = DURATION_BUCKETS_S, unit: str = "s"
    ) -> Metric:
        """Declare a distribution."""
        return self._declare(Metric(name, "histogram", meaning, labels, unit, self.title, buckets))

    def _declare(self, metric: Metric) -> Metric:
        self._catalogue.append(metric)
        return metric
