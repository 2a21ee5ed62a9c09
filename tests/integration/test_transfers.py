"""Money that clients transfer between accounts is conserved, also when the server is killed meanwhile."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest
from rethinkdb import errors, r

from benchmarks.transfers import START_CENTS, make_accounts, run_transfers, transfer
from tests.running_suite import RunningSuite

ACCOUNTS = 20
CLIENTS = 4
ROUNDS = 3


def total(port: int) -> int:
    conn = r.connect(port=port)
    cents: int = r.table("accounts").sum("cents").run(conn)
    assert r.table("accounts").filter(r.row["cents"] < 0).count().run(conn) == 0
    conn.close()
    return cents


@pytest.mark.parametrize("isolation", ["serializable", "snapshot"])
def test_money_is_conserved(tmp_path: Path, isolation: str) -> None:
    with RunningSuite(tmp_path / "data") as suite:
        make_accounts(suite.driver_port, ACCOUNTS)
        report = run_transfers(suite.driver_port, ACCOUNTS, CLIENTS, 2, isolation)
        assert report.transfers > 50
        assert report.looks > 3
        assert report.wrong_sums == []
        assert total(suite.driver_port) == ACCOUNTS * START_CENTS


@pytest.mark.timeout(900)
@pytest.mark.parametrize("processes", [False, True], ids=["one process", "processes"])
def test_money_is_conserved_when_the_server_is_killed(tmp_path: Path, processes: bool) -> None:
    paid: list[int] = []

    def pay(port: int, client: int) -> None:
        chance = random.Random(client)
        try:
            conn = r.connect(port=port)
            while True:
                source, target = chance.sample(range(ACCOUNTS), 2)
                try:
                    transfer(conn, source, target, chance.randint(1, 50))
                    paid.append(client)
                except errors.ReqlOpFailedError:
                    continue
        except errors.ReqlError:
            return  # the server is gone

    with RunningSuite(tmp_path / "data", processes=processes) as suite:
        make_accounts(suite.driver_port, ACCOUNTS)
        for number in range(ROUNDS):
            threads = [threading.Thread(target=pay, args=(suite.driver_port, client)) for client in range(CLIENTS)]
            for thread in threads:
                thread.start()
            before = len(paid)
            while len(paid) < before + 20:
                time.sleep(0.01)
            time.sleep(random.Random(number).uniform(0, 0.3))
            suite.kill()
            for thread in threads:
                thread.join()
            suite.start()
            assert total(suite.driver_port) == ACCOUNTS * START_CENTS
