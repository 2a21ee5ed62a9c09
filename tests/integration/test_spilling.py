"""The suite with so little memory for sorts and groups that they go by way of the disk, through the driver."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rethinkdb import r
from rethinkdb.errors import ReqlError, ReqlResourceLimitError

from photondb.telemetry.targets import TARGETS_FILE
from tests.running_suite import RunningSuite
from tests.small_disk import mounted_disk

ROWS = 30_000
TABLE = r.table("t")
PAD = "x" * 50


def fill(connection: Any) -> None:
    r.table_create("t").run(connection)
    for start in range(0, ROWS, 5000):
        rows = [{"id": n, "a": n * 7919 % ROWS, "pad": PAD} for n in range(start, start + 5000)]
        assert TABLE.insert(rows, durability="soft").run(connection)["inserted"] == 5000


@pytest.fixture(scope="module", params=[False, True], ids=["one process", "processes"])
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHOTONDB_SORT_BYTES", "65536")
        patch.setenv("PHOTONDB_AGGREGATE_BYTES", "1048576")
        running = RunningSuite(tmp_path_factory.mktemp("spilling") / "data", processes=request.param)
    with running, connected(running) as connection:
        fill(connection)
        yield running


@contextlib.contextmanager
def connected(suite: RunningSuite) -> Iterator[Any]:
    connection = r.connect(port=suite.driver_port)
    try:
        yield connection
    finally:
        connection.close(noreply_wait=False)


def metric(suite: RunningSuite, name: str) -> float:
    """A metric, of all processes together."""
    targets = json.loads((suite.data_dir / TARGETS_FILE).read_bytes())
    pages = [httpx.get(f"http://{target['targets'][0]}/_metrics").raise_for_status().text for target in targets]
    lines = [line for page in pages for line in page.splitlines()]
    return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))


def until(suite: RunningSuite, name: str, value: float) -> None:
    """Wait for a metric."""
    while metric(suite, name) != value:
        time.sleep(0.05)


def spilled_files(suite: RunningSuite) -> int:
    """How many files without names are open in the directory for them."""
    folder = str(suite.data_dir / "spill")
    processes = [suite.pid, *_children(suite.pid)]
    count = 0
    for process in processes:
        with contextlib.suppress(FileNotFoundError):
            for descriptor in os.listdir(f"/proc/{process}/fd"):
                with contextlib.suppress(OSError):
                    count += os.readlink(f"/proc/{process}/fd/{descriptor}").startswith(folder)
    return count


def _children(process: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))
    return []


def test_a_sort_streams(suite: RunningSuite) -> None:
    written = metric(suite, "photondb_query_spill_written_bytes_total")
    with connected(suite) as connection:
        cursor = TABLE.order_by("a").run(connection, stream=True, array_limit=10)
        assert next(cursor)["a"] == 0
        assert spilled_files(suite) > 0
        assert metric(suite, "photondb_query_spill_bytes") > ROWS * 50
        assert [row["a"] for row in cursor] == list(range(1, ROWS))
        assert metric(suite, "photondb_query_spill_written_bytes_total") > written
        until(suite, "photondb_query_spill_bytes", 0)
        assert spilled_files(suite) == 0
        assert list((suite.data_dir / "spill").iterdir()) == []


def test_without_the_option_it_is_rethinkdbs_array(suite: RunningSuite) -> None:
    with connected(suite) as connection:
        rows = TABLE.order_by(r.desc("a")).pluck("a").run(connection)
        assert type(rows) is list
        assert [row["a"] for row in rows] == list(range(ROWS - 1, -1, -1))
        with pytest.raises(ReqlResourceLimitError, match=r"Array over size limit `1000`\."):
            TABLE.order_by("a").run(connection, array_limit=1000)


def test_groups_and_different_values(suite: RunningSuite) -> None:
    with connected(suite) as connection:
        counted = TABLE.group(lambda row: (row["a"] / 2).floor() * 2).count().ungroup()
        expected = [{"group": n, "reduction": 2} for n in range(0, ROWS, 2)]
        assert counted.run(connection) == expected
        assert list(counted.run(connection, stream=True, array_limit=10)) == expected
        with pytest.raises(ReqlResourceLimitError, match=r"Too many groups \(> 1000\)"):
            counted.run(connection, array_limit=1000)
        largest = TABLE.group(lambda row: (row["a"] / 2).floor()).max("a")["a"].run(connection)
        assert largest == {n: 2 * n + 1 for n in range(ROWS // 2)}
        different = TABLE.map(lambda row: r.expr(0) - row["a"]).distinct()
        assert different.run(connection) == list(range(1 - ROWS, 1))
        assert list(different.run(connection, stream=True, array_limit=10)) == list(range(1 - ROWS, 1))
        assert different.count().run(connection, stream=True, array_limit=10) == ROWS
        assert metric(suite, "photondb_storage_aggregate_parts_total") > 0
        until(suite, "photondb_query_spill_bytes", 0)


def test_nothing_is_left_of_a_query_that_is_given_up(suite: RunningSuite) -> None:
    with connected(suite) as connection:
        cursor = TABLE.order_by("a").run(connection, stream=True)
        next(cursor)
        cursor.close()
        until(suite, "photondb_query_spill_bytes", 0)
        with pytest.raises(ReqlError, match="Expected type NUMBER"):
            TABLE.order_by("a").map(lambda row: row["a"] + r.branch(row["a"] > 20_000, "x", 1)).sum().run(connection)
        until(suite, "photondb_query_spill_bytes", 0)
    with connected(suite) as connection:
        next(TABLE.order_by("a").run(connection, stream=True))
        assert metric(suite, "photondb_query_spill_bytes") > 0
    until(suite, "photondb_query_spill_bytes", 0)  # its connection is gone
    assert spilled_files(suite) == 0


def test_a_sort_is_ended_while_it_is_under_way(suite: RunningSuite) -> None:
    endless = r.range().map(lambda number: {"n": number, "pad": PAD}).limit(10**9).order_by("n")
    ended = threading.Event()

    def run() -> None:
        with connected(suite) as connection, pytest.raises(ReqlError, match="terminated"):
            endless.run(connection, stream=True)
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    with connected(suite) as connection:
        jobs = r.db("rethinkdb").table("jobs").filter(lambda job: job["info"]["query"].match("^r.range"))
        while not (metric(suite, "photondb_query_spill_bytes") > 0 and jobs.count().run(connection)):
            time.sleep(0.05)
        assert TABLE.get(1)["id"].run(connection) == 1
        jobs.delete().run(connection)
    thread.join()
    assert ended.is_set()
    until(suite, "photondb_query_spill_bytes", 0)


def test_nothing_is_left_after_a_crash(suite: RunningSuite) -> None:
    with connected(suite) as connection:
        next(TABLE.order_by("a").run(connection, stream=True))
        assert spilled_files(suite) > 0
        suite.kill()
    assert list((suite.data_dir / "spill").iterdir()) == []
    suite.start()
    with connected(suite) as connection:
        assert TABLE.order_by("a").nth(5)["a"].run(connection) == 5


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_disk(tmp_path / "disk", 1 << 20) as path:
        yield path


def test_a_full_disk(small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTONDB_SORT_BYTES", "65536")
    monkeypatch.setenv("PHOTONDB_SPILL_DIR", str(small_disk / "aside"))
    monkeypatch.setenv("PHOTONDB_SPILL_BYTES", "100000000")
    with RunningSuite(tmp_path / "data") as suite, connected(suite) as connection:
        fill(connection)
        with pytest.raises(ReqlResourceLimitError, match=r"No space is left on the disk of .*aside, .*SPILL_DIR"):
            TABLE.order_by("a").run(connection, stream=True)
        until(suite, "photondb_query_spill_bytes", 0)
        few = TABLE.filter(lambda row: row["a"] < 5000).order_by("a")
        assert [row["a"] for row in few.run(connection, stream=True)] == list(range(5000))
        assert metric(suite, "photondb_query_spill_written_bytes_total") > 0


def test_queries_that_take_too_much_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTONDB_MAX_QUERIES_BYTES", str(64 << 20))
    large = r.range(60_000).map(lambda number: "x" * 2000 + number.coerce_to("string")).coerce_to("array").count()
    outcomes: list[Any] = []

    def run(suite: RunningSuite) -> None:
        with connected(suite) as connection:
            try:
                outcomes.append(large.run(connection))
            except ReqlResourceLimitError as error:
                outcomes.append(str(error))

    with RunningSuite(tmp_path / "data") as suite, connected(suite) as connection:
        threads = [threading.Thread(target=run, args=(suite,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert r.expr(1).add(1).run(connection) == 2
        refused = [outcome for outcome in outcomes if outcome != 60_000]
        assert refused
        assert all("take as much memory as they may together (limit 64 MB)" in message for message in refused)
        assert metric(suite, "photondb_query_memory_refused_total") == len(refused)
        until(suite, "photondb_query_memory_bytes", 0)


def test_the_example_of_the_page(suite: RunningSuite, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    section = page.partition("## Large sorts and groups")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    with connected(suite) as connection:
        r.table_create("events").run(connection)
        events = [{"user": f"user {n % 3}", "time": n} for n in range(9)]
        r.table("events").insert(events).run(connection)
        exec(example, {"r": r, "connection": connection})
    in_order = [f"user {user} {time}" for user in range(3) for time in range(user + 6, -1, -3)]
    assert capsys.readouterr().out.splitlines() == [*in_order, *[f"user {user} 3" for user in range(3)]]
