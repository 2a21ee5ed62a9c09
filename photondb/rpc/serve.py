"""Serving a capability on TCP ports and unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import stat
from typing import Any
from weakref import WeakSet

import capnp
from capnp import KjException

from photondb.address import Address
from photondb.rpc.admission import Admission
from photondb.rpc.limits import MESSAGE_WORDS, NESTING_LEVELS
from photondb.rpc.stream import protocol_factory

_log = logging.getLogger(__name__)

_FLUSH_MS = 20
"""How long the last answers have to get from Cap'n Proto, which does not tell when they are sent, to the sockets."""

SERVERS: WeakSet[RpcServer] = WeakSet()
"""All servers of this process, for its metrics."""


class RpcServer:
    """Gives everyone who connects the capability `bootstrap`, one of the servants of this package.

    At most `max_connections` are open at a time; more are closed as soon as they are accepted.
    """

    def __init__(self, bootstrap: Any, max_connections: int = 1024) -> None:
        self._bootstrap = bootstrap
        self._max_connections = max_connections
        self._listeners: list[asyncio.AbstractServer] = []  # uvloop stops to listen when the last reference goes
        self._paths: list[str] = []
        self._streams: set[Any] = set()
        self.addresses: list[str] = []
        """Where it serves."""
        SERVERS.add(self)

    @property
    def admission(self) -> Admission:
        """The calls that it carries out."""
        return self._bootstrap.handlers.admission  # type: ignore[no-any-return]

    @property
    def connections(self) -> int:
        """How many peers are connected."""
        return len(self._streams)

    async def listen(self, address: str, tls: ssl.SSLContext | None = None) -> Address:
        """Accept connections at `address` and return it, with the port that was chosen where it said 0.

        Raises OSError when that is not possible, for instance because somebody else listens there.
        """
        parsed = Address.parse(address)
        loop = asyncio.get_running_loop()
        factory = protocol_factory(self._serve)
        if parsed.path is not None:
            listener = await loop.create_unix_server(factory, sock=_unix_socket(parsed.path))
            self._paths.append(parsed.path)
        else:
            listener = await loop.create_server(factory, parsed.host, parsed.port, ssl=tls)
            parsed = Address(host=parsed.host, port=listener.sockets[0].getsockname()[1])
        self._listeners.append(listener)
        self.addresses.append(str(parsed))
        return parsed

    async def close(self, drain_ms: int = 1_000) -> None:
        """Accept no more connections, let calls in flight end for up to `drain_ms`, and close all connections."""
        for listener in self._listeners:
            listener.close()
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_ms / 1000):
                await self.admission.idle()
        await asyncio.sleep(_FLUSH_MS / 1000)
        for stream in list(self._streams):
            stream.close()

    async def _serve(self, stream: Any) -> None:
        """The life of a connection."""
        if len(self._streams) >= self._max_connections:
            _log.warning("too many connections", extra={"limit": self._max_connections})
            return  # pycapnp closes the socket when this returns
        self._streams.add(stream)
        try:
            connection = capnp.TwoPartyServer(
                stream,
                bootstrap=self._bootstrap,
                traversal_limit_in_words=MESSAGE_WORDS,
                nesting_limit=NESTING_LEVELS,
            )
            await connection.on_disconnect()
        except KjException as error:
            _log.warning("a connection broke", extra={"reason": error.description})
        finally:
            self._streams.discard(stream)


def _unix_socket(path: str) -> socket.socket:
    """A socket bound to `path`, to which only processes of the same user may connect."""
    _remove_stale_socket(path)
    unix_socket = socket.socket(socket.AF_UNIX)
    try:
        unix_socket.bind(path)
        os.chmod(path, 0o600)  # nobody can have connected yet, because nothing listens
    except BaseException:
        unix_socket.close()
        raise
    return unix_socket


def _remove_stale_socket(path: str) -> None:
    """Remove the socket that a killed server left, so that its address can be used again. One in use stays."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
