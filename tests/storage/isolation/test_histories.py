"""Generated histories have none of the anomalies that their level of isolation excludes; and those of a broken storage
have them."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from photondb.api.transactions import Isolation
from photondb.bus import LocalBus
from services.storage.committing import Validation
from services.storage.read_set import RangeSet, TableReads
from services.storage.rocks import Batch, Store, StoreError
from services.storage.service import Storage
from services.storage.transaction import TouchedTable, Transaction, TransactionView
from services.storage.views import View
from tests.storage.isolation.checker import check
from tests.storage.isolation.workload import OPERATIONS, Tables, Workload

HISTORIES = int(os.environ.get("PHOTONDB_TEST_HISTORIES", "300"))
"""How many histories are checked for each level."""

BROKEN_HISTORIES = 60


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    storage = Storage(tmp_path / "data", LocalBus())
    await storage.start()
    yield storage
    await storage.stop()


async def anomalies(
    storage: Storage,
    level: Isolation,
    count: int,
    end: Callable[[str], bool],
    operations: tuple[str, ...] = OPERATIONS,
) -> Counter[str]:
    """What is found in `count` histories, by phenomenon; no more are made once `end` is told of one that suffices."""
    tables = await Tables.make(storage)
    found: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    for number in range(count):
        workload = Workload(storage, tables, number, level, seed=number)
        workload.operations = operations
        history = await workload.run()
        statuses.update(transaction.status for transaction in history.transactions)
        found.update(anomaly.phenomenon for anomaly in check(history, level))
        if any(map(end, found)):
            break
    assert statuses["committed"] > statuses["aborted"] / 4, "the transactions hardly got anywhere"
    return found


@pytest.mark.timeout(600 + HISTORIES)
@pytest.mark.parametrize("level", ["serializable", "snapshot"])
async def test_no_excluded_anomaly(storage: Storage, level: Isolation) -> None:
    assert await anomalies(storage, level, HISTORIES, bool) == {}


@pytest.mark.timeout(600 + HISTORIES)
@pytest.mark.parametrize("level", ["serializable", "snapshot"])
async def test_nor_where_commits_are_carried_out_in_the_smallest_of_steps(
    storage: Storage, level: Isolation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others go on between any two changes that a commit looks at, and any two that it prepares."""
    monkeypatch.setattr("services.storage.committing.SLICE_S", 0)
    monkeypatch.setattr("services.storage.committing.BLOCK_RECORDS", 1)
    assert await anomalies(storage, level, HISTORIES // 3, bool) == {}


@pytest.mark.timeout(600 + HISTORIES)
@pytest.mark.parametrize("level", ["serializable", "snapshot"])
async def test_nor_where_the_disk_is_full_now_and_then(
    storage: Storage, level: Isolation, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(level)
    write = Store.write

    def write_or_fail(self: Store, batch: Batch) -> None:
        if chance.random() < 0.1:
            raise StoreError("full", "No space is left on the disk that holds the data directory.")
        write(self, batch)

    await Tables.make(storage)
    monkeypatch.setattr(Store, "write", write_or_fail)
    assert await anomalies(storage, level, HISTORIES // 3, bool) == {}
    monkeypatch.undo()


async def test_snapshot_isolation_has_write_skew(storage: Storage) -> None:
    """What tells the two levels apart is found, too: the checker looks at snapshot isolation as if it were more."""
    tables = await Tables.make(storage)
    for number in range(BROKEN_HISTORIES):
        history = await Workload(storage, tables, number, "snapshot", seed=number).run()
        found = {anomaly.phenomenon for anomaly in check(history, "serializable")}
        if found:
            assert found == {"G2"}
            return
    raise AssertionError("no write skew in any history")


async def test_updates_are_lost_without_validation(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Validation, "check_block", lambda self: None)
    monkeypatch.setattr(Validation, "left", 0)
    # Without the index, which would be out of step with the documents.
    operations = ("get", "range", "change")
    enough = "lost update".__eq__
    found = await anomalies(storage, "snapshot", BROKEN_HISTORIES, enough, operations)
    assert found["lost update"]
    assert found["G-single"]


async def test_reads_that_are_not_validated(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TableReads, "meets", lambda self, record: False)
    assert (await anomalies(storage, "serializable", BROKEN_HISTORIES, bool))["G2"]


async def test_phantoms_where_only_keys_are_validated(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RangeSet, "add", lambda self, low, high: None)
    assert (await anomalies(storage, "serializable", BROKEN_HISTORIES, bool))["G2"]


async def test_reads_without_a_snapshot(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each read sees what is committed at that moment."""

    def present(self: Transaction, touched: TouchedTable, keys: list[bytes]) -> list[bytes | None]:
        touched.reads.add_keys(keys)
        found = View(storage._store).get_many(keys)
        return [self.overlay.values.get(key, now) for key, now in zip(keys, found, strict=True)]

    monkeypatch.setattr(Transaction, "get", present)
    found = await anomalies(storage, "snapshot", BROKEN_HISTORIES, lambda phenomenon: phenomenon == "internal")
    assert found["internal"]


async def test_own_writes_that_are_not_seen(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_overlay(
        self: TransactionView, low: bytes, high: bytes, *, descending: bool = False, **_: bool
    ) -> object:
        return self._transaction.view.read(low, high, descending=descending)

    monkeypatch.setattr(TransactionView, "read", without_overlay)
    assert (await anomalies(storage, "snapshot", BROKEN_HISTORIES, bool))["internal"]
