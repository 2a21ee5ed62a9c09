"""A scan of a million documents streams through a cursor: the server's memory stays bounded, others stay answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.large_scan import load, scan
from tests.running_suite import RunningSuite

ROWS = 1_000_000
MAX_GROWTH_BYTES = 100_000_000


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("processes", [False, True], ids=["one process", "processes"])
def test_a_scan_of_a_million_documents_needs_little_memory(tmp_path: Path, processes: bool) -> None:
    rows = ROWS if not processes else ROWS // 5
    with RunningSuite(tmp_path / "data", processes=processes) as suite:
        load(suite, rows)
        report = scan(suite, rows)
    assert report.growth_bytes < MAX_GROWTH_BYTES
    assert len(report.latencies_ms) > 20, "point reads on another connection must be answered meanwhile"
