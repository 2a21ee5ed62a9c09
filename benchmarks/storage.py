"""Measures the storage service by itself: commits, index builds, backups, checks, and size on disk.

    python -m benchmarks.storage [--directory DIR] [--documents 100000] [--seconds 2]

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


async def commits_per_second(
    storage: Storage, table: TableInfo, durability: Durability, writers: int, seconds: float
) -> float:
    """Single-document inserts that `writers` make one after another each."""
    count = 0
    end = time.perf_counter() + seconds
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


async def fill(storage: Storage, table: TableInfo, count: int) -> int:
    """Insert the documents. Returns their size as JSON."""
    chance = random.Random(1)
    size = 0
    for start in range(0, count, CHUNK):
        documents = [document(number, chance) for number in range(start, start + CHUNK)]
        size += sum(len(orjson.dumps(found)) for found in documents)
        await storage.write(INTERNAL, [Write(table.id, "insert", documents=documents, durability="soft")])
        await asyncio.sleep(0)
    await storage.sync(INTERNAL, table.id)
    return size


async def build_seconds(storage: Storage, table: TableInfo) -> float:
    """How long an index build takes on an idle store."""
    start = time.perf_counter()
    await storage.change_catalogue(
        INTERNAL, CreateIndex(table.database, table.name, "number", term(lambda row: row["number"]))
    )
    while True:
        if all(status.ready for status in await storage.index_status(INTERNAL, table.id)):
            break
        await asyncio.sleep(0.005)
    return time.perf_counter() - start


def quiet(step: str, total: int) -> Callable[[int], None]:
    """Shows no progress."""
    return lambda count: None


async def measure(directory: Path, count: int, commit_seconds: float) -> None:
    """Make all measurements and print them, in Markdown."""
    storage = Storage(directory / "commits", LocalBus())
    await storage.start()
    print("| commits per second, one document each | " + " | ".join(f"{writers} writers" for writers in WRITERS) + " |")
    print("| --- " * (len(WRITERS) + 1) + "|")
    durabilities: tuple[Durability, ...] = ("hard", "soft")
    for durability in durabilities:
        name = f"t_{durability}"
        catalogue = await storage.change_catalogue(INTERNAL, CreateTable("test", name))
        table = catalogue.tables["test", name]
        rates = [await commits_per_second(storage, table, durability, writers, commit_seconds) for writers in WRITERS]
        print(f"| {durability} | " + " | ".join(f"{rate:,.0f}" for rate in rates) + " |", flush=True)
    await storage.stop()

    storage = Storage(directory / "data", LocalBus())
    await storage.start()
    catalogue = await storage.change_catalogue(INTERNAL, CreateTable("test", "t"))
    table = catalogue.tables["test", "t"]
    raw_bytes = await fill(storage, table, count)
    print(f"\n| {count:,} documents, {raw_bytes / 1e6:,.1f} MB of JSON | |\n| --- | --- |")
    print(f"| index build | {count / await build_seconds(storage, table):,.0f} documents/s |")
    loop = asyncio.get_running_loop()

    def checkpoint() -> Path:
        return Path(asyncio.run_coroutine_threadsafe(storage.checkpoint(INTERNAL), loop).result())

    start = time.perf_counter()
    manifest = await asyncio.to_thread(back_up, checkpoint, directory / "backup", None, quiet)
    seconds = time.perf_counter() - start
    stored = sum(file.stored_size for file in manifest.files)
    print(
        f"| full backup while serving, with compression, checksums and their verification "
        f"| {raw_bytes / 1e6 / seconds:,.1f} MB of JSON/s, {stored / 1e6:,.1f} MB large |"
    )
    await storage.stop()
    start = time.perf_counter()
    restore([directory / "backup"], directory / "restored", None, quiet)
    seconds = time.perf_counter() - start
    print(f"| restore, with verification and the check | {raw_bytes / 1e6 / seconds:,.1f} MB of JSON/s |")
    store = Store.open(directory / "data")
    start = time.perf_counter()
    assert not list(check_store(store))
    seconds = time.perf_counter() - start
    print(f"| `photondb check`, with one index and the whole change log | {count / seconds:,.0f} documents/s |")
    # Without the log, which holds each document once more until it is trimmed.
    batch = Batch()
    batch.delete_range(layout.log_prefix(table.id), layout.end_of(layout.log_prefix(table.id)))
    whole = compacted_bytes(store)
    store.write(batch)
    print(f"| on disk, compacted: documents, one index, and the change log of all of them | {whole / 1e6:,.1f} MB |")
    print(f"| on disk, compacted, without the change log | {compacted_bytes(store) / 1e6:,.1f} MB |")
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
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long commits are counted")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="photondb-", dir=arguments.directory))
    try:
        asyncio.run(measure(directory, arguments.documents, arguments.seconds))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
