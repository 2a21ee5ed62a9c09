"""kill -9 in the middle of concurrent writers, many times over on the same data."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest

from services.storage import catalog, layout
from services.storage.check import check_store
from services.storage.rocks import Store
from services.storage.views import View
from tests.storage.crash_writer import GROUP, WRITERS

ROUNDS = 20


def run_until_killed(path: Path, after_s: float) -> dict[int, int]:
    """What each writer had acknowledged last when the process was killed, `after_s` seconds after it began to write."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.storage.crash_writer", str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    killer = threading.Timer(after_s, process.kill)
    killer.start()
    acknowledged: dict[int, int] = {}
    for line in process.stdout:
        if line.endswith("\n"):
            writer, count = map(int, line.split())
            acknowledged[writer] = count
    killer.join()
    assert process.wait() == -9, "it ended by itself"
    process.stdout.close()
    return acknowledged


def documents(store: Store, table: str) -> dict[object, dict[str, object]]:
    state = catalog.load(store)
    assert state is not None
    prefix = layout.document_prefix(state.find("test", table).info.id)
    found = {}
    with View(store).read(prefix, layout.end_of(prefix)) as reader:
        for _, raw in reader.take(10_000_000):
            document = orjson.loads(raw)
            key = document["id"]
            found[tuple(key) if isinstance(key, list) else key] = document
    return found


@pytest.mark.timeout(300)
def test_no_acknowledged_write_is_lost_and_no_commit_is_torn(tmp_path: Path) -> None:
    chance = random.Random(7)
    last: dict[int, int] = dict.fromkeys(range(WRITERS), 0)
    for _ in range(ROUNDS):
        acknowledged = run_until_killed(tmp_path / "data", chance.uniform(0.02, 0.5))
        store = Store.open(tmp_path / "data")
        assert list(check_store(store)) == []
        counters, groups = documents(store, "counters"), documents(store, "groups")
        store.close()
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
