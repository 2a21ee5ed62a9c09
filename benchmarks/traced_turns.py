"""Measures what tracing 1 % of the point reads costs, also on a machine that has other things to do.

    python -m benchmarks.traced_turns [--turns 12000] [--connections 8] [--queries 13]

A gateway's sessions, `query` and `storage` are run in this process, turn by turn: in each turn every connection brings
some queries. Every other turn is one without tracing, so that both kinds meet the same disturbances, and of the others
one in thirty is traced. What 1 % costs follows from the quartiles of all kinds (the lower one, which disturbances reach
least): a hundred turns are one that is traced, one right after it, which finds the caches changed, and 98 others. The
time is the thread's own; what the exporter's thread takes (a millisecond or two for each message) is not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.closed_loop import HEADER
from photondb.bus import LocalBus
from photondb.telemetry import tracing
from photondb.telemetry.sampling import Sampler
from photondb.telemetry.span_export import SpanExporter
from photondb.telemetry.tracing import Tracer
from services.gateway.busy_polling import BusyPolling
from services.gateway.dispatcher import Dispatcher
from services.gateway.holdings import Holdings
from services.gateway.limits import Limits
from services.gateway.metrics import GatewayMetrics
from services.gateway.pool import QueryHere
from services.gateway.session import Session
from services.query.service import Query
from services.storage.service import Storage

ROWS = 10_000
BLOCK_TURNS = 60
"""Queries of so many turns are made at a time, outside of what is measured. One of the turns is traced."""

GET = b'[1,[16,[[15,[[14,["test"]],"t"]],%d]],{}]'


class _Client(asyncio.Transport):
    """The connection of a client that takes all answers."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 50_000) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is kept."""

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take it."""


class _Log:
    def __init__(self) -> None:
        self.holdings = Holdings(Limits().max_user_bytes)

    def opened(self, transport: asyncio.Transport) -> None:
        """All are welcome."""

    def closed(self, transport: asyncio.Transport) -> None:
        """Say nothing."""


class _Turns:
    """Sessions that get queries all at once."""

    def __init__(self, dispatcher: Dispatcher, connections: int, queries: int) -> None:
        self._sessions = [
            Session(number, "admin", queries, Limits(), dispatcher, _Log()) for number in range(connections)
        ]
        for session in self._sessions:
            session.connection_made(_Client())
        self._queries = queries
        self._token = 0

    def frames(self, *payloads: bytes) -> bytes:
        """Queries as they arrive."""
        framed = b""
        for payload in payloads:
            self._token += 1
            framed += HEADER.pack(self._token, len(payload)) + payload
        return framed

    def reads(self) -> list[bytes]:
        """The queries of a turn."""
        return [self.frames(*(GET % random.randrange(ROWS) for _ in range(self._queries))) for _ in self._sessions]

    async def take(self, turn: list[bytes]) -> float:
        """The time of a turn, in microseconds for each query."""
        began = time.thread_time_ns()
        for session, data in zip(self._sessions, turn, strict=False):
            session.data_received(data)
        while any(session.outstanding for session in self._sessions):  # noqa: ASYNC110 - each is a turn of the loop
            await asyncio.sleep(0)
        return (time.thread_time_ns() - began) / 1000 / (len(turn) * self._queries)


async def measure(turns: int, connections: int, queries: int) -> dict[str, float]:
    """The lower quartiles of the times of turns without tracing, with it, that are traced, and after those."""
    with tempfile.TemporaryDirectory() as directory:
        bus = LocalBus()
        storage = Storage(Path(directory), bus)
        await storage.start()
        query = Query(storage, bus)
        await query.start()
        dispatcher = Dispatcher(QueryHere(query), Limits(), GatewayMetrics(), BusyPolling(0))
        await dispatcher.start()
        clients = _Turns(dispatcher, connections, queries)
        await clients.take([clients.frames(b'[1,[60,["t"]],{}]')])
        documents = b",".join(b'{"id":%d,"text":"%s"}' % (number, b"x" * 500) for number in range(ROWS))
        await clients.take([clients.frames(b'[1,[56,[[15,["t"]],[2,[%b]]]],{}]' % documents)])

        sampler = Sampler("always_off")
        tracer = Tracer(sampler, SpanExporter({"service.name": "photondb"}, lambda message: True, delay_ms=5_000))
        found: dict[str, list[float]] = {"off": [], "on": [], "traced": [], "after": []}
        for _ in range(turns // BLOCK_TURNS):
            for number, turn in enumerate([clients.reads() for _ in range(BLOCK_TURNS)]):
                kind = "off" if number % 2 else {10: "traced", 12: "after"}.get(number, "on")
                tracing.TRACER = None if kind == "off" else tracer
                if kind in ("traced", "after"):
                    sampler.set_ratio(1.0 if kind == "traced" else 0.0)
                found[kind].append(await clients.take(turn))
        tracing.TRACER = None
        tracer.exporter.stop(1_000)
        await dispatcher.stop()
        await query.stop()
        await storage.stop()
    return {kind: sorted(times)[len(times) // 4] for kind, times in found.items()}


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=12_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--queries", type=int, default=13, help="how many each connection brings in a turn")
    options = parser.parse_args()
    found = uvloop.run(measure(options.turns, options.connections, options.queries))
    off, on, traced, after = found["off"], found["on"], found["traced"], found["after"]
    print("| CPU us per query | off | share of 0 | 1 % | a traced turn |\n| --- | --- | --- | --- | --- |")
    one_percent = 0.98 * on + 0.01 * (traced + after)
    cells = [f"{time:.2f} ({time / off - 1:+.1%})" for time in (on, one_percent, traced)]
    print(f"| get by primary key | {off:.2f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
