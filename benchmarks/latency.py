"""Measures how long a query takes that is the only one, and what of it is the price of asking another process.

    python -m benchmarks.latency [--processes] [--seconds 1] [--rows 50000]

To wake another process up takes longer on another processor than on one's own, and which one it is Linux decides. So
client and server are measured as they come, bound to one processor, and bound to one each; and beside the database a
server that does nothing but answer.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import uvloop

from benchmarks.closed_loop import Figures, MakeQuery, measure
from benchmarks.echo import running_echo
from benchmarks.queries import ROWS
from benchmarks.workloads import ONE_AT_A_TIME_MS, WORKLOADS, fill
from tests.process_memory import family
from tests.running_suite import RunningSuite

AS_THEY_COME, ONE_PROCESSOR, TWO_PROCESSORS = "as they come", "on one processor", "on two"
ECHO = "a server that only answers"


class Latencies(NamedTuple):
    """What was measured of a server: figures by the workload and by where client and server ran."""

    server: str
    figures: dict[str, dict[str, Figures]]


def _measure(port: int, pid: int, make: MakeQuery, seconds: float) -> dict[str, Figures]:
    """Figures of one connection with one query outstanding, by where client and server run."""
    available = sorted(os.sched_getaffinity(0))
    placements = {AS_THEY_COME: (available, available)}
    if len(available) > 1:
        first, second = [available[0]], [available[1]]
        placements |= {ONE_PROCESSOR: (first, first), TWO_PROCESSORS: (first, second)}
    found = {}
    for name, (client, server) in placements.items():
        with _bound(os.getpid(), client), _bound(pid, server):
            found[name] = uvloop.run(measure(port, pid, make, seconds, connections=1, window=1))
    return found


@contextmanager
def _bound(pid: int, processors: Sequence[int]) -> Iterator[None]:
    """Let the threads of a process and of its descendants run on these processors only."""
    before = os.sched_getaffinity(pid)
    _bind(pid, processors)
    try:
        yield
    finally:
        _bind(pid, before)


def _bind(pid: int, processors: Sequence[int] | set[int]) -> None:
    for member in family(pid):
        for thread in Path(f"/proc/{member}/task").iterdir():
            with suppress(ProcessLookupError):  # a thread that has ended meanwhile
                os.sched_setaffinity(int(thread.name), processors)


def of_echo(seconds: float) -> Latencies:
    """What it takes to ask a server that has nothing to do."""
    with running_echo() as echo:
        return Latencies(ECHO, {"any": _measure(echo.port, echo.pid, lambda: b"[1,1]", seconds)})


def of_suite(name: str, suite: RunningSuite, rows: int, seconds: float) -> Latencies:
    """What it takes to ask a suite that has the table of the benchmarks."""
    return Latencies(
        name,
        {
            workload.name: _measure(suite.driver_port, suite.pid, workload.maker(rows), seconds)
            for workload in WORKLOADS
            if not workload.whole_table
        },
    )


def table(measured: Sequence[Latencies]) -> str:
    """The medians in milliseconds, and as they come the 99th percentile and the queries per second, in Markdown."""
    head = ["server", "workload", "RethinkDB: p50 ms", "p50 ms", "p99 ms", "queries/s"]
    head += [f"p50 {ONE_PROCESSOR}", f"p50 {TWO_PROCESSORS}"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for server, figures in measured:
        for workload, placements in figures.items():
            reference = ONE_AT_A_TIME_MS.get(workload)
            free = placements[AS_THEY_COME]
            cells = [server, workload, "" if reference is None else f"{reference:.2f}"]
            cells += [f"{free.p50_ms:.3f}", f"{free.p99_ms:.2f}", f"{free.queries_per_s:,.0f}"]
            for name in (ONE_PROCESSOR, TWO_PROCESSORS):
                cells.append(f"{placements[name].p50_ms:.3f}" if name in placements else "")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", action="store_true", help="a process for each service")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each kind of query is measured")
    parser.add_argument("--rows", type=int, default=ROWS)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        RunningSuite(Path(directory), processes=options.processes) as suite,
    ):
        fill(suite.driver_port, options.rows)
        name = "--processes" if options.processes else "one process"
        print(table([of_echo(options.seconds), of_suite(name, suite, options.rows, options.seconds)]))


if __name__ == "__main__":
    main()
