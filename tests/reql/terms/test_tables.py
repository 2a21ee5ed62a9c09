"""Tables: `table`, `table_create`, `table_drop`, `table_list`."""

from __future__ import annotations

from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.errors import CompileError, ErrorKind, ReqlError
from tests.reql.database import RunningDatabase


@pytest.fixture(autouse=True)
def _empty(database: RunningDatabase) -> None:
    database.clear()


def test_a_table_is_made_listed_and_dropped(database: RunningDatabase) -> None:
    made = database.run(r.table_create("books"))
    assert made["tables_created"] == 1
    (change,) = made["config_changes"]
    config = change["new_val"]
    server = database.query.server_name
    assert config == {
        "db": "test",
        "durability": "hard",
        "id": config["id"],
        "indexes": [],
        "name": "books",
        "primary_key": "id",
        "shards": [{"nonvoting_replicas": [], "primary_replica": server, "replicas": [server]}],
        "write_acks": "majority",
        "write_hook": None,
    }
    database.run(r.db("test").table_create("authors"))
    assert database.run(r.table_list()) == ["authors", "books"]
    assert database.run(r.table_drop("books")) == {
        "config_changes": [{"new_val": None, "old_val": config}],
        "tables_dropped": 1,
    }
    assert database.run(r.db("test").table_list()) == ["authors"]


def test_a_table_is_made_as_asked(database: RunningDatabase) -> None:
    made = database.run(r.table_create("books", primary_key="isbn", durability="soft", shards=2, replicas=1))
    config = made["config_changes"][0]["new_val"]
    assert (config["primary_key"], config["durability"], len(config["shards"])) == ("isbn", "soft", 2)
    database.run(r.table("books").insert({"isbn": 1}))
    assert database.run(r.table("books").get(1)) == {"isbn": 1}


def test_queries_that_name_no_database_work_in_that_of_the_run_option(database: RunningDatabase) -> None:
    database.run(r.db_create("shop"))
    database.run(r.table_create("orders"), db="shop")
    assert database.run(r.table_list(), db="shop") == ["orders"]
    assert database.run(r.table_list()) == []
    assert database.run(r.table("orders").count(), db="shop") == 0
    database.run(r.table_drop("orders"), db="shop")
    assert database.run(r.db("shop").table_list()) == []
    with pytest.raises(ReqlError, match="Database `nowhere` does not exist"):
        database.run(r.table("orders"), db="nowhere")


def test_arguments_may_be_spread(database: RunningDatabase) -> None:
    database.run(r.table_create(r.args([r.expr("books")])))
    assert database.run(r.table(r.args(["books"])).count()) == 0
    assert database.run(r.db("test").table(r.args(["books"])).count()) == 0
    with pytest.raises(ReqlError, match="Expected between 1 and 2 arguments but found 3"):
        database.run(r.db("test").table(r.args(["books", "more"])))


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        (r.table_create("there"), ErrorKind.OP_FAILED, "Table `test.there` already exists."),
        (r.table_drop("nowhere"), ErrorKind.OP_FAILED, "Table `test.nowhere` does not exist."),
        (r.table("nowhere"), ErrorKind.OP_FAILED, "Table `test.nowhere` does not exist."),
        (
            r.db("rethinkdb").table_create("x"),
            ErrorKind.OP_FAILED,
            "Database `rethinkdb` is special; you can't create new tables in it.",
        ),
        (
            r.db("rethinkdb").table_drop("users"),
            ErrorKind.OP_FAILED,
            "Database `rethinkdb` is special; you can't drop tables in it.",
        ),
        (
            r.table_create("%"),
            ErrorKind.LOGIC,
            "Table name `%` invalid (Use A-Z, a-z, 0-9, _ and - only).",
        ),
        (
            r.table_create("x", durability="firm"),
            ErrorKind.LOGIC,
            'Durability option `firm` unrecognized (options are "hard" and "soft").',
        ),
        (r.table_create("x", primary_key=1), ErrorKind.LOGIC, "Expected type STRING but found NUMBER."),
        (
            r.table("there", read_mode="fresh"),
            ErrorKind.LOGIC,
            'Read mode `fresh` unrecognized (options are "majority", "single", and "outdated").',
        ),
        (r.table("there", read_mode=None), ErrorKind.NON_EXISTENCE, "Expected type STRING but found NULL."),
        (
            r.table("there", identifier_format="id"),
            ErrorKind.LOGIC,
            'Identifier format `id` unrecognized (options are "name" and "uuid").',
        ),
        (
            r.table("there", use_outdated=False),
            ErrorKind.LOGIC,
            "The `use_outdated` optarg is no longer supported.  Use the `read_mode` optarg instead.",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(database: RunningDatabase, query: Any, kind: ErrorKind, message: str) -> None:
    database.run(r.table_create("there"))
    with pytest.raises(ReqlError) as caught:
        database.run(query)
    assert (caught.value.kind, caught.value.message) == (kind, message)


@pytest.mark.parametrize("read_mode", ["majority", "single", "outdated"])
def test_every_read_mode_reads_the_table(database: RunningDatabase, read_mode: str) -> None:
    database.run(r.table_create("there"))
    assert database.run(r.table("there", read_mode=read_mode).count()) == 0
    assert database.run(r.table("there").count(), read_mode=read_mode) == 0


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"shards": 0}, ErrorKind.LOGIC, "Every table must have at least one shard."),
        ({"shards": 65}, ErrorKind.OP_FAILED, "Maximum number of shards is 64."),
        (
            {"replicas": 2},
            ErrorKind.OP_FAILED,
            "Can't put 2 replicas on servers with the tag `default` because there are only 1 servers with the tag "
            "`default`. It's impossible to have more replicas of the data than there are servers.",
        ),
        (
            {"replicas": 0},
            ErrorKind.OP_FAILED,
            "You must set `replicas` to at least one. `replicas` includes the primary replica; if there are zero "
            "replicas, there is nowhere to put the data.",
        ),
        (
            {"replicas": {"west": 1}, "primary_replica_tag": "west"},
            ErrorKind.OP_FAILED,
            "Could not find any servers with server tag `west`.",
        ),
        (
            {"replicas": {"default": 1, "we st": 1}, "primary_replica_tag": "default"},
            ErrorKind.LOGIC,
            "Server tag name `we st` invalid (Use A-Z, a-z, 0-9, _ and - only).",
        ),
        (
            {"replicas": "many"},
            ErrorKind.LOGIC,
            'Expected type OBJECT or NUMBER but found STRING:\n"many"',
        ),
        ({"nonvoting_replica_tags": 1}, ErrorKind.LOGIC, "Expected type ARRAY but found NUMBER:\n1"),
        ({"nonvoting_replica_tags": [1]}, ErrorKind.LOGIC, "Expected type STRING but found NUMBER:\n1"),
    ],
)
def test_one_server_cannot_place_a_table_anywhere(
    database: RunningDatabase, options: dict[str, Any], kind: ErrorKind, message: str
) -> None:
    with pytest.raises(ReqlError) as caught:
        database.run(r.table_create("x", **options))
    assert (caught.value.kind, caught.value.message) == (kind, message)
    assert database.run(r.table_list()) == []


def test_the_number_of_arguments_and_the_options_are_checked(database: RunningDatabase) -> None:
    with pytest.raises(CompileError) as caught:
        database.run(r.db("test").table_create("a", "b"))
    assert caught.value.message == "Expected between 1 and 2 arguments but found 3."
    with pytest.raises(CompileError) as caught:
        database.run(r.table_create("a", colour="red"))
    assert caught.value.message == "Unrecognized optional argument `colour`."


def test_a_table_that_is_made_again_is_empty(database: RunningDatabase) -> None:
    database.run(r.table_create("t"))
    database.run(r.table("t").insert({"id": 1}))
    database.run(r.table_drop("t"))
    database.run(r.table_create("t"))
    assert database.run(r.table("t")) == []
