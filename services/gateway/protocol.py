"""The frames of RethinkDB's driver protocol: queries in, responses out.

A frame is a token of 8 bytes, a length of 4 bytes, both little-endian, and that many bytes of JSON.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import orjson

from photondb.reql.errors import ErrorKind, ResponseType

HEADER = struct.Struct("<QI")
"""Token and length."""

DISCARD_LIMIT_BYTES = 1 << 30
"""A frame that is too long is read to its end and thrown away, so that the client gets to read the error; one of this
length or more is not (RethinkDB's bound)."""

Frame = tuple[int, bytes]
"""Token and JSON of a query."""

_HEADER_BYTES = HEADER.size
_unpack_header = HEADER.unpack_from


class TooLong(NamedTuple):
    """A frame beyond the limit: whose error it is, and the length that was announced."""

    token: int
    length: int


class FrameReader:
    """Cuts the bytes of a connection into frames, however they arrive, in time linear in their number.

    When a frame is too long (more than `max_frame_bytes`), `rejected` says which one, as soon as what it announced has
    been thrown away. Nothing can follow it: the connection is to be closed. `has_surplus` says that the last call had
    no room for all that has arrived.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self.rejected: TooLong | None = None
        self.has_surplus = False
        self._max_frame_bytes = max_frame_bytes
        self._buffer = b""
        self._position = 0  # where in the buffer the bytes begin that are still to be looked at
        self._body = bytearray()  # the part that has arrived of a frame that is longer than what has arrived
        self._body_token = 0
        self._missing = 0  # the bytes of it that have not
        self._discarding: TooLong | None = None

    def receive(self, data: bytes, room: int) -> list[Frame]:
        """Take `data` and return up to `room` whole frames. What is beyond stays for a later call (data may be b"")."""
        if self.rejected is not None:
            return []
        buffer, position = self._buffer, self._position
        if data:
            buffer = buffer[position:] + data if position < len(buffer) else data
            position = 0
        size = len(buffer)
        frames: list[Frame] = []
        if room > 0 and self._missing:
            position = self._continue_frame(buffer, position, frames)
            room -= len(frames)
        while room > 0 and size - position >= _HEADER_BYTES:
            token, length = _unpack_header(buffer, position)
            start = position + _HEADER_BYTES
            end = start + length
            if end > size or length > self._max_frame_bytes:
                position = self._begin_frame(buffer, start, token, length)
                continue
            frames.append((token, buffer[start:end]))
            position = end
            room -= 1
        if size - position < _HEADER_BYTES:
            buffer, position = buffer[position:], 0  # an idle connection keeps no large buffer for a few bytes
        self._buffer, self._position = buffer, position
        self.has_surplus = room <= 0 and bool(buffer)
        return frames

    @property
    def unfinished(self) -> tuple[int, int]:
        """The token of a frame of which more is to come, and how many bytes of it have arrived."""
        return self._body_token, len(self._body)

    def _begin_frame(self, buffer: bytes, start: int, token: int, length: int) -> int:
        """Begin a frame that is not all there, or that is too long. Returns the new position."""
        if length > self._max_frame_bytes:
            self._discarding = TooLong(token, length)
            if length >= DISCARD_LIMIT_BYTES:
                self.rejected = self._discarding
                return len(buffer)
        self._body_token = token
        self._missing = length
        return self._continue_frame(buffer, start, [])

    def _continue_frame(self, buffer: bytes, position: int, frames: list[Frame]) -> int:
        """Add what the buffer has for the frame that was begun. Returns the new position."""
        end = min(position + self._missing, len(buffer))
        self._missing -= end - position
        if self._discarding is not None:
            if not self._missing:
                self.rejected = self._discarding
                return len(buffer)
            return end
        self._body += memoryview(buffer)[position:end]
        if not self._missing:
            frames.append((self._body_token, bytes(self._body)))
            self._body = bytearray()
        return end


def frame(token: int, payload: bytes) -> bytes:
    """A response as it goes to the client."""
    return HEADER.pack(token, len(payload)) + payload


def too_long_response(rejected: TooLong, max_frame_bytes: int) -> bytes:
    """The JSON that answers a frame beyond the limit (RethinkDB's text)."""
    text = f"Query size ({rejected.length}) greater than maximum ({max_frame_bytes})."
    return orjson.dumps({"t": ResponseType.CLIENT_ERROR, "r": [text], "b": []})


def error_response(kind: ErrorKind, text: str) -> bytes:
    """The JSON of a runtime error that concerns a query as a whole."""
    return orjson.dumps({"t": ResponseType.RUNTIME_ERROR, "e": kind, "r": [text], "b": []})


def is_noreply(payload: bytes) -> bool:
    """Whether the client that sent this query expects no response to it."""
    if b"noreply" not in payload:
        return False
    try:
        _, _, options = orjson.loads(payload)
    except (orjson.JSONDecodeError, TypeError, ValueError):
        return False
    return isinstance(options, dict) and options.get("noreply") is True
