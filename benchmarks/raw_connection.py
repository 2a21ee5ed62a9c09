"""A bare driver connection for loading much data quickly: it sends wire terms and parses nothing but frames."""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import Any

import orjson

V0_4 = 0x400C2D20
JSON_PROTOCOL = 0x7E6970C7
HEADER = struct.Struct("<QI")


class RawConnection:
    """A connection as `admin` without a password. Use it in a `with` statement."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.sendall(struct.pack("<III", V0_4, 0, JSON_PROTOCOL))
        self._received = self._socket.makefile("rb")
        self._token = 0
        greeting = b""
        while not greeting.endswith(b"\0"):
            greeting += self._received.read(1)
        assert greeting == b"SUCCESS\0", greeting

    def __enter__(self) -> RawConnection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._received.close()
        self._socket.close()

    def send(self, query: list[Any]) -> None:
        """Send a query that has no answer: one with the option `noreply`."""
        body = orjson.dumps(query)
        self._token += 1
        self._socket.sendall(HEADER.pack(self._token, len(body)) + body)

    def ask(self, query: list[Any]) -> Any:
        """Send a query and return its response. Raises RuntimeError for an error."""
        self.send(query)
        _, length = HEADER.unpack(self._received.read(HEADER.size))
        response = orjson.loads(self._received.read(length))
        if response["t"] >= 16:
            raise RuntimeError(response["r"][0])
        return response

    def burst(self, queries: list[list[Any]]) -> list[Any]:
        """Send queries in one write, and return the responses in the order of the queries, also those of errors."""
        first = self._token + 1
        frames = []
        for body in map(orjson.dumps, queries):
            self._token += 1
            frames.append(HEADER.pack(self._token, len(body)) + body)
        self._socket.sendall(b"".join(frames))
        responses: list[Any] = [None] * len(queries)
        for _ in queries:
            token, length = HEADER.unpack(self._received.read(HEADER.size))
            responses[token - first] = orjson.loads(self._received.read(length))
        return responses

    def wait(self) -> None:
        """Return when all queries that were sent have been carried out."""
        self.ask([4])
