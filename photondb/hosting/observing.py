"""Watching a process of the suite: its numbers, where they are exported to, and its port for them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from photondb.config import Settings
from photondb.http_server import HttpServer, bind
from photondb.telemetry.metric_export import MetricExport, exporter_of
from photondb.telemetry.observation import Observation
from photondb.telemetry.tracing import resource


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
