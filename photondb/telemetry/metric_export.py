"""Sending metrics to a collector by OTLP, again and again.

Where to and how is set by OpenTelemetry's environment variables, or by the settings of the same names. Connections,
TLS, headers, compression and retries are the matter of its exporters, which are imported only where one is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from photondb.config import Settings, StartupError
from photondb.telemetry.destination import destination
from photondb.telemetry.registry import Registry
from photondb.telemetry.scrape import Scrape

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricsData

log = logging.getLogger(__name__)

DEFAULT_INTERVAL_MS = 60_000
DEFAULT_TIMEOUT_MS = 30_000
"""OpenTelemetry's own defaults, of OTEL_METRIC_EXPORT_INTERVAL and OTEL_METRIC_EXPORT_TIMEOUT."""

LAST_TIMEOUT_MS = 500
"""How long the end of the process waits for the last export."""


class MetricExport:
    """Exports the readings of a registry, from `start` to `stop`."""

    def __init__(self, registry: Registry, exporter: MetricExporter, resource: Mapping[str, Any]) -> None:
        self._registry = registry
        self._exporter = exporter
        self._resource = resource
        self._interval_ms = _milliseconds("OTEL_METRIC_EXPORT_INTERVAL", DEFAULT_INTERVAL_MS)
        self._timeout_ms = _milliseconds("OTEL_METRIC_EXPORT_TIMEOUT", DEFAULT_TIMEOUT_MS)
        self._started_ns = time.time_ns()
        self._thread = ThreadPoolExecutor(1, "metrics-export")
        self._failed = False
        self._exporting: asyncio.Task[None]

    def start(self) -> None:
        """Export from now on."""
        self._exporting = asyncio.get_running_loop().create_task(self._export_for_ever())

    async def stop(self) -> None:
        """Export for the last time, as far as that goes at once. Stopping twice is allowed."""
        if self._exporting.cancelled():
            return
        self._exporting.cancel()
        await asyncio.wait([self._exporting])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_TIMEOUT_MS / 1000):
                await self._export(LAST_TIMEOUT_MS)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _export_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._interval_ms / 1000)
            await self._export(self._timeout_ms)

    async def _export(self, timeout_ms: int) -> None:
        send = functools.partial(self._send, self._registry.scrape(), timeout_ms)
        arrived = await asyncio.get_running_loop().run_in_executor(self._thread, send)
        if not arrived and not self._failed:
            log.warning("metrics cannot be exported; trying again")
        elif arrived and self._failed:
            log.info("metrics are exported again")
        self._failed = not arrived

    def _send(self, scrape: Scrape, timeout_ms: int) -> bool:
        """Send a reading, in the thread."""
        from opentelemetry.sdk.metrics.export import MetricExportResult

        data = metrics_data(scrape, self._resource, self._started_ns, time.time_ns())
        try:
            return self._exporter.export(data, timeout_millis=timeout_ms) is MetricExportResult.SUCCESS
        except Exception:
            log.debug("an export failed", exc_info=True)
            return False


def exporter_of(settings: Settings) -> MetricExporter | None:
    """The exporter that the environment asks for; None without one. Raises StartupError."""
    chosen = destination("metrics", settings)
    if chosen is None:
        return None
    if chosen.grpc:
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter

        return GrpcExporter(chosen.endpoint)
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter

    return HttpExporter(None if chosen.endpoint is None else f"{chosen.endpoint.rstrip('/')}/v1/metrics")


def _milliseconds(variable: str, default: int) -> int:
    """A variable's number of milliseconds. Raises StartupError."""
    text = os.environ.get(variable) or str(default)
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= 86_400_000:
        raise StartupError(f"{variable} must be a number of milliseconds from 1 to 86400000, not {text!r}")
    return int(text)


def metrics_data(scrape: Scrape, resource: Mapping[str, Any], started_ns: int, now_ns: int) -> MetricsData:
    """A reading as OpenTelemetry's exporters take it."""
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        Gauge,
        Histogram,
        HistogramDataPoint,
        Metric,
        MetricsData,
        NumberDataPoint,
        ResourceMetrics,
        ScopeMetrics,
        Sum,
    )
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    cumulative = AggregationTemporality.CUMULATIVE
    metrics = []
    for metric, numbers in scrape.numbers.items():
        points = [
            NumberDataPoint(dict(zip(metric.labels, labels, strict=True)), started_ns, now_ns, value)
            for labels, value in numbers.items()
        ]
        data = Sum(points, cumulative, True) if metric.kind == "counter" else Gauge(points)
        metrics.append(Metric(metric.name, metric.help, metric.unit, data))
    for metric, distributions in scrape.distributions.items():
        histogram = [
            HistogramDataPoint(
                attributes=dict(zip(metric.labels, labels, strict=True)),
                start_time_unix_nano=started_ns,
                time_unix_nano=now_ns,
                count=sum(found.counts),
                sum=found.sum,
                bucket_counts=found.counts,
                explicit_bounds=metric.buckets,
                min=None,  # type: ignore[arg-type]  # which means that it is not known
                max=None,  # type: ignore[arg-type]
            )
            for labels, found in distributions.items()
        ]
        metrics.append(Metric(metric.name, metric.help, metric.unit, Histogram(histogram, cumulative)))
    scope = ScopeMetrics(InstrumentationScope("photondb"), metrics, "")
    return MetricsData([ResourceMetrics(Resource(dict(resource)), [scope], "")])
