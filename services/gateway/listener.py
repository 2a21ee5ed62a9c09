"""The port for drivers: accepts connections, counts them, and ends them all."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
from typing import Any

from photondb.api.auth import AuthApi
from photondb.http_server import BACKLOG
from photondb.release import SERVER_VERSION
from services.gateway.handshake import Established
from services.gateway.holdings import Holdings
from services.gateway.limits import Limits
from services.gateway.login import LoginProtocol
from services.gateway.pool import DispatcherPool
from services.gateway.session import Session

TURNED_AWAY = 100
"""How many connections beyond the limit may be open at a time to be told so. Those beyond even that are dropped."""

REPORTED = 1000
"""How many sessions a report shows."""


class DriverListener:
    """The driver connections of a gateway, from the first byte to the last."""

    def __init__(self, auth: AuthApi, dispatchers: DispatcherPool, limits: Limits) -> None:
        self._auth = auth
        self._dispatchers = dispatchers
        self._limits = limits
        self.holdings = Holdings(limits.max_user_bytes)
        self._transports: set[asyncio.Transport] = set()
        self._numbers = itertools.count(1)
        self._all_closed = asyncio.Event()
        self._server: asyncio.Server

    async def start(self, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept connections on the socket, with TLS where there is a context for it."""
        # The reference to the server must be kept: uvloop closes the socket when the server is collected.
        self._server = await asyncio.get_running_loop().create_server(
            self._login,
            sock=listening,
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else self._limits.handshake_timeout_ms / 1000,
        )

    def stop_accepting(self) -> None:
        """Close the port."""
        self._server.close()

    def pause(self) -> None:
        """Read no more from any client."""
        for transport in self._transports:
            transport.pause_reading()

    async def close_connections(self, timeout_ms: int) -> None:
        """Send what was written and close every connection, by force those that are still open after `timeout_ms`."""
        for transport in list(self._transports):
            transport.close()
        if self._transports:
            self._all_closed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_closed.wait(), timeout_ms / 1000)
        for transport in list(self._transports):
            transport.abort()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._transports)

    def report(self) -> dict[str, Any]:
        """The connections, those with the most queries first, as far as they have logged in."""
        clients = self._dispatchers.clients[:REPORTED]
        return {"connections": self.connections, "sessions": [client.report() for client in clients]}

    def opened(self, transport: asyncio.Transport) -> str | None:
        """Count a connection. Returns the text with which it is to be turned away, None if it is welcome."""
        self._transports.add(transport)
        self._dispatchers.metrics.accepted += 1
        if len(self._transports) <= self._limits.max_connections:
            return None
        self._dispatchers.metrics.refused += 1
        if len(self._transports) > self._limits.max_connections + TURNED_AWAY:
            transport.abort()
        return f"The server has reached its limit of {self._limits.max_connections} connections. Try again later."

    def closed(self, transport: asyncio.Transport) -> None:
        """Count a connection no longer."""
        self._transports.discard(transport)
        if not self._transports:
            self._all_closed.set()

    def _login(self) -> LoginProtocol:
        return LoginProtocol(self._auth, self._limits, self, SERVER_VERSION, self._session)

    def _session(self, client: Established) -> Session:
        max_outstanding = 1 if client.one_at_a_time else self._limits.max_outstanding
        dispatcher = self._dispatchers.choose()
        return Session(next(self._numbers), client.user, max_outstanding, self._limits, dispatcher, self)
