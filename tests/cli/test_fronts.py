"""Several fronts, each a gateway and a query service in one process, which share the ports."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rethinkdb import r
from rethinkdb.errors import ReqlError
from rethinkdb.net import Connection

from photondb.config import Settings, StartupError
from tests.running_suite import ENDED, RunningSuite
from tests.telemetry.load import pages
from tests.telemetry.otlp_sink import otlp_sink

PID = r.db("rethinkdb").table("server_status")[0]["process"]["pid"]
"""The process of the front that a connection leads to."""

TABLE = r.table("fronts")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    with RunningSuite(tmp_path_factory.mktemp("data"), processes=True, arguments=("--fronts", "2")) as running:
        yield running


@pytest.fixture
def fronts(suite: RunningSuite) -> Iterator[dict[int, Connection]]:
    """A connection to each front, by its process. The kernel chooses which one a client gets."""
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
    while len(found) < 2:
        assert time.monotonic() < deadline, found
        with suppress(ReqlError, OSError), r.connect("127.0.0.1", suite.driver_port) as connection:
            found.add(PID.run(connection))
        found.discard(killed)


def test_a_second_suite_does_not_share_the_ports_of_another(suite: RunningSuite, tmp_path: Path) -> None:
    arguments = ("--fronts", "2", "--driver-port", str(suite.driver_port))
    second = RunningSuite(tmp_path, processes=True, arguments=arguments)
    with pytest.raises(RuntimeError, match="Address already in use; choose another port with --driver-port"):
        second.start()


def test_a_front_is_one_process_and_shows_both_services(suite: RunningSuite) -> None:
    targets = json.loads((suite.data_dir / "telemetry.json").read_text())
    addresses = {target["labels"]["process"]: target["targets"][0] for target in targets}
    assert set(addresses) == {"front", "storage", "auth", "changefeed", "front-2"}
    for process in ("front", "front-2"):
        shown = httpx.get(f"http://{addresses[process]}/_debug", auth=("admin", "")).json()
        assert shown["process"] == process
        assert set(shown["pages"]) >= {"clients", "queries", "rpc"}
        assert httpx.get(f"http://{addresses[process]}/health/ready").status_code == 200
    with r.connect("127.0.0.1", suite.driver_port) as connection:
        r.table_list().run(connection)
    families = [family for page in pages(suite).values() for family in text_string_to_metric_families(page)]
    counted = {
        sample.labels["service"]
        for family in families
        for sample in family.samples
        if sample.name == "photondb_request_duration_seconds_count" and sample.value
    }
    assert {"gateway", "query", "storage"} <= counted


def test_a_trace_goes_through_a_front_without_calls_between_gateway_and_query(tmp_path: Path) -> None:
    with otlp_sink() as sink:
        arguments = ("--fronts", "1", "--otlp-endpoint", sink.endpoint)
        with RunningSuite(tmp_path / "data", processes=True, arguments=arguments) as suite:
            with r.connect("127.0.0.1", suite.driver_port) as connection:
                r.table_create("t").run(connection)
                r.table("t").get(1).run(connection)  # which makes the plan
                r.table("t").get(1).run(connection, traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01")
            sink.wait_for(lambda: sum(span.trace_id == b"\xab" * 16 for span in sink.spans) == 5)
            assert suite.stop() in ENDED
    tree = sink.trees(frozenset({b"\xcd" * 8}))[b"\xab" * 16]
    found = [(span.service.removeprefix("photondb-"), span.name) for span in tree.walk()]
    called = "photondb.storage/get"
    assert found == [
        *(("front", "query"), ("front", "get t"), ("front", called)),
        *(("storage", called), ("storage", "read documents")),
    ]


def test_fronts_are_processes() -> None:
    with pytest.raises(StartupError, match="--fronts needs --processes"):
        Settings.load({"fronts": "2"}, {})
    assert Settings.load({}, {"PHOTONDB_FRONT_NUMBER": "3"}).process_name("front") == "front-3"
    with pytest.raises(StartupError, match="--fronts must be a number from 1 to 64, not '0'"):
        Settings.load({"fronts": "0"}, {})
