"""Parts of functions that depend on no row are computed once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.errors import ReqlError
from photondb.reql.shape import Shaper
from services.query.options import read_options
from services.query.plans import Plan
from tests.reql.database import RunningDatabase
from tests.reql.evaluate import wire_term

T, S = r.table("t"), r.table("s")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDatabase]:
    with RunningDatabase(tmp_path_factory.mktemp("subqueries") / "data") as database:
        database.run(r.table_create("t"))
        database.run(r.table_create("s"))
        database.run(T.insert([{"id": n, "a": n % 4} for n in range(40)]))
        database.run(S.insert([{"id": n, "limit": n} for n in range(4)]))
        yield database


def scans(database: RunningDatabase, query: Any, **options: Any) -> int:
    plan = database.run(query, explain="analyze", **options)
    return sum(scan["times"] for scan in plan.get("other_scans", ()))


@pytest.mark.parametrize(
    ("query", "expected", "made"),
    [
        (T.filter(lambda row: row["a"] > S.avg("limit")).count(), 20, 1),
        (T.filter(lambda row: S["limit"].coerce_to("array").contains(row["a"])).count(), 40, 1),
        (T.filter(lambda row: (row["a"] < S.count()) & (row["a"] < S.count())).count(), 40, 1),
        (T.map(lambda row: S.filter({"limit": row["a"]}).count()).sum(), 40, 40),
        (T.limit(3).map(lambda row: row["a"] + S.filter(lambda other: other["limit"] > 1).count()).sum(), 9, 1),
        (T.limit(3).map(lambda row: S.map(lambda other: other["limit"] + row["a"]).sum()).sum(), 30, 3),
    ],
)
def test_sub_queries(database: RunningDatabase, query: Any, expected: Any, made: int) -> None:
    assert database.run(query) == database.run(query, optimizations=False) == expected
    assert scans(database, query) == made
    assert scans(database, query, optimizations=False) > 1


REPEATED = [
    ([S.count(), S.count()], [4, 4], 1, 1),
    (S.filter({"limit": 1}).count() + S.filter({"limit": 1}).count() + S.filter({"limit": 2}).count(), 3, 2, 1),
    ({"one": T.filter(lambda x: x["a"] < 2).avg("id"), "two": T.filter(lambda y: y["a"] < 2).avg("id")}, None, 1, 1),
    (S.max("limit")["id"] - S.max("limit")["limit"], 0, 1, 1),
    ([S.count(), r.expr([1, 2]).map(lambda n: n + S.count())], [4, [5, 6]], 1, 1),
    ([S.sum("limit"), S.avg("limit")], [6, 1.5], 2, 0),
    ([S.sample(1).count(), S.sample(1).count()], [1, 1], 2, 0),
]


@pytest.mark.parametrize(("query", "expected", "made", "again"), REPEATED)
def test_equal_parts_of_a_query_are_computed_once(
    database: RunningDatabase, query: Any, expected: Any, made: int, again: int
) -> None:
    query = r.expr(query)
    assert database.run(query) == database.run(query, optimizations=False)
    assert expected is None or database.run(query) == expected
    plan = database.run(query, explain="analyze")
    steps: list[Any] = [plan]
    scans: list[Any] = list(plan.get("other_scans", ()))
    for step in steps:
        below = step.get("input", [])
        steps += below if type(below) is list else [below]
        scans += [step] if step["step"] == "scan" else []
    assert sum(scan.get("times", 0) for scan in scans) == made
    told = [step for step in steps if step.get("why") == "an equal part of the query has been computed"]
    assert len(told) == again


def test_what_writes_is_not_shared(database: RunningDatabase) -> None:
    insert = r.table("s").insert({"id": "new"})["inserted"]
    try:
        assert database.run(r.expr([S.count(), insert, S.count()])) == [4, 1, 5]
    finally:
        database.run(S.get("new").delete())


def test_what_is_never_needed_is_never_computed(database: RunningDatabase) -> None:
    failing = T.filter(lambda row: (row["a"] > 9) & (S.get(99)["limit"] > 1))
    assert database.run(failing.count()) == 0
    with pytest.raises(ReqlError, match="Cannot perform bracket"):
        database.run(T.map(lambda row: S.get(99)["limit"] + row["a"]).sum())
    assert database.run(T.map(lambda row: S.get(99)["limit"].default(1) + row["a"]).sum()) == 100


def test_a_document_is_read_once(database: RunningDatabase) -> None:
    query = T.filter(lambda row: row["a"] > S.get(1)["limit"]).count()
    assert database.run(query) == database.run(query, optimizations=False) == 20


def shares(query: Any, **options: Any) -> bool:
    shaper = Shaper({"$reql_type$": "TIME", "epoch_time": 1, "timezone": "+00:00"})
    shape = shaper.shape(wire_term(query))
    plan = Plan(shape, len(shaper.constants), shaper.variables, read_options(options).plan_names)
    return plan.shares


def test_what_may_be_kept() -> None:
    assert shares(T.filter(lambda row: row["a"] > S.count()))
    assert shares(T.filter(lambda row: row["a"] > r.expr(1) + 2))
    assert shares(T.filter(lambda row: row["a"] > r.now() - 5))
    for query in (
        T.filter(lambda row: row["a"] > 1),
        T.filter(lambda row: row["a"] > r.random(1)),
        T.filter(lambda row: row["a"] > S.sample(1)[0]["limit"]),
        T.filter(lambda row: S.filter(row)),
        T.filter(lambda row: S.config()["primary_key"] == row["a"]),
        T.update(lambda row: {"n": S.count()}, non_atomic=True),
        S.for_each(lambda row: T.insert({"n": T.count()})),
        T.changes().map(lambda change: S.count()),
        T.count(),
    ):
        assert not shares(query), query
    assert not shares(T.filter(lambda row: row["a"] > S.count()), optimizations=False)
