"""Measures what scan workers gain: how long aggregates over a whole table take without, with one and with two of them,
while documents are read by key.

    python -m benchmarks.scan_workers [--rows ROWS] [--rounds ROUNDS] [--directory DIR]

It takes less than two minutes for 1,000,000 documents, on two cores with nothing else on them. Where there is more on
them the clock tells little; what each part of a scan has done tells whether the work is divided: `share` is the
processor time of the worker that had less to do by that of the other, `together` the part of the time during which both
had something to do, and `storage` what storage's own process used meanwhile, the reads by key among it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

from benchmarks.scans import WARM_UP_S, WAYS, fill_anew, queries, ready
from photondb.api.context import INTERNAL, SpanNames
from photondb.api.storage import Scan
from photondb.bus import LocalBus
from photondb.datum.keys import primary_key
from services.storage.scan_workers import MIN_BYTES, Worker
from services.storage.service import Storage

ROWS = 1_000_000
ROUNDS = 4
READ_EVERY_S = 0.002


class Part(NamedTuple):
    """What one worker did for a scan: when, by the clock in seconds, and its processor time in seconds."""

    begin: float
    end: float
    cpu: float


class Run(NamedTuple):
    """One scan: how long it took, what storage's process used, in seconds, and the workers' parts."""

    elapsed: float
    storage_cpu: float
    parts: list[Part]


def processor_time(pid: int) -> float:
    """The time in seconds that the threads of a process have had a processor, more finely than in ticks."""
    times = [float(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(times) / 1e9


@contextmanager
def noted_parts(parts: list[Part]) -> Iterator[None]:
    """Add what workers do meanwhile."""
    ask = Worker.ask

    async def noted(self: Worker, request: dict[str, Any], spans: SpanNames = ()) -> Any:
        assert self.process is not None
        begin, cpu = perf_counter(), processor_time(self.process.pid)
        answer = await ask(self, request, spans)
        parts.append(Part(begin, perf_counter(), processor_time(self.process.pid) - cpu))
        return answer

    Worker.ask = noted  # type: ignore[method-assign]
    try:
        yield
    finally:
        Worker.ask = ask  # type: ignore[method-assign]


async def run_once(storage: Storage, scan: Scan) -> Run:
    """Carry out a scan."""
    parts: list[Part] = []
    with noted_parts(parts):
        began, cpu = perf_counter(), process_time()
        await storage.scan(INTERNAL, scan)
        return Run(perf_counter() - began, process_time() - cpu, parts)


async def all_asked(storage: Storage, scan: Scan) -> None:
    """Ask until all workers have started and have a part of the table."""
    (table,) = storage._tables.values()
    end = perf_counter() + WARM_UP_S
    while table.position.document_bytes >= MIN_BYTES and perf_counter() < end:
        if len((await run_once(storage, scan)).parts) == storage._options.scan_workers:
            return
        await asyncio.sleep(0.05)


async def point_reads(storage: Storage, table: int, rows: int, waits: list[float]) -> None:
    """Read a document every other millisecond, for ever. A wait in ms begins when the document was meant to be read."""
    chance = random.Random(3)
    while True:
        began = perf_counter()
        await asyncio.sleep(0)
        await storage.get(INTERNAL, [(table, primary_key(chance.randrange(rows)))])
        waits.append((perf_counter() - began) * 1000)
        await asyncio.sleep(READ_EVERY_S)


async def runs_beside_point_reads(
    directory: Path, way: str, rows: int, rounds: int
) -> tuple[dict[str, list[Run]], list[float]]:
    """All runs of each query, and how long the reads by key took in ms, in order."""
    storage = Storage(directory, LocalBus(), options=WAYS[way])
    await storage.start()
    try:
        table = (await storage.catalogue(INTERNAL)).tables["test", "t"].id
        scans = queries(table)
        await ready(storage, scans)
        await all_asked(storage, scans["filter and count"])
        waits: list[float] = []
        reading = asyncio.create_task(point_reads(storage, table, rows, waits))
        await asyncio.wait([reading], timeout=0.01)  # the first read comes before the first scan
        runs = {name: [await run_once(storage, scan) for _ in range(rounds)] for name, scan in scans.items()}
        reading.cancel()
        return runs, sorted(waits)
    finally:
        await storage.stop()


def how_divided(runs: list[Run]) -> str:
    """What scans cost, and how evenly and how much at the same time two workers had their parts, in the middle of all
    runs."""
    if not runs[0].parts:
        return f"{statistics.median(run.storage_cpu for run in runs) * 1000:,.0f} ms of processor time in storage"
    shares = [min(part.cpu for part in run.parts) / max(part.cpu for part in run.parts) for run in runs]
    overlaps = [
        (min(part.end for part in run.parts) - max(part.begin for part in run.parts))
        / (max(part.end for part in run.parts) - min(part.begin for part in run.parts))
        for run in runs
    ]
    cpu = statistics.median(sum(part.cpu for part in run.parts) for run in runs)
    beside = statistics.median(run.storage_cpu / run.elapsed for run in runs)
    return (
        f"{cpu * 1000:,.0f} ms of processor time in {statistics.median(len(run.parts) for run in runs):.0f} workers, "
        f"share {statistics.median(shares):.2f}, together {statistics.median(overlaps):.2f}, storage {beside:.0%}"
    )


async def measure(directory: Path, rows: int, rounds: int) -> list[str]:
    """How long aggregates take, the least of all rounds, and reads by key meanwhile, as lines of a table; and how they
    were divided."""
    lines: list[str] = []
    names: list[str] = []
    divided: list[str] = []
    alone: list[float] = []
    for way in ("documents", "one worker", "two workers"):
        runs, waits = await runs_beside_point_reads(directory, way, rows, rounds)
        names = list(runs)
        least = [min(run.elapsed for run in of_query) * 1000 for of_query in runs.values()]
        alone = alone or least
        times = [f"{elapsed:,.0f} ({first / elapsed:.2f})" for elapsed, first in zip(least, alone, strict=True)]
        late = [f"{waits[int(len(waits) * share)]:.2f}" for share in (0.5, 0.99)]
        lines.append(f"| {way} | " + " | ".join([*times, *late]) + " |")
        for name, of_query in runs.items():
            divided.append(f"{way}, {name}: {how_divided(of_query)}")
    heads = [f"{rows:,} documents, ms (times as fast)", *names, "reads by key meanwhile: p50", "p99"]
    return ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|", *lines, *divided]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS, help="how many documents the table has")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each aggregate is asked for")
    parser.add_argument("--directory", type=Path, help="where to make the store (default: the temporary directory)")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="photondb-", dir=arguments.directory))
    try:
        asyncio.run(fill_anew(directory / "data", arguments.rows))
        print("\n".join(asyncio.run(measure(directory / "data", arguments.rows, arguments.rounds))))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
