"""Several fronts: gateways that share the ports, each with a query service of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rethinkdb import r
from rethinkdb.errors import ReqlError
from rethinkdb.net import Connection

from photondb.config import Settings, StartupError
from tests.running_suite import RunningSuite

PID = r.db("rethinkdb").table("server_status")[0]["process"]["pid"]
"""The process of the query service that a connection has."""

TABLE = r.table("fronts")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    with RunningSuite(tmp_path_factory.mktemp("data"), processes=True, arguments=("--fronts", "2")) as running:
        yield running


@pytest.fixture
def fronts(suite: RunningSuite) -> Iterator[dict[int, Connection]]:
    """A connection to each front, by the process of its query service. The kernel chooses which one a client gets."""
    with ExitStack() as stack:
        found: dict[int, Connection] = {}
        for _ in range(200):
            connection = r.connect("127.0.0.1", suite.driver_port)
            stack.callback(connection.close, noreply_wait=False)
            found.setdefault(PID.run(connection), connection)
            if len(found) == 2:
                break
        assert len(found) == 2
        yield found


def test_clients_of_all_fronts_see_the_same(fronts: dict[int, Connection]) -> None:
    first, second = fronts.values()
    r.table_create("fronts").run(first)
    assert TABLE.insert({"id": 1, "n": 1}).run(second)["inserted"] == 1
    assert TABLE.get(1).update({"n": 2}).run(first)["replaced"] == 1
    assert TABLE.get(1)["n"].run(second) == 2
    TABLE.index_create("n").run(second)
    TABLE.index_wait("n").run(first)
    assert TABLE.get_all(2, index="n").count().run(first) == 1
    feed = TABLE.changes().run(second)
    TABLE.insert({"id": 2}).run(first)
    assert feed.next()["new_val"] == {"id": 2}
    r.table_drop("fronts").run(second)
    with pytest.raises(ReqlError, match="does not exist"):
        TABLE.count().run(first)


def test_a_transaction_may_be_used_over_any_front(fronts: dict[int, Connection]) -> None:
    first, second = fronts.values()
    r.table_create("ledger").run(first)
    transactions = r.db("rethinkdb").table("transactions")
    (transaction,) = transactions.insert({}).run(first)["generated_keys"]
    r.table("ledger").insert({"id": "a"}).run(first, transaction=transaction)
    assert r.table("ledger").count().run(second) == 0
    assert r.table("ledger").count().run(second, transaction=transaction) == 1
    transactions.get(transaction).update({"state": "commit"}).run(second)
    assert r.table("ledger").count().run(first) == 1


def test_queries_of_all_fronts_are_jobs(fronts: dict[int, Connection]) -> None:
    jobs = r.db("rethinkdb").table("jobs")
    feeds = [r.db("rethinkdb").table("stats").changes().run(connection) for connection in fronts.values()]
    for connection in fronts.values():
        shown = [row for row in jobs.run(connection) if "stats" in row["info"].get("query", "")]
        assert len(shown) == 2
    ended = jobs.get_all(*(row["id"] for row in shown)).delete().run(next(iter(fronts.values())))
    assert ended["deleted"] == 2
    for feed in feeds:
        with pytest.raises(ReqlError, match="terminated by"):
            list(feed)


def test_a_front_that_dies_leaves_the_other_alone_and_comes_back(
    suite: RunningSuite, fronts: dict[int, Connection]
) -> None:
    (killed, _), (other, survivor) = fronts.items()
    os.kill(killed, signal.SIGKILL)
    assert PID.run(survivor) == other
    deadline = time.monotonic() + 30
    found: set[int] = set()
    while len(found) < 2 or killed in found:
        assert time.monotonic() < deadline, found
        with r.connect("127.0.0.1", suite.driver_port) as connection:
            try:
                found.add(PID.run(connection))
            except ReqlError:  # it is not there yet
                time.sleep(0.05)
        found.discard(killed)


def test_a_second_suite_does_not_share_the_ports_of_another(suite: RunningSuite, tmp_path: Path) -> None:
    arguments = ("--fronts", "2", "--driver-port", str(suite.driver_port))
    second = RunningSuite(tmp_path, processes=True, arguments=arguments)
    with pytest.raises(RuntimeError, match="Address already in use; choose another port with --driver-port"):
        second.start()


def test_fronts_are_processes() -> None:
    with pytest.raises(StartupError, match="--fronts needs --processes"):
        Settings.load({"fronts": "2"}, {})
    with pytest.raises(StartupError, match="--fronts must be a number from 1 to 64, not '0'"):
        Settings.load({"fronts": "0"}, {})
