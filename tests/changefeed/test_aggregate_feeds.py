"""Feeds on `count`, `sum` and `avg` as the official driver sees them, from one process and from five."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from rethinkdb import errors, r

from tests.running_suite import RunningSuite

WAIT_S = 120  # for what must come; that it does not is the failure


@pytest.fixture(scope="module", params=[False, True], ids=["one process", "processes"])
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    with RunningSuite(tmp_path_factory.mktemp("data"), processes=request.param) as running:
        yield running


@pytest.fixture
def conn(suite: RunningSuite) -> Iterator[Any]:
    with r.connect(port=suite.driver_port) as connection:
        yield connection


names = (f"t{number}" for number in itertools.count())


@pytest.fixture
def table(conn: Any) -> Iterator[Any]:
    name = next(names)
    r.table_create(name).run(conn)
    yield r.table(name)
    r.table_drop(name).run(conn)


def test_a_count(conn: Any, table: Any) -> None:
    table.insert([{"id": 1, "n": 1}, {"id": 2, "n": 5}]).run(conn)
    every = table.count().changes(include_initial=True, include_states=True, include_types=True).run(conn)
    some = table.filter(r.row["n"] > 3).count().changes(include_initial=True).run(conn)
    equal = table["n"].count(5).changes().run(conn)
    fulfil = table.count(lambda row: row["n"] > 3).changes().run(conn)
    assert [every.next(wait=WAIT_S) for _ in range(3)] == [
        {"state": "initializing", "type": "state"},
        {"new_val": 2, "type": "initial"},
        {"state": "ready", "type": "state"},
    ]
    assert some.next(wait=WAIT_S) == {"new_val": 1}
    table.get(1).update({"n": 5}).run(conn)  # leaves the count of all as it is
    for feed in (some, equal, fulfil):
        assert feed.next(wait=WAIT_S) == {"old_val": 1, "new_val": 2}
    table.get(1).delete().run(conn)
    assert every.next(wait=WAIT_S) == {"old_val": 2, "new_val": 1, "type": "change"}
    for feed in (some, equal, fulfil):
        assert feed.next(wait=WAIT_S) == {"old_val": 2, "new_val": 1}


def test_a_sum_and_an_average(conn: Any, table: Any) -> None:
    total = table.sum("n").changes(include_initial=True).run(conn)
    mean = table.avg(lambda row: row["n"] * 2).changes(include_initial=True).run(conn)
    assert total.next(wait=WAIT_S) == {"new_val": 0}
    table.insert([{"id": 1, "n": 1}, {"id": 2, "n": 2.5}, {"id": 3}]).run(conn)
    assert total.next(wait=WAIT_S) == {"old_val": 0, "new_val": 3.5}
    assert mean.next(wait=WAIT_S) == {"old_val": None, "new_val": 3.5}
    table.delete().run(conn)
    assert total.next(wait=WAIT_S) == {"old_val": 3.5, "new_val": 0}
    assert mean.next(wait=WAIT_S) == {"old_val": 3.5, "new_val": None}


def test_groups(conn: Any, table: Any) -> None:
    table.insert([{"id": 1, "x": "a", "y": 1}, {"id": 2, "x": "a", "y": 2}, {"id": 3, "x": "b", "y": 3}]).run(conn)
    sums = table.group("x").sum("y").changes(include_initial=True).run(conn)
    counts = table.group("x").filter(r.row["y"] > 1).count().changes().run(conn)
    assert {(row["group"], row["new_val"]) for row in (sums.next(wait=WAIT_S), sums.next(wait=WAIT_S))} == {
        ("a", 3),
        ("b", 3),
    }
    table.get(2).update({"x": "b"}).run(conn)
    found = [sums.next(wait=WAIT_S), sums.next(wait=WAIT_S)]
    assert sorted(found, key=lambda row: str(row["group"])) == [
        {"group": "a", "old_val": 3, "new_val": 1},
        {"group": "b", "old_val": 3, "new_val": 5},
    ]
    found = [counts.next(wait=WAIT_S), counts.next(wait=WAIT_S)]
    assert sorted(found, key=lambda row: str(row["group"])) == [
        {"group": "a", "old_val": 1, "new_val": None},
        {"group": "b", "old_val": 1, "new_val": 2},
    ]


def test_an_aggregate_while_others_write(suite: RunningSuite, conn: Any, table: Any) -> None:
    def write(first: int) -> None:
        with r.connect(port=suite.driver_port) as connection:
            for number in range(first, 300, 3):
                table.insert({"id": number, "x": number % 5, "n": number}).run(connection)
                if number % 4 == 0:
                    table.get(number).update({"n": r.row["n"] + 1}).run(connection)

    writers = [threading.Thread(target=write, args=(first,)) for first in range(3)]
    for writer in writers:
        writer.start()
    feed = table.group("x").sum("n").changes(include_initial=True).run(conn)
    for writer in writers:
        writer.join()
    expected = {group: sum(n + (n % 4 == 0) for n in range(group, 300, 5)) for group in range(5)}
    values: dict[int, int] = {}
    while values != expected:
        row = feed.next(wait=WAIT_S)
        assert row.get("old_val") == values.get(row["group"])
        values[row["group"]] = row["new_val"]


def test_a_row_without_a_number_ends_the_feed(conn: Any, table: Any) -> None:
    feed = table.sum("n").changes().run(conn)
    other = table.sum("n").changes().run(conn)
    table.insert({"id": 1, "n": "one"}).run(conn)
    for sums in (feed, other):
        with pytest.raises(errors.ReqlQueryLogicError, match="Expected type NUMBER but found STRING"):
            sums.next(wait=WAIT_S)
    table.delete().run(conn)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (lambda t: r.expr([1, 2]).count().changes(), "Cannot call `changes` on an eager stream."),
        (lambda t: t.get(1).count().changes(), "Cannot call `changes` on an eager stream."),
        (lambda t: t.union(t).count().changes(), "Cannot call `changes` on an aggregate of several selections."),
        (lambda t: t.order_by(index="id").limit(3).count().changes(), "Cannot call `changes` on an aggregate of the"),
        (lambda t: t.sum(lambda row: r.random()).changes(), "Cannot call `changes` after a non-deterministic function"),
        (lambda t: t.count().changes(include_offsets=True), "Unrecognized optional argument `include_offsets`."),
        (lambda t: t.count().add(1).changes(), "Cannot convert NUMBER to SEQUENCE"),
        (
            lambda t: r.db("rethinkdb").table("server_status").count().changes(),
            "Cannot call `changes` on an aggregate of a system table.",
        ),
    ],
)
def test_what_has_no_feed(conn: Any, table: Any, query: Any, message: str) -> None:
    with pytest.raises((errors.ReqlQueryLogicError, errors.ReqlServerCompileError), match=message):
        query(table).run(conn)
