"""Watching a process of the suite: its port for metrics, and where Prometheus finds it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import orjson

from photondb.config import Settings
from photondb.http_server import HttpServer, bind
from photondb.telemetry.metric_export import MetricExport, exporter_of
from photondb.telemetry.observation import METRICS_PATH, Observation
from photondb.telemetry.tracing import resource

TARGETS_FILE = "telemetry.json"
"""The file in the data directory that names the ports for metrics, as Prometheus' `file_sd_configs` read it."""


@contextlib.asynccontextmanager
async def observing(settings: Settings, process: str) -> AsyncIterator[Observation]:
    """Watch this process while the block runs, and export its metrics where the environment says so. Raises
    StartupError."""
    observation = Observation(process)
    exporter = exporter_of(settings)
    if exporter is not None:
        observation.export = MetricExport(observation.registry, exporter, resource(process, settings))
        observation.export.start()
    observation.metrics.start()
    try:
        yield observation
    finally:
        await observation.stop()
        observation.metrics.stop()


@contextlib.asynccontextmanager
async def serving_telemetry(settings: Settings, observation: Observation) -> AsyncIterator[int]:
    """Serve metrics, health and diagnostics on the telemetry port while the block runs; gives the port.

    Raises StartupError when it is not to be had.
    """
    listening = bind(
        settings.telemetry_bind, settings.telemetry_port, "metrics", "--telemetry-port", "--telemetry-bind"
    )
    server = HttpServer(observation.app(), listening)
    await server.start()
    try:
        yield listening.getsockname()[1]
    finally:
        await server.stop()


def write_targets(data_dir: Path, bound_to: str, ports: Mapping[str, int]) -> None:
    """Say in the data directory where the metrics of processes are: at which ports of the address that they are bound
    to, by the name of the process."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound_to, bound_to)
    shown = f"[{host}]" if ":" in host else host
    targets = [
        {"targets": [f"{shown}:{port}"], "labels": {"__metrics_path__": METRICS_PATH, "process": process}}
        for process, port in ports.items()
    ]
    new = data_dir / f"{TARGETS_FILE}.new"
    new.write_bytes(orjson.dumps(targets, option=orjson.OPT_INDENT_2))
    new.replace(data_dir / TARGETS_FILE)


def remove_targets(data_dir: Path) -> None:
    """Take it back."""
    with contextlib.suppress(OSError):
        (data_dir / TARGETS_FILE).unlink()
