"""The HTTP port: what load balancers, orchestrators and curious people ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from photondb.release import VERSION
from photondb.telemetry.health import Probe, health_routes, refuse


def make_app(probes: Mapping[str, Probe], routes: Sequence[BaseRoute] = ()) -> Starlette:
    """The application. `probes` has for each service that must be reachable a function that asks it something; `routes`
    are what else is served."""

    async def index(request: Request) -> JSONResponse:
        return JSONResponse(
            {
                "name": "PhotonDB",
                "version": VERSION,
                "health": "/health",
                "ready": "/health/ready",
                "metrics": "/_metrics",
                "debug": "/_debug",
            }
        )

    return Starlette(
        routes=[Route("/", index), *health_routes(probes), *routes],
        exception_handlers={HTTPException: refuse},
    )
