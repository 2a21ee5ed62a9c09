"""kill -9 of each storage node in turn, under writers and a live query on a table that is spread over all of them."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r
from rethinkdb.errors import ReqlError
from rethinkdb.net import Connection

from tests.cli.test_command import photondb
from tests.running_suite import RunningSuite
from tests.storage_nodes import storage_processes

ROUNDS = int(os.environ.get("PHOTONDB_NODE_CRASH_ROUNDS", "3"))
"""`make crash` kills many more."""

NODES = 3
WRITERS = 4
WRITES = 15
"""How many writes of each writer are acknowledged between one kill and the next."""

OLDER = 9000
"""How many documents there are already, so that an index is still being built when a node is killed."""

PATIENCE_S = 120.0
TABLE = r.table("spread")


class Writer(threading.Thread):
    """Inserts documents, some of which it changes later, each until it is acknowledged. `acknowledged` is what must be
    in the table, by id."""

    def __init__(self, number: int, port: int) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.acknowledged: dict[int, int] = {}
        self.failures = 0
        self.ended = threading.Event()
        self._port = port

    def run(self) -> None:
        with contextlib.closing(r.connect("127.0.0.1", self._port)) as connection:
            for count in itertools.count():
                if self.ended.is_set():
                    break
                key = count * WRITERS + self.number
                self._put(connection, TABLE.insert({"id": key, "n": 0}, conflict="replace"), key, 0)
                if count % 3 == 2:
                    earlier = key - 2 * WRITERS
                    self._put(connection, TABLE.get(earlier).update({"n": count}), earlier, count)

    def _put(self, connection: Connection, write: Any, key: int, value: int) -> None:
        while True:
            try:
                done = write.run(connection)
            except ReqlError:  # its node is away: it may have been written or not
                done = {"errors": 1}
            if not done["errors"]:
                self.acknowledged[key] = value
                return
            self.failures += 1
            time.sleep(0.05)


class Feed(threading.Thread):
    """Folds what a live query tells into the documents. What a change says was there must be what was told before."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.documents: dict[int, Any] = {}
        self.error: BaseException | None = None
        self._port = port
        self.opened = threading.Event()

    def run(self) -> None:
        try:
            with contextlib.closing(r.connect("127.0.0.1", self._port)) as connection:
                feed = TABLE.changes(squash=False).run(connection)
                self.opened.set()
                for change in feed:
                    self._fold(change)
        except BaseException as error:
            self.error = error
            self.opened.set()

    def values(self) -> dict[int, int]:
        """The documents' values as they were told last."""
        return {key: document["n"] for key, document in list(self.documents.items())}

    def _fold(self, change: Any) -> None:
        old, new = change["old_val"], change["new_val"]
        known = self.documents.get((old or new)["id"])
        if known != old:
            raise AssertionError(f"{change} is about what was not there, but {known}")
        self.documents[new["id"]] = new


def wait_for(condition: Callable[[], bool], what: str) -> None:
    latest = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < latest, f"{what} did not come about in {PATIENCE_S:.0f} seconds"
        time.sleep(0.02)


@contextlib.contextmanager
def writing(port: int) -> Iterator[list[Writer]]:
    """Writers that write while the block runs; they have ended behind it."""
    writers = [Writer(number, port) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.ended.set()
        for writer in writers:
            writer.join(PATIENCE_S)


def progress(writers: list[Writer]) -> None:
    """Wait until each writer has had some more writes acknowledged, on all nodes then."""
    goals = [(writer, len(writer.acknowledged) + WRITES) for writer in writers]
    wait_for(lambda: all(len(writer.acknowledged) >= goal for writer, goal in goals), "progress of all writers")


@pytest.mark.timeout(600 + 60 * ROUNDS)
def test_nothing_acknowledged_is_lost_and_the_feed_is_complete(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with RunningSuite(data, processes=True, arguments=("--storage-nodes", str(NODES))) as suite:
        connection = r.connect("127.0.0.1", suite.driver_port)
        r.table_create("spread", shards=NODES).run(connection)
        TABLE.index_create("n").run(connection)
        TABLE.index_wait("n").run(connection)
        TABLE.insert(r.range(1, OLDER + 1).map(lambda n: {"id": 0 - n, "n": 0}).coerce_to("array")).run(connection)
        feed = Feed(suite.driver_port)
        feed.start()
        feed.opened.wait()
        with writing(suite.driver_port) as writers:
            progress(writers)
            for number in range(ROUNDS):
                killed = number % NODES
                pid = storage_processes(suite)[killed]
                if number < NODES:
                    TABLE.index_create(f"built {number}", r.row["id"]).run(connection)
                os.kill(pid, signal.SIGKILL)
                wait_for(
                    lambda killed=killed, pid=pid: storage_processes(suite).get(killed, pid) != pid, "a new process"
                )
                progress(writers)
        acknowledged = {key: value for writer in writers for key, value in writer.acknowledged.items()}
        assert all(not writer.is_alive() for writer in writers)
        present = {row["id"]: row["n"] for row in TABLE.run(connection)}
        assert {key: present.get(key) for key in acknowledged} == acknowledged
        TABLE.index_wait().run(connection)
        for index in TABLE.index_list().run(connection):
            by_index = [row["id"] for row in TABLE.order_by(index=index).run(connection)]
            assert sorted(by_index) == sorted(present)
        told = {key: value for key, value in present.items() if key >= 0}
        wait_for(lambda: feed.error is not None or feed.values() == told, "the end of the feed")
        assert feed.error is None
        assert TABLE.count().run(connection) == len(present)
        connection.close()
    checked = photondb("check", str(data))
    assert (checked.returncode, checked.stderr) == (0, "")
