"""Tables spread over storage nodes as the official driver sees them."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from rethinkdb import errors, r

from tests.running_suite import RunningSuite
from tests.storage_nodes import storage_processes
from tests.telemetry.load import pages, totals

WAIT_S = 20
"""For what must come; that it does not is the failure."""

SYSTEM = r.db("rethinkdb")
ROWS = 300


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    arguments = ("--storage-nodes", "3")
    with RunningSuite(tmp_path_factory.mktemp("nodes"), processes=True, arguments=arguments) as running:
        yield running


@pytest.fixture
def conn(suite: RunningSuite) -> Iterator[Any]:
    connection = r.connect(port=suite.driver_port)
    yield connection
    connection.close()


names = (f"t{number}" for number in itertools.count())


@pytest.fixture
def table(conn: Any) -> Iterator[Any]:
    """A table of three parts with documents and an index."""
    name = next(names)
    r.table_create(name, shards=3).run(conn)
    table = r.table(name)
    table.insert([{"id": key, "n": key % 7, "tags": [key % 3, key % 5]} for key in range(ROWS)]).run(conn)
    table.index_create("n").run(conn)
    table.index_create("tags", multi=True).run(conn)
    table.index_wait().run(conn)
    yield table
    r.table_drop(name).run(conn)


def test_the_servers_of_a_table(suite: RunningSuite, conn: Any, table: Any) -> None:
    servers = {row["id"]: row["name"] for row in SYSTEM.table("server_config").run(conn)}
    assert len(servers) == len(set(servers.values())) == 3
    config = table.config().run(conn)
    assert {shard["primary_replica"] for shard in config["shards"]} == set(servers.values())
    assert all(shard["replicas"] == [shard["primary_replica"]] for shard in config["shards"])
    status = table.status().run(conn)
    assert [shard["primary_replicas"] for shard in status["shards"]] == [
        [shard["primary_replica"]] for shard in config["shards"]
    ]
    by_uuid = SYSTEM.table("table_config", identifier_format="uuid").get(config["id"]).run(conn)
    assert {shard["primary_replica"] for shard in by_uuid["shards"]} == set(servers)
    estimates = table.info()["doc_count_estimates"].run(conn)
    assert len(estimates) == 3
    assert sum(estimates) == ROWS
    statuses = list(SYSTEM.table("server_status").run(conn))
    assert {row["id"] for row in statuses} == set(servers)
    assert {row["process"]["version"].partition("-")[0] for row in statuses} == {"rethinkdb 2.4.4"}
    assert {row["network"]["reql_port"] for row in statuses} == {suite.driver_port}
    assert conn.server()["id"] in servers


def test_documents_of_all_parts_expire_also_after_a_division(conn: Any, table: Any) -> None:
    table.index_create("until").run(conn)
    table.index_wait().run(conn)
    table.config().update({"expire": {"index": "until"}}).run(conn)
    doomed = [{"id": f"gone {key}", "until": r.now()} for key in range(30)]
    feed = table.changes(include_states=True).run(conn)
    assert next(feed) == {"state": "ready"}
    for shards in (3, 1):
        table.reconfigure(shards=shards, replicas=1).run(conn)
        table.wait().run(conn)
        table.insert(doomed).run(conn)
        left = set(range(30))
        while left:
            change = next(feed)
            if change["new_val"] is None:
                left.remove(int(change["old_val"]["id"].removeprefix("gone ")))
        assert table.count().run(conn) == ROWS
    feed.close()


def test_statistics_tell_of_each_server(conn: Any, table: Any) -> None:
    uuid = table.info()["id"].run(conn)
    servers = {row["id"] for row in SYSTEM.table("server_config").run(conn)}
    rows = {tuple(row["id"]): row for row in SYSTEM.table("stats").run(conn)}
    assert {key[1] for key in rows if key[0] == "server"} == servers
    assert {key[2] for key in rows if key[:2] == ("table_server", uuid)} == servers
    written = [rows["table_server", uuid, server]["query_engine"]["written_docs_total"] for server in servers]
    assert sum(written) == ROWS
    assert all(written)


def test_a_table_is_divided_anew(conn: Any, table: Any) -> None:
    uuid = table.info()["id"].run(conn)
    assert table.reconfigure(shards=3, replicas=1).run(conn)["reconfigured"] == 1
    assert table.rebalance().run(conn)["rebalanced"] == 1
    servers = SYSTEM.table("server_config")["name"].coerce_to("array").run(conn)
    told = table.reconfigure(shards=2, replicas=1, dry_run=True).run(conn)
    assert told["reconfigured"] == 0
    wanted = [shard["primary_replica"] for shard in told["config_changes"][0]["new_val"]["shards"]]
    assert len(wanted) == 2
    assert set(wanted) < set(servers)
    done = table.reconfigure(shards=2, replicas=1).run(conn)
    assert done["config_changes"] == told["config_changes"]
    assert table.wait(wait_for="all_replicas_ready", timeout=60).run(conn) == {"ready": 1}
    status = table.status().run(conn)
    assert status["status"]["all_replicas_ready"]
    assert [shard["primary_replicas"] for shard in status["shards"]] == [[server] for server in wanted]
    assert table.count().run(conn) == ROWS
    assert table.info()["id"].run(conn) == uuid
    # What a config says about shards divides the table, too.
    row = SYSTEM.table("table_config").get(uuid)
    shards = row["shards"].run(conn)
    assert row.update({"durability": "soft"}).run(conn)["replaced"] == 1
    for other, message in (
        (shards[::-1], "on a server that cannot be chosen"),
        ([{"primary_replica": "nobody", "replicas": ["nobody"]}], "does not exist or is not connected"),
    ):
        assert message in row.update({"shards": other, "name": "renamed"}).run(conn)["first_error"]
    everywhere = [{"primary_replica": server, "replicas": [server]} for server in servers]
    assert row.update({"shards": everywhere}).run(conn)["replaced"] == 1
    table.wait().run(conn)
    assert len(table.config()["shards"].run(conn)) == 3
    assert sorted(table["id"].run(conn)) == list(range(ROWS))


def test_how_far_a_division_is(suite: RunningSuite, conn: Any, table: Any) -> None:
    table.insert(r.range(ROWS, 20_000).map({"id": r.row}).coerce_to("array")).run(conn)
    uuid = table.info()["id"].run(conn)
    seen: list[Any] = []
    shards = 3
    while not seen:  # it may be over before anybody looks
        table.wait().run(conn)
        shards = 5 - shards
        table.reconfigure(shards=shards, replicas=1).run(conn)
        jobs = SYSTEM.table("jobs").filter({"type": "backfill"})
        while not seen and not table.status()["status"]["all_replicas_ready"].run(conn):
            status, rows = r.expr([table.status(), jobs.coerce_to("array")]).run(conn)
            seen = rows if "reconfigure" in status and status["reconfigure"]["progress"] is not None else []
    name = table.info()["name"].run(conn)
    servers = set(SYSTEM.table("server_config")["name"].run(conn))
    told = status["reconfigure"]
    assert 0 <= told["progress"] <= 1
    assert len(told["servers"]) == shards
    for row in rows:
        info = row["info"]
        assert (row["type"], info["db"], info["table"], row["id"][0]) == ("backfill", "test", name, "backfill")
        assert 0 <= info["progress"] <= 1
        assert {info["source_server"], info["destination_server"]} == set(row["servers"]) <= servers
        assert row["duration_sec"] >= 0
    assert {row["info"]["destination_server"] for row in rows} == set(told["servers"])
    assert len(rows) == len({tuple(row["id"]) for row in rows}) == 6
    table.wait().run(conn)
    assert "reconfigure" not in table.status().run(conn)
    assert table.info()["id"].run(conn) == uuid
    counted = totals(pages(suite))
    for name in ("divisions_total", "division_documents_total", "division_bytes_total"):
        assert counted[f"photondb_storage_{name}"] > 0
    assert counted["photondb_storage_divisions_running"] == 0


def test_aggregate_feeds_go_on_while_a_table_is_divided(suite: RunningSuite, conn: Any, table: Any) -> None:
    with r.connect(port=suite.driver_port) as other:
        queries = (table.count(), table.sum("n"), table.group("n").count())
        count, total, groups = (query.changes(include_initial=True).run(other) for query in queries)
        assert count.next(wait=WAIT_S) == {"new_val": ROWS}
        assert total.next(wait=WAIT_S) == {"new_val": sum(key % 7 for key in range(ROWS))}
        for _ in range(7):
            groups.next(wait=WAIT_S)
        for key, shards in ((1000, 2), (1001, 1), (1002, 3)):
            table.reconfigure(shards=shards, replicas=1).run(conn)
            table.wait().run(conn)
            before = table.sum("n").run(conn)
            table.insert({"id": key, "n": key}).run(conn)
            assert count.next(wait=WAIT_S) == {"old_val": ROWS + key - 1000, "new_val": ROWS + key - 999}
            assert total.next(wait=WAIT_S) == {"old_val": before, "new_val": before + key}
            change = groups.next(wait=WAIT_S)
            assert (change["group"], change["new_val"]) == (key, 1)


def test_more_shards_than_nodes_are_told_of(conn: Any, table: Any) -> None:
    few = "It gets 3 shards instead of 9: of a table that is spread over storage nodes each has one"
    for dry_run in (True, False):
        done = table.reconfigure(shards=9, replicas=1, dry_run=dry_run).run(conn)
        (warning,) = done["warnings"]
        assert warning.startswith(few)
        assert len(done["config_changes"][0]["new_val"]["shards"]) == 3
    assert "warnings" not in table.reconfigure(shards=3, replicas=1).run(conn)
    name = next(names)
    (warning,) = r.table_create(name, shards=9).run(conn)["warnings"]
    assert warning.startswith(few)
    assert len(r.table(name).config()["shards"].run(conn)) == 3
    r.table_drop(name).run(conn)


def test_more_replicas_than_one_are_refused(conn: Any, table: Any) -> None:
    for query in (table.reconfigure(shards=2, replicas=2), r.table_create("replicated", replicas=2)):
        with pytest.raises(errors.ReqlOpFailedError, match=r"keeps one replica of each document.*`photondb backup`"):
            query.run(conn)
    assert len(table.config()["shards"].run(conn)) == 3


def test_reads(conn: Any, table: Any) -> None:
    assert table.get(5).run(conn) == {"id": 5, "n": 5, "tags": [2, 0]}
    assert table.get(ROWS).run(conn) is None
    assert sorted(row["id"] for row in table.get_all(1, 2, 2, 999).run(conn)) == [1, 2, 2]
    assert [row["id"] for row in table.order_by(index="id").run(conn)] == list(range(ROWS))
    assert [row["id"] for row in table.order_by(index=r.desc("id")).limit(3).run(conn)] == [299, 298, 297]
    by_n = [(row["n"], row["id"]) for row in table.order_by(index="n").run(conn)]
    assert by_n == sorted((key % 7, key) for key in range(ROWS))
    assert [row["id"] for row in table.between(10, 13).run(conn)] == [10, 11, 12]
    assert table.get_all(2, index="tags").count().run(conn) == sum([key % 3, key % 5].count(2) for key in range(ROWS))
    assert table.group("n").count().run(conn) == {n: len(range(n, ROWS, 7)) for n in range(7)}
    assert table.sum("n").run(conn) == sum(key % 7 for key in range(ROWS))
    assert table.max("id").run(conn)["id"] == ROWS - 1
    assert list(table.order_by("n", r.desc("id")).limit(2)["id"].run(conn)) == [294, 287]
    assert list(table.distinct(index="n").run(conn)) == list(range(7))
    assert table.filter(r.row["n"] == 3).count().run(conn) == len(range(3, ROWS, 7))
    assert table.nth(4)["id"].run(conn) == 4
    assert list(table.skip(297)["id"].run(conn)) == [297, 298, 299]
    assert len(list(table.sample(5).run(conn))) == 5


def test_joins(conn: Any, table: Any) -> None:
    name = next(names)
    r.table_create(name).run(conn)
    other = r.table(name)
    other.insert([{"id": n, "word": "x" * n} for n in range(7)]).run(conn)
    joined = table.eq_join("n", other).zip().order_by("id").run(conn)
    assert len(joined) == ROWS
    backwards = other.eq_join("id", table, index="n").count().run(conn)
    assert backwards == ROWS
    assert other.inner_join(table, lambda left, right: left["id"] == right["id"]).count().run(conn) == 7
    r.table_drop(name).run(conn)


def test_writes(conn: Any, table: Any) -> None:
    changed = table.filter(r.row["n"] < 2).update({"m": r.row["n"] + 1}, return_changes=True).run(conn)
    assert changed["replaced"] == len(changed["changes"]) == len([key for key in range(ROWS) if key % 7 < 2])
    inserted = table.insert([{"id": key} for key in (0, ROWS, ROWS + 1)], return_changes="always").run(conn)
    assert (inserted["inserted"], inserted["errors"]) == (2, 1)
    assert ["error" in change for change in inserted["changes"]] == [True, False, False]
    upserted = table.insert([{"id": key, "n": 1} for key in range(5)], conflict="replace").run(conn)
    assert upserted["replaced"] == 5
    generated = table.insert([{} for _ in range(20)]).run(conn)
    assert len(set(generated["generated_keys"])) == 20
    assert table.get_all(*generated["generated_keys"]).delete().run(conn)["deleted"] == 20
    assert table.get(3).replace(lambda row: row.merge({"z": 1})).run(conn)["replaced"] == 1
    assert table.get(ROWS).delete().run(conn)["deleted"] == 1
    assert table.delete().run(conn)["deleted"] == ROWS + 1
    assert table.count().run(conn) == 0
    assert table.sync().run(conn) == {"synced": 1}


def test_transactions(conn: Any, table: Any) -> None:
    moved = table.get_all(1, 2, 3, 4, 5, 6, 7, 8).update({"a": 1})
    with pytest.raises(errors.ReqlOpFailedError, match="Tables of one database live together"):
        moved.run(conn, atomic=True)
    assert table.filter({"a": 1}).count().run(conn) == 0
    r.db_create("together").run(conn)
    one, two = (r.db("together").table(name) for name in ("one", "two"))
    for name in ("one", "two"):
        r.db("together").table_create(name).run(conn)
    both = r.expr([one.insert({"id": 1}), two.insert({"id": 2})])
    both.run(conn, atomic=True)
    assert one.count().add(two.count()).run(conn) == 2
    transaction = SYSTEM.table("transactions").insert({}).run(conn)["generated_keys"][0]
    one.insert({"id": 5}).run(conn, transaction=transaction)
    assert one.count().run(conn, transaction=transaction) == 2
    assert one.count().run(conn) == 1
    SYSTEM.table("transactions").get(transaction).update({"state": "commit"}).run(conn)
    assert one.count().run(conn) == 2
    r.db_drop("together").run(conn)


def test_a_query_is_cached_until_any_part_changes(conn: Any, table: Any) -> None:
    for key in range(6):
        before = table.count().run(conn, cache=True)
        assert table.count().run(conn, cache=True) == before
        table.get(key).delete().run(conn)
        assert table.count().run(conn, cache=True) == before - 1


# --- a node that dies


def test_feeds_go_on_when_a_node_is_back(suite: RunningSuite, conn: Any, table: Any) -> None:
    feed = table.changes().run(conn)
    pid = storage_processes(suite)[2]
    os.kill(pid, signal.SIGKILL)
    written: set[int] = set()
    end = time.monotonic() + WAIT_S
    key = 1000
    while len(written) < 60:
        assert time.monotonic() < end + WAIT_S
        try:
            if table.insert({"id": key}).run(conn).get("inserted") == 1:
                written.add(key)
        except errors.ReqlRuntimeError:
            pass  # the node is not back yet: it may have been written, or not
        key += 1
    seen: set[int] = set()
    while not written <= seen:
        seen.add(feed.next(wait=WAIT_S)["new_val"]["id"])
    assert storage_processes(suite)[2] != pid
    assert table.get_all(*written).count().run(conn) == 60


def test_a_server_is_emptied(conn: Any, table: Any) -> None:
    servers = SYSTEM.table("server_config").order_by("name").run(conn)
    first, *_, last = servers
    row = SYSTEM.table("server_config").get(last["id"])
    assert all(server["tags"] == ["default"] for server in servers)
    for change, message in (({"name": "x"}, "only the tags"), ({"tags": ["other"]}, "only the tags")):
        assert message in row.update(change).run(conn)["first_error"]
    refused = SYSTEM.table("server_config").get(first["id"]).update({"tags": []}).run(conn)
    assert "has the catalogue" in refused["first_error"]
    assert row.update({"tags": []}).run(conn)["replaced"] == 1
    try:
        r.db("test").wait().run(conn)
        r.table_create("made_meanwhile", shards=3).run(conn)
        for config in SYSTEM.table("table_config").run(conn):
            assert last["name"] not in [shard["primary_replica"] for shard in config["shards"]]
        assert sorted(table["id"].run(conn)) == list(range(ROWS))
    finally:
        assert row.update({"tags": ["default"]}).run(conn)["replaced"] == 1
    assert table.reconfigure(shards=3, replicas=1).run(conn)["reconfigured"] == 1
    table.wait().run(conn)
    assert last["name"] in table.config()["shards"]["primary_replica"].run(conn)
    assert sorted(table["id"].run(conn)) == list(range(ROWS))
    r.table_drop("made_meanwhile").run(conn)
