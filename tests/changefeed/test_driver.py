"""Feeds as the official driver sees them, from one process, from five, and of tables spread over storage nodes."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from rethinkdb import errors, r

from tests.running_suite import RunningSuite

WAIT_S = 120  # for what must come; that it does not is the failure


SPREAD = ("--storage-nodes", "3", "--default-shards", "3")
"""Every table has a part on each of three storage nodes."""


@pytest.fixture(
    scope="module", params=[(False, ()), (True, ()), (True, SPREAD)], ids=["one process", "processes", "spread tables"]
)
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    processes, arguments = request.param
    with RunningSuite(tmp_path_factory.mktemp("data"), processes=processes, arguments=arguments) as running:
        yield running


@pytest.fixture
def conn(suite: RunningSuite) -> Iterator[Any]:
    connection = r.connect(port=suite.driver_port)
    yield connection
    connection.close()


names = (f"t{number}" for number in itertools.count())


@pytest.fixture
def table(conn: Any) -> Iterator[Any]:
    name = next(names)
    r.table_create(name).run(conn)
    yield r.table(name)
    if name in r.table_list().run(conn):
        r.table_drop(name).run(conn)


def index(table: Any, conn: Any, name: str, *args: Any, **options: Any) -> None:
    table.index_create(name, *args, **options).run(conn)
    table.index_wait(name).run(conn)


def fetch(cursor: Any, count: int) -> list[Any]:
    return [cursor.next(wait=WAIT_S) for _ in range(count)]


def test_changes_of_a_table_a_selection_and_a_document(conn: Any, table: Any) -> None:
    index(table, conn, "a")
    every = table.changes().run(conn)
    some = table.get_all(1, 2, index="a").filter(r.row["b"] > 0).pluck("id", "a").changes().run(conn)
    one = table.get("x").changes().run(conn)
    table.insert([{"id": "x", "a": 1, "b": 0}, {"id": "y", "a": 3}]).run(conn)
    table.get("x").update({"b": 1}).run(conn)
    table.get("x").update({"a": 5}).run(conn)
    table.get("x").delete().run(conn)
    assert len(fetch(every, 5)) == 5
    assert fetch(some, 2) == [
        {"old_val": None, "new_val": {"id": "x", "a": 1}},
        {"old_val": {"id": "x", "a": 1}, "new_val": None},
    ]
    assert [notice["new_val"] for notice in fetch(one, 4)] == [
        {"id": "x", "a": 1, "b": 0},
        {"id": "x", "a": 1, "b": 1},
        {"id": "x", "a": 5, "b": 1},
        None,
    ]


def test_what_follows_changes_is_applied_to_the_notices(conn: Any, table: Any) -> None:
    feed = table.changes().filter(r.row["new_val"]["n"] > 1)["new_val"]["n"].limit(2).run(conn)
    table.insert([{"n": 1}, {"n": 2}]).run(conn)
    table.insert({"n": 3}).run(conn)
    assert list(feed) == [2, 3]


def test_a_feed_mapped_together_with_other_sequences_does_not_wait_for_more(conn: Any, table: Any) -> None:
    feed = r.map(table.changes(), r.range(), lambda change, number: [number, change["new_val"]["id"]]).run(conn)
    table.insert({"id": "a"}).run(conn)
    assert feed.next(wait=WAIT_S) == [0, "a"]


def test_a_feed_joined_with_a_table(conn: Any, table: Any) -> None:
    table.insert({"id": 1, "name": "one"}).run(conn)
    feed = table.changes()["new_val"].eq_join("other", table).run(conn)
    table.insert({"id": 2, "other": 1}).run(conn)
    assert feed.next(wait=WAIT_S) == {"left": {"id": 2, "other": 1}, "right": {"id": 1, "name": "one"}}


def test_a_feed_with_a_limit_is_a_finite_sequence(conn: Any, table: Any) -> None:
    table.insert({"id": 1}).run(conn)
    feed = table.changes(include_initial=True).limit(1).coerce_to("array")
    assert feed.run(conn) == [{"new_val": {"id": 1}}]


@pytest.mark.parametrize(("term", "first", "better"), [("min", {"id": 2, "a": 7}, 6), ("max", {"id": 1, "a": 8}, 9)])
def test_the_first_and_the_last_document_of_an_index(
    conn: Any, table: Any, term: str, first: dict[str, int], better: int
) -> None:
    index(table, conn, "a")
    empty = getattr(table, term)(index="a").changes(include_initial=True).run(conn)
    table.insert([{"id": 1, "a": 8}, {"id": 2, "a": 7}]).run(conn)
    feed = getattr(table, term)(index="a").changes(include_initial=True).run(conn)
    table.insert({"id": 3, "a": better}).run(conn)
    assert fetch(feed, 2) == [{"new_val": first}, {"old_val": first, "new_val": {"id": 3, "a": better}}]
    assert empty.next(wait=WAIT_S)["old_val"] is None


def test_order_by_and_limit(conn: Any, table: Any) -> None:
    index(table, conn, "score")
    feed = table.order_by(index=r.desc("score")).limit(2).changes(include_initial=True, include_offsets=True).run(conn)
    table.insert([{"id": number, "score": number} for number in range(3)]).run(conn)
    rows: list[Any] = []
    while rows != [{"id": 2, "score": 2}, {"id": 1, "score": 1}]:
        notice = feed.next(wait=WAIT_S)
        if notice.get("old_offset") is not None:
            rows.pop(notice["old_offset"])
        if notice["new_offset"] is not None:
            rows.insert(notice["new_offset"], notice["new_val"])


def test_the_union_of_selections_and_of_feeds(conn: Any, table: Any) -> None:
    table.insert([{"id": 1}, {"id": 2}]).run(conn)
    selections = table.get_all(1).union(table.get_all(2)).changes(include_initial=True, include_states=True).run(conn)
    feeds = r.union(table.get(1).changes(), table.get(2).changes().map(r.row.merge({"second": True}))).run(conn)
    table.update({"a": 1}).run(conn)
    found = fetch(selections, 6)
    assert found[0] == {"state": "initializing"}
    assert found.count({"state": "ready"}) == 1
    assert {notice["new_val"]["id"] for notice in found if "old_val" in notice} == {1, 2}
    assert {(notice["new_val"]["id"], notice.get("second")) for notice in fetch(feeds, 2)} == {(1, None), (2, True)}


def test_feeds_tell_the_driver_what_they_are(conn: Any, table: Any) -> None:
    def notes(query: Any) -> set[int]:
        response = []
        cursor = query.run(conn)
        extend = cursor._extend
        cursor._extend = lambda buffer: (response.append(buffer), extend(buffer))
        table.insert({"n": 1}).run(conn)
        cursor.next(wait=WAIT_S)
        cursor.close()
        found: set[int] = set(json.loads(response[0])["n"])
        return found

    assert notes(table.changes()) == {1}
    assert notes(table.get(1).changes(include_initial=True)) == {2}
    assert notes(table.order_by(index="id").limit(10).changes(include_states=True)) == {3, 5}
    assert notes(table.changes().union(table.order_by(index="id").limit(10).changes())) == {4}


def test_closing_a_cursor_ends_its_feed_and_no_other(conn: Any, table: Any) -> None:
    feeds = [table.changes().run(conn) for _ in range(2)]
    feeds[0].close()
    table.insert({"id": 1}).run(conn)
    assert feeds[1].next(wait=WAIT_S)["new_val"] == {"id": 1}
    with pytest.raises(errors.ReqlCursorEmpty):
        feeds[0].next()


def test_a_feed_waits_while_its_connection_does_other_things(conn: Any, table: Any) -> None:
    feed = table.changes().run(conn)
    with pytest.raises(errors.ReqlTimeoutError):
        feed.next(wait=0.01)
    assert table.count().run(conn) == 0
    table.insert({"id": 1}).run(conn)
    assert feed.next(wait=WAIT_S)["new_val"] == {"id": 1}


def test_a_dropped_table_ends_its_feeds(conn: Any, table: Any) -> None:
    feed = table.changes().run(conn)
    table.insert({"id": 1}).run(conn)
    name = table.info()["name"].run(conn)
    r.table_drop(name).run(conn)
    assert feed.next(wait=WAIT_S)["new_val"] == {"id": 1}
    with pytest.raises(errors.ReqlOpFailedError, match="Changefeed aborted"):
        feed.next(wait=WAIT_S)


def test_many_connections_hear_what_others_write(suite: RunningSuite, conn: Any, table: Any) -> None:
    heard: list[Any] = []

    def listen() -> None:
        with r.connect(port=suite.driver_port) as connection:
            feed = table.changes(include_initial=True).run(connection)
            heard.append(sorted(notice["new_val"]["id"] for notice in fetch(feed, 300)))

    listeners = [threading.Thread(target=listen) for _ in range(8)]
    for number, listener in enumerate(listeners):
        listener.start()
        table.insert([{"id": number * 20 + place} for place in range(20)]).run(conn)
    table.insert([{"id": number} for number in range(160, 300)]).run(conn)
    for listener in listeners:
        listener.join()
    assert heard == [list(range(300))] * 8


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (lambda t: r.expr([1]).changes(), "Cannot call `changes` on an eager stream."),
        (lambda t: t.order_by("a").changes(), "Cannot call `changes` on an eager stream."),
        (lambda t: t.order_by(index="id").skip(1).changes(), "Cannot call `changes` on an eager stream."),
        (lambda t: r.expr(1).changes(), "Cannot convert NUMBER to SEQUENCE"),
        (lambda t: t.limit(1).changes(), "Cannot get changes on the first elements of an unordered stream."),
        (lambda t: t.union(t).limit(1).changes(), "Cannot call `changes` on a slice of a union."),
        (
            lambda t: t.order_by(index="id").limit(1).pluck("a").changes(),
            "Changefeeds are not supported on queries that have a transformation following a `limit` term.",
        ),
        (lambda t: t.concat_map(lambda row: [row]).changes(), "Cannot call `changes` after `concat_map`."),
        (lambda t: t.group("a").changes(), "Cannot call `changes` after `group`."),
        (
            lambda t: t.map(lambda row: r.random()).changes(),
            "Cannot call `changes` after a non-deterministic function.",
        ),
        (
            lambda t: t.filter(lambda row: t.get(1)["a"] == 1).changes(),
            "Cannot call `changes` after a non-deterministic function.",
        ),
        (lambda t: t.changes(include_offsets=True), "Cannot include offsets for range subs."),
        (lambda t: t.get(1).changes(include_offsets=True), "Cannot include offsets for point subs."),
        (
            lambda t: t.changes(squash=-1),
            "Expected BOOL or a positive NUMBER but found a negative NUMBER.",
        ),
        (lambda t: t.changes(squash="no"), "Expected BOOL or NUMBER but found STRING."),
        (
            lambda t: t.changes(changefeed_queue_size=0),
            r"Illegal changefeed queue size `0`.  \(Must be >= 1.\)",
        ),
        (
            lambda t: t.order_by(index="id").limit(100001).changes(),
            r"Array size limit `100000` exceeded.  \(`.limit\(X\).changes\(\)` is illegal if X is larger than the "
            r"array size limit.\)",
        ),
        (
            lambda t: t.changes().count(),
            r"Cannot call a terminal \(`reduce`, `count`, etc.\) on an infinite stream \(such as a changefeed\).",
        ),
        (
            lambda t: t.changes().order_by("a"),
            r"Cannot call a terminal \(`reduce`, `count`, etc.\) on an infinite stream \(such as a changefeed\).",
        ),
    ],
)
def test_what_has_no_feed(conn: Any, table: Any, query: Any, message: str) -> None:
    with pytest.raises((errors.ReqlQueryLogicError, errors.ReqlResourceLimitError), match=message):
        query(table).run(conn)


def test_a_feed_on_no_keys_at_all_never_tells_of_anything(conn: Any, table: Any) -> None:
    assert list(table.get_all().run(conn)) == []
    feed = table.get_all().changes(include_initial=True, include_states=True).run(conn)
    assert fetch(feed, 2) == [{"state": "initializing"}, {"state": "ready"}]
    table.insert({"id": 1}).run(conn)
    with pytest.raises(errors.ReqlTimeoutError):
        feed.next(wait=0.05)
    with pytest.raises(errors.ReqlQueryLogicError, match="Cannot include offsets for empty subs"):
        table.get_all().changes(include_offsets=True).run(conn)


def test_an_index_that_is_not_there(conn: Any, table: Any) -> None:
    with pytest.raises(errors.ReqlOpFailedError, match="Index `nothing` was not found"):
        table.order_by(index="nothing").limit(1).changes().run(conn)


def test_steps_may_use_the_time_and_constants_of_the_query(conn: Any, table: Any) -> None:
    limit = r.expr(5)
    feed = limit.do(lambda low: table.filter(lambda row: (row["a"] > low) & (r.now() > 0)).changes()).run(conn)
    table.insert([{"id": 1, "a": 5}, {"id": 2, "a": 6}]).run(conn)
    assert feed.next(wait=WAIT_S)["new_val"]["id"] == 2


def test_a_feed_goes_on_where_another_one_stopped(suite: RunningSuite, conn: Any, table: Any) -> None:
    def feed(connection: Any, **options: Any) -> Any:
        return table.filter(lambda row: row["n"] > 0).changes(include_position=True, **options).run(connection)

    with r.connect(port=suite.driver_port) as first:
        state = feed(first).next(wait=WAIT_S)
        assert state == {"state": "ready", "position": state["position"]}
    position = state["position"]
    seen = []
    for number in range(1, 6):  # a client that takes one change and is gone
        table.insert([{"id": number, "n": number}, {"id": -number, "n": -number}]).run(conn)
        with r.connect(port=suite.driver_port) as again:
            _, change = fetch(feed(again, resume=position), 2)
            position = change["position"]
            seen.append(change["new_val"]["n"])
    assert seen == [1, 2, 3, 4, 5]


def test_changes_since_a_time(conn: Any, table: Any) -> None:
    table.insert({"id": 1}).run(conn)
    time.sleep(0.01)  # times are kept to the millisecond
    between = r.now().run(conn)
    table.insert({"id": 2}).run(conn)
    assert table.changes(since=between).run(conn).next(wait=WAIT_S)["new_val"] == {"id": 2}
    assert fetch(table.changes(since=r.expr(between) - 1000)["new_val"]["id"].run(conn), 2) == [1, 2]


def test_a_feed_has_one_beginning(conn: Any, table: Any) -> None:
    for options in ({"include_initial": True, "resume": "x"}, {"since": r.now(), "resume": "x"}):
        with pytest.raises(errors.ReqlQueryLogicError, match="A feed has one beginning"):
            table.changes(**options).run(conn)


@pytest.mark.parametrize("options", [{"include_position": True}, {"resume": "x"}, {"since": r.now()}])
def test_what_has_no_position(conn: Any, table: Any, options: Any) -> None:
    for query in (table.order_by(index="id").limit(3), table.min(index="id")):
        with pytest.raises(errors.ReqlQueryLogicError, match="on the first rows of an order"):
            query.changes(**options).run(conn)
    with pytest.raises(errors.ReqlQueryLogicError, match="on several selections"):
        table.union(table).changes(**options).run(conn)
    with pytest.raises(errors.ReqlOpFailedError, match="system table has no position"):
        r.db("rethinkdb").table("users").changes(**options).run(conn)


def test_squashed_changes_have_no_position(conn: Any, table: Any) -> None:
    with pytest.raises(errors.ReqlQueryLogicError, match="squash"):
        table.changes(include_position=True, squash=True).run(conn)


# --- system tables

SYSTEM = r.db("rethinkdb")


def test_a_feed_on_a_system_table(conn: Any) -> None:
    scratch = SYSTEM.table("_debug_scratch")
    scratch.insert({"id": 1, "n": 0}).run(conn)
    feed = scratch.changes(include_initial=True, include_states=True, include_types=True).run(conn)
    assert fetch(feed, 3) == [
        {"state": "initializing", "type": "state"},
        {"new_val": {"id": 1, "n": 0}, "type": "initial"},
        {"state": "ready", "type": "state"},
    ]
    point = scratch.get(2).changes(include_initial=True).run(conn)
    some = scratch.get_all(1, 2).filter(r.row["n"] > 0).pluck("n")["n"].changes().run(conn)
    assert point.next(wait=WAIT_S) == {"new_val": None}
    scratch.insert({"id": 2, "n": 1}).run(conn)
    added = {"new_val": {"id": 2, "n": 1}, "old_val": None}
    assert feed.next(wait=WAIT_S) == {**added, "type": "add"}
    assert point.next(wait=WAIT_S) == added
    assert some.next(wait=WAIT_S) == {"new_val": 1, "old_val": None}
    scratch.get(2).delete().run(conn)
    removed = {"new_val": None, "old_val": {"id": 2, "n": 1}}
    assert feed.next(wait=WAIT_S) == {**removed, "type": "remove"}
    assert point.next(wait=WAIT_S) == removed
    assert some.next(wait=WAIT_S) == {"new_val": None, "old_val": 1}
    scratch.delete().run(conn)
    assert feed.next(wait=WAIT_S) == {"new_val": None, "old_val": {"id": 1, "n": 0}, "type": "remove"}


def test_feeds_on_the_catalogue_and_on_accounts(suite: RunningSuite, conn: Any) -> None:
    tables = SYSTEM.table("table_config").changes()["new_val"]["name"].run(conn)
    status = SYSTEM.table("table_status").filter({"name": "watched"}).changes()["new_val"]["status"].run(conn)
    users = SYSTEM.table("users").changes().run(conn)
    permissions = SYSTEM.table("permissions").changes()["new_val"]["permissions"].run(conn)
    with r.connect(port=suite.driver_port) as other:
        r.table_create("watched").run(other)
        SYSTEM.table("users").insert({"id": "ada", "password": False}).run(other)
        r.grant("ada", {"read": True}).run(other)
        assert tables.next(wait=WAIT_S) == "watched"
        assert status.next(wait=WAIT_S)["ready_for_writes"]
        assert users.next(wait=WAIT_S) == {"old_val": None, "new_val": {"id": "ada", "password": False}}
        assert permissions.next(wait=WAIT_S) == {"read": True}
        SYSTEM.table("users").get("ada").delete().run(other)
        assert users.next(wait=WAIT_S) == {"old_val": {"id": "ada", "password": False}, "new_val": None}
        r.table_drop("watched").run(other)


def test_feeds_tell_of_shards(conn: Any) -> None:
    name = next(names)
    r.table_create(name, shards=1).run(conn)
    table = r.table(name)
    uuid = table.info()["id"].run(conn)
    status, config = (SYSTEM.table(name).get(uuid).changes().run(conn) for name in ("table_status", "table_config"))
    table.reconfigure(shards=3, replicas=1).run(conn)
    for feed in (status, config):
        change = feed.next(wait=WAIT_S)
        while not change["new_val"].get("status", {"all_replicas_ready": True})["all_replicas_ready"]:
            change = feed.next(wait=WAIT_S)  # on several storage nodes the parts are filled first
        assert len(change["new_val"]["shards"]) == 3


def test_what_changes_by_itself_is_noticed(conn: Any, table: Any) -> None:
    feed = SYSTEM.table("stats").get(["cluster"]).changes(include_initial=True).run(conn)
    before = feed.next(wait=WAIT_S)["new_val"]
    table.insert([{} for _ in range(100)]).run(conn)
    assert feed.next(wait=WAIT_S)["old_val"] == before


def test_system_tables_have_no_feeds_on_first_rows(conn: Any) -> None:
    with pytest.raises(errors.ReqlOpFailedError, match=r"don't support changefeeds on `.limit\(\)`"):
        SYSTEM.table("users").order_by(index="id").limit(1).changes().run(conn)
