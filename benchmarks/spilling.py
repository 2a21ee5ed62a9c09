"""Measures what sorts and groups cost that fit into memory, and that don't.

    python -m benchmarks.spilling [--rows 1000000]

It starts a suite with a temporary data directory of its own, again for each amount of memory, and prints for each query
the processor time of the server per row, and by how much its memory grew meanwhile. The first line, which only reads
the table, is what there is to compare with.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rethinkdb import r

from benchmarks.processor_time import processor_seconds
from tests.process_memory import resident_bytes
from tests.running_suite import RunningSuite

MEGABYTE = 1 << 20
BUDGETS = (4096 * MEGABYTE, 64 * MEGABYTE, 4 * MEGABYTE)
"""How much a sort may hold: all of it, and less."""

SAMPLE_SECONDS = 0.02
CHUNK = 5000
T = r.table("rows")
QUERIES = {
    "read the table": T,
    'order_by("a")': T.order_by("a"),
    'order_by(r.desc("text"), "a")': T.order_by(r.desc("text"), "a"),
    'group("a").count().ungroup()': T.group("a").count().ungroup(),
    'get_field("text").distinct()': T["text"].distinct(),
}


class Cost(NamedTuple):
    """What a query took: processor time of the server, and growth of its memory."""

    cpu_seconds: float
    growth_bytes: int


class _Peak:
    """Watches how much memory a process has."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.before = self.peak = resident_bytes(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, resident_bytes(self._pid))

    def end(self) -> int:
        """By how much it grew at most."""
        self._ended.set()
        self._thread.join()
        return self.peak - self.before


def load(suite: RunningSuite, rows: int) -> None:
    """Make the table, of documents of 60 bytes."""
    connection = r.connect(port=suite.driver_port)
    r.table_create("rows", durability="soft").run(connection)
    for start in range(0, rows, CHUNK):
        batch = [
            {"id": n, "a": n * 7919 % (rows // 2), "text": f"text {n * 104_729 % rows}"}
            for n in range(start, min(rows, start + CHUNK))
        ]
        T.insert(batch).run(connection, array_limit=CHUNK + 1)
    connection.close()


def cost(suite: RunningSuite, name: str) -> Cost:
    """What it takes to run a query once and to read its answer to the end."""
    connection = r.connect(port=suite.driver_port)
    peak = _Peak(suite.pid)
    before = processor_seconds(suite.pid)
    for _ in QUERIES[name].run(connection, stream=True):
        pass
    used = processor_seconds(suite.pid) - before
    connection.close()
    return Cost(used, peak.end())


def measure(data_dir: Path, rows: int, budgets: Sequence[int] = BUDGETS) -> Iterator[str]:
    """The lines of a table in Markdown."""
    costs: dict[int, dict[str, Cost]] = {}
    with RunningSuite(data_dir, processes=False) as suite:
        load(suite, rows)
    with RunningSuite(data_dir, processes=False) as suite:  # what is left to do after loading is done here
        cost(suite, next(iter(QUERIES)))
    for budget in budgets:
        os.environ["PHOTONDB_SORT_BYTES"] = str(budget)
        costs[budget] = {}
        for name in QUERIES:  # each in a process of its own, which has no memory left from the one before
            with RunningSuite(data_dir, processes=False) as suite:
                costs[budget][name] = cost(suite, name)
    del os.environ["PHOTONDB_SORT_BYTES"]
    yield f"| us per row, memory | {' | '.join(f'{budget // MEGABYTE:,} MB' for budget in budgets)} |"
    yield f"| --- |{' --- |' * len(budgets)}"
    for name in QUERIES:
        cells = [costs[budget][name] for budget in budgets]
        shown = [f"{one.cpu_seconds * 1e6 / rows:.1f}, {one.growth_bytes / 1e6:.0f} MB" for one in cells]
        yield f"| `{name}` | {' | '.join(shown)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="photondb-spilling-") as directory:
        for line in measure(Path(directory, "data"), arguments.rows):
            print(line)


if __name__ == "__main__":
    main()
