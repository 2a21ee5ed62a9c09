"""Cap'n Proto streams over the connections of asyncio.

pycapnp writes each part of a message by itself and has its transport pause and go on for every message that it reads:
eight system calls more for a call and its answer than are needed. On uvloop it even ends the process when data arrives
on a new connection before it wants any. So a bridge stands between it and the transport: what pycapnp writes in a turn
of the loop leaves in one piece, and what arrives is kept here until it asks for it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import capnp

from photondb.address import Address

GATHERED_BYTES = 64 * 1024
"""How much is gathered before it is written, even if the turn goes on."""

PIECE_BYTES = 64 * 1024
"""How much is read at a time that pycapnp has not asked for."""

MAX_RECEIVED_BYTES = 4 * 1024 * 1024
"""How much is kept that pycapnp has not asked for yet. Above that the peer has to wait."""


def protocol_factory(connected: Callable[[Any], Any]) -> Callable[[], Any]:
    """A factory for `loop.create_server`, which calls the coroutine function `connected` with each connection's stream.

    A connection is closed when its coroutine ends.
    """
    return lambda: Bridge(capnp.AsyncIoStream._connect(connected))


class ClientStream:
    """A stream to a server."""

    def __init__(self, stream: Any, bridge: Bridge) -> None:
        self.stream = stream
        self._bridge = bridge

    @property
    def lost(self) -> bool:
        """Whether the connection has ended. This is known some turns of the loop before Cap'n Proto says so."""
        return self._bridge.lost

    def mark(self) -> tuple[int, int]:
        """How far it is: another mark later on says that the peer has sent or taken something in between."""
        return self._bridge.mark()

    def close(self) -> None:
        """Close the socket."""
        self.stream.close()


async def open_stream(address: Address, tls: ssl.SSLContext | None, tls_name: str | None) -> ClientStream:
    """Connect. `tls` is for TCP only. Raises OSError, ssl.SSLError included."""
    loop = asyncio.get_running_loop()
    streams: list[Any] = []
    bridge = Bridge(capnp.AsyncIoStream._connect(streams.append))
    if address.path is not None:
        await loop.create_unix_connection(lambda: bridge, address.path)
    elif tls is None:
        await loop.create_connection(lambda: bridge, address.host, address.port)
    else:
        server_hostname = tls_name or address.name or address.host
        await loop.create_connection(
            lambda: bridge, address.host, address.port, ssl=tls, server_hostname=server_hostname
        )
    return ClientStream(streams[0], bridge)


class Bridge(asyncio.BufferedProtocol):
    """A protocol to the transport, and a transport to pycapnp's protocol."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._transport: Any = None
        self._loop = asyncio.get_running_loop()
        self._is_asked = False  # whether pycapnp waits for data
        self._reads_directly = False  # whether what is being read goes where it wants it
        self._piece: bytearray | None = None  # where it goes otherwise
        self._received = bytearray()  # what it has not asked for yet
        self._ended = False  # whether nothing comes after that
        self._paused = False
        self._passed = 0  # how often the peer has sent or taken something
        self._written: list[bytes] = []
        self._written_bytes = 0

    @property
    def lost(self) -> bool:
        return self._protocol.transport is None

    def mark(self) -> tuple[int, int]:
        return self._passed, self._transport.get_write_buffer_size()

    # --- as the protocol of the transport

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._protocol.connection_made(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._is_asked = False
        self._received.clear()
        self._written.clear()
        self._protocol.connection_lost(error)

    def get_buffer(self, sizehint: int) -> Any:
        self._reads_directly = self._is_asked and not self._received
        if self._reads_directly:
            return self._protocol.get_buffer(sizehint)
        if self._piece is None:
            self._piece = bytearray(PIECE_BYTES)
        return self._piece

    def buffer_updated(self, nbytes: int) -> None:
        self._passed += 1
        if self._reads_directly:
            self._protocol.buffer_updated(nbytes)
            return
        assert self._piece is not None
        self._received += memoryview(self._piece)[:nbytes]
        self._hand_over()
        if len(self._received) > MAX_RECEIVED_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Returns whether the connection stays open: until pycapnp has had everything. (With TLS it cannot.)"""
        self._ended = True
        return not self._end() and self._transport.get_extra_info("ssl_object") is None

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._passed += 1
        self._protocol.resume_writing()

    # --- as the transport of pycapnp's protocol

    def pause_reading(self) -> None:
        self._is_asked = False

    def resume_reading(self) -> None:
        self._is_asked = True
        if self._received:
            self._hand_over()
        if self._ended and self._end():
            self._transport.close()

    def write(self, data: bytes) -> None:
        if not self._written:
            self._loop.call_soon(self._flush)
        self._written.append(data)
        self._written_bytes += len(data)
        if self._written_bytes > GATHERED_BYTES:
            self._flush()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def is_closing(self) -> bool:
        return self._transport.is_closing()  # type: ignore[no-any-return]

    def close(self) -> None:
        self._flush()
        self._transport.close()

    # --- in between

    def _flush(self) -> None:
        written = self._written
        if not written:
            return
        self._written = []
        if self._written_bytes > GATHERED_BYTES:
            self._transport.writelines(written)
        else:
            self._transport.write(b"".join(written))
        self._written_bytes = 0

    def _hand_over(self) -> None:
        """Give pycapnp what has been received, as long as it asks for something."""
        received = self._received
        while self._is_asked and received:
            room = self._protocol.get_buffer(len(received))
            taken = min(len(room), len(received))
            room[:taken] = memoryview(received)[:taken]
            self._protocol.buffer_updated(taken)
            del received[:taken]
        if self._paused and len(received) <= MAX_RECEIVED_BYTES // 2:
            self._paused = False
            self._transport.resume_reading()

    def _end(self) -> bool:
        """Tell pycapnp that nothing comes any more, if it waits for something: else that would end the process. Returns
        whether it has been told."""
        if not self._is_asked or self._received:
            return False
        self._ended = False
        self._protocol.eof_received()
        return True
