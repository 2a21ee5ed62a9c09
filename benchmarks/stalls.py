"""Measures how long a small write waits while everything goes on that could hold it up.

    python -m benchmarks.stalls [--seconds SECONDS] [--directory DIR]

Writers load documents, at a rate that leaves time for others, into a table with two indexes whose change log is trimmed
all the time; other tables are filled, dropped and compacted; transactions of many documents are committed, and backups
take checkpoints. Meanwhile one document after another is written to a table of its own, and every wait is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path

from benchmarks.storage import document
from photondb.api.catalogue import CreateIndex, CreateTable, DropTable, Durability, TableInfo
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import Write
from photondb.bus import LocalBus
from services.storage.service import Storage
from services.storage.trimmer import LogTrimmer
from tests.storage.language import term

LOADERS = 2
DOCUMENTS_PER_SECOND = 4000
"""Of each loader."""

CHUNK = 200
TRANSACTION_DOCUMENTS = 10_000
PAUSE_S = 0.002
"""Between two small writes."""

TRIMMED_LOG_BYTES = 100 << 20

BODIES = [document(number, random.Random(number)) for number in range(5000)]
"""Documents made beforehand: to make them takes longer than to store them."""


class Load:
    """What goes on while small writes are measured. `documents` counts what was loaded."""

    def __init__(self, storage: Storage, directory: Path) -> None:
        self.storage = storage
        self.directory = directory
        self.documents = 0
        self.trims = 0
        self.compactions = 0
        self.transactions = 0
        self.checkpoints = 0

    async def create(self, name: str) -> TableInfo:
        """A new table."""
        catalogue = await self.storage.change_catalogue(INTERNAL, CreateTable("test", name))
        return catalogue.tables["test", name]

    async def fill(self, table: TableInfo, chance: random.Random) -> None:
        """Insert some documents."""
        documents = [{**chance.choice(BODIES), "id": chance.getrandbits(53)} for _ in range(CHUNK)]
        await self.storage.write(INTERNAL, [Write(table.id, "insert", documents=documents, durability="soft")])
        self.documents += CHUNK

    async def load(self, table: TableInfo, number: int) -> None:
        """Insert documents for ever."""
        chance = random.Random(number)
        while True:
            start = time.perf_counter()
            await self.fill(table, chance)
            await asyncio.sleep(max(0, CHUNK / DOCUMENTS_PER_SECOND - (time.perf_counter() - start)))

    async def trim(self) -> None:
        """Trim logs far more often than storage does."""
        trimmer = LogTrimmer(self.storage._store, self.storage._tables, max_bytes=TRIMMED_LOG_BYTES)
        while True:
            await asyncio.sleep(1)
            await trimmer.trim_all()
            self.trims += 1

    async def drop(self) -> None:
        """Fill a table and drop it, for ever: then storage compacts what it took."""
        chance = random.Random(-1)
        while True:
            table = await self.create(f"dropped{self.compactions}")
            for _ in range(50):
                await self.fill(table, chance)
                await asyncio.sleep(0.02)
            await self.storage.change_catalogue(INTERNAL, DropTable("test", table.name))
            self.compactions += 1

    async def transact(self, table: TableInfo) -> None:
        """Commit transactions of as many documents as they may have."""
        chance = random.Random(-2)
        while True:
            name = f"tx{self.transactions}"
            context = CallContext(user="admin", transaction=name)
            await self.storage.begin_transaction(context, name, "serializable", False, 600_000)
            for _ in range(TRANSACTION_DOCUMENTS // CHUNK):
                documents = [{**chance.choice(BODIES), "id": chance.getrandbits(53)} for _ in range(CHUNK)]
                await self.storage.write(context, [Write(table.id, "insert", documents=documents, durability="soft")])
                await asyncio.sleep(0.02)
            await self.storage.commit_transaction(context, name)
            self.transactions += 1
            await asyncio.sleep(0.5)

    async def checkpoint(self) -> None:
        """Take checkpoints, as backups do."""
        while True:
            await asyncio.sleep(3)
            shutil.rmtree(await self.storage.checkpoint(INTERNAL))
            self.checkpoints += 1


class Stopwatch:
    """Times something in milliseconds: as it took, and what this thread computed of it. The rest is the disk, or other
    processes on the same machine."""

    def __init__(self) -> None:
        self._wall, self._computed = time.perf_counter(), time.thread_time()

    def read(self) -> tuple[float, float]:
        """The time since it was made."""
        return (time.perf_counter() - self._wall) * 1000, (time.thread_time() - self._computed) * 1000


Waits = list[tuple[float, float]]


async def small_writes(storage: Storage, table: TableInfo, durability: Durability, waits: Waits) -> None:
    """Write one document after the other. A wait begins when the document was meant to be written."""
    number = 0
    while True:
        number += 1
        watch = Stopwatch()
        await asyncio.sleep(0)
        documents = [{"id": number % 1000, "number": number}]
        write = Write(table.id, "insert", documents=documents, conflict="replace", durability=durability)
        await storage.write(INTERNAL, [write])
        waits.append(watch.read())
        await asyncio.sleep(PAUSE_S)


async def turns(waits: Waits) -> None:
    """How long the loop takes to come back to somebody who wants to be called at once."""
    while True:
        watch = Stopwatch()
        await asyncio.sleep(0)
        waits.append(watch.read())
        await asyncio.sleep(PAUSE_S)


def time_calls(storage: Storage) -> Waits:
    """How long each call takes that writes to RocksDB on the loop: a list that grows."""
    store = storage._store
    write, took = store.write, []

    def timed(batch: object) -> None:
        watch = Stopwatch()
        write(batch)  # type: ignore[arg-type]
        took.append(watch.read())

    store.write = timed  # type: ignore[method-assign]
    return took


def show(name: str, waits: Waits) -> None:
    """Print the distribution of waits, in milliseconds."""
    ordered = sorted(wall for wall, _ in waits)
    computed = max(computed for _, computed in waits)
    median, late = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    over = sum(wait > 100 for wait in ordered)
    print(f"  {name:<42} {len(ordered):>8,} {median:>8.2f} {late:>8.1f} {ordered[-1]:>8.1f} {computed:>9.1f} {over:>6}")


async def measure(directory: Path, seconds: float) -> None:
    """Make the measurement and print it."""
    storage = Storage(directory / "data", LocalBus())
    await storage.start()
    took = time_calls(storage)
    load = Load(storage, directory)
    large, small = await load.create("large"), await load.create("small")
    for field in ("number", "name"):
        await storage.change_catalogue(
            INTERNAL, CreateIndex("test", "large", field, term(lambda row, field=field: row[field]))
        )
    waits: dict[str, Waits] = {"hard": [], "soft": [], "turns": []}
    work: list[Awaitable[None]] = [
        *(load.load(large, number) for number in range(LOADERS)),
        load.trim(),
        load.drop(),
        load.transact(large),
        load.checkpoint(),
        small_writes(storage, small, "hard", waits["hard"]),
        small_writes(storage, small, "soft", waits["soft"]),
        turns(waits["turns"]),
    ]
    tasks = [asyncio.ensure_future(task) for task in work]
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    stats = await storage.engine_stats(INTERNAL)
    print(
        f"{load.documents:,} documents loaded in {seconds:g} s; {load.trims} trims, {load.compactions} dropped tables, "
        f"{load.transactions} transactions of {TRANSACTION_DOCUMENTS:,} documents, {load.checkpoints} checkpoints, "
        f"{stats.compaction_written_bytes / 1e6:,.0f} MB compacted"
    )
    print(f"  {'in ms':<42} {'number':>8} {'p50':>8} {'p99':>8} {'longest':>8} {'computed':>9} {'>100':>6}")
    show("wait of a small write, durability soft", waits["soft"])
    show("wait of a small write, durability hard", waits["hard"])
    show("turn of the event loop", waits["turns"])
    show("writes to RocksDB on the loop", took)
    counters = storage._store.counters()
    print(f"  RocksDB stalled writers for {counters.get('stall.micros', 0) / 1000:,.0f} ms altogether")
    await storage.stop()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--directory", type=Path, help="where to make the store (default: the temporary directory)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to measure (default: 20)")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="photondb-", dir=arguments.directory))
    try:
        asyncio.run(measure(directory, arguments.seconds))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
