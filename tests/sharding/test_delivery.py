"""Sinks and groups on a spread table, whose storage nodes are killed one after the other: nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import errors, r

from tests.changefeed.sink_servers import Endpoint, JetStreamServer, answers, until
from tests.running_suite import RunningSuite
from tests.storage_nodes import storage_processes

NODES = 3
DOCUMENTS = 24
"""Each is written again and again, with a number that grows."""

WRITES = 30
"""How many writes are acknowledged between one kill and the next."""

SINKS = r.db("rethinkdb").table("sinks")
TABLE = r.table("spread")


class Consumer(threading.Thread):
    """A consumer of a group that connects again whenever it was cut off. `numbers` are those of the documents that it
    was given, by document."""

    def __init__(self, suite: RunningSuite) -> None:
        super().__init__(daemon=True)
        self.numbers: dict[int, list[int]] = {}
        self.ended = threading.Event()
        self._suite = suite

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                with r.connect(port=self._suite.driver_port) as connection:
                    self._consume(TABLE.changes(group="workers").run(connection))
            except errors.ReqlError:  # it was cut off
                self.ended.wait(0.05)

    def _consume(self, cursor: Any) -> None:
        while not self.ended.is_set():
            try:
                change = cursor.next(wait=0.5)["new_val"]
            except errors.ReqlTimeoutError:
                continue
            self.numbers.setdefault(change["id"], []).append(change["n"])


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.shutdown()
    endpoint.server_close()


@pytest.fixture
def jetstream(tmp_path: Path) -> Iterator[JetStreamServer]:
    server = JetStreamServer(tmp_path / "jetstream")
    until(lambda: answers(server.port))
    asyncio.run(server.create_stream())
    yield server
    server.stop()
    server.release()


def put(conn: Any, numbers: Iterator[int]) -> list[int]:
    """Write some documents, each until that is acknowledged, and give the numbers."""
    written = list(itertools.islice(numbers, WRITES))
    for number in written:
        document = {"id": number % DOCUMENTS, "n": number}
        until(lambda document=document: is_written(conn, document))  # type: ignore[misc]
    return written


def is_written(conn: Any, document: dict[str, int]) -> bool:
    try:
        done = TABLE.insert(document, conflict="replace").run(conn)
    except errors.ReqlError:  # its node is away; what has been written all the same is written once more, unchanged
        return False
    return done["errors"] == 0


def by_document(changes: list[dict[str, Any]]) -> dict[int, list[int]]:
    """The numbers of new documents in the order in which they came, by document."""
    found: dict[int, list[int]] = {}
    for change in changes:
        found.setdefault(change["new_val"]["id"], []).append(change["new_val"]["n"])
    return found


def test_all_changes_arrive_whatever_node_is_killed(
    tmp_path: Path, endpoint: Endpoint, jetstream: JetStreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOTONDB_HTTP_ALLOW_PRIVATE", "1")
    numbers = itertools.count()
    with RunningSuite(tmp_path / "data", processes=True, arguments=("--storage-nodes", str(NODES))) as suite:
        conn = r.connect(port=suite.driver_port)
        r.table_create("spread", shards=NODES).run(conn)
        sink = {"db": "test", "table": "spread"}
        hook = {**sink, "id": "hook", "kind": "webhook", "url": endpoint.url}
        stream = {**sink, "id": "stream", "kind": "jetstream", "url": jetstream.url, "subject": "changes.spread"}
        assert SINKS.insert([hook, stream]).run(conn)["inserted"] == 2
        TABLE.changes(group="workers").run(conn).close()  # the group begins here
        consumer = Consumer(suite)
        consumer.start()
        expected: dict[int, list[int]] = {}

        def write() -> None:
            for number in put(conn, numbers):
                expected.setdefault(number % DOCUMENTS, []).append(number)

        for node in range(NODES):
            write()
            os.kill(storage_processes(suite)[node], signal.SIGKILL)
            write()
        endpoint.broken = True
        write()
        suite.kill()
        endpoint.broken = False
        suite.start()
        conn = r.connect(port=suite.driver_port)
        write()
        wait_for(lambda: by_document(endpoint.changes()), expected)
        wait_for(lambda: by_document([change for _, change in asyncio.run(jetstream.messages())]), expected)
        wait_for(lambda: {id: in_order(given) for id, given in consumer.numbers.items()}, expected)
        statuses = SINKS["status"]
        until(lambda: all(status["behind"] == 0 for status in statuses.run(conn)))
        assert [status["last_error"] for status in statuses.run(conn)] == [None, None]
        until(lambda: r.db("rethinkdb").table("feed_groups").nth(0)["behind"].run(conn) <= 1)
        consumer.ended.set()
        consumer.join()
        conn.close()


def in_order(numbers: list[int]) -> list[int]:
    """The numbers as they came first. What was not acknowledged came again, beginning with an earlier one."""
    found: list[int] = []
    for number in numbers:
        if number not in found:
            found.append(number)
    return found


def wait_for(found: Callable[[], dict[int, list[int]]], expected: dict[int, list[int]]) -> None:
    """Return when all has come; each document's changes in their order, and none twice."""
    until(lambda: sum(map(len, found().values())) >= sum(map(len, expected.values())))
    assert found() == expected
