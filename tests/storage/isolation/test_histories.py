"""Generated histories have none of the anomalies that their level of isolation excludes; and those of a broken storage
have them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from photondb.api.transactions import Isolation
from photondb.bus import LocalBus
from services.storage.committing import Validation
from services.storage.read_set import RangeSet, TableReads
from services.storage.service import Storage
from services.storage.transaction import TouchedTable, Transaction, TransactionView
from services.storage.views import View
from tests.storage.isolation.checker import check
from tests.storage.isolation.workload import Tables, Workload

HISTORIES = int(os.environ.get("PHOTONDB_TEST_HISTORIES", "300"))
"""How many histories are checked for each level."""

BROKEN_HISTORIES = 60


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    storage = Storage(tmp_path / "data", LocalBus())
    await storage.start()
    yield storage
    await storage.stop()


async def anomalies(storage: Storage, level: Isolation, count: int, end: Callable[[str], bool]) -> Counter[str]:
    """What is found in `count` histories, by phenomenon; no more are made once `end` is told of one that suffices."""
    tables = await Tables.make(storage)
    found: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    for number in range(count):
        history = await Workload(storage, tables, number, level, seed=number).run()
        statuses.update(transaction.status for transaction in history.transactions)
        found.update(anomaly.phenomenon for anomaly in check(history, level))
        if any(map(end, found)):
            break
    assert statuses["committed"] > statuses["aborted"] / 4, "the transactions hardly got anywhere"
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("level", ["serializable", "snapshot"])
async def test_no_excluded_anomaly(storage: Storage, level: Isolation) -> None:
    assert await anomalies(storage, level, HISTORIES, bool) == {}


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
    found = await anomalies(storage, "snapshot", BROKEN_HISTORIES, lambda phenomenon: phenomenon == "lost update")
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
