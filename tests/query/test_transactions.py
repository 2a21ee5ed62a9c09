"""Transactions as clients use them: the system table `rethinkdb.transactions` and the run options."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.errors import ErrorKind, ReqlError
from tests.reql.database import RunningDatabase

TRANSACTIONS = r.db("rethinkdb").table("transactions")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDatabase]:
    directory: Path = tmp_path_factory.mktemp("transactions")
    with RunningDatabase(directory / "data") as database:
        yield database


@pytest.fixture
def database(running: RunningDatabase) -> RunningDatabase:
    running.clear()
    running.run(r.table_create("one"))
    running.run(r.table_create("two"))
    running.run(r.table("one").insert([{"id": number, "n": number} for number in range(5)]))
    return running


def begin(database: RunningDatabase, user: str = "admin", **row: Any) -> str:
    transaction: str = database.run(TRANSACTIONS.insert(row), user)["generated_keys"][0]
    return transaction


def commit(database: RunningDatabase, transaction: str, user: str = "admin") -> Any:
    return database.run(TRANSACTIONS.get(transaction).update({"state": "commit"}, return_changes=True), user)


def failure(database: RunningDatabase, query: Any, user: str = "admin", **options: Any) -> ReqlError:
    with pytest.raises(ReqlError) as caught:
        database.run(query, user, **options)
    return caught.value


def test_a_transaction_from_its_beginning_to_its_end(database: RunningDatabase) -> None:
    tx = begin(database)
    row = database.run(TRANSACTIONS.get(tx))
    assert {name: row[name] for name in ("isolation", "read_only", "state", "timeout", "user", "reads", "writes")} == {
        "isolation": "serializable",
        "read_only": False,
        "state": "open",
        "timeout": 60,
        "user": "admin",
        "reads": 0,
        "writes": 0,
    }
    gone = database.run(r.table("one").get(1).delete(return_changes=True), transaction=tx)
    database.run(r.table("two").insert(gone["changes"][0]["old_val"]), transaction=tx)
    assert database.run(r.table("two"), transaction=tx) == [{"id": 1, "n": 1}]
    assert database.run(r.table("two")) == []
    assert database.run(r.table("one").count(), transaction=tx) == 4
    assert database.run(r.table("one").get(1), transaction=tx) is None
    assert database.run(r.table("one").get(1)) == {"id": 1, "n": 1}
    assert database.run(r.table("one").filter(r.row["n"] > 2).sum("n"), transaction=tx) == 7
    assert database.run(TRANSACTIONS.get(tx)["writes"]) == 2
    answer = commit(database, tx)
    assert (answer["replaced"], answer["changes"][0]["new_val"]["state"]) == (1, "committed")
    assert database.run(r.table("two")) == [{"id": 1, "n": 1}]
    assert database.run(r.table("one").count()) == 4
    assert database.run(TRANSACTIONS.get(tx)["state"]) == "committed"
    assert "it was committed" in failure(database, r.table("one"), transaction=tx).message


def test_options_of_a_transaction(database: RunningDatabase) -> None:
    tx = begin(database, isolation="snapshot", read_only=True, timeout=2.5)
    row = database.run(TRANSACTIONS.get(tx))
    assert (row["isolation"], row["read_only"], row["timeout"]) == ("snapshot", True, 2.5)
    assert "is read-only" in failure(database, r.table("one").delete(), transaction=tx).message
    # The query that failed might have written half of what it was to write.
    assert "a query of it failed" in failure(database, r.table("one"), transaction=tx).message


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"isolation": "loose"}, 'In `isolation`: Expected "serializable" or "snapshot", got:\\s*"loose"'),
        ({"read_only": 1}, "In `read_only`: Expected a boolean"),
        ({"timeout": -1}, "In `timeout`: Expected a number of seconds above 0"),
        ({"timeout": 100_000}, "must be more than 0 and at most 600 seconds, not 100000"),
        ({"isolatoin": "snapshot"}, r"Unexpected key\(s\): isolatoin"),
        ({"id": "mine"}, "Its primary key must be generated"),
    ],
)
def test_rows_that_begin_nothing(database: RunningDatabase, row: Any, message: str) -> None:
    with pytest.raises(ReqlError, match=message):
        database.run(TRANSACTIONS.insert(row))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": "done"}, 'In `state`: Expected "commit" or "abort", got:\\s*"done"'),
        ({"user": "eve"}, "Only the `state` of a transaction can be changed, not `user`"),
        ({"note": 1}, "Only the `state` of a transaction can be changed, not `note`"),
    ],
)
def test_changes_that_are_refused(database: RunningDatabase, change: Any, message: str) -> None:
    tx = begin(database)
    with pytest.raises(ReqlError, match=message):
        database.run(TRANSACTIONS.get(tx).update(change))
    database.run(TRANSACTIONS.get(tx).delete())
    assert "its user aborted it" in failure(database, r.table("one"), transaction=tx).message
    assert "is over" in failure(database, TRANSACTIONS.get(tx).update({"state": "commit"})).message


def test_a_conflict_is_an_error_of_the_query_that_commits(database: RunningDatabase) -> None:
    tx = begin(database)
    database.run(r.table("one").get(1).update({"n": r.row["n"] + 1}), transaction=tx)
    database.run(r.table("one").get(1).update({"n": 100}))
    error = failure(database, TRANSACTIONS.get(tx).update({"state": "commit"}))
    assert error.kind is ErrorKind.OP_FAILED
    assert "document 1 of table `test.one` was changed" in error.message
    assert "Begin again" in error.message
    assert database.run(r.table("one").get(1)["n"]) == 100
    assert database.run(TRANSACTIONS.get(tx).pluck("state", "reason")) == {
        "state": "aborted",
        "reason": "others had changed what it has read or written",
    }


def test_transactions_are_their_users_own(database: RunningDatabase) -> None:
    for user in ("ada", "eve"):
        database.run(r.db("rethinkdb").table("users").insert({"id": user, "password": False}, conflict="replace"))
    database.run(r.db("test").grant("ada", {"read": True, "write": True}))
    tx = begin(database, "ada")
    database.run(r.table("one").get(1).update({"n": -1}), "ada", transaction=tx)
    assert [row["id"] for row in database.run(TRANSACTIONS.filter({"state": "open"}), "ada")] == [tx]
    assert database.run(TRANSACTIONS, "eve") == []
    assert database.run(TRANSACTIONS.get(tx)["user"]) == "ada"
    # Ending what one cannot see has no effect, as with any document that is not there.
    assert commit(database, tx, "eve")["skipped"] == 1
    error = failure(database, r.table("one").get(1), "eve", transaction=tx)
    assert error.kind is ErrorKind.PERMISSION
    database.run(r.db("test").grant("eve", {"read": True}))
    assert "There is no transaction" in failure(database, r.table("one").get(1), "eve", transaction=tx).message
    assert "permission" in failure(database, r.db("rethinkdb").table("users"), "ada").message
    commit(database, tx, "ada")
    assert database.run(r.table("one").get(1)["n"]) == -1


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (r.table_create("three"), "Databases, tables and indexes cannot be changed in a transaction"),
        (r.table("one").index_create("n"), "Databases, tables and indexes cannot be changed in a transaction"),
        (r.table("one").changes(), "Changefeeds cannot be opened in a transaction"),
        (r.table("one").grant("admin", {"read": True}), "Permissions cannot be changed in a transaction"),
        (TRANSACTIONS.insert({}), "System tables cannot be written to in a transaction"),
    ],
)
def test_what_cannot_be_part_of_a_transaction(database: RunningDatabase, query: Any, message: str) -> None:
    assert message in failure(database, query, transaction=begin(database)).message
    assert message in failure(database, query, atomic=True).message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transaction": 5}, "The run option `transaction` must be the id of a row"),
        ({"atomic": "yes"}, "The run option `atomic` must be a boolean"),
        ({"atomic": True, "transaction": "x"}, "exclude each other"),
        ({"transaction": "nowhere"}, "There is no transaction `nowhere`"),
    ],
)
def test_run_options_that_make_no_sense(database: RunningDatabase, options: Any, message: str) -> None:
    assert message in failure(database, r.table("one"), **options).message


def test_a_query_that_fails_takes_its_transaction_along(database: RunningDatabase) -> None:
    tx = begin(database)
    half = r.expr([1, 2]).for_each(lambda n: r.branch(n == 1, r.table("two").insert({"id": n}), r.error("enough")))
    assert failure(database, half, transaction=tx).message == "enough"
    assert "a query of it failed" in failure(database, TRANSACTIONS.get(tx).update({"state": "commit"})).message
    assert database.run(r.table("two")) == []
    # One that only reads does not.
    tx = begin(database)
    database.run(r.table("two").insert({"id": 1}), transaction=tx)
    failure(database, r.table("one").get(1)["nothing"], transaction=tx)
    commit(database, tx)
    assert database.run(r.table("two")) == [{"id": 1}]


def test_a_long_result_of_a_transaction(database: RunningDatabase) -> None:
    database.run(r.table("two").insert([{"id": number} for number in range(3000)]))
    tx = begin(database)
    database.run(r.table("two").get(5).delete(), transaction=tx)
    assert len(database.run(r.table("two"), transaction=tx)) == 2999
    copy = r.table("two").for_each(lambda row: r.table("one").insert(row, conflict="replace"))
    assert database.run(copy, transaction=tx)["inserted"] == 2994
    commit(database, tx)
    assert database.run(r.table("one").count()) == 2999


def test_an_atomic_query(database: RunningDatabase) -> None:
    swap = r.do(
        r.table("one").get(1)["n"],
        r.table("one").get(2)["n"],
        lambda a, b: [r.table("one").get(1).update({"n": b}), r.table("one").get(2).update({"n": a})],
    )
    assert [answer["replaced"] for answer in database.run(swap, atomic=True)] == [1, 1]
    assert [row["n"] for row in database.run(r.table("one").order_by(index="id"))] == [0, 2, 1, 3, 4]
    assert len(database.run(r.table("one"), atomic=True)) == 5
    assert database.run(r.table("one").group("n").count(), atomic=True)
    assert database.run(r.table("one").get(1), atomic=True) == {"id": 1, "n": 2}


def test_an_atomic_query_is_carried_out_wholly_or_not_at_all(database: RunningDatabase) -> None:
    before = [row for row in database.run(TRANSACTIONS) if row["state"] == "open"]
    duplicate = r.table("two").insert([{"id": 1}, {"id": 2}, {"id": 1}])
    error = failure(database, duplicate, atomic=True)
    assert error.kind is ErrorKind.OP_FAILED
    assert "Duplicate primary key" in error.message
    assert database.run(r.table("two")) == []
    half = r.expr([1, 2]).for_each(lambda n: r.branch(n == 1, r.table("two").insert({"id": n}), r.error("enough")))
    assert failure(database, half, atomic=True).message == "enough"
    assert database.run(r.table("two")) == []
    assert [row for row in database.run(TRANSACTIONS) if row["state"] == "open"] == before


def test_many_documents_at_once(database: RunningDatabase) -> None:
    many = r.range(5000).for_each(lambda n: r.table("two").insert({"id": n}))
    assert database.run(many, atomic=True)["inserted"] == 5000
    assert database.run(r.table("two").update({"seen": True}), atomic=True)["replaced"] == 5000
    assert database.run(r.table("two").filter({"seen": True}).count()) == 5000
    assert database.run(r.table("two").delete(), atomic=True)["deleted"] == 5000
