"""Between pycapnp and a socket: messages leave in one piece, and nothing of what arrives is lost."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from photondb.rpc import stream
from photondb.rpc.connect import ConnectOptions
from photondb.rpc.servant import servant
from tests.rpc.probe import PROBE, Probe, ProbeStub, rpc_test, served


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/probe"


def size_of_message(data: bytes) -> int:
    """How long the message is that begins so: a table of the lengths of its segments, in words, stands before it."""
    (segments,) = struct.unpack_from("<I", data)
    lengths = struct.unpack_from(f"<{segments + 1}I", data, 4)
    return 8 * ((segments + 1) // 2 + 1) + 8 * sum(lengths)


@rpc_test
async def test_a_message_leaves_in_one_piece(address: str) -> None:
    pieces: list[bytes] = []
    arrived = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pieces.append(await reader.read(65_536))
        arrived.set()
        writer.close()

    async with await asyncio.start_unix_server(accept, address.removeprefix("unix:")):
        stub = ProbeStub(address, ConnectOptions(reconnect_wait_ms=100))
        call = asyncio.create_task(stub.echo())
        await asyncio.wait_for(arrived.wait(), 10)
        call.cancel()
        await stub.close()
    assert size_of_message(pieces[0]) <= len(pieces[0])


@asynccontextmanager
async def relay(address: str, target: str, piece_bytes: int, last_at: int) -> AsyncIterator[None]:
    """Passes on what comes to `address`, and what `target` answers in pieces of so many bytes. With the `last_at`-th
    byte of the answers, which is in the same piece, the connection ends."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target_writer = await asyncio.open_unix_connection(target.removeprefix("unix:"))

        async def ask() -> None:
            while data := await reader.read(65_536):
                target_writer.write(data)

        asking = asyncio.create_task(ask())
        passed = 0
        while passed < last_at and (data := await target_reader.read(min(piece_bytes, last_at - passed))):
            passed += len(data)
            writer.write(data)
            await asyncio.sleep(0)
        writer.close()
        target_writer.close()
        await asyncio.wait([asking])

    async with await asyncio.start_unix_server(accept, address.removeprefix("unix:")):
        yield


@pytest.mark.parametrize("piece_bytes", [1, 7, 8, 9, 64, 65_536])
@rpc_test
async def test_answers_arrive_in_any_pieces(address: str, piece_bytes: int) -> None:
    async with served(servant(PROBE.Probe, Probe()), address), relay(f"{address}-cut", address, piece_bytes, 1 << 30):
        stub = ProbeStub(f"{address}-cut")
        for size in (0, 1, 700, 70_000 if piece_bytes >= 64 else 3_000):
            assert await stub.echo(b"x" * size) == [b"x" * size]
        await stub.close()


@rpc_test
async def test_an_answer_after_which_the_connection_ends_has_arrived(address: str) -> None:
    async with served(servant(PROBE.Probe, Probe()), address):
        # How many bytes the server says until it has answered the first call, found out by letting it say them.
        said = 0
        for last_at in range(8, 4_096, 8):
            async with relay(f"{address}-{last_at}", address, 65_536, last_at):
                stub = ProbeStub(f"{address}-{last_at}", ConnectOptions(reconnect_wait_ms=50, connect_timeout_ms=2_000))
                try:
                    assert await stub.echo(b"x" * 100) == [b"x" * 100]
                    said = last_at
                except Exception:  # it ended before: whatever says so
                    said = 0
                await stub.close()
            if said:
                break
        assert said


@rpc_test
async def test_who_sends_faster_than_it_is_read_has_to_wait(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_RECEIVED_BYTES", 1_000)
    async with served(servant(PROBE.Probe, Probe()), address):
        stub = ProbeStub(address)
        batches = [bytes([number]) * 100_000 for number in range(40)]
        assert await asyncio.gather(*map(stub.echo, batches)) == [[batch] for batch in batches]
        await stub.close()
