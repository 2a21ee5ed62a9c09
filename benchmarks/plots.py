"""The plots of docs/performance.md, as SVG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

from benchmarks.queries import QueryFigures
from benchmarks.scaling import Series
from benchmarks.workloads import WORKLOADS

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "photondb"  # the same figures give the same file
mpl.rcParams["svg.fonttype"] = "none"  # text stays text
mpl.rcParams["font.size"] = 9

from matplotlib import pyplot as plt  # noqa: E402 - after the back end is chosen
from matplotlib.figure import Figure  # noqa: E402

COLOURS = ("#2f6f9f", "#e08a2b", "#5a9a4b")


def cost_beside_rethinkdb(figures: Mapping[str, QueryFigures], path: Path) -> None:
    """How many times less CPU time than RethinkDB each kind of query takes."""
    figure, axes = plt.subplots(figsize=(7.5, 5))
    names = [workload.name for workload in WORKLOADS]
    height = 0.8 / len(figures)
    for number, (label, measured) in enumerate(figures.items()):
        ratios = [
            workload.reference.cpu_us / measured.by_workload[workload.name].cpu_us
            if workload.name in measured.by_workload
            else 0.0
            for workload in WORKLOADS
        ]
        positions = [position + number * height for position in range(len(names))]
        bars = axes.barh(positions, ratios, height, label=label, color=COLOURS[number])
        axes.bar_label(bars, [f" {ratio:.1f}" for ratio in ratios], fontsize=7)
    axes.set_yticks([position + height * (len(figures) - 1) / 2 for position in range(len(names))], names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("RethinkDB's CPU time per query, as a multiple of PhotonDB's")
    axes.legend(loc="lower right")
    _save(figure, path)


def cost_by(series: Series, path: Path) -> None:
    """How the CPU time of a query grows with what changes in `series`."""
    figure, axes = plt.subplots(figsize=(6, 3.6))
    values = list(series.figures)
    for name in next(iter(series.figures.values())):
        axes.plot(values, [series.figures[value][name].cpu_us for value in values], marker="o", label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(series.what)
    axes.set_ylabel("CPU us per query")
    axes.legend(fontsize=7)
    _save(figure, path)


def throughput_by(series: Series, path: Path) -> None:
    """Queries per second, and the time that 99 of 100 queries take at most."""
    figure, axes = plt.subplots(figsize=(6, 3.6))
    values = list(series.figures)
    found = [next(iter(series.figures[value].values())) for value in values]
    axes.plot(values, [one.queries_per_s for one in found], marker="o", color=COLOURS[0])
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(series.what)
    axes.set_ylabel("queries/s", color=COLOURS[0])
    latencies = axes.twinx()
    latencies.plot(values, [one.p99_ms for one in found], marker="s", color=COLOURS[1])
    latencies.set_yscale("log")
    latencies.set_ylabel("p99 ms", color=COLOURS[1])
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
