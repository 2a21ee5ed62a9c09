"""A client that speaks the drivers' protocol byte by byte, as no driver would."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Any

import orjson

from services.gateway.handshake import JSON, V0_4
from services.gateway.protocol import HEADER, frame
from services.gateway.service import Gateway


class RawClient:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(
        cls, gateway: Gateway, version: int = V0_4, login: bool = True, receive_buffer: int | None = None
    ) -> RawClient:
        connection = socket.socket(proto=socket.IPPROTO_TCP)
        connection.setblocking(False)
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        port = gateway.driver_port
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=connection, limit=4096)
        client = cls(reader, writer)
        if login:
            client.send(old_handshake(version))
            assert await client.read_text() == b"SUCCESS"
        return client

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def query(self, token: int, *query: Any) -> None:
        """Send the query `[type, term, options]`."""
        self.send(frame(token, orjson.dumps(query)))

    async def read_text(self) -> bytes:
        """What comes up to the next null."""
        text = bytearray()
        while (byte := await self.reader.readexactly(1)) != b"\0":
            text += byte
        return bytes(text)

    async def read_answer(self) -> tuple[int, Any]:
        """The next answer: its token and its JSON."""
        token, length = HEADER.unpack(await self.reader.readexactly(HEADER.size))
        return token, orjson.loads(await self.reader.readexactly(length))

    async def ask(self, token: int, *query: Any) -> Any:
        """Send a query and return what the answer holds, which must be the next one."""
        self.query(token, *query)
        answered, response = await self.read_answer()
        assert answered == token
        return response["r"][0]

    async def read_end(self) -> bytes:
        """Everything up to where the server closes."""
        return await self.reader.read(-1)

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def old_handshake(version: int = V0_4, key: bytes = b"") -> bytes:
    return struct.pack("<II", version, len(key)) + key + struct.pack("<I", JSON)
