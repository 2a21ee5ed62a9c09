"""kill -9 in the middle of concurrent writers, many times over on the same data."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest

from services.storage import catalog_state, layout
from services.storage.archive import read_manifest
from services.storage.check import check_store
from services.storage.restore import restore
from services.storage.rocks import Store
from services.storage.views import View
from tests.chaos.crash_points import POINTS, REACHED
from tests.chaos.crash_worker import ACCOUNTS, GROUP, MONEY, WRITERS

ROUNDS = int(os.environ.get("PHOTONDB_CRASH_ROUNDS", "24"))
"""`make crash` runs many more."""

LONGEST_RUN_S = 2.0


def run_until_killed(path: Path, backups: Path, after_s: float, *point: str) -> tuple[dict[int, int], bool]:
    """What each writer had acknowledged last when the process died: at the point, or `after_s` seconds after it began
    to write. And whether it was the point."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.crash_worker", str(path), str(backups), *point],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    killer = threading.Timer(after_s, process.kill)
    acknowledged: dict[int, int] = {}
    reached = False
    for line in process.stdout:  # it may die before it is ready
        if line == "ready\n":
            killer.start()
        elif line == REACHED.decode():
            reached = True
        elif line.endswith("\n"):
            writer, count = map(int, line.split())
            acknowledged[writer] = count
    killer.cancel()
    assert process.wait() == -9, "it ended by itself"
    process.stdout.close()
    return acknowledged, reached


def check_backups(directory: Path, restored: Path) -> int:
    """Restore the last complete backup of a run, as far as there is one. Returns how many are complete."""
    complete = {path: read_manifest(path) for path in directory.iterdir() if (path / "manifest.json").exists()}
    if complete:
        newest = max(complete, key=lambda path: complete[path].taken_us)
        chain = [newest]
        while (base := complete[chain[-1]].base) is not None:
            chain.append(next(path for path, manifest in complete.items() if manifest.id == base))
        restore(chain, restored, None, lambda step, total: lambda done: None)
        shutil.rmtree(restored)
    return len(complete)


def documents(store: Store, table: str) -> dict[object, dict[str, object]]:
    state = catalog_state.load(store)
    assert state is not None
    prefix = layout.document_prefix(state.find("test", table).info.id)
    found = {}
    with View(store).read(prefix, layout.end_of(prefix)) as reader:
        for _, raw in reader.take(10_000_000):
            document = orjson.loads(raw)
            key = document["id"]
            found[tuple(key) if isinstance(key, list) else key] = document
    return found


@pytest.mark.timeout(300 + 20 * ROUNDS)
def test_no_acknowledged_write_is_lost_and_no_commit_is_torn(tmp_path: Path) -> None:
    chance = random.Random(7)
    last: dict[int, int] = dict.fromkeys(range(WRITERS), 0)
    points = itertools.cycle([None, *POINTS])
    backups = 0
    reached: set[str] = set()
    for number in range(ROUNDS):
        directory = tmp_path / f"backups {number}"
        directory.mkdir()
        name = next(points)
        point = () if name is None else (name, str(chance.choice((1, 2, 3, 5, 20))))
        after_s = chance.uniform(0.05, 0.5) if number and name is None else LONGEST_RUN_S
        acknowledged, at_point = run_until_killed(tmp_path / "data", directory, after_s, *point)
        if at_point and name is not None:
            reached.add(name)
        store = Store.open(tmp_path / "data")
        assert list(check_store(store)) == []
        counters, groups = documents(store, "counters"), documents(store, "groups")
        accounts = [account["money"] for account in documents(store, "accounts").values()]
        store.close()
        assert len(accounts) in (0, ACCOUNTS)
        assert sum(accounts) == MONEY * len(accounts)  # type: ignore[arg-type]
        backups += check_backups(directory, tmp_path / "restored")
        shutil.rmtree(directory)
        present: dict[int, dict[int, int]] = {writer: {} for writer in range(WRITERS)}
        for writer, count, _member in groups:  # type: ignore[misc]
            present[writer][count] = present[writer].get(count, 0) + 1  # type: ignore[has-type]
        for writer in range(WRITERS):
            done = counters[writer]["n"] if writer in counters else 0
            assert isinstance(done, int)
            assert done >= max(acknowledged.get(writer, 0), last[writer])
            last[writer] = done
            deleted = {count - 2 for count in range(4, done + 1, 4)}
            assert present[writer] == {count: GROUP for count in range(1, done + 1) if count not in deleted}
            for count in range(3, done + 1, 3):
                if count not in deleted:
                    assert groups[writer, count, 0].get("changed") is True
    assert min(last.values()) > ROUNDS, "the writers hardly wrote"
    assert backups, "no backup was completed"
    assert reached
    if 2 * len(POINTS) < ROUNDS:
        assert reached == set(POINTS)
