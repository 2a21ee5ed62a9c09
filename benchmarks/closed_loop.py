"""A closed loop of queries: connections that each keep a number of queries outstanding, and what came of it.

The generator shares the machine with the server, so it does as little as it can: queries are bytes that were made
before or are filled into a template, and of an answer it looks at the type alone. Where its own share of a processor
nears 1, it is the limit: compare the server's CPU time per query then, which also is what noise disturbs least.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from typing import NamedTuple, cast

from benchmarks.processor_time import TICK_S, processor_seconds

GREETING = struct.pack("<III", 0x400C2D20, 0, 0x7E6970C7)
HEADER = struct.Struct("<QI")
FAILURES = (b'{"t":16', b'{"t":17', b'{"t":18')
CONTINUES = b'{"t":3'
STOP = b"[3]"
SETTLE_SHARE = 0.15
"""How much of a measurement's time passes before it counts."""

LONGEST_WAIT_S = 60
"""How much longer than it was told a measurement may take, when no query has been answered yet."""

MakeQuery = Callable[[], bytes]


class Figures(NamedTuple):
    """What a closed loop measured. `errors` are answers that were errors; `generator_cpu` is in processors."""

    queries_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    generator_cpu: float
    errors: int


class _Client(asyncio.Protocol):
    """A driver connection that asks the next query for each answer."""

    def __init__(self, make: MakeQuery, window: int) -> None:
        self.ready = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()
        self.latencies: list[float] = []
        self.errors = 0
        self._make = make
        self._window = window
        self._running = False
        self._greeted = False
        self._token = 0
        self._sent: dict[int, float] = {}
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(GREETING)

    def connection_lost(self, error: Exception | None) -> None:
        for future in (self.ready, self.ended):
            if not future.done():
                future.set_exception(ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data
        position = 0
        if not self._greeted:
            end = data.find(b"\0")
            if end < 0:
                self._buffer = data
                return
            if data[:end] != b"SUCCESS":
                self.ready.set_exception(ConnectionError(data[:end].decode(errors="replace")))
                return
            self._greeted = True
            position = end + 1
            self.ready.set_result(None)
        now = time.perf_counter()
        answered = 0
        closing: list[bytes] = []
        while len(data) - position >= HEADER.size:
            token, length = HEADER.unpack_from(data, position)
            start = position + HEADER.size
            if len(data) - start < length:
                break
            position = start + length
            sent = self._sent.pop(token, None)
            if sent is None:
                continue  # the end of a cursor that was stopped
            answered += 1
            self.latencies.append(now - sent)
            head = data[start : start + 7]
            if head.startswith(FAILURES):
                self.errors += 1
            elif head.startswith(CONTINUES):  # more rows than were wanted: the server need not keep them
                closing.append(HEADER.pack(token, len(STOP)) + STOP)
        self._buffer = data[position:]
        if closing:
            self._transport.write(b"".join(closing))
        if self._running:
            self._ask(answered)
        elif self._greeted and not self._sent and not self.ended.done():
            self.ended.set_result(None)

    def begin(self) -> None:
        """Send the first queries."""
        self._running = True
        self._ask(self._window)

    def stop(self) -> None:
        """Ask nothing more; `ended` is set with the last answer."""
        self._running = False
        if not self._sent and not self.ended.done():
            self.ended.set_result(None)

    def close(self) -> None:
        """Close the connection."""
        if not self.ended.done():
            self.ended.set_result(None)
        self._transport.close()

    def _ask(self, count: int) -> None:
        frames: list[bytes] = []
        now = time.perf_counter()
        for _ in range(count):
            self._token += 1
            query = self._make()
            frames += (HEADER.pack(self._token, len(query)), query)
            self._sent[self._token] = now
        if frames:
            self._transport.write(b"".join(frames))


async def measure(
    port: int, pid: int, make: MakeQuery, seconds: float, connections: int = 8, window: int = 16
) -> Figures:
    """Keep `window` queries outstanding on each of `connections` for `seconds`.

    `pid` is the server's process, whose children count, too. Raises ConnectionError.
    """
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: _Client(make, window), "127.0.0.1", port))[1] for _ in range(connections)
    ]
    try:
        await asyncio.wait_for(asyncio.gather(*(client.ready for client in clients)), 30)
        for client in clients:
            client.begin()
        await asyncio.sleep(seconds * SETTLE_SHARE)
        for client in clients:
            client.latencies.clear()
        server, own, start = processor_seconds(pid), time.process_time(), time.perf_counter()
        await asyncio.sleep(seconds * (1 - SETTLE_SHARE))
        for _ in range(LONGEST_WAIT_S * 10):
            if any(client.latencies for client in clients):
                break
            await asyncio.sleep(0.1)
        took = time.perf_counter() - start
        server, own = max(processor_seconds(pid) - server, TICK_S), time.process_time() - own
        latencies = sorted(latency for client in clients for latency in client.latencies)
        for client in clients:
            client.stop()
        await asyncio.wait_for(asyncio.gather(*(client.ended for client in clients)), 120)
    finally:
        for client in clients:
            client.close()
    if not latencies:
        raise ConnectionError("no query was answered in time")
    return Figures(
        queries_per_s=len(latencies) / took,
        p50_ms=latencies[len(latencies) // 2] * 1e3,
        p99_ms=latencies[int(len(latencies) * 0.99)] * 1e3,
        cpu_us=server / len(latencies) * 1e6,
        generator_cpu=own / took,
        errors=sum(client.errors for client in clients),
    )
