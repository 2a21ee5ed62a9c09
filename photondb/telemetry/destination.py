"""Where traces and metrics are sent, by OpenTelemetry's environment variables."""

from __future__ import annotations

import logging
import os
from typing import Literal, NamedTuple

from photondb.config import Settings, StartupError


class Destination(NamedTuple):
    """A collector, by gRPC or by HTTP. `endpoint` is None where the SDK's exporter finds it in a variable of its own,
    which it does for `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`."""

    grpc: bool
    endpoint: str | None


def destination(signal: Literal["traces", "metrics"], settings: Settings) -> Destination | None:
    """Where a signal goes; None where it is not exported. Raises StartupError.

    The SDK's exporters are silenced, which say the same again and again: whoever exports says it once.
    """
    name = signal.upper()
    own_endpoint = os.environ.get(f"OTEL_EXPORTER_OTLP_{name}_ENDPOINT")
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if disabled or os.environ.get(f"OTEL_{name}_EXPORTER") == "none" or not (settings.otlp_endpoint or own_endpoint):
        return None
    variable = f"OTEL_EXPORTER_OTLP_{name}_PROTOCOL"
    protocol = os.environ.get(variable) or settings.otlp_protocol
    if protocol not in ("grpc", "http/protobuf"):
        raise StartupError(f"{variable} must be grpc or http/protobuf, not {protocol!r}")
    exporter = f"{signal.removesuffix('s')}_exporter"
    for logger in (f"proto.http.{exporter}", "proto.http", "proto.grpc.exporter", "common.http"):
        logging.getLogger(f"opentelemetry.exporter.otlp.{logger}").setLevel(logging.CRITICAL)
    return Destination(protocol == "grpc", None if own_endpoint else settings.otlp_endpoint)
