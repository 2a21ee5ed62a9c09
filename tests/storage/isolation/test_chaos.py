"""kill -9 in the middle of concurrent transactions: each is there as a whole or not at all, those that were
acknowledged are there, and what they have seen of each other is what their level of isolation allows."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from photondb.api.transactions import Isolation
from photondb.bus import LocalBus
from services.storage.check import check_store
from services.storage.rocks import Store
from services.storage.service import Storage
from tests.storage.isolation.checker import check
from tests.storage.isolation.history import History, Transaction
from tests.storage.isolation.workload import TABLES, Tables, from_line, versions_in_log

ROUNDS = 4


def run_until_killed(path: Path, number: int, level: str, after_s: float) -> list[Transaction]:
    """What the transactions had said when the process was killed, `after_s` seconds after it began."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.storage.isolation.chaos_worker", str(path), str(number), level],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    killer = threading.Timer(after_s, process.kill)
    killer.start()
    transactions: dict[str, Transaction] = {}
    for line in process.stdout:
        if line.endswith(b"\n"):
            told = from_line(line)
            transactions[told.name] = told
    killer.join()
    assert process.wait() == -9, "it ended by itself"
    process.stdout.close()
    return list(transactions.values())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("level", ["serializable", "snapshot"])
async def test_transactions_that_are_cut_off(tmp_path: Path, level: Isolation) -> None:
    chance = random.Random(level)
    committed = 0
    for number in range(ROUNDS):
        transactions = run_until_killed(tmp_path / "data", number, level, chance.uniform(0.1, 0.8))
        store = Store.open(tmp_path / "data")
        assert list(check_store(store)) == []
        store.close()
        storage = Storage(tmp_path / "data", LocalBus())
        await storage.start()
        tables = await Tables.make(storage)
        versions = await versions_in_log(storage, tables, transactions, number, dict.fromkeys(TABLES, 0))
        await storage.stop()
        writers = {write.version: one for one in transactions for write in one.last_writes().values()}
        for order in versions.values():
            for version in order:
                if writers[version].status == "unknown":
                    writers[version].status = "committed"
        there = {version for order in versions.values() for version in order}
        for transaction in transactions:
            written = {write.version for write in transaction.last_writes().values() if write.content is not None}
            if transaction.status == "committed":
                committed += 1
                assert written <= there, f"{transaction.name} was acknowledged and is not there"
            else:
                assert not written & there, f"{transaction.name} is there, though it was {transaction.status}"
        assert check(History(transactions, versions), level) == []
    assert committed > ROUNDS * 10, "hardly anything was committed"
