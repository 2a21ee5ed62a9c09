"""Processes of the suite are killed while feeds are open."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import errors, r

from tests.running_suite import RunningSuite

WAIT_S = 120  # for what must come; that it does not is the failure


@pytest.fixture
def suite(tmp_path: Path) -> Iterator[RunningSuite]:
    with RunningSuite(tmp_path, processes=True) as running:
        yield running


def child(suite: RunningSuite, name: str) -> int:
    """The process id of a program that the suite's supervisor started."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if parent == suite.pid and name.encode() in command:
                return int(entry.name)
    raise AssertionError(f"{name} does not run")


def kill(suite: RunningSuite, name: str) -> None:
    """End a program as a crash would, and wait until it runs again."""
    old = child(suite, name)
    os.kill(old, signal.SIGKILL)
    give_up = time.monotonic() + WAIT_S
    while time.monotonic() < give_up:
        try:
            if child(suite, name) != old:
                return
        except AssertionError:
            pass
        time.sleep(0.01)
    raise AssertionError(f"{name} did not come back")


def write(table: Any, conn: Any, number: int) -> None:
    """Put a document, however often that takes."""
    give_up = time.monotonic() + WAIT_S
    while True:
        try:
            table.insert({"id": number % 7, "n": number}, conflict="replace").run(conn)
            return
        except errors.ReqlError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


def fold_until_equal(feed: Any, documents: dict[int, Any], expected: dict[int, Any]) -> None:
    while documents != expected:
        notice = feed.next(wait=WAIT_S)
        old, new = notice.get("old_val"), notice["new_val"]
        assert documents.get(new["id"]) == old
        documents[new["id"]] = new


@pytest.mark.parametrize("victim", ["services.storage", "nats-server"])
def test_feeds_outlive_a_crash_of_what_they_depend_on(suite: RunningSuite, victim: str) -> None:
    with r.connect(port=suite.driver_port) as conn:
        r.table_create("t").run(conn)
        table = r.table("t")
        for number in range(10):
            write(table, conn, number)
        feeds = [
            table.changes(include_initial=True).run(conn),
            table.order_by(index="id").limit(100).changes(include_initial=True).run(conn),
        ]
        states: list[dict[int, Any]] = [{}, {}]
        for start in (10, 40):
            for number in range(start, start + 10):
                write(table, conn, number)
            kill(suite, victim)
            for number in range(start + 10, start + 30):
                write(table, conn, number)
        expected = {document["id"]: document for document in table.run(conn)}
        assert {document["n"] for document in expected.values()} == set(range(63, 70))
        for feed, state in zip(feeds, states, strict=True):
            fold_until_equal(feed, state, expected)


def test_a_crash_of_the_changefeed_service_is_told_to_its_clients(suite: RunningSuite) -> None:
    with r.connect(port=suite.driver_port) as conn:
        r.table_create("t").run(conn)
        feed = r.table("t").changes().run(conn)
        kill(suite, "services.changefeed")
        with pytest.raises(errors.ReqlOpFailedError, match="changefeed"):
            feed.next(wait=WAIT_S)
        write(r.table("t"), conn, 1)
        again = r.table("t").changes(include_initial=True).run(conn)
        assert again.next(wait=WAIT_S) == {"new_val": {"id": 1, "n": 1}}
