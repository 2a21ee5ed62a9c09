"""All benchmarks, in less than ten minutes: they write the tables and plots of docs/performance.md.

    python -m benchmarks.suite [--quick] [--docs DIR]

A table stands in the page between `<!-- begin NAME -->` and `<!-- end NAME -->`, and is written anew there. With
`--quick` everything is measured for a moment only, which proves that it runs and says nothing.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import latency, plots, queries, scaling
from tests.running_suite import RunningSuite

DOCS = Path(__file__).parents[1] / "docs"
PAGE = "performance.md"
ONE_PROCESS, PROCESSES = "one process", "--processes"


class Extent(NamedTuple):
    """How much is measured."""

    seconds: float
    rows: int
    table_rows: tuple[int, ...]
    sizes: tuple[int, ...]
    size_rows: int
    connections: tuple[int, ...]
    fronts: tuple[int, ...]
    storage_nodes: tuple[int, ...]


WHOLE = Extent(
    2.0,
    queries.ROWS,
    scaling.ROWS,
    scaling.SIZES,
    scaling.SIZE_ROWS,
    scaling.CONNECTIONS,
    scaling.FRONTS,
    scaling.STORAGE_NODES,
)
QUICK = Extent(0.15, 500, (300, 600), (100, 1_000), 300, (1, 4), (1, 2), (1, 2))


class Page:
    """The page with the tables, and the folder with the plots beside it."""

    def __init__(self, docs: Path) -> None:
        self._path = docs / PAGE
        self.plots = docs / "plots"
        self.plots.mkdir(exist_ok=True)

    def write(self, name: str, text: str) -> None:
        """Put `text` where the page has the place of that name. Raises ValueError when it has none."""
        place = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        page, count = place.subn(lambda found: f"{found[1]}{text.rstrip()}\n{found[2]}", self._path.read_text())
        if count != 1:
            raise ValueError(f"{self._path} has no place for `{name}`")
        self._path.write_text(page)


def measure_queries(page: Page, extent: Extent) -> None:
    """Queries of each kind, in both ways to serve, with many outstanding and with one at a time."""
    figures = {}
    latencies = [latency.of_echo(extent.seconds / 2)]
    for name in (ONE_PROCESS, PROCESSES):
        with _suite(processes=name == PROCESSES) as suite:
            figures[name] = queries.run(suite, extent.rows, extent.seconds)
            latencies.append(latency.of_suite(name, suite, extent.rows, extent.seconds / 2))
    page.write("queries", queries.table(figures))
    page.write("one-by-one", latency.table(latencies))
    plots.cost_beside_rethinkdb(figures, page.plots / "queries.svg")


def measure_scaling(page: Page, extent: Extent) -> None:
    """One thing after the other made larger."""
    with _suite(processes=False) as suite:
        sizes = scaling.by_size(suite, extent.sizes, extent.size_rows, extent.seconds / 2)
        connections = scaling.by_connections(suite, extent.connections, extent.size_rows, extent.seconds / 2)
    with tempfile.TemporaryDirectory() as directory:
        rows = scaling.by_rows(Path(directory), extent.table_rows, extent.seconds / 2)
        fronts = scaling.by_fronts(Path(directory), extent.fronts, extent.size_rows, extent.seconds / 2)
    with tempfile.TemporaryDirectory() as directory:
        counts, seconds = extent.storage_nodes, extent.seconds / 2
        nodes = scaling.by_storage_nodes(Path(directory), counts, extent.size_rows, seconds)
    page.write("storage-nodes", nodes.same_load.table())
    page.write("storage-nodes-same-calls", nodes.same_calls.table())
    page.write("storage-node-batches", nodes.batches.table())
    page.write("fronts", fronts.table())
    page.write("sizes", sizes.table())
    page.write("connections", connections.throughput_table())
    page.write("rows", rows.table())
    plots.cost_by(rows, page.plots / "rows.svg")
    plots.throughput_by(connections, page.plots / "connections.svg")


def measure_storage(page: Page, extent: Extent) -> None:
    """The storage service by itself."""
    quick = ["--documents", "500", "--seconds", "0.1"] if extent is QUICK else []
    _write_output(page, "storage", "benchmarks.storage", *quick)


def measure_feeds(page: Page, extent: Extent) -> None:
    """Changefeeds."""
    quick = ["--feeds", "1", "5", "--idle", "5", "--seconds", "0.1"] if extent is QUICK else []
    _write_output(page, "feeds", "benchmarks.feeds", "--quick", *quick)


PARTS: dict[str, Callable[[Page, Extent], None]] = {
    "queries": measure_queries,
    "scaling": measure_scaling,
    "storage": measure_storage,
    "feeds": measure_feeds,
}


@contextmanager
def _suite(processes: bool) -> Iterator[RunningSuite]:
    with tempfile.TemporaryDirectory() as directory, RunningSuite(Path(directory), processes=processes) as suite:
        yield suite


def _write_output(page: Page, name: str, module: str, *arguments: str) -> None:
    """What a benchmark prints, as it is."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    page.write(name, done.stdout.strip())


def main() -> None:
    """Run the parts that the command line names, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only prove that it runs")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder with performance.md")
    parser.add_argument("--only", choices=PARTS, action="append", help="a part of it (may be given again)")
    options = parser.parse_args()
    page = Page(options.docs)
    for name in options.only or PARTS:
        start = time.monotonic()
        PARTS[name](page, QUICK if options.quick else WHOLE)
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
