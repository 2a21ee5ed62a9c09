"""Tracing: where spans begin, for all parts of the suite.

A call is traced when its context names spans, so that most code needs no more than

    with span(COMMIT, context) as commit:
        await somebody.call(commit.within(context))

which does nothing where there is none. Only where traces begin (clients' queries) is TRACER itself asked.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from importlib.metadata import version

from photondb.api.context import CallContext, SpanNames
from photondb.config import Settings
from photondb.telemetry import catalogue
from photondb.telemetry.destination import destination
from photondb.telemetry.sampling import Sampler
from photondb.telemetry.scrape import Scrape
from photondb.telemetry.span_encoding import Attribute
from photondb.telemetry.span_export import SpanExporter
from photondb.telemetry.spans import NO_SPAN, NoSpan, Operation, QuerySpans, Span

STOP_TIMEOUT_MS = 500
"""How long the end of the process waits for the last spans to be sent."""

DEFAULT_DELAY_MS = 5_000
"""How long spans wait before they are sent, unless OTEL_BSP_SCHEDULE_DELAY says otherwise."""


class Tracer:
    """Begins spans of this process, and chooses which traces to record."""

    def __init__(self, sampler: Sampler, exporter: SpanExporter) -> None:
        self.sampler = sampler
        self.exporter = exporter

    def span(self, operation: Operation, parents: SpanNames, start_ns: int | None = None) -> Span:
        """A span of each of these traces."""
        return Span(self.exporter, operation, parents, start_ns)

    def query_spans(self, operation: Operation, parents: SpanNames, start_ns: int | None = None) -> QuerySpans:
        """Spans of several queries, of which these are the parents."""
        return QuerySpans(self.exporter, operation, parents, start_ns)


TRACER: Tracer | None = None
"""The tracer of this process; None where nothing is traced."""

_configured: Tracer | None = None


def is_configured() -> bool:
    """Whether traces have a collector to go to."""
    return _configured is not None


def set_ratio(ratio: float | None) -> None:
    """Record this share of the traces that begin in this process, or, with None, none whoever began them."""
    global TRACER
    assert _configured is not None
    TRACER = None if ratio is None else _configured
    if ratio is not None:
        _configured.sampler.set_ratio(ratio)


def span(operation: Operation, context: CallContext) -> Span | NoSpan:
    """The span of an operation that a call with this context carries out."""
    spans = context.spans
    return NO_SPAN if not spans or TRACER is None else TRACER.span(operation, spans)


def span_of(operation: Operation, parents: SpanNames, start_ns: int | None = None) -> Span | NoSpan:
    """The span of an operation that goes on with traces for which there is no call."""
    return NO_SPAN if not parents or TRACER is None else TRACER.span(operation, parents, start_ns)


def collect(process: str, scrape: Scrape) -> None:
    """Write what became of the spans of this process, called `process`, into a reading."""
    if _configured is not None:
        exporter = _configured.exporter
        scrape.add(catalogue.SPANS_EXPORTED, exporter.exported, process)
        scrape.add(catalogue.SPANS_DROPPED, exporter.dropped, process, "queue")
        scrape.add(catalogue.SPANS_DROPPED, exporter.failed, process, "collector")


@contextlib.contextmanager
def tracing(service: str, settings: Settings) -> Iterator[None]:
    """Trace while the block runs, where that is configured. What has been recorded is sent before it ends. Raises
    StartupError."""
    global TRACER, _configured
    tracer = TRACER = _configured = _tracer(service, settings)
    try:
        yield
    finally:
        TRACER = _configured = None
        if tracer is not None:
            tracer.exporter.stop(STOP_TIMEOUT_MS)


def _tracer(service: str, settings: Settings) -> Tracer | None:
    chosen = destination("traces", settings)
    if chosen is None:
        return None
    from photondb.telemetry.otlp import grpc_sender, http_sender

    send = (grpc_sender if chosen.grpc else http_sender)(chosen.endpoint)
    delay_ms = int(os.environ.get("OTEL_BSP_SCHEDULE_DELAY") or DEFAULT_DELAY_MS)
    return Tracer(
        Sampler(settings.traces_sampler, settings.traces_sampler_arg),
        SpanExporter(resource(service, settings), send, delay_ms),
    )


def resource(service: str, settings: Settings) -> dict[str, Attribute]:
    """What describes this process to a collector: its service, and what OTEL_RESOURCE_ATTRIBUTES adds."""
    given: dict[str, Attribute] = {}
    for pair in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        name, found, value = pair.partition("=")
        if found:
            given[name.strip()] = value.strip()
    base = settings.service_name
    return {
        "service.name": base if service == "photondb" else f"{base}-{service}",
        "service.version": version("photondb"),
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        "telemetry.sdk.language": "python",
        **given,
    }
