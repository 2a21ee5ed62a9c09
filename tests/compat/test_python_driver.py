"""What the official Python driver's own integration tests call, in our words: connections, cursors, writes, indexes."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from rethinkdb import RethinkDB, r
from rethinkdb.errors import (
    ReqlCursorEmpty,
    ReqlDriverError,
    ReqlNonExistenceError,
    ReqlOpFailedError,
    ReqlServerCompileError,
    ReqlUserError,
)

from tests.running_suite import RunningSuite

TABLE = r.table("marvel")
HEROES = [
    {"id": 1, "hero": "Iron Man", "name": "Tony Stark", "appearances": 171},
    {"id": 2, "hero": "Wolverine", "name": "James Howlett", "appearances": 220},
    {"id": 3, "hero": "Thor", "name": "Thor Odinson", "appearances": 143},
]


@pytest.fixture
def conn(suite: RunningSuite) -> Iterator[Any]:
    """A connection whose database `drivers` is empty but for the table `marvel` with three heroes."""
    connection = r.connect(port=suite.driver_port)
    if "drivers" in r.db_list().run(connection):
        r.db_drop("drivers").run(connection)
    r.db_create("drivers").run(connection)
    connection.use("drivers")
    r.table_create("marvel").run(connection)
    TABLE.insert(HEROES).run(connection)
    yield connection
    connection.close()


# --- connections


def test_a_connection_tells_about_its_server(conn: Any) -> None:
    server = conn.server()
    assert set(server) == {"id", "name", "proxy"}
    assert server["proxy"] is False


def test_a_connection_can_be_closed_and_opened_again(conn: Any) -> None:
    assert conn.is_open()
    conn.close()
    assert not conn.is_open()
    with pytest.raises(ReqlDriverError):
        TABLE.run(conn)
    conn.reconnect()
    assert TABLE.count().run(conn) == 3


def test_a_wrong_password_is_refused(suite: RunningSuite) -> None:
    with pytest.raises(ReqlDriverError, match=r"Wrong password|password"):
        r.connect(port=suite.driver_port, user="admin", password="wrong")


def test_a_connection_may_be_a_context_and_the_default(suite: RunningSuite, conn: Any) -> None:
    with r.connect(port=suite.driver_port, db="drivers") as other:
        assert TABLE.count().run(other) == 3
        other.repl()
        assert TABLE.get(1)["hero"].run() == "Iron Man"


def test_many_connections_share_a_server(suite: RunningSuite, conn: Any) -> None:
    connections = [r.connect(port=suite.driver_port, db="drivers") for _ in range(50)]
    assert [TABLE.get(2)["hero"].run(connection) for connection in connections] == ["Wolverine"] * 50
    for connection in connections:
        connection.close()


# --- cursors


def test_cursors_of_one_connection_do_not_disturb_each_other(conn: Any) -> None:
    r.table_create("numbers").run(conn)
    r.table("numbers").insert(r.range(1000).map(lambda number: {"id": number})).run(conn)
    first = r.table("numbers").order_by(index="id").run(conn, max_batch_rows=7)
    second = r.table("numbers").order_by(index=r.desc("id")).run(conn, max_batch_rows=11)
    pairs = [(next(first)["id"], next(second)["id"]) for _ in range(1000)]
    assert pairs == [(number, 999 - number) for number in range(1000)]
    with pytest.raises(ReqlCursorEmpty):
        first.next(wait=False)


def test_a_cursor_that_is_closed_is_over_and_the_connection_goes_on(conn: Any) -> None:
    r.table_create("numbers").run(conn)
    r.table("numbers").insert(r.range(300).map(lambda number: {"id": number})).run(conn)
    cursor = r.table("numbers").run(conn, max_batch_rows=5)
    next(cursor)
    cursor.close()
    assert len(list(cursor_rest(cursor))) < 299  # no more than what had arrived
    assert r.table("numbers").count().run(conn) == 300


def test_an_error_in_the_middle_of_a_stream_comes_where_it_happens(conn: Any) -> None:
    r.table_create("numbers").run(conn)
    r.table("numbers").insert(r.range(2000).map(lambda number: {"id": number})).run(conn)
    failing = r.branch(r.row["id"] < 1000, r.row["id"], r.error("half way"))
    cursor = r.table("numbers").order_by(index="id").map(failing).run(conn, max_batch_rows=10)
    seen: list[int] = []
    with pytest.raises(ReqlUserError, match="half way"):
        seen.extend(cursor)
    assert seen == list(range(len(seen)))
    assert 0 < len(seen) <= 1000


def cursor_rest(cursor: Any) -> Iterator[Any]:
    """What a closed cursor still gives."""
    try:
        while True:
            yield cursor.next(wait=False)
    except (ReqlCursorEmpty, ReqlDriverError):
        return


# --- writes


def test_inserts_count_what_they_did(conn: Any) -> None:
    result = TABLE.insert([{"hero": "Hulk"}, {"id": 1, "hero": "twice"}], return_changes="always").run(conn)
    assert (result["inserted"], result["errors"]) == (1, 1)
    assert "Duplicate primary key `id`" in result["first_error"]
    assert len(result["generated_keys"]) == 1
    assert [change["new_val"]["hero"] for change in result["changes"]] == ["Hulk", "Iron Man"]


@pytest.mark.parametrize(("conflict", "hero", "name"), [("replace", "new", None), ("update", "new", "Tony Stark")])
def test_conflicts_are_settled_as_asked(conn: Any, conflict: str, hero: str, name: str | None) -> None:
    TABLE.insert({"id": 1, "hero": "new"}, conflict=conflict).run(conn)
    found = TABLE.get(1).run(conn)
    assert (found["hero"], found.get("name")) == (hero, name)


def test_updates_replaces_and_deletes(conn: Any) -> None:
    assert TABLE.update({"rank": 1}).run(conn)["replaced"] == 3
    assert TABLE.update({"rank": 1}).run(conn)["unchanged"] == 3
    assert TABLE.filter(r.row["appearances"] > 150).update({"much": True}, durability="soft").run(conn)["replaced"] == 2
    assert TABLE.get(3).replace(r.row.without("name")).run(conn)["replaced"] == 1
    with pytest.raises(ReqlNonExistenceError):
        TABLE.get(3)["name"].run(conn)
    assert TABLE.get(3).delete(return_changes=True).run(conn)["changes"][0]["new_val"] is None
    assert TABLE.delete().run(conn)["deleted"] == 2


def test_a_write_hook_changes_what_is_written(conn: Any) -> None:
    TABLE.set_write_hook(lambda context, old, new: new.merge({"hooked": context["timestamp"].type_of()})).run(conn)
    TABLE.insert({"id": 9}).run(conn)
    assert TABLE.get(9)["hooked"].run(conn) == "PTYPE<TIME>"
    assert "function" in TABLE.get_write_hook().run(conn)
    TABLE.set_write_hook(None).run(conn)
    assert TABLE.get_write_hook().run(conn) is None


# --- databases, tables, indexes


def test_databases_and_tables_come_and_go(conn: Any) -> None:
    with pytest.raises(ReqlOpFailedError, match="Database `drivers` already exists"):
        r.db_create("drivers").run(conn)
    assert r.table_create("villains", primary_key="alias").run(conn)["tables_created"] == 1
    assert sorted(r.table_list().run(conn)) == ["marvel", "villains"]
    assert r.table("villains").info().run(conn)["primary_key"] == "alias"
    assert r.table_drop("villains").run(conn)["tables_dropped"] == 1
    with pytest.raises(ReqlOpFailedError, match=r"Table `drivers.villains` does not exist"):
        r.table("villains").run(conn)


def test_indexes_of_every_kind(conn: Any) -> None:
    TABLE.index_create("hero").run(conn)
    TABLE.index_create("initial", r.row["hero"].split("").nth(0)).run(conn)
    TABLE.index_create("both", [r.row["hero"], r.row["appearances"]]).run(conn)
    TABLE.index_create("letters", r.row["hero"].split(""), multi=True).run(conn)
    assert all(status["ready"] for status in TABLE.index_wait().run(conn))
    assert sorted(TABLE.index_list().run(conn)) == ["both", "hero", "initial", "letters"]
    assert list(TABLE.get_all("T", index="initial")["hero"].run(conn)) == ["Thor"]
    assert [row["id"] for row in TABLE.get_all(["Thor", 143], index="both").run(conn)] == [3]
    assert TABLE.get_all("r", index="letters").count().run(conn) == 3
    TABLE.index_rename("both", "pair").run(conn)
    TABLE.index_drop("letters").run(conn)
    assert sorted(TABLE.index_list().run(conn)) == ["hero", "initial", "pair"]


# --- values


def test_times_go_there_and_back(conn: Any) -> None:
    zone = r.make_timezone("+02:00")
    when = datetime.datetime(2026, 5, 6, 7, 8, 9, 123000, tzinfo=zone)
    assert r.expr(when).run(conn) == when
    assert r.expr(when).to_iso8601().run(conn) == "2026-05-06T07:08:09.123+02:00"
    assert r.expr(when).in_timezone("Z").hours().run(conn) == 5
    assert (r.now() - r.now()).run(conn) == 0
    assert r.now().run(conn, time_format="raw")["$reql_type$"] == "TIME"


def test_bad_queries_are_refused_before_they_run(conn: Any) -> None:
    with pytest.raises(ReqlServerCompileError, match="Unrecognized optional argument `nonsense`"):
        TABLE.filter({}, nonsense=1).run(conn)


# --- the driver's other loops


async def test_the_asyncio_driver_runs_many_queries_at_once(suite: RunningSuite, conn: Any) -> None:
    driver = RethinkDB()
    driver.set_loop_type("asyncio")
    connection = await driver.connect(port=suite.driver_port, db="drivers")
    try:
        answers = await asyncio.gather(*(r.expr(number).add(1).run(connection) for number in range(200)))
        assert answers == list(range(1, 201))
        feed = await TABLE.changes().run(connection)
        await TABLE.get(1).update({"seen": True}).run(connection)
        change = await asyncio.wait_for(feed.next(), 120)
        assert change["new_val"]["seen"] is True
        await feed.close()
    finally:
        await connection.close()
