"""The gateway as a whole."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence

from starlette.routing import BaseRoute

from photondb.api.auth import ADMIN, AuthApi
from photondb.api.context import CURRENT
from photondb.api.query import Entrance
from photondb.config import Settings, StartupError
from photondb.http_server import HttpServer, bind
from photondb.local_addresses import local_addresses
from photondb.telemetry import catalogue
from photondb.telemetry.debug import Report
from photondb.telemetry.health import Probe
from photondb.telemetry.http_traces import traced_http
from photondb.telemetry.scrape import Scrape
from services.gateway.busy_polling import BusyPolling
from services.gateway.http import make_app
from services.gateway.limits import Limits
from services.gateway.listener import DriverListener
from services.gateway.pool import DispatcherPool, QueryInstances
from services.gateway.wrong_port import answering_drivers

CLOSE_TIMEOUT_MS = 250
"""How long `stop` waits for clients to take what was sent last."""


class Gateway:
    """Serves drivers and HTTP, at `driver_port` and `http_port` once it has started.

    `busy_poll_us` is how long it looks for the next query of a client that asks one after the other before it sleeps.
    `probes` are what readiness asks besides `query` and `auth`, by the name of the service: `storage` above all.
    `routes` are what the HTTP port serves besides: metrics and diagnostics.
    """

    def __init__(
        self,
        query: QueryInstances,
        auth: AuthApi,
        settings: Settings,
        limits: Limits | None = None,
        probes: Mapping[str, Probe] | None = None,
        routes: Sequence[BaseRoute] = (),
        busy_poll_us: int = 0,
    ) -> None:
        self._auth = auth
        self._settings = settings
        self._limits = limits or Limits(empty_passwords=settings.allow_empty_passwords)
        self._dispatchers = DispatcherPool(query, self._limits, BusyPolling(busy_poll_us))
        self._listener = DriverListener(auth, self._dispatchers, self._limits)
        self.probes: dict[str, Probe] = {"query": self._dispatchers.check, "auth": self._check_auth, **(probes or {})}
        self._routes = routes
        self._http: HttpServer
        self.driver_port = 0
        self.http_port = 0

    async def start(self) -> None:
        """Open both ports. Raises StartupError when one of them is not to be had."""
        settings = self._settings
        shared = settings.share_ports
        tls = _tls_for_drivers(settings)
        for_drivers = bind(settings.bind, settings.driver_port, "drivers", "--driver-port", shared=shared)
        try:
            for_http = bind(settings.bind, settings.http_port, "HTTP", "--http-port", shared=shared)
        except BaseException:
            for_drivers.close()
            raise
        self.driver_port, self.http_port = for_drivers.getsockname()[1], for_http.getsockname()[1]
        entrance = Entrance(local_addresses(settings.bind), self.driver_port, self.http_port)
        await self._dispatchers.start(entrance)
        await self._listener.start(for_drivers, tls)
        app = traced_http(make_app(self.probes, self._routes))
        self._http = HttpServer(app, for_http, answering_drivers(self.driver_port))
        await self._http.start()

    async def stop(self) -> None:
        """Take no more queries, wait for the answers that are due as long as `drain_timeout_ms` allows, and close."""
        self._listener.stop_accepting()
        self._listener.pause()
        http = asyncio.get_running_loop().create_task(self._http.stop())
        await self._dispatchers.drain(self._limits.drain_timeout_ms)
        await self._listener.close_connections(CLOSE_TIMEOUT_MS)
        await self._dispatchers.stop()
        await http

    @property
    def connections(self) -> int:
        """How many drivers are connected."""
        return self._listener.connections

    def collect(self, scrape: Scrape) -> None:
        """Write what is counted into a reading."""
        self._dispatchers.collect(scrape)
        scrape.add(catalogue.GATEWAY_CONNECTIONS, self.connections)

    def reports(self) -> dict[str, Report]:
        """What can be said about the connections."""
        return {"clients": self._listener.report}

    async def _check_auth(self) -> None:
        await self._auth.permissions(CURRENT.get(), ADMIN)


def _tls_for_drivers(settings: Settings) -> ssl.SSLContext | None:
    """The context to accept drivers with, None without TLS. Raises StartupError for files that will not do."""
    if settings.driver_tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.driver_tls_cert, settings.driver_tls_key)
    except OSError as error:  # of which those of ssl are
        raise StartupError(
            f"the certificate {settings.driver_tls_cert} with the key {settings.driver_tls_key} cannot be used: "
            f"{error.strerror or error}; check --driver-tls-cert and --driver-tls-key"
        ) from None
    return context
