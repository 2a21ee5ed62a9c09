"""kill -9 of a front under writers: its clients go on over another one, those of other fronts notice nothing, and no
write that was acknowledged is lost."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rethinkdb import r
from rethinkdb.errors import ReqlError
from rethinkdb.net import Connection

from tests.running_suite import RunningSuite

ROUNDS = int(os.environ.get("PHOTONDB_FRONT_CRASH_ROUNDS", "3"))
"""`make crash` kills many more."""

WRITERS = 6
WRITES = 10
"""How many writes of each writer are acknowledged between one kill and the next."""

PATIENCE_S = 120.0
TABLE = r.table("written")
FRONT = r.db("rethinkdb").table("server_status")[0]["process"]["pid"]
"""The process that a connection leads to."""

LOST = (ReqlError, OSError)
"""What a client may be told when its front is no more."""


class Writer(threading.Thread):
    """Writes documents, each until it is acknowledged, and connects again when it must. `acknowledged` is what must be
    in the table, by id; `lost` are the fronts over which something failed, `errors` what it was told."""

    def __init__(self, number: int, port: int) -> None:
        super().__init__(daemon=True)
        self.acknowledged: dict[int, int] = {}
        self.front = 0
        self.lost: set[int] = set()
        self.errors: list[Exception] = []
        self.ended = threading.Event()
        self._number = number
        self._port = port
        self._written = itertools.count()

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                with contextlib.closing(r.connect("127.0.0.1", self._port)) as connection:
                    self.front = 0
                    self.front = FRONT.run(connection)
                    self._write(connection)
            except LOST as error:
                if self.front:
                    self.lost.add(self.front)
                    self.errors.append(error)
                time.sleep(0.02)

    def _write(self, connection: Connection) -> None:
        while not self.ended.is_set():
            count = next(self._written)
            key = count * WRITERS + self._number
            TABLE.insert({"id": key, "n": 0}).run(connection)
            self.acknowledged[key] = 0
            TABLE.get(key).update({"n": count}).run(connection)
            self.acknowledged[key] = count


def wait_for(condition: Callable[[], bool], what: str) -> None:
    latest = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < latest, f"{what} did not come about in {PATIENCE_S:.0f} seconds"
        time.sleep(0.02)


def wait_for_fronts(port: int, killed: set[int]) -> None:
    """Wait until new clients get one of two fronts that are not among those that were killed."""
    found = set[int]()

    def are_there() -> bool:
        with contextlib.suppress(*LOST), contextlib.closing(r.connect("127.0.0.1", port)) as connection:
            found.add(FRONT.run(connection))
        return len(found - killed) == 2

    wait_for(are_there, "two fronts")


@pytest.mark.timeout(600 + 60 * ROUNDS)
def test_clients_go_on_over_another_front_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    with RunningSuite(tmp_path / "data", processes=True, arguments=("--fronts", "2")) as suite:
        port = suite.driver_port
        with contextlib.closing(r.connect("127.0.0.1", port)) as connection:
            r.table_create("written").run(connection)
        writers = [Writer(number, port) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        killed = set[int]()
        for _ in range(ROUNDS):
            goals = [len(writer.acknowledged) + WRITES for writer in writers]
            wait_for(
                lambda goals=goals: all(
                    len(writer.acknowledged) >= goal for writer, goal in zip(writers, goals, strict=True)
                ),
                "progress of all writers",
            )
            victim = next(writer.front for writer in writers if writer.front)
            killed.add(victim)
            os.kill(victim, signal.SIGKILL)
            wait_for_fronts(port, killed)
        for writer in writers:
            writer.ended.set()
        for writer in writers:
            writer.join(PATIENCE_S)
        assert not any(writer.is_alive() for writer in writers)
        assert killed == set().union(*(writer.lost for writer in writers))
        with contextlib.closing(r.connect("127.0.0.1", port)) as connection:
            present = {row["id"]: row["n"] for row in TABLE.run(connection)}
        for writer in writers:
            for key, value in writer.acknowledged.items():
                # An update that failed may have been carried out.
                assert present[key] in {value, key // WRITERS}
