"""Measures queries over the driver protocol, one kind after the other.

    python -m benchmarks.queries [--processes] [--seconds 2] [--rows 50000] [--only get,between]

It starts a server of its own, on a directory that it removes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import uvloop

from benchmarks.closed_loop import Figures, measure
from benchmarks.workloads import BULK_LOAD, WORKLOADS, Workload, fill
from tests.running_suite import RunningSuite

ROWS = 50_000


class QueryFigures(NamedTuple):
    """The figures of one way to serve, by the names of workloads, and the documents loaded per second."""

    load_per_s: float
    by_workload: dict[str, Figures]


def run(suite: RunningSuite, rows: int, seconds: float, workloads: tuple[Workload, ...] = WORKLOADS) -> QueryFigures:
    """Load the table and measure the workloads, each for so many seconds."""
    load_per_s = fill(suite.driver_port, rows)

    async def measure_all() -> dict[str, Figures]:
        return {
            workload.name: await measure(
                suite.driver_port, suite.pid, workload.maker(rows), seconds, workload.connections, workload.window
            )
            for workload in workloads
        }

    return QueryFigures(load_per_s, uvloop.run(measure_all()))


def table(figures: dict[str, QueryFigures]) -> str:
    """A table in Markdown of several ways to serve, by their names, beside RethinkDB."""
    head = ["workload", "RethinkDB: queries/s", "CPU us"]
    for name in figures:
        head += [f"{name}: queries/s", "times RethinkDB", "CPU us", "share of RethinkDB's", "p99 ms"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for workload in WORKLOADS:
        reference = workload.reference
        cells = [workload.name, f"{reference.queries_per_s:,.0f}", f"{reference.cpu_us:,g}"]
        for measured in figures.values():
            found = measured.by_workload.get(workload.name)
            if found is None:
                cells += [""] * 5
                continue
            cells += [
                f"{found.queries_per_s:,.0f}" + (f" ({found.errors} errors)" if found.errors else ""),
                f"{found.queries_per_s / reference.queries_per_s:.1f}",
                f"{found.cpu_us:,.0f}" if found.cpu_us >= 100 else f"{found.cpu_us:.1f}",
                f"1/{reference.cpu_us / found.cpu_us:.1f}",
                f"{found.p99_ms:.2f}",
            ]
        lines.append("| " + " | ".join(cells) + " |")
    cells = ["bulk load, batches of 200, soft, documents/s", f"{BULK_LOAD.queries_per_s:,.0f}", ""]
    for measured in figures.values():
        ratio = measured.load_per_s / BULK_LOAD.queries_per_s
        cells += [f"{measured.load_per_s:,.0f}", f"{ratio:.1f}", "", "", ""]
    lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", action="store_true", help="a process for each service")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each kind of query is measured")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--only", default="", help="parts of the names of workloads, with commas between them")
    options = parser.parse_args()
    wanted = tuple(workload for workload in WORKLOADS if any(part in workload.name for part in options.only.split(",")))
    with (
        tempfile.TemporaryDirectory() as directory,
        RunningSuite(Path(directory), processes=options.processes) as suite,
    ):
        name = "--processes" if options.processes else "one process"
        print(table({name: run(suite, options.rows, options.seconds, wanted)}))


if __name__ == "__main__":
    main()
