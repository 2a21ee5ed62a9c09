"""The bodies of responses as they come from a server that nobody trusts: decompressed, and bounded.

Who serves a response decides how long it is, and 64 KB of it may be a compression of gigabytes. So httpx's own
decompression, which gives all that a piece comes to at once, is never used, and every body is bounded, those of
redirections and of refused logins, too, which httpx reads by itself.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator

import httpx

MAX_BODY_BYTES = 64 * 2**20
"""How long a body may be, after decompression."""

MAX_BODIES_BYTES = 8 * MAX_BODY_BYTES
"""How long all bodies may be together that are being received in this process."""

ACCEPTED = "gzip, deflate"
"""The `Accept-Encoding` of requests."""

_PIECE_BYTES = 256 * 1024
"""How much is decompressed before others get their turn."""

_ZLIB_BITS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class TooLong(Exception):
    """A body is longer than it may be, or all together are."""


class _Received:
    """How many bytes of bodies are held at the moment."""

    total = 0


class PlainBody(httpx.AsyncByteStream):
    """A body without its `encoding`. To read it raises TooLong, and httpx.DecodingError for what is not so encoded."""

    def __init__(self, stream: httpx.AsyncByteStream, encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self._length = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        decompressor = _Decompressor(self._encoding) if self._encoding else None
        async for data in self._stream:
            for piece in (data,) if decompressor is None else decompressor.pieces(data):
                self._count(len(piece))
                yield piece
                await asyncio.sleep(0)
        if decompressor is not None and not decompressor.complete:
            raise httpx.DecodingError("it ends too early")

    async def aclose(self) -> None:
        """Close the response."""
        _Received.total -= self._length
        self._length = 0
        await self._stream.aclose()

    def _count(self, length: int) -> None:
        self._length += length
        _Received.total += length
        if self._length > MAX_BODY_BYTES:
            raise TooLong(f"the response is longer than {MAX_BODY_BYTES} bytes")
        if _Received.total > MAX_BODIES_BYTES:
            raise TooLong("too much is being received for all queries together: try again later")


class _Decompressor:
    """Decompresses what comes, a bounded piece at a time. Raises httpx.DecodingError."""

    def __init__(self, encoding: str) -> None:
        if encoding not in _ZLIB_BITS:
            raise httpx.DecodingError(f"it is encoded as {encoding}, which was not asked for")
        self._zlib = zlib.decompressobj(_ZLIB_BITS[encoding])
        self._may_be_raw = encoding == "deflate"  # some servers leave the header of zlib out
        self._begun = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What comes of some more data."""
        while data and not self._zlib.eof:
            try:
                piece = self._zlib.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                if not self._may_be_raw or self._begun:
                    raise httpx.DecodingError(str(error)) from None
                self._may_be_raw = False
                self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
                continue
            self._begun = True
            data = self._zlib.unconsumed_tail
            yield piece

    @property
    def complete(self) -> bool:
        """Whether the end has come, if anything has."""
        return self._zlib.eof or not self._begun
