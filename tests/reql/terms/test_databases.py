"""Databases: `db`, `db_create`, `db_drop`, `db_list`."""

from __future__ import annotations

import pytest
from rethinkdb import r

from photondb.reql.errors import CompileError, ErrorKind, ReqlError
from tests.reql.database import RunningDatabase


@pytest.fixture(autouse=True)
def _empty(database: RunningDatabase) -> None:
    database.clear()


def test_a_database_is_made_listed_and_dropped(database: RunningDatabase) -> None:
    assert database.run(r.db_list()) == ["rethinkdb", "test"]
    made = database.run(r.db_create("shop"))
    assert made["dbs_created"] == 1
    (change,) = made["config_changes"]
    assert change["old_val"] is None
    assert change["new_val"]["name"] == "shop"
    assert database.run(r.db_list()) == ["rethinkdb", "shop", "test"]
    database.run(r.db("shop").table_create("orders"))
    assert database.run(r.db_drop("shop")) == {
        "config_changes": [{"new_val": None, "old_val": change["new_val"]}],
        "dbs_dropped": 1,
        "tables_dropped": 1,
    }
    assert database.run(r.db_list()) == ["rethinkdb", "test"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (r.db_create("test"), "Database `test` already exists."),
        (r.db_create("rethinkdb"), "Database `rethinkdb` already exists."),
        (r.db_drop("nowhere"), "Database `nowhere` does not exist."),
        (r.db_drop("rethinkdb"), "Database `rethinkdb` is special; you can't delete it."),
        (r.db("nowhere").table_list(), "Database `nowhere` does not exist."),
        (r.db("nowhere").table("t"), "Database `nowhere` does not exist."),
    ],
)
def test_what_cannot_be_done_is_refused(database: RunningDatabase, query: object, message: str) -> None:
    with pytest.raises(ReqlError) as caught:
        database.run(query)
    assert (caught.value.kind, caught.value.message) == (ErrorKind.OP_FAILED, message)


@pytest.mark.parametrize("name", ["", "a b", "%", "ä", "a.b"])
def test_names_consist_of_few_characters(database: RunningDatabase, name: str) -> None:
    for query in (r.db(name), r.db_create(name), r.db_drop(name)):
        with pytest.raises(ReqlError) as caught:
            database.run(query)
        assert caught.value.message == f"Database name `{name}` invalid (Use A-Z, a-z, 0-9, _ and - only)."
        assert caught.value.frames == (0,)


def test_names_are_strings(database: RunningDatabase) -> None:
    with pytest.raises(ReqlError) as caught:
        database.run(r.db_create(1))
    assert caught.value.message == "Expected type STRING but found NUMBER."
    with pytest.raises(ReqlError) as caught:
        database.run(r.db(None))
    assert caught.value.kind == ErrorKind.NON_EXISTENCE


def test_a_database_is_no_result(database: RunningDatabase) -> None:
    with pytest.raises(ReqlError) as caught:
        database.run(r.db("test"))
    assert caught.value.message == "Query result must be of type DATUM, GROUPED_DATA, or STREAM (got DATABASE)."


def test_the_number_of_arguments_is_checked(database: RunningDatabase) -> None:
    with pytest.raises(CompileError) as caught:
        database.run(r.db_create("a", "b"))
    assert caught.value.message == "Expected 1 argument but found 2."
