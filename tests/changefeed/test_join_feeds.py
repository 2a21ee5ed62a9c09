"""Feeds on `eq_join` as the official driver sees them, from one process and from five."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
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


numbers = itertools.count()


@pytest.fixture
def tables(conn: Any) -> tuple[Any, Any]:
    """Orders, and customers with an index on their tags."""
    number = next(numbers)
    orders, customers = r.table(f"orders{number}"), r.table(f"customers{number}")
    for name in (f"orders{number}", f"customers{number}"):
        r.table_create(name, durability="soft").run(conn)
    customers.index_create("tags", multi=True).run(conn)
    customers.index_wait().run(conn)
    return orders, customers


def test_changes_of_both_sides_are_told(conn: Any, tables: tuple[Any, Any]) -> None:
    orders, customers = tables
    orders.insert({"id": 1, "by": "ada"}).run(conn)
    customers.insert({"id": "ada", "city": "Rome"}).run(conn)
    joined = orders.eq_join("by", customers).zip().pluck("by", "city")
    feed = joined.changes(include_initial=True, include_states=True, include_types=True).run(conn)
    assert [feed.next(wait=WAIT_S) for _ in range(3)] == [
        {"state": "initializing", "type": "state"},
        {"new_val": {"by": "ada", "city": "Rome"}, "type": "initial"},
        {"state": "ready", "type": "state"},
    ]
    customers.get("ada").update({"city": "Oslo"}).run(conn)
    moved = {"old_val": {"by": "ada", "city": "Rome"}, "new_val": {"by": "ada", "city": "Oslo"}, "type": "change"}
    assert feed.next(wait=WAIT_S) == moved
    orders.insert([{"id": 2, "by": "ada"}, {"id": 3, "by": "nobody"}, {"id": 4}]).run(conn)
    assert feed.next(wait=WAIT_S) == {"old_val": None, "new_val": {"by": "ada", "city": "Oslo"}, "type": "add"}
    customers.insert({"id": "nobody", "city": "-"}).run(conn)
    assert feed.next(wait=WAIT_S) == {"old_val": None, "new_val": {"by": "nobody", "city": "-"}, "type": "add"}
    orders.get(3).update({"by": "ada"}).run(conn)
    new = {"by": "ada", "city": "Oslo"}
    assert feed.next(wait=WAIT_S) == {"old_val": {"by": "nobody", "city": "-"}, "new_val": new, "type": "change"}
    customers.get("ada").delete().run(conn)
    for _ in range(3):
        assert feed.next(wait=WAIT_S) == {"old_val": new, "new_val": None, "type": "remove"}
    feed.close()


JOINS: dict[str, Callable[[Any, Any], Any]] = {
    "primary key": lambda orders, customers: orders.eq_join("by", customers),
    "index": lambda orders, customers: orders.filter(r.row["n"] < 4).eq_join("tag", customers, index="tags").zip(),
    "without ids": lambda orders, customers: orders.map(lambda row: {"by": row["by"]}).eq_join("by", customers),
    "after a filter": lambda orders, customers: orders.eq_join("by", customers).filter(r.row["right"]["n"] > 2),
}


@pytest.mark.parametrize("name", JOINS)
@pytest.mark.parametrize("initial", [False, True])
def test_what_is_told_adds_up_to_the_join(conn: Any, tables: tuple[Any, Any], name: str, initial: bool) -> None:
    choose = random.Random(f"{name} {initial}")
    orders, customers = tables

    def write() -> Any:
        key, n, tag = choose.randrange(6), choose.randrange(6), choose.choice("abc")
        if choose.random() < 0.2:
            return choose.choice([orders, customers]).get(key).delete()
        if choose.random() < 0.5:
            return orders.insert({"id": key, "n": n, "by": choose.randrange(6), "tag": tag}, conflict="replace")
        tags = [choose.choice("abc") for _ in range(choose.randrange(3))]
        return customers.insert({"id": key, "n": n, "tags": tags}, conflict="replace")

    for _ in range(20):
        write().run(conn)
    joined = JOINS[name](orders, customers)
    known = Counter() if initial else Counter(map(canonical, joined.run(conn)))
    feed = joined.changes(include_initial=initial).run(conn)
    for _ in range(40):
        write().run(conn)
    customers.insert({"id": "end", "n": 5, "tags": ["end"]}).run(conn)
    orders.insert({"id": "end", "n": 0, "by": "end", "tag": "end"}).run(conn)
    while not any('"end"' in row for row in known):
        fold(known, feed.next(wait=WAIT_S))
    assert known == Counter(map(canonical, joined.run(conn)))
    feed.close()


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def fold(known: Counter[str], notice: Any) -> None:
    """Take in what a feed tells: what it says was there must be known."""
    if notice.get("old_val") is not None:
        old = canonical(notice["old_val"])
        assert known[old] > 0
        known[old] -= 1
        if not known[old]:
            del known[old]
    if notice["new_val"] is not None:
        known[canonical(notice["new_val"])] += 1


def test_errors(conn: Any, tables: tuple[Any, Any]) -> None:
    orders, customers = tables
    joined = orders.eq_join("by", customers)
    for options in ({"include_position": True}, {"since": r.now()}, {"group": "g"}, {"include_offsets": True}):
        with pytest.raises(errors.ReqlQueryLogicError, match="A feed on a join has neither offsets nor a position"):
            joined.changes(**options).run(conn)
    with pytest.raises(errors.ReqlQueryLogicError, match="Cannot call `changes` on the join of a union"):
        orders.union(customers).eq_join("by", customers).changes().run(conn)
    with pytest.raises(errors.ReqlQueryLogicError, match="eager stream"):
        r.expr([{"by": 1}]).eq_join("by", customers).changes().run(conn)
    orders.insert(r.range(3).map(lambda number: {"by": number})).run(conn)
    with pytest.raises(errors.ReqlResourceLimitError, match="remembers the rows of its left side"):
        joined.changes().run(conn, array_limit=2)


def test_it_ends_with_an_error_when_a_side_is_dropped(conn: Any, tables: tuple[Any, Any]) -> None:
    orders, customers = tables
    feed = orders.eq_join("by", customers).changes().run(conn)
    r.table_drop(customers.info()["name"].run(conn)).run(conn)
    with pytest.raises(errors.ReqlOpFailedError, match="Changefeed aborted"):
        feed.next(wait=WAIT_S)
