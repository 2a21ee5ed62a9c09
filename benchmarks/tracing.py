"""Measures what tracing costs: CPU time per query without it, with 1 % of the queries traced, and with all of them.

    python -m benchmarks.tracing [--processes] [--rounds 20] [--seconds 1]

It starts a server of its own, and a collector that throws away what it is sent, in this process. The server is told
again and again to trace another share of the queries, because two servers that do the same differ by several percent;
"off again" tells how much of a difference means nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
from pathlib import Path

import httpx
import orjson
import uvloop

from benchmarks.closed_loop import measure
from benchmarks.workloads import BY_NAME, fill
from tests.post_server import post_server
from tests.running_suite import RunningSuite

ROWS = 10_000
WORKLOADS = ("get by primary key", "between, limit 50", "half get, half update")
WAYS: dict[str, float | None] = {"off": None, "1 %": 0.01, "off again": None, "100 %": 1}


def run(processes: bool, rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """The CPU time per query in microseconds: for each workload and way, one for each round."""
    found: dict[str, dict[str, list[float]]] = {name: {way: [] for way in WAYS} for name in WORKLOADS}
    with contextlib.ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
        flags = ("--otlp-endpoint", stack.enter_context(post_server()))
        suite = stack.enter_context(RunningSuite(data, processes=processes, arguments=flags))
        targets = orjson.loads((data / "telemetry.json").read_bytes())
        controls = [f"http://{target['targets'][0]}/_debug/controls" for target in targets]

        def trace(ratio: float | None) -> None:
            for url in controls:
                httpx.patch(url, json={"trace_ratio": ratio}, auth=("admin", "")).raise_for_status()

        trace(None)
        fill(suite.driver_port, ROWS)
        for name in WORKLOADS:
            maker = BY_NAME[name].maker
            for number in range(rounds):
                # What is traced leaves spans that are sent a little later: so that with most of them comes last.
                for way, ratio in WAYS.items() if number == rounds - 1 else list(WAYS.items())[:-1]:
                    trace(ratio)
                    figures = uvloop.run(measure(suite.driver_port, suite.pid, maker(ROWS), seconds))
                    found[name][way].append(figures.cpu_us)
    return found


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """The medians in Markdown, and how they compare to the rounds without tracing right before and after them."""
    lines = ["| CPU us per query | " + " | ".join(WAYS) + " |", "| --- " * (len(WAYS) + 1) + "|"]
    for name, by_way in found.items():
        off = [(before + after) / 2 for before, after in zip(by_way["off"], by_way["off again"], strict=True)]
        cells = [f"{statistics.median(by_way['off']):.2f}"]
        for way in list(WAYS)[1:]:
            values = by_way[way]
            ratio = statistics.median(
                value / without for value, without in zip(values, off[-len(values) :], strict=True)
            )
            cells.append(f"{statistics.median(values):.2f} ({ratio - 1:+.1%})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", action="store_true", help="a process for each service")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each round of each is")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    print(table(run(options.processes, options.rounds, options.seconds)))


if __name__ == "__main__":
    main()
