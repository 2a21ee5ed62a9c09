"""A scan of a million documents through a cursor, beside point reads on another connection.

    python -m benchmarks.large_scan [--processes] [--rows 1000000]

It prints how fast the scan went, by how much the server's memory grew meanwhile, and the latencies of the point reads.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rethinkdb import r

from benchmarks.raw_connection import RawConnection
from photondb.reql.wire import Term
from tests.process_memory import resident_bytes
from tests.running_suite import RunningSuite

DOCUMENT_FIELDS = 8
BATCH_ROWS = 250


@dataclass
class ScanReport:
    """What one run saw. Latencies are in milliseconds, memory in bytes."""

    rows: int
    seconds: float
    memory_before: int
    memory_peak: int
    latencies_ms: list[float]

    @property
    def growth_bytes(self) -> int:
        """By how much the server's resident memory grew while the scan ran."""
        return self.memory_peak - self.memory_before

    def percentile(self, share: float) -> float:
        """A percentile of the point reads' latencies, in milliseconds."""
        return sorted(self.latencies_ms)[int(len(self.latencies_ms) * share)]


def document(number: int) -> dict[str, Any]:
    """A document of about 1,000 bytes."""
    return {"id": number, "name": f"user {number}", **{f"field{i}": f"{number:0110d}" for i in range(DOCUMENT_FIELDS)}}


def load(suite: RunningSuite, rows: int) -> None:
    """Fill the table `big` with `rows` documents."""
    table = [Term.TABLE, ["big"]]
    with RawConnection(suite.driver_port) as conn:
        conn.ask([1, [Term.TABLE_CREATE, ["big"]]])
        for start in range(0, rows, BATCH_ROWS):
            batch = [document(number) for number in range(start, min(rows, start + BATCH_ROWS))]
            insert = [Term.INSERT, [table, [Term.MAKE_ARRAY, batch]]]
            conn.send([1, insert, {"noreply": True, "durability": "soft"}])
            if start % (32 * BATCH_ROWS) == 0:
                conn.wait()
        conn.wait()
        conn.ask([1, [Term.SYNC, [table]]])


def scan(suite: RunningSuite, rows: int) -> ScanReport:
    """Read the whole table through a cursor while another connection reads single documents."""
    latencies: list[float] = []
    peak = before = resident_bytes(suite.pid)
    finished = threading.Event()

    def read_points() -> None:
        conn = r.connect(port=suite.driver_port)
        number = 0
        while not finished.is_set():
            number = (number * 7919 + 13) % rows
            began = time.perf_counter()
            assert r.table("big").get(number).run(conn)["id"] == number
            latencies.append((time.perf_counter() - began) * 1000)
            time.sleep(0.002)
        conn.close()

    conn = r.connect(port=suite.driver_port)
    reader = threading.Thread(target=read_points)
    reader.start()
    began = time.perf_counter()
    seen = 0
    try:
        for row in r.table("big").run(conn):
            seen += 1
            if seen % 20_000 == 0:
                peak = max(peak, resident_bytes(suite.pid))
            assert "id" in row
    finally:
        finished.set()
        reader.join()
        conn.close()
    assert seen == rows, f"the scan gave {seen} of {rows} rows"
    return ScanReport(rows, time.perf_counter() - began, before, max(peak, resident_bytes(suite.pid)), latencies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--processes", action="store_true")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="photondb-scan-") as directory,
        RunningSuite(Path(directory, "data"), processes=arguments.processes) as suite,
    ):
        load(suite, arguments.rows)
        report = scan(suite, arguments.rows)
    print(
        f"{report.rows:,} rows in {report.seconds:.1f} s ({report.rows / report.seconds:,.0f}/s); memory grew by "
        f"{report.growth_bytes / 1e6:.0f} MB; {len(report.latencies_ms):,} point reads meanwhile: "
        f"p50 {statistics.median(report.latencies_ms):.2f} ms, p99 {report.percentile(0.99):.2f} ms, "
        f"max {max(report.latencies_ms):.1f} ms"
    )


if __name__ == "__main__":
    main()
