"""Cap'n Proto streams over the connections of asyncio, without crashing on uvloop.

pycapnp pauses reading inside `get_buffer` when data arrives before it wants any, as happens on a new connection, and
uvloop's plain transport does not survive that. So, until pycapnp first asks for data, `pause_reading` of a new
connection is ignored: what arrives goes into pycapnp's overflow buffer, from which it reads first. TLS transports and
those of asyncio itself do not have the problem.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import capnp

from photondb.rpc.address import Address


def protocol_factory(connected: Callable[[Any], Any], loop: asyncio.AbstractEventLoop, tls: bool) -> Callable[[], Any]:
    """A factory for `loop.create_server` and the like, which calls `connected` with the stream of each connection.

    Where `connected` is a coroutine function, the connection is closed when the coroutine ends.
    """
    guarded = not tls and type(loop).__module__.startswith("uvloop")

    def factory() -> Any:
        protocol = capnp.AsyncIoStream._connect(connected)
        return _GuardedProtocol(protocol) if guarded else protocol

    return factory


async def open_stream(address: Address, tls: ssl.SSLContext | None, tls_name: str | None) -> Any:
    """Connect, and return the stream. `tls` is for TCP only. Raises OSError, ssl.SSLError included."""
    loop = asyncio.get_running_loop()
    streams: list[Any] = []
    factory = protocol_factory(streams.append, loop, tls is not None and address.path is None)
    if address.path is not None:
        await loop.create_unix_connection(factory, address.path)
    elif tls is not None:
        await loop.create_connection(
            factory, address.host, address.port, ssl=tls, server_hostname=tls_name or address.host
        )
    else:
        await loop.create_connection(factory, address.host, address.port)
    return streams[0]


class _GuardedProtocol(asyncio.BufferedProtocol):
    """Passes everything on to pycapnp's protocol, and leaves when that first asks for data."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def connection_made(self, transport: Any) -> None:
        self._protocol.connection_made(_UnpausableTransport(transport, self._protocol))

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
