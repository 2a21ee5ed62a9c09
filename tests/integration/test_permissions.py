"""What users may not see, by whatever way a query would get at it; and rights that are taken away while it is open."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rethinkdb import r
from rethinkdb.errors import ReqlOpFailedError, ReqlPermissionError, ReqlResourceLimitError

from tests.running_suite import RunningSuite

SECRET, OWN = r.table("secret"), r.table("own")
BATCH_ROWS = 2
"""Few, so that a cursor has more to ask for than the driver does beforehand."""

WAYS: dict[str, Callable[[], Any]] = {
    "one document": lambda: SECRET.get(1),
    "a field of one": lambda: SECRET.get(1)["v"],
    "a document or a default": lambda: SECRET.get(1).default(None),
    "all documents": lambda: SECRET,
    "a range": lambda: SECRET.between(1, 3),
    "by keys": lambda: SECRET.get_all(1, 2),
    "by an index": lambda: SECRET.get_all(4, index="v"),
    "by a covering index": lambda: SECRET.get_all(4, index="ref").pluck("v"),
    "in an index's order": lambda: SECRET.order_by(index="v").limit(2),
    "how many": lambda: SECRET.count(),
    "how many by columns": lambda: SECRET.filter(r.row["v"] > 3).count(),
    "groups": lambda: SECRET.group(index="v").count(),
    "different values of an index": lambda: SECRET.distinct(index="v"),
    "the least of an index": lambda: SECRET.min(index="v"),
    "whether there are any": lambda: r.branch(SECRET.is_empty(), 1, 2),
    "by place": lambda: SECRET.get_intersecting(r.circle([1, 1], 1_000_000), index="g"),
    "partners of a join": lambda: OWN.eq_join("ref", SECRET),
    "partners by an index": lambda: OWN.eq_join("ref", SECRET, index="ref"),
    "a join from the right": lambda: SECRET.inner_join(OWN, lambda left, right: left["ref"] == right["id"]),
    "a sub-query": lambda: OWN.merge(lambda row: {"secret": SECRET.get(row["ref"])}),
    "a sub-query that is computed once": lambda: OWN.filter(lambda row: row["id"] < SECRET.count()),
    "a union": lambda: OWN.union(SECRET),
    "what is inserted": lambda: OWN.insert(SECRET),
    "a table named by an expression": lambda: r.table(r.expr("sec") + "ret").get(1),
    "changes": lambda: SECRET.changes(),
    "changes of one": lambda: SECRET.get(1).changes(include_initial=True),
    "changes of a limit": lambda: SECRET.order_by(index="v").limit(2).changes(include_initial=True),
    "what is known of it": lambda: SECRET.info(),
    "what is known of a range": lambda: SECRET.between(1, 2).info(),
    "its configuration": lambda: SECRET.config(),
    "accounts": lambda: r.db("rethinkdb").table("users"),
    "accounts by the run option": lambda: r.table("users").get("admin"),
    "others' queries": lambda: r.db("rethinkdb").table("jobs"),
    "logs": lambda: r.db("rethinkdb").table("logs"),
}

OPTIONS: list[dict[str, Any]] = [{}, {"cache": True}, {"optimizations": False}, {"atomic": True}, {"profile": True}]


@pytest.fixture(scope="module", params=[(), ("--processes", "--fronts", "2", "--storage-nodes", "2")])
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    data_dir = tmp_path_factory.mktemp("permissions") / "data"
    with RunningSuite(data_dir, processes=False, arguments=request.param) as running:
        with r.connect(port=running.driver_port) as admin:
            for name in ("secret", "own"):
                r.table_create(name).run(admin)
            SECRET.index_create("v").run(admin)
            SECRET.index_create("ref", include=["v"]).run(admin)
            SECRET.index_create("g", geo=True).run(admin)
            SECRET.index_wait().run(admin)
            SECRET.insert([{"id": n, "v": n, "ref": n, "g": r.point(n, n)} for n in range(10)]).run(admin)
            OWN.insert([{"id": n, "ref": n} for n in range(10)]).run(admin)
        yield running


@pytest.fixture
def admin(suite: RunningSuite) -> Iterator[Any]:
    with r.connect(port=suite.driver_port) as connection:
        yield connection


@pytest.fixture
def eve(suite: RunningSuite, admin: Any) -> Iterator[Any]:
    """A connection of a user who may do everything with the table `own`, and nothing else."""
    users = r.db("rethinkdb").table("users")
    users.insert({"id": "eve", "password": "e"}).run(admin)
    OWN.grant("eve", {"read": True, "write": True, "config": True}).run(admin)
    with r.connect(port=suite.driver_port, user="eve", password="e") as connection:
        yield connection
    users.get("eve").delete().run(admin)


def result(query: Any, connection: Any, **options: Any) -> Any:
    """All of a query's answer, of a changefeed what it begins with."""
    answer = query.run(connection, **options)
    return next(answer) if hasattr(answer, "next") else answer


def wait_until_known(connection: Any) -> None:
    """Wait until the query service of a connection knows that its user may not read `own`: it looks now and then."""
    with contextlib.suppress(ReqlPermissionError):
        while True:
            OWN.get(1).run(connection)


def test_no_way_leads_to_what_a_user_may_not_read(admin: Any, eve: Any) -> None:
    for query in (SECRET, SECRET.count(), SECRET.get_all(4, index="v")):
        result(query, admin, cache=True)  # which must not be given to others
    for name, query in WAYS.items():
        for options in OPTIONS:
            where = {"db": "rethinkdb"} if name == "accounts by the run option" else {}
            if "changes" in name and options.keys() & {"cache", "atomic"}:
                continue  # they exclude each other
            with pytest.raises(ReqlPermissionError):
                pytest.fail(f"{name} {options}: {result(query(), eve, **options, **where)}")


def test_rights_that_are_taken_away_end_what_is_open(admin: Any, eve: Any) -> None:
    cursor = OWN.run(eve, max_batch_rows=BATCH_ROWS)
    cached = OWN.run(eve, max_batch_rows=BATCH_ROWS, cache=True)
    feeds = [OWN.changes().run(eve), OWN.changes().map(r.row["new_val"]).run(eve), OWN.get(1).changes().run(eve)]
    OWN.grant("eve", {"read": False}).run(admin)
    wait_until_known(eve)
    for open_before in (cursor, cached):
        with pytest.raises(ReqlPermissionError):
            list(open_before)
    OWN.get(1).update({"seen": "by nobody"}).run(admin)
    for feed in feeds:
        with pytest.raises(ReqlPermissionError):
            next(feed)


def test_a_user_who_is_gone_sees_nothing_more(suite: RunningSuite, admin: Any) -> None:
    users = r.db("rethinkdb").table("users")
    users.insert({"id": "guest", "password": "g"}).run(admin)
    OWN.grant("guest", {"read": True}).run(admin)
    with r.connect(port=suite.driver_port, user="guest", password="g") as guest:
        feed = OWN.changes().run(guest)
        users.get("guest").delete().run(admin)
        users.insert({"id": "guest", "password": "another"}).run(admin)
        wait_until_known(guest)
        OWN.get(1).update({"seen": "by the guest"}).run(admin)
        with pytest.raises(ReqlPermissionError):
            next(feed)
    users.get("guest").delete().run(admin)


def test_rights_are_the_tables_and_not_the_names(admin: Any, eve: Any) -> None:
    r.table_create("renewed").run(admin)
    r.table("renewed").grant("eve", {"read": True}).run(admin)
    assert r.table("renewed").count().run(eve, cache=True) == 0
    r.table_drop("renewed").run(admin)
    r.table_create("renewed").run(admin)
    for options in ({}, {"cache": True}):
        with pytest.raises(ReqlPermissionError):
            r.table("renewed").count().run(eve, **options)
    r.table_drop("renewed").run(admin)


def test_a_user_leaves_transactions_for_others(admin: Any, eve: Any) -> None:
    transactions = r.db("rethinkdb").table("transactions")
    with contextlib.suppress(ReqlResourceLimitError):
        for _ in range(1_000):
            transactions.insert({"timeout": 600}).run(eve)
    (begun,) = transactions.insert({}).run(admin)["generated_keys"]
    with pytest.raises(ReqlOpFailedError, match="There is no transaction"):
        OWN.get(1).run(eve, transaction=begun)
    transactions.filter({"state": "open"}).delete().run(admin)
