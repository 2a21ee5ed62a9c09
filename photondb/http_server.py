"""Serving HTTP in a loop that runs already."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from photondb.config import StartupError

BACKLOG = 1024
"""Connections that wait to be accepted."""

SHUTDOWN_TIMEOUT_S = 1


def bind(
    host: str, port: int, purpose: str, setting: str, bind_setting: str = "--bind", *, shared: bool = False
) -> socket.socket:
    """A listening socket; a `shared` one may be beside others of the same user on the same port (SO_REUSEPORT).

    Raises StartupError, which names the `purpose` and the `setting` to change.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=both, reuse_port=shared)
    except OSError as error:
        remedy = f"choose another port with {setting}" if error.errno == errno.EADDRINUSE else f"check {bind_setting}"
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        raise StartupError(f"cannot listen on {host}:{port} for {purpose}: {reason}; {remedy}") from None


class HttpServer:
    """An application on a listening socket."""

    def __init__(self, app: ASGIApp, listening: socket.socket) -> None:
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
