"""Measures how the cost of a query changes with the size of the table, of its documents, and the number of connections.

    python -m benchmarks.scaling [--seconds 1]
    python -m benchmarks.scaling --rows 10000 100000 1000000 10000000

The second one measures tables of so many documents only; ten million take ten minutes and 3 GB of disk. It starts
servers of its own, on directories that it removes. Costs are the server's CPU time, which other work on the machine
disturbs least.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import orjson
import uvloop

from benchmarks.closed_loop import Figures, measure
from benchmarks.processor_time import processor_seconds
from benchmarks.raw_connection import RawConnection
from benchmarks.workloads import BY_NAME, Workload, fill
from services.storage.column_cache import MIN_ROWS
from tests.running_suite import RunningSuite
from tests.telemetry.load import pages, totals

POINTS = tuple(BY_NAME[name] for name in ("get by primary key", "between, limit 50", "get_all by index, 50 rows"))
SCAN = BY_NAME["filter and count"]
ROWS = (10_000, 100_000, 1_000_000)
SMALL_BYTES = 100
WARM_UP_ROWS_PER_S = 150_000
MAX_WARM_UP_S = 70.0
"""How long documents are read before it is measured, so that the caches have what they can have and compactions of what
was loaded are over: a second for so many documents."""

MAX_COLUMNS_WAIT_S = 600.0
MIN_SCANS = 5

FROM_DOCUMENTS, FROM_COLUMNS = "filter and count, from documents", "from columns"
SIZES = (100, 1_000, 10_000)
SIZE_ROWS = 20_000
CONNECTIONS = (1, 8, 64, 512)
FRONTS = (1, 2, 4)
STORAGE_NODES = (1, 2, 4)
OUTSTANDING = ((1, 1), (8, 2), (8, 16), (32, 32))
"""So many connections with so many queries outstanding on each."""
QUERIES_OUTSTANDING = 1


class Series(NamedTuple):
    """What was measured while one thing changed: for each of its values, the figures by workload."""

    what: str
    figures: dict[int, dict[str, Figures]]

    def table(self) -> str:
        """The CPU time per query in microseconds, in Markdown."""
        names = list(next(iter(self.figures.values())))
        lines = [f"| {self.what} | " + " | ".join(names) + " |", "| --- " * (len(names) + 1) + "|"]
        for value, by_name in self.figures.items():
            cells = [f"{figures.cpu_us:,.0f}" for figures in by_name.values()]
            lines.append(f"| {value:,} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def throughput_table(self) -> str:
        """Queries per second and latencies, in Markdown."""
        lines = [f"| {self.what} | queries/s | p50 ms | p99 ms | CPU us per query |", "| --- " * 5 + "|"]
        for value, by_name in self.figures.items():
            for found in by_name.values():
                lines.append(
                    f"| {value:,} | {found.queries_per_s:,.0f} | {found.p50_ms:.2f} | {found.p99_ms:.2f} "
                    f"| {found.cpu_us:.1f} |"
                )
        return "\n".join(lines)


def _measure(
    suite: RunningSuite, workloads: Sequence[Workload], rows: int, seconds: float, times: int = 1
) -> dict[str, Figures]:
    """The figures of workloads, with so many times the connections that they have."""

    async def measure_all() -> dict[str, Figures]:
        return {
            workload.name: await measure(
                suite.driver_port,
                suite.pid,
                workload.maker(rows),
                seconds,
                workload.connections * times,
                workload.window,
            )
            for workload in workloads
        }

    return uvloop.run(measure_all())


def by_rows(directory: Path, counts: Sequence[int], seconds: float) -> Series:
    """Tables of small documents, from small to large, each with suites of its own in `directory`: one that has neither
    columns nor scan workers, and one that has both."""
    plain = {"PHOTONDB_COLUMN_CACHE_BYTES": "0", "PHOTONDB_SCAN_WORKERS": "0"}
    found = {}
    for rows in counts:
        data = directory / f"rows-{rows}"
        warm_up = min(rows / WARM_UP_ROWS_PER_S, MAX_WARM_UP_S)
        with RunningSuite(data, processes=False, environ=plain) as suite:
            fill(suite.driver_port, rows, SMALL_BYTES)
            _measure(suite, POINTS[:1], rows, seconds + warm_up)
            figures = _measure(suite, POINTS, rows, seconds)
            figures[FROM_DOCUMENTS] = _one_by_one(suite, rows, seconds)
        with RunningSuite(data, processes=False) as suite:
            _until_columns_answer(suite, rows)
            figures[FROM_COLUMNS] = _one_by_one(suite, rows, seconds)
        shutil.rmtree(data)
        found[rows] = figures
    return Series("documents of 100 B", found)


def _one_by_one(suite: RunningSuite, rows: int, seconds: float) -> Figures:
    """Aggregates over the whole table, one after the other, so that all that was computed was for those that count."""
    make = SCAN.maker(rows)
    latencies: list[float] = []
    with RawConnection(suite.driver_port) as connection:
        end = time.perf_counter() + seconds
        start, server = time.perf_counter(), processor_seconds(suite.pid)
        while len(latencies) < MIN_SCANS or time.perf_counter() < end:
            began = time.perf_counter()
            connection.ask(orjson.loads(make()))
            latencies.append(time.perf_counter() - began)
        took, server = time.perf_counter() - start, processor_seconds(suite.pid) - server
    latencies.sort()
    count = len(latencies)
    p50, p99 = latencies[count // 2] * 1e3, latencies[int(count * 0.99)] * 1e3
    return Figures(count / took, p50, p99, server / count * 1e6, generator_cpu=0.0, errors=0)


def _until_columns_answer(suite: RunningSuite, rows: int) -> None:
    """Ask for aggregates until they are worked out from columns, for as long as it may take to make these."""
    end = time.monotonic() + MAX_COLUMNS_WAIT_S
    while rows >= MIN_ROWS and time.monotonic() < end:
        _one_by_one(suite, rows, 0.2)
        if totals(pages(suite))["photondb_column_cache_hits_total"]:
            return


def by_size(suite: RunningSuite, sizes: Sequence[int], rows: int, seconds: float) -> Series:
    """Tables of as many documents, from short to long ones."""
    found = {}
    for size in sizes:
        fill(suite.driver_port, rows, size)
        found[size] = _measure(suite, (*POINTS, SCAN), rows, seconds)
    return Series(f"bytes of a document ({rows:,} of them)", found)


def by_connections(suite: RunningSuite, counts: Sequence[int], rows: int, seconds: float) -> Series:
    """Reads by key over so many connections, with one query outstanding on each. The table is there already."""
    get = POINTS[0]

    async def measure_one(count: int) -> Figures:
        return await measure(suite.driver_port, suite.pid, get.maker(rows), seconds, count, QUERIES_OUTSTANDING)

    return Series("connections", {count: {get.name: uvloop.run(measure_one(count))} for count in counts})


def by_fronts(directory: Path, counts: Sequence[int], rows: int, seconds: float) -> Series:
    """Small queries with more and more fronts and as many times the connections, each time with a suite of its own in
    `directory`."""
    names = ("get by primary key", "r.expr arithmetic", "update one field, hard", "insert, hard")
    workloads = [BY_NAME[name] for name in names]
    found = {}
    for count in counts:
        arguments = ("--fronts", str(count))
        with RunningSuite(directory / f"fronts-{count}", processes=True, arguments=arguments) as suite:
            fill(suite.driver_port, rows)
            found[count] = _measure(suite, workloads, rows, seconds, count)
    return Series("fronts", found)


class NodeSeries(NamedTuple):
    """What was measured with more and more storage nodes.

    `same_load` and `same_calls` have as many fronts as nodes, and queries of several kinds. In the former as many are
    outstanding at each front whatever the number of nodes, so that calls to a node get smaller; in the latter as many
    for each pair of a front and a node, so that calls stay as large: those of queries that concern one node each.
    `batches` has one front, and reads by key, of which more and more are outstanding.
    """

    same_load: Series
    same_calls: Series
    batches: Series


def by_storage_nodes(directory: Path, counts: Sequence[int], rows: int, seconds: float) -> NodeSeries:
    """Queries about a table that is spread over more and more storage nodes, each time with a suite of its own in
    `directory`."""
    names = ("get by primary key", "update one field, hard", "insert, hard")
    by_key = [BY_NAME[name] for name in names]
    of_all_nodes = BY_NAME["get_all by index, 50 rows"]
    same_load: dict[int, dict[str, Figures]] = {}
    same_calls: dict[int, dict[str, Figures]] = {}
    batches: dict[int, dict[str, Figures]] = {}

    def one(suite: RunningSuite, workload: Workload, connections: int, window: int) -> Figures:
        make = workload.maker(rows)
        return uvloop.run(measure(suite.driver_port, suite.pid, make, seconds, connections, window))

    def measure_batches(suite: RunningSuite) -> dict[str, Figures]:
        return {
            f"{connections * window} outstanding": one(suite, by_key[0], connections, window)
            for connections, window in OUTSTANDING
        }

    for count in counts:
        nodes = ("--storage-nodes", str(count), "--default-shards", str(count))
        path = directory / f"nodes-{count}"
        with RunningSuite(path, processes=True, arguments=(*nodes, "--fronts", str(count))) as suite:
            fill(suite.driver_port, rows)
            same_load[count], same_calls[count] = (
                {
                    workload.name: one(suite, workload, workload.connections * count, workload.window * times)
                    for workload in workloads
                }
                for workloads, times in (([*by_key, of_all_nodes], 1), (by_key, count))
            )
            if count == 1:
                batches[count] = measure_batches(suite)
                continue
        with RunningSuite(path, processes=True, arguments=(*nodes, "--fronts", "1")) as suite:
            batches[count] = measure_batches(suite)
    return NodeSeries(
        Series("storage nodes (and fronts)", same_load),
        Series("storage nodes (and fronts)", same_calls),
        Series("storage nodes", batches),
    )


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", action="store_true", help="a process for each service")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each kind of query is measured")
    parser.add_argument("--rows", type=int, nargs="+", help="measure only tables of so many documents")
    parser.add_argument("--directory", type=Path, help="where to make the data (default: the temporary directory)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        heads = 2
        for rows in options.rows or ROWS:  # each when it is known: a large one takes its time
            lines = by_rows(Path(directory), [rows], options.seconds).table().splitlines()
            print("\n".join(lines[-heads - 1 :]), flush=True)
            heads = 0
        print()
    if options.rows:
        return
    with (
        tempfile.TemporaryDirectory() as directory,
        RunningSuite(Path(directory), processes=options.processes) as suite,
    ):
        print(by_size(suite, SIZES, SIZE_ROWS, options.seconds).table(), "\n")
        print(by_connections(suite, CONNECTIONS, SIZE_ROWS, options.seconds).throughput_table(), "\n")
    with tempfile.TemporaryDirectory() as directory:
        print(by_fronts(Path(directory), FRONTS, SIZE_ROWS, options.seconds).table(), "\n")
    with tempfile.TemporaryDirectory() as directory:
        for series in by_storage_nodes(Path(directory), STORAGE_NODES, SIZE_ROWS, options.seconds):
            print(series.table(), "\n")


if __name__ == "__main__":
    main()
