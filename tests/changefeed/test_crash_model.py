"""Clients with resume tokens while the programs of `--processes` are killed: no change is missing or double."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import errors, r

from tests.changefeed.test_crashes import WAIT_S, kill
from tests.running_suite import RunningSuite

TABLE = r.table("t")
END = {"id": "last", "n": -1, "even": True, "tags": ["a"]}
VICTIMS = ["services.changefeed", "services.storage", "nats-server", "services.changefeed"]

SELECTIONS: list[tuple[Any, Callable[[Any], int]]] = [
    (TABLE, lambda row: 1),
    (TABLE.filter(r.row["even"]), lambda row: int(row["even"])),
    (TABLE.get_all("a", "b", index="tags"), lambda row: ("a" in row["tags"]) + ("b" in row["tags"])),
    (TABLE.between("k2", "z"), lambda row: int(row["id"] >= "k2")),
]


@pytest.fixture
def suite(tmp_path: Path) -> Iterator[RunningSuite]:
    with RunningSuite(tmp_path, processes=True) as running:
        yield running


def persistently(suite: RunningSuite, work: Callable[[Any], Any]) -> Any:
    """Do work with a connection, and do it again with another one when it fails."""
    give_up = time.monotonic() + WAIT_S
    while True:
        try:
            with r.connect(port=suite.driver_port) as conn:
                return work(conn)
        except (errors.ReqlError, OSError):
            if time.monotonic() > give_up:
                raise
            time.sleep(0.02)


class Writer(threading.Thread):
    """Writes documents of its own until it is stopped, each until that has worked."""

    def __init__(self, suite: RunningSuite, number: int) -> None:
        super().__init__(daemon=True)
        self.suite = suite
        self.choose = random.Random(number)
        self.number = number
        self.stopped = threading.Event()

    def run(self) -> None:
        count = 0
        while not self.stopped.is_set():
            key = f"k{self.choose.randint(0, 3)} of {self.number}"
            count += 1
            if self.choose.random() < 0.3:
                query = TABLE.get(key).delete()
            else:
                tags = self.choose.sample(["a", "b", "c"], self.choose.randint(0, 3))
                row = {"id": key, "n": count, "even": self.choose.random() < 0.5, "tags": tags}
                query = TABLE.insert(row, conflict="replace")
            persistently(self.suite, query.run)
            time.sleep(0.005)


class Client(threading.Thread):
    """Reads a feed to the last document, in as many goes as it takes."""

    def __init__(self, suite: RunningSuite, selection: Any, number: int) -> None:
        super().__init__(daemon=True)
        self.suite = suite
        self.selection = selection
        self.choose = random.Random(-number)
        self.ready = threading.Event()
        self.seen: list[Any] = []
        self.positions: list[str] = []

    def run(self) -> None:
        while not self.seen or self.seen[-1][1] != END:
            persistently(self.suite, self._read)

    def _read(self, conn: Any) -> None:
        resume = {"resume": self.positions[-1]} if self.positions else {}
        feed = self.selection.changes(include_position=True, **resume).run(conn)
        for notice in feed:
            if "state" not in notice:
                self.seen.append((notice["old_val"], notice["new_val"]))
                self.positions.append(notice["position"])
                if notice["new_val"] == END:
                    return
            elif not self.positions:
                self.positions.append(notice["position"])
                self.ready.set()
            if self.choose.random() < 0.02:  # crash, and some of what came last was for nothing
                unseen = self.choose.randint(0, min(2, len(self.seen)))
                del self.seen[len(self.seen) - unseen :]
                del self.positions[len(self.positions) - unseen :]
                return


def test_clients_that_resume_miss_nothing_and_see_nothing_twice(suite: RunningSuite) -> None:
    with r.connect(port=suite.driver_port) as conn:
        r.table_create("t").run(conn)
        TABLE.index_create("tags", multi=True).run(conn)
        TABLE.index_wait().run(conn)
    clients = [Client(suite, selection, number) for number, (selection, _) in enumerate(SELECTIONS)]
    writers = [Writer(suite, number) for number in range(2)]
    for client in clients:
        client.start()
    for client in clients:
        assert client.ready.wait(WAIT_S)
    for writer in writers:
        writer.start()
    for victim in VICTIMS:
        time.sleep(0.3)
        kill(suite, victim)
    for writer in writers:
        writer.stopped.set()
        writer.join(WAIT_S)
        assert not writer.is_alive()
    persistently(suite, TABLE.insert(END).run)
    for client in clients:
        client.join(WAIT_S)
        assert not client.is_alive()

    every = persistently(
        suite, lambda conn: list(TABLE.changes(since=r.epoch_time(0)).limit(len(clients[0].seen)).run(conn))
    )
    for client, (_, copies) in zip(clients, SELECTIONS, strict=True):
        expected = []
        for change in every:
            old, new = change["old_val"], change["new_val"]
            before, after = 0 if old is None else copies(old), 0 if new is None else copies(new)
            for copy in range(max(before, after)):
                expected.append((old if copy < before else None, new if copy < after else None))
        assert client.seen == expected
    rows: dict[str, Any] = {}
    for change in every:
        if change["old_val"] is not None:
            assert rows.pop(change["old_val"]["id"]) == change["old_val"]
        if change["new_val"] is not None:
            rows[change["new_val"]["id"]] = change["new_val"]
    assert rows == persistently(suite, lambda conn: {row["id"]: row for row in TABLE.run(conn)})
