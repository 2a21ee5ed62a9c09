"""Serving HTTP in a loop that runs already."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from photondb.config import StartupError

BACKLOG = 1024
"""Connections that wait to be accepted."""

SHUTDOWN_TIMEOUT_S = 1

MAX_CONNECTIONS = 1_000
"""At a time, on one port; more are closed as soon as they are accepted. Each takes a file descriptor of the process."""

REQUEST_TIMEOUT_MS = 30_000
"""How long a client that has connected, or has begun a request, may take until its request is there."""


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


FIRST_BYTES = 4
"""How many bytes tell whether a client speaks HTTP: no request is shorter."""

Stranger: TypeAlias = Callable[[bytes], bytes | None]
"""What to say to a client that begins with these bytes, FIRST_BYTES at least, before its connection is closed; None
where they may be HTTP."""


class HttpServer:
    """An application on a listening socket. `stranger` is for those who have taken the port for another one: as HTTP
    what they say may just be a line that has not ended yet, so that they would wait in vain."""

    def __init__(self, app: ASGIApp, listening: socket.socket, stranger: Stranger = lambda first: None) -> None:
        config = uvicorn.Config(
            app,
            http=cast(Any, functools.partial(_HttpProtocol, stranger)),
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


class _HttpProtocol(H11Protocol):
    """A connection, whose first bytes `stranger` looks at. One on which no request comes is closed."""

    def __init__(self, stranger: Stranger, **options: Any) -> None:
        super().__init__(**options)
        self._stranger: Stranger | None = stranger
        self._first = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def _watch(self) -> None:
        """Run the timer while a request is awaited, and not while one is answered."""
        is_awaited = self.cycle is None or self.cycle.response_complete
        if is_awaited and self._timer is None:
            self._timer = self.loop.call_later(REQUEST_TIMEOUT_MS / 1000, self.transport.abort)
        elif not is_awaited and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def data_received(self, data: bytes) -> None:
        if self._stranger is not None:
            self._first += data
            if len(self._first) < FIRST_BYTES:
                return
            answer = self._stranger(self._first)
            data, self._first, self._stranger = self._first, b"", None
            if answer is not None:
                self.transport.write(answer)
                self.transport.close()
                return
        super().data_received(data)
        self._watch()
