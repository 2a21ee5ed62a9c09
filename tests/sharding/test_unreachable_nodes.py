"""What clients and operators see of a suite one of whose storage nodes is away, and that it ends when it is back."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from rethinkdb import errors, r

from tests.cli.test_command import photondb
from tests.running_suite import RunningSuite
from tests.storage_nodes import storage_processes

SYSTEM = r.db("rethinkdb")
SPREAD, HERE, THERE = r.table("spread"), r.table("here"), r.db("away").table("there")
ROWS = 40


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """Two storage nodes with a table on both of them, and one on each."""
    data = tmp_path_factory.mktemp("suite") / "data"
    with RunningSuite(data, processes=True, arguments=("--storage-nodes", "2")) as running:
        with connected(running) as conn:
            r.table_create("spread", shards=2).run(conn)
            r.table_create("here").run(conn)
            r.db_create("away").run(conn)
            r.db("away").table_create("there").run(conn)
            for table in (SPREAD, HERE, THERE):
                table.insert([{"id": number} for number in range(ROWS)]).run(conn)
        yield running


@contextlib.contextmanager
def connected(suite: RunningSuite) -> Iterator[Any]:
    connection = r.connect(port=suite.driver_port)
    try:
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def without_node(suite: RunningSuite) -> Iterator[None]:
    """Node 1 has crashed, and cannot start again while the block runs, as when its disk is not there."""
    directory = suite.data_dir / "storage-1"
    elsewhere = suite.data_dir.parent / "elsewhere"
    directory.rename(elsewhere)
    directory.touch()  # where its directory should be
    os.kill(storage_processes(suite)[1], signal.SIGKILL)
    try:
        yield
    finally:
        directory.unlink()
        elsewhere.rename(directory)


@contextlib.contextmanager
def hanging_node(suite: RunningSuite) -> Iterator[None]:
    """Node 1 is there, and does nothing while the block runs."""
    pid = storage_processes(suite)[1]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def wait_until_back(suite: RunningSuite, conn: Any) -> None:
    """What a script does: wait for its tables."""
    for table in (SPREAD, THERE):
        assert table.wait().run(conn) == {"ready": 1}
    health = httpx.get(f"http://127.0.0.1:{suite.http_port}/health/ready").json()
    while health["status"] != "ready":  # the gateway has a connection of its own to the node
        time.sleep(0.1)
        health = httpx.get(f"http://127.0.0.1:{suite.http_port}/health/ready").json()
    assert set(health["services"].values()) == {"ok"}
    assert SYSTEM.table("current_issues").count().run(conn) == 0


def check_states(suite: RunningSuite, conn: Any) -> None:
    """The state of tables and servers is told part by part, and without waiting for who does not answer."""
    first, second = (row["name"] for row in SYSTEM.table("server_config").order_by("name").run(conn))
    everything = ("all_replicas_ready", "ready_for_outdated_reads", "ready_for_reads", "ready_for_writes")
    status = {row["name"]: row for row in SYSTEM.table("table_status").run(conn)}
    assert status["spread"] == SPREAD.status().run(conn)
    assert {name: row["status"] for name, row in status.items()} == {
        "spread": dict.fromkeys(everything, False),
        "here": dict.fromkeys(everything, True),
        "there": dict.fromkeys(everything, False),
    }
    assert sorted(status["spread"]["shards"], key=lambda shard: shard["replicas"][0]["server"]) == [
        {"primary_replicas": [first], "replicas": [{"server": first, "state": "ready"}]},
        {"primary_replicas": [], "replicas": [{"server": second, "state": "disconnected"}]},
    ]
    assert status["there"]["raft_leader"] is None
    assert [row["name"] for row in SYSTEM.table("server_status").run(conn)] == [first]
    issues = SYSTEM.table("current_issues").order_by(r.row["info"]["table"]).run(conn)
    assert [issue["info"]["table"] for issue in issues] == ["spread", "there"]
    assert {(issue["type"], issue["critical"]) for issue in issues} == {("table_availability", True)}
    assert all(second in issue["description"] for issue in issues)
    assert HERE.wait().run(conn) == {"ready": 1}
    for table in (SPREAD, THERE):
        with pytest.raises(errors.ReqlOpFailedError, match="Timed out while waiting for tables"):
            table.wait(timeout=0).run(conn)
    with pytest.raises(errors.ReqlOpFailedError, match="Timed out while waiting for tables"):
        r.db("away").wait(timeout=1, wait_for="ready_for_reads").run(conn)
    response = httpx.get(f"http://127.0.0.1:{suite.http_port}/health/ready")
    assert (response.status_code, response.json()["status"]) == (200, "ready in part")
    told = response.json()["services"]
    assert told.pop("storage-1").startswith("Storage node 1: The storage service")
    assert set(told.values()) == {"ok"}


def test_a_node_that_hangs(suite: RunningSuite) -> None:
    with connected(suite) as conn:
        with hanging_node(suite):
            check_states(suite, conn)
        wait_until_back(suite, conn)
        assert SPREAD.count().run(conn) == ROWS


def test_a_node_that_does_not_come_up(suite: RunningSuite) -> None:
    with connected(suite) as conn:
        with without_node(suite):
            check_queries(suite, conn)
            health = httpx.get(f"http://127.0.0.1:{suite.http_port}/health/ready").json()
            assert health["services"]["storage-1"].startswith("Storage node 1: The storage service at")
            checked = photondb("doctor", "--driver-port", str(suite.driver_port), "--http-port", str(suite.http_port))
            assert checked.returncode == 1
            assert "storage-1 service" in checked.stdout
        wait_until_back(suite, conn)
        assert SPREAD.filter(r.row["id"] >= 0).count().run(conn) == THERE.count().run(conn) == ROWS


def check_queries(suite: RunningSuite, conn: Any) -> None:
    """Queries that need the node fail with an error that names it, when they have waited for it for a while; all others
    are answered."""
    failing = [SPREAD.get(number) for number in range(ROWS)]
    needing = (
        SPREAD.count(),
        SPREAD.filter({"kind": 1}),
        THERE.get(1),
        SPREAD.insert([{"id": -1 - number} for number in range(ROWS)]),
        THERE.insert({"id": -1}),
    )
    making = r.table_create("another")
    with ThreadPoolExecutor(ROWS + len(needing) + 1) as pool:
        answers = list(pool.map(lambda query: outcome(suite, query), [*failing, *needing, making]))
    documents, others = answers[:ROWS], answers[ROWS:]
    found = [document for document in documents if type(document) is dict]
    assert found == [{"id": number} for number, document in enumerate(documents) if type(document) is dict]
    assert 0 < len(found) < ROWS
    lost = [document for document in documents if type(document) is not dict]
    *needed, made = others
    for error in (*lost, *needed[:3], *needed[4:], made):
        assert type(error) is errors.ReqlOpFailedError, error
        assert error.message.startswith("Storage node 1: The ")
    assert "Nothing was changed" in made.message
    assert "another" not in r.table_list().run(conn)
    assert 0 < needed[3]["inserted"] == ROWS - needed[3]["errors"] < ROWS
    assert needed[3]["first_error"].startswith("Storage node 1: The ")
    assert HERE.count().run(conn) == ROWS
    assert HERE.insert({"id": -1}).run(conn)["inserted"] == 1
    assert HERE.get(-1).delete().run(conn)["deleted"] == 1


def outcome(suite: RunningSuite, query: Any) -> Any:
    """A query's answer, or the error."""
    with connected(suite) as conn:
        try:
            answer = query.run(conn)
            return answer if type(answer) in (dict, int) else list(answer)
        except errors.ReqlError as error:
            return error
