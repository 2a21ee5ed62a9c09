"""The end of a connection that the server closes with an error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Farewell(asyncio.Protocol):
    """Sends the last bytes and waits for the client to close.

    Closing at once, with bytes of the client unread, would make the kernel reset the connection, and a client that is
    reset never reads the error that it was sent.
    """

    def __init__(self, transport: asyncio.Transport, closed: Callable[[asyncio.Transport], None]) -> None:
        self._transport = transport
        self._closed = closed
        self._timer: asyncio.TimerHandle

    @classmethod
    def say(
        cls,
        transport: asyncio.Transport,
        data: bytes,
        closed: Callable[[asyncio.Transport], None],
        linger_timeout_ms: int,
    ) -> None:
        """Take the transport over, send `data`, and call `closed` when the connection is gone."""
        farewell = cls(transport, closed)
        transport.set_protocol(farewell)
        transport.write(data)
        farewell._timer = asyncio.get_running_loop().call_later(linger_timeout_ms / 1000, transport.abort)
        if transport.can_write_eof():
            transport.write_eof()
            transport.resume_reading()
        else:
            transport.close()  # over TLS, which ends a connection with a message of its own

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._closed(self._transport)
