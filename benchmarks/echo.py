"""A server that speaks the driver protocol and answers every query alike, without looking at it.

What a query costs there is the price of two processes, a socket and a Python event loop: no server of this kind can
take less. It runs as a process of its own, as a database does.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, cast

import uvloop

from benchmarks.raw_connection import HEADER

GREETING_BYTES = 12
ANSWER = b'{"t":1,"r":[1]}'


class Echo(NamedTuple):
    """A running server."""

    port: int
    pid: int


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._received = b""
        self._greeted = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        data = self._received + data
        if not self._greeted and len(data) >= GREETING_BYTES:
            self._greeted = True
            self._transport.write(b"SUCCESS\0")
            data = data[GREETING_BYTES:]
        answers = []
        position = 0
        while self._greeted and len(data) - position >= HEADER.size:
            token, length = HEADER.unpack_from(data, position)
            if len(data) - position - HEADER.size < length:
                break
            position += HEADER.size + length
            answers.append(HEADER.pack(token, len(ANSWER)) + ANSWER)
        self._received = data[position:]
        if answers:
            self._transport.write(b"".join(answers))


@contextmanager
def running_echo() -> Iterator[Echo]:
    """Run the server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.echo"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Echo(int(process.stdout.readline()), process.pid)
        finally:
            process.terminate()


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
