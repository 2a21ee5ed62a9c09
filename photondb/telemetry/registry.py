"""The one registry of a process: who has numbers, and the page on which they stand."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from photondb.telemetry.catalogue import CATALOGUE
from photondb.telemetry.declaring import Metric
from photondb.telemetry.scrape import Collect, Scrape

log = logging.getLogger(__name__)


class Registry:
    """The collectors of a process."""

    def __init__(self) -> None:
        self._collectors: list[Collect] = []

    def add(self, collect: Collect) -> None:
        """Have a collector asked at each reading."""
        self._collectors.append(collect)

    def clear(self) -> None:
        """Ask nobody any more."""
        self._collectors.clear()

    def scrape(self) -> Scrape:
        """Read all numbers. What one collector fails to tell does not keep the others' back."""
        scrape = Scrape()
        for collect in self._collectors:
            try:
                collect(scrape)
            except Exception:
                log.exception("some metrics cannot be read")
        return scrape


def prometheus_page(scrape: Scrape, accept: str) -> tuple[bytes, str]:
    """A reading as text in the format that suits the header `accept` (Prometheus' text, or OpenMetrics), and that
    format's media type."""
    encode, media_type = choose_encoder(accept)
    page: bytes = encode(_Families(scrape))
    return page, media_type


class _Families(Collector):
    """A reading as what prometheus_client writes out."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def collect(self) -> Iterator[Family]:
        for metric in CATALOGUE:
            if metric.kind == "histogram":
                if metric in self._scrape.distributions:
                    yield _histogram_family(metric, self._scrape)
            elif metric in self._scrape.numbers:
                make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                family = make(metric.name, metric.help, labels=metric.labels)
                for labels, value in self._scrape.numbers[metric].items():
                    family.add_metric(labels, value)
                yield family


def _histogram_family(metric: Metric, scrape: Scrape) -> HistogramMetricFamily:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    bounds = [f"{bound:g}" for bound in metric.buckets] + ["+Inf"]
    for labels, found in scrape.distributions[metric].items():
        family.add_metric(labels, list(zip(bounds, _running_sums(found.counts), strict=True)), found.sum)
    return family


def _running_sums(counts: Iterable[int]) -> Iterator[int]:
    total = 0
    for count in counts:
        total += count
        yield total
