"""Measures what calls between a query service and a storage node cost, by how much is in them.

    python -m benchmarks.calls [--seconds 0.5] [--in-flight 1 4]

A storage node is a process of its own, on a directory that is removed; this process is the one that calls it over a
unix socket. Costs are CPU time of both sides, which other work on the machine disturbs least; the best of three.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.workloads import CITIES, document
from photondb.api.catalogue import CreateIndex, CreateTable, TableInfo
from photondb.api.context import INTERNAL
from photondb.api.storage import KeyRange, Scan, Write
from photondb.bus import LocalBus
from photondb.datum.keys import key_range, primary_key
from photondb.reql.parameters import constant_function
from photondb.rpc.loop import run
from photondb.rpc.serve import RpcServer
from photondb.rpc.storage import StorageStub
from photondb.rpc.storage_servant import storage_servant
from services.storage.service import Storage
from tests.storage.language import term

ROWS = 20_000
SIZES = (1, 8, 32, 128)
ROUNDS = 3
CPU_CLOCK_OF_PROCESS = 2
"""Linux's number of the clock of what a process has used, below its inverted id."""

MakeCall = Callable[[], Awaitable[object]]


def processor_ns(pid: int) -> int:
    """What a process with all its threads has used so far."""
    return time.clock_gettime_ns((~pid << 3) | CPU_CLOCK_OF_PROCESS)


async def serve(directory: Path) -> None:
    """Be the storage node, until standard input ends."""
    storage = Storage(directory, LocalBus())
    await storage.start()
    server = RpcServer(storage_servant(storage))
    await server.listen(f"unix:{directory}/socket")
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.close()
    await storage.stop()


async def fill(storage: StorageStub) -> tuple[TableInfo, int]:
    """Make the table. Returns it, and the id of its index."""
    await storage.change_catalogue(INTERNAL, CreateTable("test", "users"))
    city = CreateIndex("test", "users", "city", term(lambda row: row["city"]))
    info = (await storage.change_catalogue(INTERNAL, city)).tables["test", "users"]  # ready at once: it is empty
    for first in range(0, ROWS, 500):
        documents = [document(number) for number in range(first, first + 500)]
        await storage.write(INTERNAL, [Write(info.id, "insert", documents=documents, durability="soft")])
    await storage.sync(INTERNAL, info.id)
    return info, info.indexes[0].id


def calls(storage: StorageStub, info: TableInfo, index: int, size: int) -> dict[str, MakeCall]:
    """Calls with so many parts, by what they are for."""
    keys = [primary_key(f"user{number:08d}") for number in range(ROWS)]
    chance = random.Random(size)
    patches = itertools.cycle([constant_function({"score": chance.random()}) for _ in range(1009)])

    def get() -> Awaitable[object]:
        return storage.get(INTERNAL, [(info.id, key) for key in chance.choices(keys, k=size)])

    def update(durability: str) -> Awaitable[object]:
        return storage.write(
            INTERNAL,
            [
                Write(info.id, "update", (key,), function=next(patches), durability=durability)  # type: ignore[arg-type]
                for key in chance.choices(keys, k=size)
            ],
        )

    def scan() -> Awaitable[object]:
        reads = []
        for _ in range(size):
            city = f"city{chance.randrange(CITIES):03d}"
            bounds = KeyRange(*key_range(city, city, "closed", "closed", secondary=True))
            reads.append(storage.scan(INTERNAL, Scan(info.id, index, (bounds,), limit=20)))
        return asyncio.gather(*reads)

    return {
        "get": get,
        "update, soft": lambda: update("soft"),
        "update, hard": lambda: update("hard"),
        "index reads of 20 rows": scan,
    }


async def cost(make: MakeCall, pid: int, seconds: float, in_flight: int) -> tuple[float, float]:
    """Microseconds of CPU time per call, of the caller and of the storage node."""
    done = 0
    end = time.perf_counter() + seconds

    async def ask() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await make()
            done += 1

    own, server = time.process_time_ns(), processor_ns(pid)
    await asyncio.gather(*(ask() for _ in range(in_flight)))
    return (time.process_time_ns() - own) / done / 1e3, (processor_ns(pid) - server) / done / 1e3


async def measure(directory: Path, pid: int, seconds: float, flights: list[int], only: list[str]) -> None:
    """Make all measurements and print them, in Markdown."""
    storage = StorageStub(f"unix:{directory}/socket")
    info, index = await fill(storage)
    print("| us of CPU time per call: caller + storage | " + " | ".join(f"{size} in it" for size in SIZES) + " |")
    print("| --- " * (len(SIZES) + 1) + "|")
    by_size = [calls(storage, info, index, size) for size in SIZES]
    for name, flight in itertools.product([n for n in by_size[0] if not only or n in only], flights):
        cells = []
        for makers in by_size:
            rounds = [await cost(makers[name], pid, seconds / ROUNDS, flight) for _ in range(ROUNDS)]
            caller, server = min(rounds, key=sum)
            cells.append(f"{caller:,.0f} + {server:,.0f}")
        print(f"| {name}, {flight} in flight | " + " | ".join(cells) + " |", flush=True)
    await storage.close()


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=0.6, help="how long each kind of call is measured")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 4], help="calls at a time")
    parser.add_argument("--only", nargs="+", help="kinds of calls to measure")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        run(serve(options.serve))
        return
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "benchmarks.calls", "--serve", directory]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as node:
            assert node.stdin is not None
            assert node.stdout is not None
            node.stdout.readline()
            run(measure(Path(directory), node.pid, options.seconds, options.in_flight, options.only))
            node.stdin.close()


if __name__ == "__main__":
    main()
