"""Measures the storage service by itself: commits, index builds, backups, checks, and size on disk.

    python -m benchmarks.storage [--directory DIR]

It makes a store in a temporary directory of DIR, whose disk is what is measured, and removes it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from photondb.api.catalogue import CreateIndex, CreateTable, Durability, TableInfo
from photondb.api.context import INTERNAL
from photondb.api.storage import Write
from photondb.bus import LocalBus
from services.storage import layout
from services.storage.backup import back_up
from services.storage.check import check_store
from services.storage.restore import restore
from services.storage.rocks import Batch, Store
from services.storage.service import Storage
from tests.storage.language import term

WRITERS = (1, 16, 128)
SECONDS = 2.0
DOCUMENTS = 100_000
CHUNK = 500
WORDS = "time person year way day thing man world life hand part child eye woman place work week case point company"


def document(number: int, chance: random.Random) -> dict[str, object]:
    """A document of about 430 bytes, with the redundancy of prose."""
    words = WORDS.split()
    return {
        "id": f"{chance.getrandbits(64):016x}",
        "number": number,
        "group": number % 100,
        "name": " ".join(chance.choices(words, k=3)),
        "created": 1_700_000_000 + number * 7,
        "text": " ".join(chance.choices(words, k=55)),
    }


async def commits_per_second(storage: Storage, table: TableInfo, durability: Durability, writers: int) -> float:
    """Single-document inserts that `writers` make one after another each."""
    count = 0
    end = time.perf_counter() + SECONDS
    chance = random.Random(writers)

    async def write() -> None:
        nonlocal count
        while time.perf_counter() < end:
            documents = [document(count, chance)]
            await storage.write(INTERNAL, [Write(table.id, "insert", documents=documents, durability=durability)])
            count += 1
            if durability == "soft":
                await asyncio.sleep(0)  # they do not wait by themselves

    start = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(writers)))
    return count / (time.perf_counter() - start)


async def fill(storage: Storage, table: TableInfo) -> int:
    """Insert the documents. Returns their size as JSON."""
    chance = random.Random(1)
    size = 0
    for start in range(0, DOCUMENTS, CHUNK):
        documents = [document(number, chance) for number in range(start, start + CHUNK)]
        size += sum(len(orjson.dumps(found)) for found in documents)
        await storage.write(INTERNAL, [Write(table.id, "insert", documents=documents, durability="soft")])
        await asyncio.sleep(0)
    await storage.sync(INTERNAL, table.id)
    return size


async def build_rate(storage: Storage, table: TableInfo) -> float:
    """Documents per second of an index build on an idle store."""
    start = time.perf_counter()
    await storage.change_catalogue(
        INTERNAL, CreateIndex(table.database, table.name, "number", term(lambda row: row["number"]))
    )
    while True:
        if all(status.ready for status in await storage.index_status(INTERNAL, table.id)):
            break
        await asyncio.sleep(0.005)
    return DOCUMENTS / (time.perf_counter() - start)


def quiet(step: str, total: int) -> Callable[[int], None]:
    """Shows no progress."""
    return lambda count: None


async def measure(directory: Path) -> None:
    """Make all measurements and print them."""
    storage = Storage(directory / "commits", LocalBus())
    await storage.start()
    print("commits per second, one document each")
    durabilities: tuple[Durability, ...] = ("hard", "soft")
    for durability in durabilities:
        name = f"t_{durability}"
        catalogue = await storage.change_catalogue(INTERNAL, CreateTable("test", name))
        table = catalogue.tables["test", name]
        for writers in WRITERS:
            rate = await commits_per_second(storage, table, durability, writers)
            print(f"  {durability}, {writers:>3} writers: {rate:>9,.0f}")
    await storage.stop()

    storage = Storage(directory / "data", LocalBus())
    await storage.start()
    catalogue = await storage.change_catalogue(INTERNAL, CreateTable("test", "t"))
    table = catalogue.tables["test", "t"]
    raw_bytes = await fill(storage, table)
    print(f"{DOCUMENTS:,} documents, {raw_bytes / 1e6:,.1f} MB of JSON")
    print(f"  index build:         {await build_rate(storage, table):>9,.0f} documents per second")
    loop = asyncio.get_running_loop()

    def checkpoint() -> Path:
        return Path(asyncio.run_coroutine_threadsafe(storage.checkpoint(INTERNAL), loop).result())

    start = time.perf_counter()
    manifest = await asyncio.to_thread(back_up, checkpoint, directory / "backup", None, quiet)
    seconds = time.perf_counter() - start
    stored = sum(file.stored_size for file in manifest.files)
    print(f"  backup:              {raw_bytes / 1e6 / seconds:>9,.1f} MB of JSON per second ({stored / 1e6:,.1f} MB)")
    await storage.stop()
    start = time.perf_counter()
    restore([directory / "backup"], directory / "restored", None, quiet)
    print(f"  restore and check:   {raw_bytes / 1e6 / (time.perf_counter() - start):>9,.1f} MB of JSON per second")
    store = Store.open(directory / "data")
    start = time.perf_counter()
    assert not list(check_store(store))
    print(f"  check:               {DOCUMENTS / (time.perf_counter() - start):>9,.0f} documents per second")
    # Without the log, which holds each document once more until it is trimmed.
    batch = Batch()
    batch.delete_range(layout.log_prefix(table.id), layout.end_of(layout.log_prefix(table.id)))
    whole = compacted_bytes(store)
    store.write(batch)
    print(f"  size on disk:        {whole / 1e6:>9,.1f} MB, compacted, with an index and the change log")
    print(f"    without the log:   {compacted_bytes(store) / 1e6:>9,.1f} MB")
    store.close()


def compacted_bytes(store: Store) -> int:
    """The size of all table files when there is nothing left to compact."""
    store.flush()
    store.compact(b"", b"\xff")
    return sum(file["size"] for file in store.database.live_files())


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--directory", type=Path, help="where to make the store (default: the temporary directory)")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="photondb-", dir=arguments.directory))
    try:
        asyncio.run(measure(directory))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
