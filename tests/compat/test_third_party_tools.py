"""What well-known tools ask a RethinkDB first, and what they need in the answers to go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rethinkdb import r

from photondb.local_addresses import local_addresses
from tests.running_suite import RunningSuite

SYSTEM = r.db("rethinkdb")

QUERY_ENGINE = {"read_docs_per_sec", "written_docs_per_sec"}
TOTALS = {"read_docs_total", "written_docs_total"}
CLIENTS = {"client_connections", "clients_active", "queries_per_sec"}


@pytest.fixture
def conn(suite: RunningSuite) -> Iterator[Any]:
    """A connection to a suite with the table `tools.watched`."""
    with r.connect("127.0.0.1", suite.driver_port) as connection:
        if "tools" in r.db_list().run(connection):
            r.db_drop("tools").run(connection)
        r.db_create("tools").run(connection)
        r.db("tools").table_create("watched").run(connection)
        yield connection


def test_discovery_finds_the_ports_that_drivers_connect_to(suite: RunningSuite, conn: Any) -> None:
    # rethinkdbdash with `discovery`, and Telegraf, which looks for the server by the address that it was given.
    status = SYSTEM.table("server_status")
    (found,) = [row for row in status.run(conn) if row["id"] == conn.server()["id"]]
    network = found["network"]
    assert {"host": "127.0.0.1", "port": suite.driver_port} in network["canonical_addresses"]
    assert (network["reql_port"], network["http_admin_port"]) == (suite.driver_port, suite.http_port)
    address = network["canonical_addresses"][0]
    with r.connect(address["host"], network["reql_port"]) as other:
        assert other.server()["id"] == found["id"]
    feed = status.union(["separator"]).union(status.changes()).run(conn)
    assert [next(feed)["id"], next(feed)] == [found["id"], "separator"]
    feed.close()


def test_monitoring_finds_every_field_that_rethinkdb_has(conn: Any) -> None:
    # Telegraf, Netdata, Datadog and the exporters for Prometheus, which all read `stats` by its keys.
    server = conn.server()["id"]
    table = r.db("tools").table("watched").config()["id"].run(conn)
    stats = SYSTEM.table("stats")
    assert stats.get(["cluster"])["query_engine"].run(conn).keys() == CLIENTS | QUERY_ENGINE
    of_server = stats.get(["server", server])["query_engine"].run(conn)
    assert of_server.keys() == CLIENTS | QUERY_ENGINE | TOTALS | {"queries_total"}
    assert stats.get(["table", table])["query_engine"].run(conn).keys() == QUERY_ENGINE
    replica = stats.get(["table_server", table, server]).run(conn)
    assert replica["query_engine"].keys() == QUERY_ENGINE | TOTALS
    engine = replica["storage_engine"]
    disk = {"read_bytes_per_sec", "read_bytes_total", "written_bytes_per_sec", "written_bytes_total", "space_usage"}
    assert (engine["cache"].keys(), engine["disk"].keys()) == ({"in_use_bytes"}, disk)
    space = {"data_bytes", "garbage_bytes", "metadata_bytes", "preallocated_bytes"}
    assert space <= engine["disk"]["space_usage"].keys()


def test_reads_and_active_clients_are_counted(suite: RunningSuite, conn: Any) -> None:
    watched = r.db("tools").table("watched")
    watched.insert([{"id": number} for number in range(10)]).run(conn)
    replica = SYSTEM.table("stats").get(["table_server", watched.config()["id"].run(conn), conn.server()["id"]])
    before = replica["query_engine"]["read_docs_total"].run(conn)
    assert [watched.get(number)["id"].run(conn) for number in range(10)] == list(range(10))
    assert replica["query_engine"]["read_docs_total"].run(conn) == before + 10
    active = SYSTEM.table("stats").get(["cluster"])["query_engine"]["clients_active"]
    with r.connect("127.0.0.1", suite.driver_port) as other:
        feed = watched.changes(include_states=True).run(other, max_batch_rows=1)
        assert next(feed) == {"state": "ready"}  # and the driver has asked for more, for which it waits
        while not active.run(conn):
            pass
        feed.close()


def test_a_tree_of_databases_tables_and_indexes(conn: Any) -> None:
    # Chateau, ReQLPro and the web interface draw it with one query, and ask for the state of things with others.
    r.db("tools").table("watched").index_create("kind").run(conn)
    tree = r.db_list().map(
        lambda db: {
            "name": db,
            "tables": r.db(db).table_list().map(lambda name: {"name": name, "info": r.db(db).table(name).info()}),
        }
    )
    (tools,) = [branch for branch in tree.run(conn) if branch["name"] == "tools"]
    (watched,) = tools["tables"]
    assert (watched["info"]["primary_key"], watched["info"]["indexes"]) == ("id", ["kind"])
    summary = r.expr(
        {
            "tables": SYSTEM.table("table_config").pluck("id", "name", "db", "shards").coerce_to("array"),
            "ready": SYSTEM.table("table_status")["status"]["all_replicas_ready"].coerce_to("array"),
            "issues": SYSTEM.table("current_issues").count(),
            "logs": SYSTEM.table("logs").order_by(index=r.desc("id")).limit(5)["level"].coerce_to("array"),
            "jobs": SYSTEM.table("jobs").filter({"type": "query"}).count(),
        }
    ).run(conn)
    assert "watched" in [row["name"] for row in summary["tables"]]
    assert (all(summary["ready"]), summary["issues"]) == (True, 0)
    assert summary["jobs"] >= 1


def test_the_addresses_of_a_machine() -> None:
    assert local_addresses("127.0.0.1") == ("127.0.0.1",)
    assert local_addresses("0.0.0.0")[-1] == "127.0.0.1"
    assert local_addresses("::")[-1] == "::1"
    assert "0.0.0.0" not in local_addresses("0.0.0.0")
