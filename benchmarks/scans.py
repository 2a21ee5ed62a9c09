"""Measures aggregates over a whole table: by storage itself, by scan workers, and over columns.

    python -m benchmarks.scans [--rows ROWS] [--directory DIR]

The ways take turns in one run, and the shortest time of each counts. The time is that of all processes together and,
in brackets, of storage's alone, which is what point operations have to do without. Over columns that have not changed
what was worked out before is used again, block by block; so they are asked after an update, too. The last line is the
time of an update without and with columns that must follow. `benchmarks.scan_workers` measures how long scans take with
workers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

from benchmarks.processor_time import processor_seconds
from benchmarks.storage import document
from photondb.api.catalogue import CreateTable
from photondb.api.context import INTERNAL
from photondb.api.storage import Scan, Write
from photondb.bus import LocalBus
from photondb.datum.keys import primary_key
from photondb.reql.aggregates import Avg, Count, Sum
from photondb.reql.grouping import Group, Grouping
from photondb.reql.ordering import Ordering, Top
from photondb.reql.steps import FilterStep, MapStep
from services.storage.options import StorageOptions
from services.storage.scan_workers import MIN_BYTES
from services.storage.service import Storage
from tests.storage.language import constant, func

ROWS = 50_000
ROUNDS = 8
CHUNK = 500
UPDATES = 3_000
UPDATES_AT_A_TIME = 100
WARM_UP_S = 30.0

WAYS = {
    "documents": StorageOptions(column_cache_bytes=0),
    "one worker": StorageOptions(column_cache_bytes=0, scan_workers=1),
    "two workers": StorageOptions(column_cache_bytes=0, scan_workers=2),
    "columns": StorageOptions(),
    "columns after an update": StorageOptions(),
}


class Cost(NamedTuple):
    """Of one query, in ms: the processor time of all processes, that of storage, and how long it took."""

    all: float
    storage: float
    elapsed: float


def queries(table: int) -> dict[str, Scan]:
    """The aggregates, as they reach storage."""
    group, number = (lambda row: row["group"]), (lambda row: row["number"])
    return {
        "filter and count": Scan(table, steps=[FilterStep(func(lambda row: row["group"] > 49))], aggregate=Count()),
        "group and average": Scan(table, aggregate=Group(Grouping([func(group)]), Avg(func(number)), 100_000)),
        "map and sum": Scan(table, steps=[MapStep(func(lambda row: row["group"] + row["number"]))], aggregate=Sum()),
        "order by a field, limit 10": Scan(table, aggregate=Top(Ordering([(func(number), True)]), 10)),
    }


async def cost_of(storage: Storage, scan: Scan) -> Cost:
    """What it takes to scan once."""
    family, mine, began = processor_seconds(os.getpid()), process_time(), perf_counter()
    await storage.scan(INTERNAL, scan)
    elapsed, mine = perf_counter() - began, process_time() - mine
    # The clock of other processes ticks every 10 ms only, so it is their part that is added.
    others = max(0.0, processor_seconds(os.getpid()) - family - mine)
    return Cost((mine + others) * 1000, mine * 1000, elapsed * 1000)


async def fill(storage: Storage, rows: int) -> int:
    """Make a table of documents. Returns its id."""
    catalogue = await storage.change_catalogue(INTERNAL, CreateTable("test", "t"))
    table = catalogue.tables["test", "t"].id
    chance = random.Random(1)
    for start in range(0, rows, CHUNK):
        documents = [{**document(number, chance), "id": number} for number in range(start, min(start + CHUNK, rows))]
        await storage.write(INTERNAL, [Write(table, "insert", documents=documents, durability="soft")])
        await asyncio.sleep(0)
    return table


async def fill_anew(directory: Path, rows: int) -> None:
    """Make a store with such a table."""
    storage = Storage(directory, LocalBus())
    await storage.start()
    await fill(storage, rows)
    await storage.stop()


async def ready(storage: Storage, scans: dict[str, Scan]) -> None:
    """Ask until columns are there or workers answer, where there are to be any."""
    options, end = storage._options, perf_counter() + WARM_UP_S
    (table,) = storage._tables.values()
    expected = bool(options.column_cache_bytes) or (options.scan_workers and table.position.document_bytes >= MIN_BYTES)
    while perf_counter() < end:
        before = storage._scanner.columns.metrics.hits + storage._scanner.workers.answered
        for scan in scans.values():
            await storage.scan(INTERNAL, scan)
        answered = storage._scanner.columns.metrics.hits + storage._scanner.workers.answered - before
        if not expected or answered == len(scans):
            return
        await asyncio.sleep(0.05)


async def scan_costs(directory: Path, rounds: int) -> dict[str, dict[str, Cost]]:
    """By query and way, the least that it took."""
    least: dict[str, dict[str, Cost]] = {}
    for way, options in WAYS.items():
        storage = Storage(directory, LocalBus(), options=options)
        await storage.start()
        scans = queries((await storage.catalogue(INTERNAL)).tables["test", "t"].id)
        await ready(storage, scans)
        for name, scan in scans.items():
            costs = []
            for key in range(rounds):
                if way == "columns after an update":
                    await update(storage, scan.table, key, key)
                costs.append(await cost_of(storage, scan))
            least.setdefault(name, {})[way] = Cost(*map(min, zip(*costs, strict=True)))
        await storage.stop()
    return least


async def update(storage: Storage, table: int, key: int, value: int) -> None:
    """Change a field of a document that the aggregates look at."""
    change = Write(table, "update", keys=[primary_key(key)], function=constant({"group": value}), durability="soft")
    await storage.write(INTERNAL, [change])


async def update_cost(directory: Path, options: StorageOptions, updates: int, rows: int, value: int) -> float:
    """Microseconds of processor time of an update of one document to a value, at the least."""
    storage = Storage(directory, LocalBus(), options=options)
    await storage.start()
    table = (await storage.catalogue(INTERNAL)).tables["test", "t"].id
    scans = queries(table)
    await ready(storage, scans)
    keys = random.Random(2).sample(range(rows), min(updates, rows))
    least = float("inf")
    for start in range(0, len(keys), UPDATES_AT_A_TIME):
        part = keys[start : start + UPDATES_AT_A_TIME]
        began = process_time()
        for key in part:
            await update(storage, table, key, value)
        least = min(least, (process_time() - began) / len(part))
    await storage.stop()
    return least * 1e6


async def measure(directory: Path, rows: int, rounds: int = ROUNDS, updates: int = UPDATES) -> list[str]:
    """All figures, as lines of a table."""
    await fill_anew(directory, rows)
    lines = [f"| {rows:,} documents, ms | " + " | ".join(WAYS) + " |", "| --- " * (len(WAYS) + 1) + "|"]
    for name, costs in (await scan_costs(directory, rounds)).items():
        cells = [f"{cost.all:.1f} ({cost.storage:.1f})" for cost in costs.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    without = await update_cost(directory, WAYS["documents"], updates, rows, -1)
    with_columns = await update_cost(directory, WAYS["columns"], updates, rows, -2)
    lines.append(f"an update: {without:.1f} us without columns, {with_columns:.1f} us with columns")
    return lines


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS, help="how many documents the table has")
    parser.add_argument("--directory", type=Path, help="where to make the store (default: the temporary directory)")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="photondb-", dir=arguments.directory))
    try:
        print("\n".join(asyncio.run(measure(directory / "data", arguments.rows))))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
