"""Tracing: where spans begin, for all parts of the suite.

A call is traced when its context has a `traceparent`, so that most code needs no more than

    with span(COMMIT, context) as commit:
        await somebody.call(commit.within(context))

which does nothing where there is none. Only where traces begin (clients' queries) is TRACER itself asked.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from importlib.metadata import version

from photondb.api.context import CallContext
from photondb.config import Settings
from photondb.telemetry import catalogue
from photondb.telemetry.sampling import Sampler
from photondb.telemetry.scrape import Scrape
from photondb.telemetry.span_export import SpanExporter
from photondb.telemetry.spans import NO_SPAN, Attribute, NoSpan, Operation, Span
from photondb.telemetry.trace_context import RemoteParent, read_context

STOP_TIMEOUT_MS = 500
"""How long the end of the process waits for the last spans to be sent."""

DEFAULT_DELAY_MS = 5_000
"""How long spans wait before they are sent, unless OTEL_BSP_SCHEDULE_DELAY says otherwise."""


class Tracer:
    """Begins spans of this process, and chooses which traces to record."""

    def __init__(self, sampler: Sampler, exporter: SpanExporter) -> None:
        self.sampler = sampler
        self.exporter = exporter

    def begin(self, operation: Operation, parent: RemoteParent | None = None) -> Span:
        """The first span of a trace that is recorded, or the first one here of a trace that a client began."""
        name = (self.sampler.new_trace_id(), b"") if parent is None else parent.name
        return Span(self.exporter, operation, (name,))

    def follow(self, operation: Operation, context: str, start_ns: int | None = None) -> Span:
        """A span below those that a context names."""
        return Span(self.exporter, operation, read_context(context), start_ns)


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
    traceparent = context.traceparent
    return NO_SPAN if not traceparent or TRACER is None else TRACER.follow(operation, traceparent)


def joined(context: CallContext, traceparents: Sequence[str]) -> CallContext:
    """The context of a call that is made for several queries at once, of which these are the traced ones."""
    if not traceparents:
        return context
    return context.traced(",".join(traceparents))


def span_of(operation: Operation, traceparent: str, start_ns: int | None = None) -> Span | NoSpan:
    """The span of an operation that goes on with traces for which there is no call."""
    return NO_SPAN if not traceparent or TRACER is None else TRACER.follow(operation, traceparent, start_ns)


def collect(process: str, scrape: Scrape) -> None:
    """Write what became of the spans of this process, called `process`, into a reading."""
    if _configured is not None:
        exporter = _configured.exporter
        scrape.add(catalogue.SPANS_EXPORTED, exporter.exported, process)
        scrape.add(catalogue.SPANS_DROPPED, exporter.dropped, process, "queue")
        scrape.add(catalogue.SPANS_DROPPED, exporter.failed, process, "collector")


@contextlib.contextmanager
def tracing(service: str, settings: Settings) -> Iterator[None]:
    """Trace while the block runs, where that is configured. What has been recorded is sent before it ends."""
    global TRACER, _configured
    tracer = TRACER = _configured = _tracer(service, settings)
    try:
        yield
    finally:
        TRACER = _configured = None
        if tracer is not None:
            tracer.exporter.stop(STOP_TIMEOUT_MS)


def _tracer(service: str, settings: Settings) -> Tracer | None:
    traces_endpoint = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if disabled or os.environ.get("OTEL_TRACES_EXPORTER") == "none" or not (settings.otlp_endpoint or traces_endpoint):
        return None
    from photondb.telemetry.otlp import grpc_sender, http_sender

    for name in ("http.trace_exporter", "http", "grpc.exporter"):  # which say the same again and again
        logging.getLogger(f"opentelemetry.exporter.otlp.proto.{name}").setLevel(logging.CRITICAL)
    logging.getLogger("opentelemetry.exporter.otlp.common.http").setLevel(logging.CRITICAL)
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or settings.otlp_protocol
    sender = grpc_sender if protocol == "grpc" else http_sender
    send = sender(None if traces_endpoint else settings.otlp_endpoint)
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
