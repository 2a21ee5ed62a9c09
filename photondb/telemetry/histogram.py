"""A distribution, counted in plain Python: one look-up and three additions for each value, or for many equal ones."""

from __future__ import annotations

from bisect import bisect_left

from photondb.telemetry.declaring import Metric


class Histogram:
    """How often values fell into each bucket of a metric of the catalogue, and their sum.

    `counts` has a place more than `bounds`, for values beyond the last one. Only the thread of the loop may observe.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, metric: Metric) -> None:
        self.bounds = metric.buckets
        self.counts = [0] * (len(metric.buckets) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, which was seen so many times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)
