"""Measures changefeeds: how late changes come, what idle feeds cost, and how many changes get through.

    python -m benchmarks.feeds            # against one process
    python -m benchmarks.feeds --processes
    python -m benchmarks.feeds --quick    # in about a minute, with fewer samples

It starts a server of its own, on a directory that it removes. All feeds are those of one client process, which decodes
nothing of a batch but its size: on a machine with few processors it competes with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import itertools
import struct
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson
from rethinkdb import r
from rethinkdb.ast import ReQLEncoder

from benchmarks.processor_time import processor_seconds
from tests.process_memory import resident_bytes
from tests.running_suite import RunningSuite

GREETING = struct.pack("<III", 0x400C2D20, 0, 0x7E6970C7)
HEADER = struct.Struct("<QI")
CONTINUE = b"[2]"
FEEDS_PER_CONNECTION = 500
OPENED_AT_A_TIME = 20
TABLE = r.table("t")
NUMBERS = itertools.count()
ROUND_SECONDS = 1.0
QUIET_TRIES = 60


class Connection(asyncio.Protocol):
    """A driver connection with many queries under way."""

    def __init__(self) -> None:
        self.ready = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport
        self._buffer = bytearray()
        self._token = 0
        self._handlers: dict[int, Callable[[bytes], None]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self.ready.done():
            end = buffer.find(0)
            if end < 0:
                return
            assert buffer[:end] == b"SUCCESS", bytes(buffer)
            del buffer[: end + 1]
            self.ready.set_result(None)
        start = 0
        while len(buffer) - start >= HEADER.size:
            token, length = HEADER.unpack_from(buffer, start)
            if len(buffer) - start < HEADER.size + length:
                break
            body = bytes(buffer[start + HEADER.size : start + HEADER.size + length])
            start += HEADER.size + length
            self._handlers[token](body)
        del buffer[:start]

    def close(self) -> None:
        self._transport.close()

    def _send(self, token: int, body: bytes) -> None:
        self._transport.write(HEADER.pack(token, len(body)) + body)

    async def ask(self, term: Any) -> Any:
        """A query's answer."""
        self._token += 1
        token = self._token
        answer = asyncio.get_running_loop().create_future()
        self._handlers[token] = answer.set_result
        self._send(token, start_query(term))
        response = orjson.loads(await answer)
        del self._handlers[token]
        if response["t"] >= 16:
            raise RuntimeError(response["r"][0])
        return response["r"]

    async def feed(self, term: Any, batch: Callable[[bytes], None]) -> None:
        """Open a feed; `batch` is called with every batch of it."""
        self._token += 1
        token = self._token
        opened = asyncio.get_running_loop().create_future()

        def first(body: bytes) -> None:
            self._handlers[token] = later
            opened.set_result(body)

        def later(body: bytes) -> None:
            batch(body)
            self._send(token, CONTINUE)

        self._handlers[token] = first
        self._send(token, start_query(term))
        response = orjson.loads(await opened)
        if response["t"] >= 16:
            raise RuntimeError(response["r"][0])
        self._send(token, CONTINUE)


def start_query(term: Any) -> bytes:
    """The body of a query."""
    return term if isinstance(term, bytes) else b"[1,%b,{}]" % ReQLEncoder().encode(term).encode()


class Bench:
    """A server, and connections to it."""

    def __init__(self, suite: RunningSuite) -> None:
        self.suite = suite
        self.connections: list[Connection] = []
        self.writer: Connection

    async def connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", self.suite.driver_port)
        await connection.ready
        return connection

    async def start(self) -> None:
        self.writer = await self.connect()
        await self.writer.ask(r.table_create("t", durability="soft"))

    async def open(self, terms: list[Any], batch: Callable[[bytes], None]) -> None:
        """Open feeds."""
        for start in range(0, len(terms), FEEDS_PER_CONNECTION):
            connection = await self.connect()
            self.connections.append(connection)
            for term in range(start, min(start + FEEDS_PER_CONNECTION, len(terms)), OPENED_AT_A_TIME):
                end = min(term + OPENED_AT_A_TIME, start + FEEDS_PER_CONNECTION)
                await asyncio.gather(*(connection.feed(wanted, batch) for wanted in terms[term:end]))

    async def close_feeds(self) -> None:
        for connection in self.connections:
            connection.close()
        self.connections.clear()
        await self.quiet()

    async def quiet(self) -> None:
        """Return when the server has done what it does by itself, such as to free what was closed."""
        for _ in range(QUIET_TRIES):
            before = processor_seconds(self.suite.pid)
            await asyncio.sleep(0.5)
            if processor_seconds(self.suite.pid) - before < 0.1:
                return

    async def writes(self, seconds: float, outstanding: int = 16) -> float:
        """Point writes per second that concern no feed."""
        done = 0
        end = time.perf_counter() + seconds

        async def write(number: int) -> None:
            nonlocal done
            count = 0
            while time.perf_counter() < end:
                count += 1
                await self.writer.ask(put({"id": f"w{number}", "count": count, "kind": "other"}))
                done += 1

        await asyncio.gather(*map(write, range(outstanding)))
        return done / seconds


def put(document: Any) -> bytes:
    """The query that inserts or replaces a document."""
    return b'[1,[56,[[15,["t"]],%b],{"conflict":"replace"}],{}]' % orjson.dumps(document)


async def one_of_many(bench: Bench, feeds: int, samples: int) -> str:
    """Each write concerns one of `feeds` feeds on documents."""
    arrived: list[float] = []
    got = asyncio.Event()

    def batch(body: bytes) -> None:
        arrived.append(time.perf_counter())
        got.set()

    await bench.open([TABLE.get(number).changes() for number in range(feeds)], batch)
    late = []
    for sample in range(samples):
        got.clear()
        arrived.clear()
        await bench.writer.ask(put({"id": sample * 7 % feeds, "n": next(NUMBERS)}))
        acknowledged = time.perf_counter()
        await got.wait()
        late.append(max(0.0, arrived[0] - acknowledged))
        await asyncio.sleep(0.001)
    await bench.close_feeds()
    return quantiles(late)


async def all_of_many(bench: Bench, feeds: int, samples: int) -> str:
    """Each write concerns all feeds: how late the change is at each."""
    late: list[float] = []
    arrived: list[float] = []
    got = asyncio.Event()

    def batch(body: bytes) -> None:
        arrived.append(time.perf_counter())
        if len(arrived) == feeds:
            got.set()

    await bench.open([TABLE.changes()] * feeds, batch)
    for _ in range(samples):
        got.clear()
        arrived.clear()
        await bench.writer.ask(put({"id": "x", "n": next(NUMBERS)}))
        acknowledged = time.perf_counter()
        await got.wait()
        late += [max(0.0, moment - acknowledged) for moment in arrived]
        await asyncio.sleep(0.01)
    await bench.close_feeds()
    return quantiles(late)


async def changes_per_second(bench: Bench, feeds: int, writes: int) -> str:
    """How many changes reach feeds that all match."""
    received = 0
    wanted = feeds * writes
    done = asyncio.Event()

    def batch(body: bytes) -> None:
        nonlocal received
        received += body.count(b'"new_val"')
        if received >= wanted:
            done.set()

    await bench.open([TABLE.changes()] * feeds, batch)
    begin = time.perf_counter()
    for _ in range(0, writes, 50):
        await bench.writer.ask(put_many(next(NUMBERS)))
    await done.wait()
    seconds = time.perf_counter() - begin
    await bench.close_feeds()
    return f"{wanted / seconds:,.0f}"


def put_many(number: int) -> bytes:
    """The query that changes fifty documents."""
    documents = [{"id": f"m{key}", "n": number} for key in range(50)]
    return b'[1,[56,[[15,["t"]],[2,%b]],{"conflict":"replace"}],{}]' % orjson.dumps(documents)


async def idle(suite: RunningSuite, name: str, terms: list[Any], rounds: int, seconds: float) -> None:
    """Print what feeds that nothing concerns cost in memory, and writes in processor time: without feeds, with one of
    them, with all of them, and without them again, since a machine is not the same all the time."""
    bench = Bench(suite)
    await bench.start()
    await bench.writes(1)
    costs = [await microseconds_per_write(bench, rounds, seconds)]
    await bench.open(terms[:1], lambda body: None)
    costs.append(await microseconds_per_write(bench, rounds, seconds))
    before = memory(bench)
    await bench.open(terms[1:], lambda body: None)
    await bench.quiet()
    size = memory(bench) - before
    costs.append(await microseconds_per_write(bench, rounds, seconds))
    await bench.close_feeds()
    costs.append(await microseconds_per_write(bench, rounds, seconds))
    print(f"| {name} | {size / 1e6:,.0f} MB | {' | '.join(f'{cost:,.0f}' for cost in costs)} |", flush=True)


async def microseconds_per_write(bench: Bench, rounds: int, seconds: float) -> float:
    """The server's processor time for a write, which other work on the machine disturbs less than the clock: the least
    of some rounds."""
    costs = []
    for _ in range(rounds):
        before = processor_seconds(bench.suite.pid)
        rate = await bench.writes(seconds)
        costs.append((processor_seconds(bench.suite.pid) - before) / (rate * seconds) * 1e6)
    return min(costs)


def memory(bench: Bench) -> int:
    """The server's memory in bytes."""
    return resident_bytes(bench.suite.pid)


def quantiles(seconds: list[float]) -> str:
    """The median and the 99th percentile, in milliseconds."""
    ordered = sorted(seconds)
    return f"{ordered[len(ordered) // 2] * 1000:.2f} | {ordered[len(ordered) * 99 // 100] * 1000:.2f}"


async def measure(suite: RunningSuite, counts: list[int], samples: int) -> None:
    """Print the tables of docs/performance.md."""
    bench = Bench(suite)
    await bench.start()
    print("| open feeds | one concerned: p50 ms | p99 ms | all concerned: p50 ms | p99 ms |")
    print("| --- | --- | --- | --- | --- |")
    for count in counts:
        one = await one_of_many(bench, count, samples)
        every = await all_of_many(bench, count, max(3, min(samples, 10_000 // count)))
        print(f"| {count:,} | {one} | {every} |", flush=True)
    print(f"\nchanges per second to 100 feeds: {await changes_per_second(bench, 100, 5 * samples)}\n")


def idle_kinds(many: int) -> list[tuple[str, list[Any]]]:
    """Feeds that no write of the measurement concerns."""
    return [
        ("a document each", [TABLE.get(f"k{number}").changes() for number in range(many)]),
        ("a filter for a value each", [TABLE.filter({"kind": f"k{number}"}).changes() for number in range(many)]),
        ("a range each", [TABLE.between(f"k{number}", f"k{number}x").changes() for number in range(many)]),
        ("one and the same filter", [TABLE.filter(r.row["count"] < 0).changes()] * many),
    ]


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", action="store_true")
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    parser.add_argument("--feeds", type=int, nargs="*", default=[1, 100, 1_000, 10_000])
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=ROUND_SECONDS, help="how long each round of writes takes")
    options = parser.parse_args()
    samples, rounds = (100, 2) if options.quick else (300, 4)
    with_server(options.processes, lambda suite: measure(suite, options.feeds, samples))
    print(f"| {options.idle:,} idle feeds on | memory | us per write without them | with one | with all | after them |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, terms in idle_kinds(options.idle):
        with_server(
            options.processes, functools.partial(idle, name=name, terms=terms, rounds=rounds, seconds=options.seconds)
        )


def with_server(processes: bool, measurement: Callable[[RunningSuite], Coroutine[Any, Any, None]]) -> None:
    """Measure with a server of its own."""
    with tempfile.TemporaryDirectory() as directory, RunningSuite(Path(directory), processes=processes) as suite:
        asyncio.run(measurement(suite))


if __name__ == "__main__":
    main()
