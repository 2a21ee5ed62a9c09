from __future__ import annotations

from typing import Literal

import pytest

from photondb.config import Settings, StartupError
from photondb.telemetry.destination import Destination, destination

SETTINGS = Settings(otlp_endpoint="http://collector:4318")


@pytest.mark.parametrize(("signal", "name"), [("traces", "TRACES"), ("metrics", "METRICS")])
def test_each_signal_may_have_variables_of_its_own(
    monkeypatch: pytest.MonkeyPatch, signal: Literal["traces", "metrics"], name: str
) -> None:
    assert destination(signal, Settings()) is None
    assert destination(signal, SETTINGS) == Destination(False, "http://collector:4318")
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}_PROTOCOL", "grpc")
    assert destination(signal, SETTINGS) == Destination(True, "http://collector:4318")
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}_ENDPOINT", "http://other:4317")
    assert destination(signal, SETTINGS) == destination(signal, Settings()) == Destination(True, None)
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}_PROTOCOL", "smoke")
    with pytest.raises(StartupError, match=f"OTEL_EXPORTER_OTLP_{name}_PROTOCOL must be grpc or http/protobuf"):
        destination(signal, SETTINGS)
    monkeypatch.setenv(f"OTEL_{name}_EXPORTER", "none")
    assert destination(signal, SETTINGS) is None
