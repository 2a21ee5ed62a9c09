"""Cap'n Proto streams over the connections of asyncio, without crashing on uvloop.

pycapnp pauses reading inside `get_buffer` when data arrives before it wants any, as happens on a new connection, and
uvloop's plain transport does not survive that. So, until pycapnp first asks for data, `pause_reading` of a new
connection is ignored: what arrives goes into pycapnp's overflow buffer, from which it reads first. TLS transports and
those of asyncio itself do not have the problem.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import capnp

from photondb.rpc.address import Address


def protocol_factory(connected: Callable[[Any], Any], loop: asyncio.AbstractEventLoop, tls: bool) -> Callable[[], Any]:
    """A factory for `loop.create_server`, which calls the coroutine function `connected` with each connection's stream.

    A connection is closed when its coroutine ends.
    """
    return lambda: _guarded(capnp.AsyncIoStream._connect(connected), loop, tls)


class ClientStream:
    """A stream to a server."""

    def __init__(self, stream: Any, protocol: Any) -> None:
        self.stream = stream
        self._protocol = protocol

    @property
    def lost(self) -> bool:
        """Whether the connection has ended. This is known some turns of the loop before Cap'n Proto says so."""
        return self._protocol.transport is None

    @contextmanager
    def watched(self) -> Iterator[Traffic]:
        """Look at what passes, which is not looked at otherwise. The connection must not be lost."""
        transport, protocol = self._protocol.transport, self._protocol
        watching = _WatchedProtocol(protocol)
        transport.set_protocol(watching)
        try:
            yield Traffic(watching, transport)
        finally:
            if not self.lost:
                transport.set_protocol(protocol)

    def close(self) -> None:
        """Close the socket."""
        self.stream.close()


class Traffic:
    """What passes over a connection while it is watched."""

    def __init__(self, protocol: _WatchedProtocol, transport: Any) -> None:
        self._protocol = protocol
        self._transport = transport

    def mark(self) -> tuple[int, int]:
        """How far it is: another mark later on says that the peer has sent or taken something in between."""
        return self._protocol.passed, self._transport.get_write_buffer_size()


async def open_stream(address: Address, tls: ssl.SSLContext | None, tls_name: str | None) -> ClientStream:
    """Connect. `tls` is for TCP only. Raises OSError, ssl.SSLError included."""
    loop = asyncio.get_running_loop()
    streams: list[Any] = []
    protocol = capnp.AsyncIoStream._connect(streams.append)
    if address.path is not None:
        await loop.create_unix_connection(lambda: _guarded(protocol, loop, False), address.path)
    elif tls is None:
        await loop.create_connection(lambda: _guarded(protocol, loop, False), address.host, address.port)
    else:
        server_hostname = tls_name or address.name or address.host
        await loop.create_connection(
            lambda: protocol, address.host, address.port, ssl=tls, server_hostname=server_hostname
        )
    return ClientStream(streams[0], protocol)


def _guarded(protocol: Any, loop: asyncio.AbstractEventLoop, tls: bool) -> Any:
    return protocol if tls or not type(loop).__module__.startswith("uvloop") else _GuardedProtocol(protocol)


class _ForwardingProtocol(asyncio.BufferedProtocol):
    """Passes everything on to pycapnp's protocol."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def connection_made(self, transport: Any) -> None:
        self._protocol.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)

    def get_buffer(self, sizehint: int) -> Any:
        return self._protocol.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        self._protocol.buffer_updated(nbytes)

    def eof_received(self) -> None:
        self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


class _GuardedProtocol(_ForwardingProtocol):
    """Leaves when pycapnp's protocol first asks for data."""

    def connection_made(self, transport: Any) -> None:
        self._protocol.connection_made(_UnpausableTransport(transport, self._protocol))


class _WatchedProtocol(_ForwardingProtocol):
    """Counts how often the peer has sent or taken something."""

    passed = 0

    def buffer_updated(self, nbytes: int) -> None:
        self.passed += 1
        self._protocol.buffer_updated(nbytes)

    def resume_writing(self) -> None:
        self.passed += 1
        self._protocol.resume_writing()


class _UnpausableTransport:
    """A transport whose reading is not paused before it is first resumed."""

    def __init__(self, transport: Any, protocol: Any) -> None:
        self._transport = transport
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def pause_reading(self) -> None:
        """Go on reading."""

    def resume_reading(self) -> None:
        """Step aside: from now on pycapnp and the real transport deal with each other."""
        self._protocol.transport = self._transport
        self._transport.set_protocol(self._protocol)
        self._transport.resume_reading()
