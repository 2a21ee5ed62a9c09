"""A collector of the tests' own: it takes traces and metrics by OTLP over HTTP and gRPC, and shows traces as trees."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan


@dataclass
class Span:
    """A span that has arrived. `service` is the process's service.name, `scope` what part of the program made it."""

    service: str
    scope: str
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    kind: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    links: set[tuple[bytes, bytes]]
    failed: bool
    trace_state: str
    children: list[Span] = field(default_factory=list)

    def walk(self) -> Iterator[Span]:
        """It and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, name: str) -> list[Span]:
        """Those below it (and it) with this name."""
        return [span for span in self.walk() if span.name == name]

    def shape(self) -> Any:
        """Its name, with the shapes of its children in their order in time where there are any."""
        below = [child.shape() for child in sorted(self.children, key=lambda child: child.start_ns)]
        return (self.name, *below) if below else self.name

    @property
    def key(self) -> tuple[bytes, bytes]:
        """What a link to it says."""
        return self.trace_id, self.span_id


class OtlpSink:
    """What has been received. `endpoint` is for OTLP/HTTP, `grpc_endpoint` for OTLP/gRPC."""

    def __init__(self) -> None:
        self.metrics: dict[str, list[Any]] = {}
        """What was received of each metric, in OTLP's own form, by its name."""
        self.services: set[str] = set()
        """The processes that have sent metrics, by their service.name."""
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.endpoint = ""
        self.grpc_endpoint = ""

    def take(self, request: trace_service_pb2.ExportTraceServiceRequest) -> None:
        """Take a request of an exporter."""
        received = []
        for of_resource in request.resource_spans:
            resource = _attributes(of_resource.resource.attributes)
            self.resources.append(resource)
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    received.append(_span(span, resource["service.name"], of_scope.scope.name))
        self.spans += received

    def take_metrics(self, request: metrics_service_pb2.ExportMetricsServiceRequest) -> None:
        """The same for metrics."""
        for of_resource in request.resource_metrics:
            self.services.add(_attributes(of_resource.resource.attributes)["service.name"])
            for of_scope in of_resource.scope_metrics:
                for metric in of_scope.metrics:
                    self.metrics.setdefault(metric.name, []).append(metric)

    def clear(self) -> None:
        """Forget what was received."""
        self.spans = []

    def trees(self, ignored: frozenset[bytes] = frozenset()) -> dict[bytes, Span]:
        """The root of each trace. A trace with several roots, or a span whose parent is missing, is an error; parents
        in `ignored` are those of the tests' own."""
        spans = list(self.spans)
        by_id = {span.key: span for span in spans}
        assert len(by_id) == len(spans), "two spans have the same id"
        roots: dict[bytes, Span] = {}
        for span in spans:
            span.children = []
        for span in spans:
            if not span.parent_id or span.parent_id in ignored:
                assert span.trace_id not in roots, f"two roots: {roots[span.trace_id].name}, {span.name}"
                roots[span.trace_id] = span
                continue
            parent = by_id.get((span.trace_id, span.parent_id))
            assert parent is not None, f"the parent of {span.name} ({span.service}) is missing"
            parent.children.append(span)
        assert {span.trace_id for span in spans} == set(roots)
        return roots

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 120) -> None:
        """Return when the condition holds."""
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, (
                f"{len(self.spans)} spans have arrived: {sorted({s.name for s in self.spans})}"
            )
            time.sleep(0.02)

    def wait_until_quiet(self, timeout_s: float = 120) -> None:
        """Return when nothing has arrived for a second."""
        end = time.monotonic() + timeout_s
        count, since = -1, time.monotonic()
        while time.monotonic() - since < 1:
            if len(self.spans) != count:
                count, since = len(self.spans), time.monotonic()
            assert time.monotonic() < end
            time.sleep(0.02)


def _span(span: OtlpSpan, service: str, scope: str) -> Span:
    assert len(span.trace_id) == 16
    assert len(span.span_id) == 8
    assert span.end_time_unix_nano >= span.start_time_unix_nano > 0
    return Span(
        service=service,
        scope=scope,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_span_id,
        name=span.name,
        kind=OtlpSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        links={(link.trace_id, link.span_id) for link in span.links},
        failed=span.status.code == 2,
        trace_state=span.trace_state,
    )


def _attributes(attributes: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}


@contextmanager
def otlp_sink() -> Iterator[OtlpSink]:
    """A sink that listens on free ports of 127.0.0.1."""
    sink = OtlpSink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/x-protobuf"
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/metrics":
                sink.take_metrics(metrics_service_pb2.ExportMetricsServiceRequest.FromString(body))
            elif self.path == "/v1/traces":
                sink.take(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Servicer(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            sink.take(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    class MetricsServicer(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            sink.take_metrics(request)
            return metrics_service_pb2.ExportMetricsServiceResponse()

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Servicer(), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(MetricsServicer(), server)
    sink.endpoint = f"http://127.0.0.1:{http.server_port}"
    sink.grpc_endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield sink
    finally:
        http.shutdown()
        http.server_close()
        server.stop(0)
