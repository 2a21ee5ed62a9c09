"""Several indexes used together, in transactions and in the past."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.errors import ReqlError
from tests.query.test_explain import scan_of
from tests.query.test_transactions import begin, commit
from tests.reql.database import RunningDatabase

T = r.table("t")
BOTH = T.filter((r.row["a"] < 100) & (r.row["b"] < 100))
EITHER = T.filter((r.row["a"] == 7) | (r.row["b"] == 9))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDatabase]:
    with RunningDatabase(tmp_path_factory.mktemp("combined") / "data") as database:
        database.run(r.table_create("t"))
        database.run(T.config().update({"history": "1d"}))
        database.run(T.index_create("a"))
        database.run(T.index_create("b"))
        database.run(T.index_wait())
        database.run(T.insert([{"id": n, "a": n * 7 % 1000, "b": n * 13 % 1001} for n in range(3000)]))
        database.collect_statistics()
        yield database


@pytest.mark.parametrize(("query", "by"), [(BOTH, "indexes a and b"), (EITHER, "indexes a or b")])
def test_in_a_transaction(database: RunningDatabase, query: Any, by: str) -> None:
    transaction = begin(database)
    mine = {"transaction": transaction}
    plan = database.run(query, explain="analyze", **mine)
    assert scan_of(plan)["by"] == by
    assert scan_of(plan)["actual_rows"] == plan["actual_rows"] < 60  # it did not read the table
    database.run(T.insert({"id": "mine", "a": 7, "b": 9}), **mine)
    database.run(T.get(0).update({"a": 999, "b": 999}), **mine)
    found = database.run(query, **mine)
    assert found == database.run(query, optimizations=False, **mine)
    ids = [row["id"] for row in found]
    assert "mine" in ids
    assert 0 not in ids
    database.run(r.db("rethinkdb").table("transactions").get(transaction).delete())
    assert database.run(query) == database.run(query, optimizations=False)


@pytest.mark.parametrize(
    ("query", "row", "conflicts"),
    [
        (BOTH, {"id": "new", "a": 7, "b": 9}, True),
        (EITHER, {"id": "new", "a": 500, "b": 9}, True),
        (BOTH, {"id": "new", "a": 500, "b": 500}, False),
        (EITHER, {"id": "new", "a": 8, "b": 8}, False),
    ],
)
def test_conflicts(database: RunningDatabase, query: Any, row: dict[str, Any], conflicts: bool) -> None:
    transaction = begin(database)
    database.run(query, transaction=transaction)
    database.run(T.get(0).update({"seen": transaction}), transaction=transaction)
    database.run(T.insert(row))
    try:
        if conflicts:
            with pytest.raises(ReqlError):
                commit(database, transaction)
        else:
            commit(database, transaction)
            assert database.run(T.get(0)["seen"]) == transaction
    finally:
        database.run(T.get("new").delete())


@pytest.mark.parametrize("query", [BOTH, EITHER])
def test_in_the_past(database: RunningDatabase, query: Any) -> None:
    before = database.run(query)
    time.sleep(0.002)  # the driver sends milliseconds
    moment = datetime.fromtimestamp(int(time.time() * 1000) / 1000, UTC)
    time.sleep(0.002)
    database.run(T.insert({"id": "late", "a": 7, "b": 9}))
    database.run(T.get(1).update({"a": 999, "b": 999}))
    try:
        assert database.run(query) != before
        past: dict[str, Any] = {"as_of": r.expr(moment)}
        assert database.run(query, **past) == before
        plan = database.run(query, explain="analyze", **past)
        assert scan_of(plan)["actual_rows"] == len(before)
    finally:
        database.run(T.get("late").delete())
        database.run(T.get(1).update({"a": 7, "b": 13}))
