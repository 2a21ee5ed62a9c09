"""Between pycapnp and a socket: messages leave in one piece, and nothing of what arrives is lost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from photondb.rpc import stream
from photondb.rpc.servant import servant
from photondb.rpc.stream import Bridge
from tests.rpc.probe import PROBE, Probe, ProbeStub, rpc_test, served
from tests.rpc.relay import relay


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/probe"


class Taker:
    """A protocol that asks for data when it is told to, and takes so many bytes at a time, as pycapnp's does."""

    def __init__(self, room: int) -> None:
        self.transport: Any = None
        self.taken = b""
        self.ended = False
        self._buffer = bytearray(room)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None

    def get_buffer(self, size_hint: int) -> memoryview:
        return memoryview(self._buffer)

    def buffer_updated(self, size: int) -> None:
        self.taken += self._buffer[:size]
        self.transport.pause_reading()

    def eof_received(self) -> None:
        self.ended = True


@asynccontextmanager
async def bridged(room: int = 4) -> AsyncIterator[tuple[Taker, socket.socket]]:
    """A bridge between a taker and a socket, and the other end of that."""
    here, there = socket.socketpair()
    there.setblocking(False)
    taker = Taker(room)
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: Bridge(taker), sock=here)
    yield taker, there
    transport.close()
    there.close()


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0.001)


@rpc_test
async def test_what_is_written_in_a_turn_leaves_in_one_piece() -> None:
    async with bridged() as (taker, there):
        taker.transport.write(b"head")
        taker.transport.write(b"body")
        with pytest.raises(BlockingIOError):
            there.recv(100)
        await turns()
        assert there.recv(100) == b"headbody"
        taker.transport.write(b"a" * 40_000)
        taker.transport.write(b"b" * 40_000)
        taker.transport.close()
        await turns()
        received = b""
        while data := there.recv(100_000):
            received += data
            await turns(1)
        assert received == b"a" * 40_000 + b"b" * 40_000


@rpc_test
async def test_what_is_not_asked_for_is_kept_and_the_end_is_told_behind_it() -> None:
    async with bridged() as (taker, there):
        there.send(b"0123456789")
        there.shutdown(socket.SHUT_WR)
        await turns()
        taken = []
        for _ in range(3):
            assert not taker.ended
            taker.transport.resume_reading()
            taken.append(taker.taken)
        assert taken == [b"0123", b"01234567", b"0123456789"]
        assert not taker.ended
        taker.transport.resume_reading()
        assert taker.ended
        await turns()
        assert taker.transport is None


@rpc_test
async def test_who_asks_gets_at_once_what_comes() -> None:
    async with bridged() as (taker, there):
        taker.transport.resume_reading()
        there.send(b"ab")
        await turns()
        assert taker.taken == b"ab"
        there.send(b"cd")
        await turns()
        assert taker.taken == b"ab"
        taker.transport.resume_reading()
        assert taker.taken == b"abcd"


@rpc_test
async def test_a_peer_has_to_wait_for_who_does_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_RECEIVED_BYTES", 1_000)
    async with bridged(room=100_000) as (taker, there):
        sent = 0
        for _ in range(50):
            with contextlib.suppress(BlockingIOError):
                sent += there.send(b"x" * 100_000)
            await turns(1)
        assert 100_000 < sent < 50 * 100_000
        while len(taker.taken) < sent:
            taker.transport.resume_reading()
            await asyncio.sleep(0)
        assert taker.taken == b"x" * sent


@pytest.mark.parametrize("piece_bytes", [1, 7, 8, 9, 64, 65_536])
@rpc_test
async def test_answers_arrive_in_any_pieces(address: str, piece_bytes: int) -> None:
    async with served(servant(PROBE.Probe, Probe()), address), relay(f"{address}-cut", address, piece_bytes):
        stub = ProbeStub(f"{address}-cut")
        for size in (0, 1, 700, 70_000 if piece_bytes >= 64 else 3_000):
            assert await stub.echo(b"x" * size) == [b"x" * size]
        await stub.close()
