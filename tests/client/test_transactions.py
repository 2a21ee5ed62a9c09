"""Transactions through the official driver and `photondb.client`, from one process and from five."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from rethinkdb import RethinkDB, errors, r

from photondb.client import Transaction, transaction
from tests.running_suite import RunningSuite


@pytest.fixture(scope="module", params=[False, True], ids=["one process", "processes"])
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    with RunningSuite(tmp_path_factory.mktemp("data"), processes=request.param) as running:
        conn = r.connect(port=running.driver_port)
        r.table_create("accounts").run(conn)
        r.table_create("transfers").run(conn)
        conn.close()
        yield running


@pytest.fixture
def conn(suite: RunningSuite) -> Iterator[Any]:
    connection = r.connect(port=suite.driver_port)
    r.table("accounts").delete().run(connection)
    r.table("transfers").delete().run(connection)
    r.table("accounts").insert([{"id": 1, "cents": 1000}, {"id": 2, "cents": 0}]).run(connection)
    yield connection
    connection.close()


def move(tx: Transaction, cents: int) -> None:
    """Move money from account 1 to 2, and keep a record of it."""
    if tx.run(r.table("accounts").get(1)["cents"]) < cents:
        raise ValueError("not enough money")
    tx.run(r.table("accounts").get(1).update({"cents": r.row["cents"] - cents}))
    tx.run(r.table("accounts").get(2).update({"cents": r.row["cents"] + cents}))
    tx.run(r.table("transfers").insert({"cents": cents}))


def balances(conn: Any) -> list[int]:
    return [account["cents"] for account in r.table("accounts").order_by(index="id").run(conn)]


def test_a_block_is_committed_at_its_end(conn: Any) -> None:
    with transaction(conn) as tx:
        move(tx, 300)
        assert balances(conn) == [1000, 0]
        assert r.table("accounts").get(2)["cents"].run(conn, transaction=tx.id) == 300
        assert [row["cents"] for row in tx.run(r.table("accounts"))] == [700, 300]
    assert balances(conn) == [700, 300]
    assert r.table("transfers").count().run(conn) == 1


def test_a_block_that_raises_leaves_nothing(conn: Any) -> None:
    def overdraw() -> None:
        with transaction(conn) as tx:
            move(tx, 600)
            move(tx, 600)

    with pytest.raises(ValueError, match="not enough money"):
        overdraw()
    assert balances(conn) == [1000, 0]


def test_a_conflict_is_raised_at_the_end_of_the_block(conn: Any) -> None:
    def conflict() -> None:
        with transaction(conn) as tx:
            move(tx, 1)
            r.table("accounts").get(2).update({"cents": 5}).run(conn)

    with pytest.raises(errors.ReqlOpFailedError, match=r"document 2 of table `test\.accounts` was changed after"):
        conflict()
    assert balances(conn) == [1000, 5]


def test_a_function_is_called_again_after_a_conflict(suite: RunningSuite, conn: Any) -> None:
    def pay(times: int) -> None:
        connection = r.connect(port=suite.driver_port)
        pay_once = transaction(connection, retries=1000)(move)
        for _ in range(times):
            pay_once(5)
        connection.close()

    threads = [threading.Thread(target=pay, args=(10,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert balances(conn) == [800, 200]
    assert r.table("transfers").count().run(conn) == 40


def test_it_is_not_called_again_too_often(conn: Any) -> None:
    calls = []

    @transaction(conn, retries=2)
    def never(tx: Transaction) -> None:
        calls.append(tx.id)
        move(tx, 1)
        r.table("accounts").get(2).update({"cents": len(calls)}).run(conn)

    with pytest.raises(errors.ReqlOpFailedError):
        never()
    assert len(set(calls)) == 3


def test_asyncio(suite: RunningSuite, conn: Any) -> None:
    driver = RethinkDB()
    driver.set_loop_type("asyncio")

    async def main() -> None:
        connection = await driver.connect(port=suite.driver_port)

        @transaction(connection)
        async def pay(tx: Transaction, cents: int) -> None:
            await tx.run(r.table("accounts").get(1).update({"cents": r.row["cents"] - cents}))
            await tx.run(r.table("accounts").get(2).update({"cents": r.row["cents"] + cents}))

        await asyncio.gather(pay(10), pay(20), pay(30))
        async with transaction(connection, isolation="snapshot") as tx:
            await tx.run(r.table("accounts").get(1).update({"cents": 0}))

        async def fail() -> None:
            async with transaction(connection) as tx:
                await tx.run(r.table("accounts").get(2).update({"cents": 0}))
                raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011
            await fail()
        await connection.close()

    asyncio.run(main())
    assert balances(conn) == [0, 60]


def test_an_atomic_query_is_tried_again(suite: RunningSuite, conn: Any) -> None:
    swap = r.do(
        r.table("accounts").get(1)["cents"],
        r.table("accounts").get(2)["cents"],
        lambda one, two: [
            r.table("accounts").get(1).update({"cents": two}),
            r.table("accounts").get(2).update({"cents": one}),
        ],
    )
    swapped: list[int] = []
    failures: list[str] = []

    def run() -> None:
        connection = r.connect(port=suite.driver_port)
        for _ in range(10):
            try:
                swap.run(connection, atomic=True)
                swapped.append(1)
            except errors.ReqlOpFailedError as error:
                failures.append(str(error))
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert balances(conn) == ([1000, 0] if len(swapped) % 2 == 0 else [0, 1000])
    assert len(swapped) > 20
    assert all("Begin again" in failure for failure in failures)


def test_queries_at_the_same_time_in_one_transaction_take_turns(suite: RunningSuite, conn: Any) -> None:
    everything = r.table("accounts").for_each(lambda row: r.table("transfers").insert({"of": row["id"]}))

    def run(tx: Transaction) -> None:
        connection = r.connect(port=suite.driver_port)
        for _ in range(10):
            r.table("accounts").get(2).update({"cents": r.row["cents"] + 1}).run(connection, transaction=tx.id)
            everything.run(connection, transaction=tx.id)
        connection.close()

    with transaction(conn) as tx:
        threads = [threading.Thread(target=run, args=(tx,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert balances(conn) == [1000, 40]
    assert r.table("transfers").count().run(conn) == 80


def test_a_client_that_goes_away_in_the_middle_of_a_query(suite: RunningSuite, conn: Any) -> None:
    other = r.connect(port=suite.driver_port)
    endless = r.range(10**9).for_each(lambda n: r.table("transfers").insert({"id": 1, "n": n}, conflict="replace"))
    transactions = r.db("rethinkdb").table("transactions")
    tx = transactions.insert({}).run(conn)["generated_keys"][0]
    endless.run(other, transaction=tx, noreply=True)
    while not transactions.get(tx)["writes"].run(conn):
        pass
    other.close(noreply_wait=False)
    while transactions.get(tx)["state"].run(conn) == "open":
        pass
    with pytest.raises(errors.ReqlOpFailedError, match="is over: it was aborted, because a query of it"):
        transactions.get(tx).update({"state": "commit"}).run(conn)
    assert r.table("transfers").count().run(conn) == 0


def test_feeds_see_the_changes_of_a_transaction_together_and_in_order(conn: Any, suite: RunningSuite) -> None:
    other = r.connect(port=suite.driver_port)
    feed = r.table("transfers").changes().run(other)
    with transaction(conn) as tx:
        for number in range(20):
            tx.run(r.table("transfers").insert({"id": number}))
        r.table("transfers").insert({"id": "outside"}).run(conn)
    seen = [feed.next(wait=20)["new_val"]["id"] for _ in range(21)]
    assert seen == ["outside", *range(20)]
    feed.close()
    other.close()


def test_importing_the_client_imports_no_driver() -> None:
    program = "import sys, photondb.client; sys.exit('rethinkdb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
