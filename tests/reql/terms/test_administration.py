"""Looking after tables: `config`, `status`, `wait`, `reconfigure`, `rebalance`, `grant`."""

from __future__ import annotations

from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.errors import ErrorKind, ReqlError
from tests.reql.database import RunningDatabase

T = r.table("t")
USERS = r.db("rethinkdb").table("users")


@pytest.fixture(autouse=True)
def _empty(database: RunningDatabase) -> None:
    database.clear()
    database.run(r.table_create("t"))
    database.run(USERS.filter(lambda user: user["id"] != "admin").delete())


def term(name: str, *args: Any, **options: Any) -> Any:
    """A term that the driver offers on some values only."""
    class_ = next(kind for kind in _terms() if kind.__name__ == name)
    return class_(*args, **options)


def _terms() -> list[Any]:
    return [type(T.wait()), type(T.reconfigure(shards=1, replicas=1)), type(T.rebalance()), type(T.config())]


def test_the_configuration_of_a_table_can_be_read_and_written(database: RunningDatabase) -> None:
    config = database.run(T.config())
    assert (config["name"], config["db"], config["durability"]) == ("t", "test", "hard")
    assert database.run(T.config().type_of()) == "SELECTION<OBJECT>"
    result = database.run(T.config().update({"durability": "soft", "name": "u"}, return_changes=True))
    assert result["replaced"] == 1
    assert result["changes"] == [{"new_val": {**config, "durability": "soft", "name": "u"}, "old_val": config}]
    assert database.run(r.table("u").config()) == {**config, "durability": "soft", "name": "u"}
    assert database.run(r.table("u").config().delete())["deleted"] == 1
    assert database.run(r.table_list()) == []


def test_the_configuration_of_a_database_can_be_read_and_written(database: RunningDatabase) -> None:
    config = database.run(r.db("test").config())
    assert config == {"id": config["id"], "name": "test"}
    assert database.run(r.db("test").config().update({"name": "shop"}))["replaced"] == 1
    assert database.run(r.db("shop").table_list()) == ["t"]


def test_the_status_of_a_table_can_be_read_only(database: RunningDatabase) -> None:
    status = database.run(T.status())
    server = database.query.server_name
    assert status == {
        "db": "test",
        "id": database.run(T.config()["id"]),
        "name": "t",
        "raft_leader": server,
        "shards": [{"primary_replicas": [server], "replicas": [{"server": server, "state": "ready"}]}],
        "status": {
            "all_replicas_ready": True,
            "ready_for_outdated_reads": True,
            "ready_for_reads": True,
            "ready_for_writes": True,
        },
    }
    result = database.run(T.status().update({"name": "u"}))
    assert result["first_error"] == "It's illegal to write to the `rethinkdb.table_status` table."


def test_tables_are_always_ready(database: RunningDatabase) -> None:
    database.run(r.table_create("u"))
    assert database.run(T.wait()) == {"ready": 1}
    assert database.run(T.wait(wait_for="ready_for_reads", timeout=5)) == {"ready": 1}
    assert database.run(T.wait(timeout=5.0)) == {"ready": 1}  # which is an integer in ReQL
    assert database.run(r.db("test").wait()) == {"ready": 2}


def counts(database: RunningDatabase, table: Any = T) -> Any:
    """The documents of each shard."""
    return database.run(table.info()["doc_count_estimates"])


def test_reconfigure_divides_a_table_into_shards_of_one_size(database: RunningDatabase) -> None:
    database.run(T.insert(r.range(10).map(lambda number: {"id": number})))
    config, status = database.run(T.config()), database.run(T.status())
    (shard,), (state,) = config["shards"], status["shards"]
    divided = {
        "config_changes": [{"old_val": config, "new_val": {**config, "shards": [shard] * 3}}],
        "reconfigured": 1,
        "status_changes": [{"old_val": status, "new_val": {**status, "shards": [state] * 3}}],
    }
    dry = T.reconfigure(shards=3, replicas={"default": 1}, primary_replica_tag="default", dry_run=True)
    assert database.run(dry) == {"config_changes": divided["config_changes"], "reconfigured": 0}
    assert counts(database) == [10]
    assert database.run(T.reconfigure(shards=3, replicas=1)) == divided
    assert database.run(T.config()["shards"]) == [shard] * 3
    assert database.run(T.status()["shards"]) == [state] * 3
    assert sorted(counts(database)) == [3, 3, 4]
    assert database.run(T.order_by(index="id")["id"].coerce_to("array")) == list(range(10))
    assert database.run(T.reconfigure(shards=1, replicas=1))["reconfigured"] == 1
    assert counts(database) == [10]


def test_rebalance_divides_anew_and_reconfigure_does_not(database: RunningDatabase) -> None:
    database.run(T.reconfigure(shards=2, replicas=1))
    database.run(T.insert(r.range(10).map(lambda number: {"id": number})))
    assert counts(database) == [10, 0]  # divided for uuids, which numbers come before
    database.run(T.reconfigure(shards=2, replicas=1))
    assert counts(database) == [10, 0]
    status = database.run(T.status())
    changes = [{"new_val": status, "old_val": status}]
    assert database.run(T.rebalance()) == {"rebalanced": 1, "status_changes": changes}
    assert counts(database) == [5, 5]


def test_a_table_with_fewer_documents_than_shards_is_not_rebalanced(database: RunningDatabase) -> None:
    status = database.run(T.status())
    changes = [{"new_val": status, "old_val": status}]
    assert database.run(T.rebalance()) == {"rebalanced": 0, "status_changes": changes}


def test_all_tables_of_a_database_are_divided(database: RunningDatabase) -> None:
    database.run(r.table_create("u", shards=2))
    database.run(T.insert([{"id": 1}, {"id": 2}, {"id": 3}]))
    assert counts(database, r.table("u")) == [0, 0]
    result = database.run(r.db("test").reconfigure(shards=3, replicas=1))
    assert (result["reconfigured"], len(result["config_changes"]), len(result["status_changes"])) == (2, 2, 2)
    assert (counts(database), counts(database, r.table("u"))) == ([1, 1, 1], [0, 0, 0])
    assert database.run(r.db("test").rebalance())["rebalanced"] == 1
    database.run(r.db_create("bare"))
    assert database.run(r.db("bare").rebalance()) == {}


def test_the_shards_of_a_configuration_can_be_written(database: RunningDatabase) -> None:
    database.run(T.insert([{"id": 1}, {"id": 2}]))
    (shard,) = database.run(T.config()["shards"])
    assert database.run(T.config().update({"shards": [shard, shard], "name": "u"}))["replaced"] == 1
    assert counts(database, r.table("u")) == [1, 1]
    written = database.run(r.table("u").config().update({"shards": [shard] * 65}))
    assert written["first_error"].endswith("In `shards`: Maximum number of shards is 64.")


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        (term("Wait"), ErrorKind.LOGIC, "`wait` can only be called on a table or database."),
        (term("Rebalance"), ErrorKind.LOGIC, "`rebalance` can only be called on a table or database."),
        (term("Reconfigure"), ErrorKind.LOGIC, "`reconfigure` can only be called on a table or database."),
        (
            T.wait(wait_for="tea"),
            ErrorKind.LOGIC,
            "Unknown table readiness state: 'tea', must be one of 'ready_for_outdated_reads', 'ready_for_reads', "
            "'ready_for_writes', or 'all_replicas_ready'",
        ),
        (T.reconfigure(shards=1), ErrorKind.LOGIC, "Missing required argument `replicas`."),
        (T.reconfigure(replicas=1), ErrorKind.LOGIC, "Missing required argument `shards`."),
        (T.reconfigure(shards=0, replicas=1), ErrorKind.LOGIC, "Every table must have at least one shard."),
        (
            T.reconfigure(emergency_repair="unsafe_rollback"),
            ErrorKind.OP_FAILED,
            "This table doesn't need to be repaired.",
        ),
        (
            T.reconfigure(emergency_repair="glue"),
            ErrorKind.LOGIC,
            '`emergency_repair` should be "unsafe_rollback" or "unsafe_rollback_or_erase"',
        ),
        (
            T.reconfigure(emergency_repair="unsafe_rollback", shards=1, replicas=1),
            ErrorKind.LOGIC,
            "In emergency repair mode, you can't specify shards, replicas, etc.",
        ),
        (
            r.db("rethinkdb").config(),
            ErrorKind.OP_FAILED,
            "Database `rethinkdb` is special; you can't configure it.",
        ),
        (
            USERS.config(),
            ErrorKind.OP_FAILED,
            "Database `rethinkdb` is special; you can't configure the tables in it.",
        ),
        (
            USERS.status(),
            ErrorKind.OP_FAILED,
            "Database `rethinkdb` is special; the system tables in it don't have meaningful status information.",
        ),
        (
            USERS.wait(),
            ErrorKind.OP_FAILED,
            "Database `rethinkdb` is special; the system tables in it are always available and don't need to be "
            "waited on.",
        ),
        (
            r.db("rethinkdb").rebalance(),
            ErrorKind.OP_FAILED,
            "Database `rethinkdb` is special; you can't rebalance the tables in it.",
        ),
        (
            r.db("rethinkdb").reconfigure(shards=1, replicas=1),
            ErrorKind.OP_FAILED,
            "Database `rethinkdb` is special; you can't configure the tables in it.",
        ),
        (term("Config", r.expr(1)), ErrorKind.LOGIC, "Expected type TABLE but found DATUM:\n1"),
    ],
)
def test_what_cannot_be_done_is_refused(database: RunningDatabase, query: Any, kind: ErrorKind, message: str) -> None:
    with pytest.raises(ReqlError) as caught:
        database.run(query)
    assert (caught.value.kind, caught.value.message) == (kind, message)


# --- what users may do


def test_grant_changes_what_a_user_may_do(database: RunningDatabase) -> None:
    database.run(USERS.insert({"id": "bob", "password": False}))
    assert database.run(r.grant("bob", {"read": True})) == {
        "granted": 1,
        "permissions_changes": [{"new_val": {"read": True}, "old_val": None}],
    }
    assert database.run(r.db("test").grant("bob", {"write": True}))["granted"] == 1
    assert database.run(T.grant("bob", {"read": False}))["granted"] == 1
    assert database.run(r.grant("bob", {"read": None}))["permissions_changes"] == [
        {"new_val": None, "old_val": {"read": True}}
    ]
    with pytest.raises(ReqlError) as caught:
        database.run(r.grant("nobody", {"read": True}))
    assert caught.value.message == "User `nobody` not found."


PERMITTED = [
    (T.get(1), "read"),
    (T.count(), "read"),
    (T.insert({"id": 1}), "write"),
    (T.insert({"id": 1}, return_changes=True), "write"),
    (T.get(1).update({"a": 1}), "write"),
    (T.get(1).delete(), "write"),
    (T.sync(), "write"),
    (T.index_create("a"), "config"),
    (T.config(), "config"),
    (T.reconfigure(shards=1, replicas=1), "config"),
    (r.table_create("u"), "config"),
    (r.table_drop("t"), "config"),
    (r.db_create("d"), "config"),
    (r.db_drop("test"), "config"),
    (T.insert({"id": 1}, ignore_write_hook=True), "config"),
]


@pytest.mark.parametrize(("query", "permission"), PERMITTED)
def test_a_user_needs_permission(database: RunningDatabase, query: Any, permission: str) -> None:
    database.run(USERS.insert({"id": "bob", "password": False}))
    with pytest.raises(ReqlError) as caught:
        database.run(query, user="bob")
    assert caught.value.kind == ErrorKind.PERMISSION
    assert caught.value.message == f"User `bob` does not have the required `{permission}` permission."
    database.run(r.grant("bob", {"read": True, "write": True, "config": True}))
    database.run(query, user="bob")


def test_global_permissions_do_not_reach_into_the_system_database(database: RunningDatabase) -> None:
    database.run(USERS.insert({"id": "bob", "password": False}))
    database.run(r.grant("bob", {"read": True, "write": True, "config": True}))
    for query in (USERS, USERS.insert({"id": "eve", "password": False}), r.grant("bob", {"connect": True})):
        with pytest.raises(ReqlError) as caught:
            database.run(query, user="bob")
        assert caught.value.kind == ErrorKind.PERMISSION
    database.run(r.db("rethinkdb").grant("bob", {"read": True}))
    assert database.run(USERS["id"], user="bob") == ["admin", "bob"]
