"""Sending to a collector by OTLP, with the exporters of OpenTelemetry's SDK.

Connections, TLS, headers, compression, time-outs and retries are theirs, with the environment variables for them
(OTEL_EXPORTER_OTLP_HEADERS and so on). What they are given is encoded already. Importing them takes 0.3 s and 30 MB, so
only who exports imports this module.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as SdkGrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as SdkHttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SpanExportResult

from photondb.telemetry.span_export import Send


class _GrpcExporter(SdkGrpcExporter):
    """The SDK's exporter, for a list of one message that is encoded already."""

    def _translate_data(self, data: Any) -> ExportTraceServiceRequest:
        message = ExportTraceServiceRequest()
        message.ParseFromString(data[0])
        return message


def grpc_sender(endpoint: str | None) -> Send:
    """Sends by gRPC to `endpoint`, or to where OTEL_EXPORTER_OTLP_TRACES_ENDPOINT says."""
    exporter = _GrpcExporter(endpoint)
    return lambda message: exporter.export([message]) is SpanExportResult.SUCCESS  # type: ignore[list-item]


def http_sender(endpoint: str | None) -> Send:
    """Sends by HTTP, likewise. `endpoint` is the collector's; the path of traces is added."""
    exporter = SdkHttpExporter(None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces")
    client = exporter._client  # what the exporter itself sends with, once it has encoded spans of the SDK's
    return lambda message: client.export(message).success
