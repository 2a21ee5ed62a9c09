"""The HTTP port: what load balancers, orchestrators and curious people ask."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from services.gateway.release import VERSION

Probe = Callable[[], Awaitable[object]]
"""Raises an exception, or does not return, when what it asks is not reachable."""

PROBE_TIMEOUT_MS = 2_000
SHUTDOWN_TIMEOUT_S = 1


def make_app(probes: Mapping[str, Probe]) -> Starlette:
    """The application. `probes` has for each service that must be reachable a function that asks it something."""

    async def index(request: Request) -> JSONResponse:
        return JSONResponse(
            {
                "name": "PhotonDB",
                "version": VERSION,
                "health": "/health",
                "ready": "/health/ready",
            }
        )

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "alive"})

    async def ready(request: Request) -> JSONResponse:
        states = dict(zip(probes, await asyncio.gather(*map(_state, probes.values())), strict=True))
        is_ready = all(state == "ok" for state in states.values())
        content = {"status": "ready" if is_ready else "not ready", "services": states}
        return JSONResponse(content, status_code=200 if is_ready else 503)

    return Starlette(
        routes=[Route("/", index), Route("/health", health), Route("/health/ready", ready)],
        exception_handlers={HTTPException: _refuse},
    )


async def _state(probe: Probe) -> str:
    """`ok`, or why the service is not reachable."""
    try:
        await asyncio.wait_for(probe(), PROBE_TIMEOUT_MS / 1000)
    except TimeoutError:
        return f"no answer within {PROBE_TIMEOUT_MS} ms"
    except Exception as error:
        return str(error) or type(error).__name__
    return "ok"


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    content = {"error": error.detail, "path": request.url.path}
    return JSONResponse(content, status_code=error.status_code, headers=error.headers)


class HttpServer:
    """The application on a socket, in the loop that runs already."""

    def __init__(self, app: Starlette, listening: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            loop="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
        )
        self._listening = listening
        self._server = _Server(config)
        self._serving: asyncio.Task[None]

    async def start(self) -> None:
        """Serve until `stop`."""
        self._serving = asyncio.get_running_loop().create_task(self._server.serve(sockets=[self._listening]))

    async def stop(self) -> None:
        """Finish the requests that are under way, within SHUTDOWN_TIMEOUT_S, and close the port."""
        self._server.should_exit = True
        await self._serving


class _Server(uvicorn.Server):
    """Leaves the signals of the process alone: the process has more to stop than this server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
