"""The system database: its tables can be read like any others, and some of them be written."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.errors import ErrorKind, ReqlError
from tests.reql.database import RunningDatabase

NOTHING = {"deleted": 0, "errors": 0, "inserted": 0, "replaced": 0, "skipped": 0, "unchanged": 0}
SYSTEM = r.db("rethinkdb")
TABLES = SYSTEM.table("table_config")
DATABASES = SYSTEM.table("db_config")
USERS = SYSTEM.table("users")
PERMISSIONS = SYSTEM.table("permissions")
SCRATCH = SYSTEM.table("_debug_scratch")

NAMES = [
    "cluster_config",
    "current_issues",
    "db_config",
    "feed_groups",
    "jobs",
    "logs",
    "permissions",
    "server_config",
    "server_status",
    "sinks",
    "stats",
    "table_config",
    "table_status",
    "transactions",
    "users",
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDatabase]:
    with RunningDatabase(tmp_path_factory.mktemp("system") / "data") as running:
        yield running


@pytest.fixture(autouse=True)
def _empty(database: RunningDatabase) -> None:
    database.clear()
    database.run(r.table_create("t"))
    database.run(USERS.filter(lambda user: user["id"] != "admin").delete())
    database.run(SCRATCH.delete())


def refusal(result: dict[str, Any]) -> str:
    """The only error of a write that wrote nothing."""
    message: str = result.pop("first_error")
    assert result == {**NOTHING, "errors": 1}
    return message


def test_the_tables_are_listed_and_read(database: RunningDatabase) -> None:
    assert database.run(SYSTEM.table_list()) == NAMES
    for name in NAMES:
        table = SYSTEM.table(name)
        for identifiers in ("name", "uuid"):
            rows = database.run(SYSTEM.table(name, identifier_format=identifiers))
            lasting = [row["id"] for row in rows if name != "jobs"]  # each query is another job
            assert all(database.run(table.get(key)) is not None for key in lasting)
        info = database.run(table.info())
        assert (info["type"], info["name"], info["primary_key"], info["indexes"]) == ("TABLE", name, "id", [])
        assert uuid.UUID(info["id"]).version == 5
    with pytest.raises(ReqlError) as caught:
        database.run(SYSTEM.table("nowhere"))
    assert caught.value.message == "Table `rethinkdb.nowhere` does not exist."


def test_what_the_suite_keeps_for_itself_is_not_shown(database: RunningDatabase) -> None:
    assert database.run(r.db_list()) == ["rethinkdb", "test"]
    assert database.run(DATABASES["name"]) == ["test"]
    assert database.run(TABLES["name"]) == ["t"]
    with pytest.raises(ReqlError, match="does not exist"):
        database.run(SYSTEM.table("_accounts"))


def test_system_tables_go_through_all_terms(database: RunningDatabase) -> None:
    for i in range(5):
        database.run(SCRATCH.insert({"id": i, "n": i % 2}))
    assert database.run(SCRATCH.count()) == 5
    assert database.run(SCRATCH.filter({"n": 1})["id"]) == [1, 3]
    assert database.run(SCRATCH.order_by(r.desc("id")).limit(2)["id"]) == [4, 3]
    assert database.run(SCRATCH.order_by(index=r.desc("id")).limit(2)["id"]) == [4, 3]
    assert database.run(SCRATCH.between(1, 3, right_bound="closed")["id"]) == [1, 2, 3]
    assert database.run(SCRATCH.between(1, 3).order_by(index=r.desc("id"))["id"]) == [2, 1]
    assert database.run(SCRATCH.get_all(4, 0, 4)["id"]) == [4, 4, 0]
    assert database.run(SCRATCH.group("n").count().ungroup()["reduction"]) == [3, 2]
    assert database.run(SCRATCH.sum("id")) == 10
    assert database.run(SCRATCH.eq_join("n", SCRATCH).count()) == 5
    assert database.run(SCRATCH.map(lambda row: row["n"]).distinct()) == [0, 1]
    assert database.run(r.table("t").insert(SCRATCH))["inserted"] == 5


def test_the_scratch_table_keeps_what_is_written(database: RunningDatabase) -> None:
    made = database.run(SCRATCH.insert([{"a": 1}, {"id": 1}], return_changes=True))
    (key,) = made["generated_keys"]
    assert [change["new_val"] for change in made["changes"]] == [{"a": 1, "id": key}, {"id": 1}]
    assert database.run(SCRATCH.get(1).update({"a": r.row["id"] + 1})) == {**NOTHING, "replaced": 1}
    assert database.run(SCRATCH.get(1).update({"a": 2})) == {**NOTHING, "unchanged": 1}
    assert database.run(SCRATCH.get(7).update({"a": 2})) == {**NOTHING, "skipped": 1}
    assert database.run(SCRATCH.get(1).replace({"id": 1})) == {**NOTHING, "replaced": 1}
    assert database.run(SCRATCH.insert({"id": 1, "b": 2}, conflict="update")) == {**NOTHING, "replaced": 1}
    assert database.run(SCRATCH.insert({"id": 1}, conflict="replace")) == {**NOTHING, "replaced": 1}
    merged = SCRATCH.insert({"id": 1, "c": 3}, conflict=lambda key, old, new: old.merge({"key": key}))
    assert database.run(merged) == {**NOTHING, "replaced": 1}
    assert database.run(SCRATCH.get(1)) == {"id": 1, "key": "id"}
    assert database.run(SCRATCH.delete()) == {**NOTHING, "deleted": 2}


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (SCRATCH.insert({"id": 1}), 'Duplicate primary key `id`:\n{\n\t"id":\t1\n}\n{\n\t"id":\t1\n}'),
        (SCRATCH.insert([7]), "Expected type OBJECT but found NUMBER."),
        (SCRATCH.get(1).replace({"id": 2}), None),
        (SCRATCH.get(2).replace({"id": 3}), 'Primary key `id` cannot be changed (null -> {\n\t"id":\t3\n})'),
        (SCRATCH.get(1).replace({}), "Inserted object must have primary key `id`:\n{}"),
        (SCRATCH.get(1).replace(5), "Inserted value must be an OBJECT (got NUMBER):\n5"),
        (SCRATCH.get(1).update({"a": r.error("no")}), "no"),
    ],
)
def test_rows_are_checked_as_documents_are(database: RunningDatabase, query: Any, error: str | None) -> None:
    database.run(SCRATCH.insert({"id": 1}))
    message = refusal(database.run(query))
    assert error is None or message == error
    assert database.run(SCRATCH) == [{"id": 1}]


def test_system_tables_are_not_synced(database: RunningDatabase) -> None:
    with pytest.raises(ReqlError, match="Artificial tables don't support `sync\\(\\)`"):
        database.run(USERS.sync())


# --- configuration


def test_writing_db_config_makes_renames_and_drops_databases(database: RunningDatabase) -> None:
    made = database.run(DATABASES.insert({"name": "shop"}, return_changes=True))
    (key,) = made["generated_keys"]
    assert made["changes"] == [
        {"new_val": {"id": made["changes"][0]["new_val"]["id"], "name": "shop"}, "old_val": None}
    ]
    assert uuid.UUID(key)
    assert database.run(r.db_list()) == ["rethinkdb", "shop", "test"]
    shop = DATABASES.filter({"name": "shop"})
    assert database.run(shop.update({"name": "store"})) == {**NOTHING, "replaced": 1}
    assert database.run(r.db_list()) == ["rethinkdb", "store", "test"]
    assert database.run(DATABASES.filter({"name": "store"}).delete()) == {**NOTHING, "deleted": 1}
    assert database.run(r.db_list()) == ["rethinkdb", "test"]


WRONG_DATABASE = "The change you're trying to make to `rethinkdb.db_config` has the wrong format. "


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (DATABASES.insert({"name": "test"}), "Database `test` already exists."),
        (DATABASES.insert({"name": "rethinkdb"}), "Database `rethinkdb` already exists."),
        (
            DATABASES.filter({"name": "test"}).update({"name": "rethinkdb"}),
            "Cannot rename database `test` to `rethinkdb` because database `rethinkdb` already exists.",
        ),
        (
            DATABASES.insert({"id": "a", "name": "x"}),
            "If you want to create a new table by inserting into `rethinkdb.db_config`, you must use an auto-generated "
            "primary key.",
        ),
        (DATABASES.insert({"nom": "x"}), WRONG_DATABASE + "Expected a field named `name`."),
        (DATABASES.insert({"name": 1}), WRONG_DATABASE + "In `name`: Expected a db name; got 1"),
        (
            DATABASES.insert({"name": "%"}),
            WRONG_DATABASE + 'In `name`: "%" is not a valid db name; Use A-Z, a-z, 0-9, _ and - only',
        ),
        (DATABASES.insert({"name": "x", "b": 1, "a": 1}), WRONG_DATABASE + "Unexpected key(s): a b"),
    ],
)
def test_db_config_is_checked(database: RunningDatabase, query: Any, error: str) -> None:
    result = database.run(query)
    result.pop("generated_keys", None)
    assert refusal(result) == error
    assert database.run(r.db_list()) == ["rethinkdb", "test"]


def test_writing_table_config_makes_changes_and_drops_tables(database: RunningDatabase) -> None:
    made = database.run(TABLES.insert({"name": "u", "db": "test", "primary_key": "key"}, return_changes=True))
    assert made["changes"][0]["new_val"] == database.run(r.table("u").config())
    assert database.run(r.table("u").info()["primary_key"]) == "key"
    assert database.run(TABLES.filter({"name": "u"}).update({"durability": "soft"})) == {**NOTHING, "replaced": 1}
    assert database.run(r.table("u").config()["durability"]) == "soft"
    assert database.run(TABLES.filter({"name": "u"}).update({"name": "v"})) == {**NOTHING, "replaced": 1}
    assert database.run(r.table_list()) == ["t", "v"]
    assert database.run(TABLES.filter({"name": "v"}).delete()) == {**NOTHING, "deleted": 1}
    assert database.run(r.table_list()) == ["t"]


def test_table_config_names_databases_and_servers_as_asked(database: RunningDatabase) -> None:
    (row,) = database.run(SYSTEM.table("table_config", identifier_format="uuid"))
    assert row["db"] == database.run(r.db("test").config()["id"])
    assert row["shards"][0]["primary_replica"] == database.query.server_id
    by_uuid = SYSTEM.table("table_config", identifier_format="uuid")
    assert database.run(by_uuid.insert({"name": "u", "db": row["db"]}))["inserted"] == 1
    assert database.run(by_uuid.filter({"name": "u"}).update({"durability": "soft"}))["replaced"] == 1
    result = database.run(by_uuid.insert({"name": "v", "db": str(uuid.uuid4())}))
    assert "There is no database with UUID" in result["first_error"]


WRONG_TABLE = "The change you're trying to make to `rethinkdb.table_config` has the wrong format. "
T_CONFIG = TABLES.filter({"name": "t"})


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (TABLES.insert({"name": "t", "db": "test"}), "Table `test.t` already exists."),
        (TABLES.insert({"name": "u", "db": "nowhere"}), "Database `nowhere` does not exist."),
        (
            TABLES.insert({"id": "a", "name": "u", "db": "test"}),
            "There is no existing table with the given ID. To create a new table by inserting into "
            "`rethinkdb.table_config`, you must let the database generate the primary key automatically.",
        ),
        (TABLES.insert({"name": "u"}), WRONG_TABLE + "Expected a field named `db`."),
        (TABLES.insert({"name": "u", "db": "test", "x": 1}), WRONG_TABLE + "Unexpected key(s): x"),
        (
            TABLES.insert({"name": "u", "db": "test", "durability": "firm"}),
            WRONG_TABLE + 'In `durability`: Expected "soft" or "hard", got: "firm"',
        ),
        (T_CONFIG.update({"primary_key": "key"}), "It's illegal to change a table's primary key"),
        (
            T_CONFIG.update({"indexes": ["a"]}),
            "The `indexes` field is read-only and can't be used to create or drop indexes.",
        ),
        (
            T_CONFIG.update({"write_hook": {"function": "f"}}),
            "The `write_hook` field is read-only and can't be used to create or drop a write hook function.",
        ),
        (T_CONFIG.update({"shards": []}), WRONG_TABLE + "In `shards`: You must specify at least one shard."),
        (
            T_CONFIG.update({"shards": [{"replicas": ["mars"], "primary_replica": "mars"}]}),
            WRONG_TABLE + "In `shards`: Server `mars` does not exist or is not connected.",
        ),
        (
            T_CONFIG.update({"shards": [{"replicas": [], "primary_replica": "mars"}]}),
            WRONG_TABLE + "In `shards`: You must specify at least one replica for each shard.",
        ),
        (
            T_CONFIG.update({"write_acks": "all"}),
            WRONG_TABLE + 'In `write_acks`: Expected "single" or "majority", got: "all"',
        ),
        (T_CONFIG.update({"colour": "red"}), WRONG_TABLE + "Unexpected key(s): colour"),
        (T_CONFIG.replace(r.row.without("durability")), WRONG_TABLE + "Expected a field named `durability`."),
    ],
)
def test_table_config_is_checked(database: RunningDatabase, query: Any, error: str) -> None:
    before = database.run(TABLES)
    result = database.run(query)
    result.pop("generated_keys", None)
    assert refusal(result) == error
    assert database.run(TABLES) == before


# --- accounts


def test_writing_users_makes_changes_and_drops_accounts(database: RunningDatabase) -> None:
    assert database.run(USERS) == [{"id": "admin", "password": False}]
    made = database.run(USERS.insert({"id": "bob", "password": "secret"}, return_changes=True))
    assert made["changes"] == [{"new_val": {"id": "bob", "password": True}, "old_val": None}]
    assert database.run(USERS.get("bob")) == {"id": "bob", "password": True}
    assert database.run(USERS.get("bob").update({"password": "other"})) == {**NOTHING, "replaced": 1}
    assert database.run(USERS.get("bob").update({"password": False})) == {**NOTHING, "replaced": 1}
    assert database.run(USERS.get("bob").update({"password": False})) == {**NOTHING, "unchanged": 1}
    assert database.run(USERS.get("bob").delete()) == {**NOTHING, "deleted": 1}
    assert database.run(USERS["id"]) == ["admin"]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (USERS.get("admin").delete(), "The user `admin` can't be deleted."),
        (USERS.insert({"id": 1, "password": False}), "Expected a username as the primary key, got 1."),
        (USERS.insert({"id": "eve"}), "Expected a field named `password`."),
        (USERS.insert({"id": "eve", "password": "x", "b": 1, "a": 1}), "Unexpected key(s) `a`, `b`."),
    ],
)
def test_users_are_checked(database: RunningDatabase, query: Any, error: str) -> None:
    assert refusal(database.run(query)) == error
    assert database.run(USERS["id"]) == ["admin"]


def test_writing_permissions_grants_them(database: RunningDatabase) -> None:
    database.run(USERS.insert({"id": "bob", "password": False}))
    in_database = database.run(r.db("test").config()["id"])
    table = database.run(r.table("t").config()["id"])
    assert database.run(PERMISSIONS.insert({"id": ["bob"], "permissions": {"read": True}})) == {
        **NOTHING,
        "inserted": 1,
    }
    made = PERMISSIONS.insert({"id": ["bob", in_database, table], "permissions": {"write": False}}, return_changes=True)
    row = {
        "database": "test",
        "id": ["bob", in_database, table],
        "permissions": {"write": False},
        "table": "t",
        "user": "bob",
    }
    assert database.run(made)["changes"] == [{"new_val": row, "old_val": None}]
    database.run(r.db("test").grant("bob", {"config": True}))
    mine = PERMISSIONS.filter({"user": "bob"})
    assert database.run(mine["permissions"]) == [{"read": True}, {"config": True}, {"write": False}]
    by_uuid = SYSTEM.table("permissions", identifier_format="uuid").get(row["id"])
    assert database.run(by_uuid) == {**row, "database": in_database, "table": table}
    assert database.run(PERMISSIONS.get(["bob"]).update({"permissions": {"write": True}})) == {**NOTHING, "replaced": 1}
    assert database.run(PERMISSIONS.get(["bob"])["permissions"]) == {"read": True, "write": True}
    assert database.run(PERMISSIONS.get(["bob"]).delete()) == {**NOTHING, "deleted": 1}
    assert database.run(mine.count()) == 2
    database.run(r.table_drop("t"))
    assert database.run(mine["permissions"]) == [{"config": True}]


def test_admin_may_do_everything(database: RunningDatabase) -> None:
    rows = database.run(PERMISSIONS)
    assert [row["id"][0] for row in rows] == ["admin", "admin"]
    assert rows[0]["permissions"] == {"read": True, "write": True, "connect": True, "config": True}
    assert rows[1]["database"] == "rethinkdb"
    result = database.run(PERMISSIONS.get(["admin"]).update({"permissions": {"read": False}}))
    assert refusal(result) == "The permissions of the user `admin` can't be modified."


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"permissions": {}}, "You must specify a primary key."),
        ({"id": "bob", "permissions": {}}, 'Expected an array of one to three items in the primary key, got "bob".'),
        ({"id": [1], "permissions": {}}, "Expected a string as the username, got 1."),
        ({"id": ["bob", "x"], "permissions": {}}, 'Expected a UUID as the database, got "x".'),
        (
            {"id": ["bob", "8b2c3f00-f312-4524-847a-25c79e1a22d4"], "permissions": {}},
            "No database with UUID `8b2c3f00-f312-4524-847a-25c79e1a22d4` exists.",
        ),
        ({"id": ["bob"]}, "Expected a field `permissions`."),
        ({"id": ["bob"], "permissions": {}, "colour": "red"}, "Unexpected key(s) `colour`."),
        ({"id": ["bob"], "permissions": {}, "user": "eve"}, "The key `user` does not match the primary key."),
        ({"id": ["eve"], "permissions": {"read": True}}, "User `eve` not found."),
    ],
)
def test_permissions_are_checked(database: RunningDatabase, row: dict[str, Any], error: str) -> None:
    database.run(USERS.insert({"id": "bob", "password": False}))
    result = database.run(PERMISSIONS.insert(row))
    result.pop("generated_keys", None)
    assert refusal(result) == error


# --- the state of the node


@pytest.mark.parametrize("name", ["table_status", "server_status", "stats", "current_issues"])
def test_what_tells_the_state_cannot_be_written(database: RunningDatabase, name: str) -> None:
    result = database.run(SYSTEM.table(name).insert({"id": "x"}))
    assert refusal(result) == f"It's illegal to write to the `rethinkdb.{name}` table."


def test_servers_are_neither_inserted_nor_deleted(database: RunningDatabase) -> None:
    refused = "Servers are there when they are started: their rows cannot be inserted or deleted."
    assert refusal(database.run(SYSTEM.table("server_config").insert({"id": "x"}))) == refused
    assert refusal(database.run(SYSTEM.table("server_config").delete())) == refused


def test_servers_are_this_one(database: RunningDatabase) -> None:
    (config,) = database.run(SYSTEM.table("server_config"))
    (status,) = database.run(SYSTEM.table("server_status"))
    assert config["name"] == status["name"] == database.query.server_name
    assert config["tags"] == ["default"]
    assert status["process"]["version"].startswith("rethinkdb 2.4.4-photondb-")
    assert database.run(SYSTEM.table("server_status").nth(0)["process"]["time_started"] < r.now())


def test_stats_tell_what_was_written_and_is_kept(database: RunningDatabase) -> None:
    database.run(r.table("t").insert([{"id": 1, "text": "x" * 100}, {"id": 2}]))
    database.run(r.table("t").get(1).delete())
    stats = SYSTEM.table("stats")
    assert {row["id"][0] for row in database.run(stats)} == {"cluster", "server", "table", "table_server"}
    table = database.run(r.table("t").config()["id"])
    replica = database.run(stats.get(["table_server", table, database.query.server_id]))
    assert (replica["db"], replica["table"]) == ("test", "t")
    assert replica["query_engine"]["written_docs_total"] == 3
    space = replica["storage_engine"]["disk"]["space_usage"]
    assert space["data_bytes"] > 0
    assert space["on_disk_bytes"] >= space["documents_bytes"] + space["change_log_bytes"]
    server = stats.get(["server", database.query.server_id])["query_engine"]
    before = database.run(server["queries_total"])
    assert database.run(server["queries_total"]) == before + 1
    assert database.run(server["client_connections"]) >= 1


def test_stats_of_the_store(database: RunningDatabase) -> None:
    engine = SYSTEM.table("stats").get(["server", database.query.server_id])["storage_engine"]
    before = database.run(engine)
    database.run(r.table("t").insert({"id": "new", "text": "x" * 10_000}))
    after = database.run(engine)
    log = "write_ahead_log"
    assert after[log]["written_bytes_total"] >= before[log]["written_bytes_total"] + 20_000
    assert after[log]["syncs_total"] > before[log]["syncs_total"]
    assert after["memory_table_bytes"] > 0
    assert after["cache"]["size_bytes"] == 192 << 20
    assert after["writes_stopped"] is False
    assert sorted(after["compaction"]) == ["pending_bytes", "read_bytes_total", "running", "written_bytes_total"]


def test_jobs_are_queries_and_indexes_under_way(database: RunningDatabase) -> None:
    (job,) = database.run(SYSTEM.table("jobs"))
    assert (job["type"], job["info"]["user"]) == ("query", "admin")
    database.run(r.table("t").insert(r.range(0, 3000).map(lambda i: {"id": i, "a": i})))
    database.run(r.table("t").index_create("a"))
    (job,) = database.run(SYSTEM.table("jobs").filter({"type": "index_construction"}))
    assert job["info"].pop("progress") < 1
    assert job["info"] == {"db": "test", "index": "a", "table": "t"}
    database.run(r.table("t").index_wait())
    assert database.run(SYSTEM.table("jobs").filter({"type": "index_construction"})) == []


def test_logs_have_the_last_records(database: RunningDatabase) -> None:
    logging.getLogger("services.query").warning("the tea is %s", "cold")
    rows = database.run(SYSTEM.table("logs").filter({"message": "the tea is cold"}))
    assert [row["level"] for row in rows] == ["warn"]
    assert rows[0]["id"][1] == database.query.server_id
    assert rows[0]["server"] == database.query.server_name


def test_reading_takes_permission(database: RunningDatabase, tmp_path: Path) -> None:
    database.run(USERS.insert({"id": "bob", "password": False}))
    with pytest.raises(ReqlError) as caught:
        database.run(TABLES, user="bob")
    assert caught.value.kind == ErrorKind.PERMISSION
    database.run(SYSTEM.grant("bob", {"read": True}))
    assert len(database.run(TABLES, user="bob")) == 1
    with pytest.raises(ReqlError) as caught:
        database.run(TABLES.delete(), user="bob")
    assert caught.value.kind == ErrorKind.PERMISSION
