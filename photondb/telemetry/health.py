"""`/health` and `/health/ready`: what load balancers and orchestrators ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

Probe = Callable[[], Awaitable[object]]
"""Raises an exception, or does not return, when what it asks is not reachable."""

PROBE_TIMEOUT_MS = 2_000


class PartialProbe:
    """Asks for something that only some queries need: while it fails, others can be answered."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    async def __call__(self) -> object:
        return await self._probe()


def health_routes(probes: Mapping[str, Probe]) -> list[Route]:
    """The routes. `probes` has for each service that must be reachable a function that asks it something.

    Where no others than a PartialProbe fail, the answer is that queries are welcome, some of which will fail: no load
    balancer should take away what still works.
    """

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "alive"})

    async def ready(request: Request) -> JSONResponse:
        states = dict(zip(probes, await asyncio.gather(*map(_state, probes.values())), strict=True))
        wrong = [probes[service] for service, state in states.items() if state != "ok"]
        is_ready = all(isinstance(probe, PartialProbe) for probe in wrong)
        status = ("ready in part" if wrong else "ready") if is_ready else "not ready"
        return JSONResponse({"status": status, "services": states}, status_code=200 if is_ready else 503)

    return [Route("/health", health), Route("/health/ready", ready)]


async def refuse(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that there is no other for."""
    assert isinstance(error, HTTPException)
    content = {"error": error.detail, "path": request.url.path}
    return JSONResponse(content, status_code=error.status_code, headers=error.headers)


async def _state(probe: Probe) -> str:
    """`ok`, or why the service is not reachable."""
    try:
        await asyncio.wait_for(probe(), PROBE_TIMEOUT_MS / 1000)
    except TimeoutError:
        return f"no answer within {PROBE_TIMEOUT_MS} ms"
    except Exception as error:
        return str(error) or type(error).__name__
    return "ok"
