"""The benchmarks run, and their figures get into the page. What the figures are is nothing that a test could know."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks import scan_workers, scans, spilling, traced_turns
from benchmarks.suite import DOCS, PAGE, PARTS, Page
from benchmarks.workloads import WORKLOADS
from services.storage import scan_workers as workers_of_storage

PLACES = {
    "queries": ("queries", "one-by-one"),
    "scaling": (
        *("rows", "sizes", "connections", "fronts"),
        *("storage-nodes", "storage-nodes-same-calls", "storage-node-batches"),
    ),
    "storage": ("storage",),
    "feeds": ("feeds",),
}
PLOTS = {"queries": {"queries.svg"}, "scaling": {"rows.svg", "connections.svg"}}


def tables(page: str, name: str) -> list[list[str]]:
    """The rows of the tables at a place of the page, as cells."""
    found = re.search(rf"<!-- begin {name} -->\n(.*?)<!-- end {name} -->", page, re.DOTALL)
    assert found is not None
    rows = [line for line in found[1].splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_benchmarks_writes_its_tables_and_plots(part: str, tmp_path: Path) -> None:
    emptied = re.sub(r"(<!-- begin [\w-]+ -->\n).*?(?=<!-- end)", r"\1", (DOCS / PAGE).read_text(), flags=re.DOTALL)
    (tmp_path / PAGE).write_text(emptied)
    command = [sys.executable, "-m", "benchmarks.suite", "--quick", "--only", part, "--docs", str(tmp_path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    page = (tmp_path / PAGE).read_text()
    for name in PLACES[part]:
        rows = tables(page, name)
        assert len(rows) > 1
        assert all(re.search(r"\d", "".join(row[1:])) for row in rows[1:] if len(row) == len(rows[0])), rows
    if part == "queries":
        measured = tables(page, "queries")[1:]
        assert [row[0] for row in measured[:-1]] == [workload.name for workload in WORKLOADS]
        assert "errors" not in page.partition("<!-- begin queries -->")[2].partition("<!-- end queries -->")[0]
    found = {path.name for path in (tmp_path / "plots").iterdir()}
    assert found == PLOTS.get(part, set())
    for name in found:
        assert ElementTree.parse(tmp_path / "plots" / name).getroot().tag.endswith("svg")


def test_a_table_without_a_place_is_an_error(tmp_path: Path) -> None:
    shutil.copy(DOCS / PAGE, tmp_path)
    with pytest.raises(ValueError, match="no place for `weather`"):
        Page(tmp_path).write("weather", "sunny")


async def test_scans_by_workers_are_measured_beside_point_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that both of two workers have about the same to do, at the same time."""
    monkeypatch.setattr(workers_of_storage, "MIN_BYTES", 100_000)
    monkeypatch.setattr(workers_of_storage, "MIN_BYTES_PER_WORKER", 50_000)
    monkeypatch.setattr(scans, "MIN_BYTES", 100_000)
    monkeypatch.setattr(scan_workers, "MIN_BYTES", 100_000)
    await scans.fill_anew(tmp_path / "data", 1200)
    lines = await scan_workers.measure(tmp_path / "data", 1200, rounds=1)
    assert all(len(re.findall(r"\d+\.\d\d \|", line)) == 2 for line in lines[2:5]), lines
    workers = [re.findall(r"in (\d) workers", line) for line in lines[5:]]
    assert workers == [[]] * 4 + [["1"]] * 4 + [["2"]] * 4, lines


async def test_scans_are_measured_in_every_way(tmp_path: Path) -> None:
    lines = await scans.measure(tmp_path / "data", rows=1200, rounds=1, updates=100)
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 4
    assert all(line.count("|") == len(scans.WAYS) + 2 and re.search(r"\d\.\d \(", line) for line in rows[2:])
    assert re.fullmatch(r"an update: [\d.]+ us without columns, [\d.]+ us with columns", lines[-1])


def test_spilling_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spilling, "QUERIES", {name: spilling.QUERIES[name] for name in ['order_by("a")']})
    lines = list(spilling.measure(tmp_path / "data", rows=1000, budgets=spilling.BUDGETS[:1]))
    assert lines[0] == "| us per row, memory | 4,096 MB |"
    assert re.fullmatch(r'\| `order_by\("a"\)` \| [\d.]+, \d+ MB \|', lines[2])


async def test_the_cost_of_tracing_is_measured_turn_by_turn() -> None:
    found = await traced_turns.measure(traced_turns.BLOCK_TURNS, connections=2, queries=3)
    assert set(found) == {"off", "on", "traced", "after"}
    assert all(time > 0 for time in found.values())
