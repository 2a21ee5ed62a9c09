"""What a process tells of itself over HTTP: metrics, health and diagnostics."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from photondb.api.auth import AuthApi
from photondb.telemetry import tracing
from photondb.telemetry.access import for_users_and_loopback
from photondb.telemetry.debug import Report, debug_routes
from photondb.telemetry.health import Probe, health_routes, refuse
from photondb.telemetry.metric_export import MetricExport
from photondb.telemetry.process import ProcessMetrics
from photondb.telemetry.registry import Registry, prometheus_page
from photondb.telemetry.scrape import Scrape

METRICS_PATH = "/_metrics"


class Observed(Protocol):
    """A part of the process that has numbers, and something to say."""

    def collect(self, scrape: Scrape) -> None:
        """Write the numbers into a reading."""
        ...

    def reports(self) -> Mapping[str, Report]:
        """What it can say about itself, by the name under `/_debug/`."""
        ...


class Shared(Protocol):
    """Something that several processes have, such as the bus: each has numbers of its own use of it."""

    def collect(self, process: str, scrape: Scrape, /) -> None:
        """Write the numbers of this process into a reading."""
        ...


class Observation:
    """The process called `process`: `photondb`, or the name of the only service in it.

    `auth` checks who may see what, as soon as there is such a service.
    """

    def __init__(self, process: str) -> None:
        self.process = process
        self.auth: AuthApi | None = None
        self.registry = Registry()
        self.export: MetricExport | None = None
        self.metrics = ProcessMetrics(process)
        self.registry.add(self.metrics.collect)
        self.registry.add(functools.partial(tracing.collect, process))
        self._reports: dict[str, Report] = {"loop": self.metrics.report}
        self._probes: dict[str, Probe] = {process: _still_starting}

    def watch(self, observed: Observed) -> None:
        """Tell of a part of the process, too."""
        self.registry.add(observed.collect)
        self._reports.update(observed.reports())

    def watch_shared(self, shared: Shared) -> None:
        """Tell of what the process shares with others, too."""
        self.registry.add(functools.partial(shared.collect, self.process))

    def started(self, probes: Mapping[str, Probe]) -> None:
        """The process does its work; it can do it well while the probes succeed."""
        self._probes.clear()
        self._probes.update(probes)

    async def stop(self) -> None:
        """The process ends: export what is still to be told, and ask its parts nothing any more."""
        if self.export is not None:
            await self.export.stop()
        self.registry.clear()

    def app(self) -> Starlette:
        """What is served on a port of its own, which is nobody's but the operators'."""
        routes = [*health_routes(self._probes), Route(METRICS_PATH, self._metrics), *self._debug_routes()]
        return Starlette(routes=routes, exception_handlers={HTTPException: refuse})

    def public_routes(self) -> list[BaseRoute]:
        """What is served on the port for HTTP clients, which everybody may reach."""
        metrics = Route(METRICS_PATH, for_users_and_loopback(lambda: self.auth, self._metrics))
        return [metrics, *self._debug_routes()]

    def _debug_routes(self) -> list[Route]:
        return debug_routes(self.process, self._reports, lambda: self.auth)

    async def _metrics(self, request: Request) -> Response:
        page, media_type = prometheus_page(self.registry.scrape(), request.headers.get("accept", ""))
        return Response(page, media_type=None, headers={"Content-Type": media_type})


async def _still_starting() -> None:
    raise RuntimeError("it is starting")
