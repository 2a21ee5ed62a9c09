"""Aggregates in processes beside storage: they see the same moment as storage would, and none that dies is missed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from photondb.api.catalogue import CreateTable
from photondb.api.context import INTERNAL
from photondb.api.storage import Scan
from photondb.bus import LocalBus
from photondb.reql.aggregates import Count, Sum
from photondb.reql.grouping import Group, Grouping
from photondb.reql.ordering import Ordering, Top
from photondb.reql.row_aggregates import Max
from photondb.reql.steps import FilterStep, MapStep
from services.storage import scan_workers
from services.storage.options import StorageOptions
from services.storage.service import Storage
from tests.storage.conftest import Table
from tests.storage.language import func

ROWS = 800
WAIT_S = 60.0


@pytest.fixture
async def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Table]:
    """A table of a storage with two workers, which get all aggregates over it."""
    monkeypatch.setattr(scan_workers, "MIN_BYTES", 1)
    monkeypatch.setattr(scan_workers, "MIN_BYTES_PER_WORKER", 1)
    monkeypatch.setattr(scan_workers, "FIRST_PAUSE_S", 0.05)
    options = StorageOptions(column_cache_bytes=0, scan_workers=2)
    storage = Storage(tmp_path / "data", LocalBus(), options=options)
    await storage.start()
    catalogue = await storage.change_catalogue(INTERNAL, CreateTable("test", "t"))
    found = Table(storage, catalogue.tables["test", "t"])
    await found.insert(*({"id": n, "n": 0, "k": n % 7} for n in range(ROWS)), durability="soft")
    await until_answered(found)
    yield found
    await storage.stop()


async def until_answered(table: Table) -> None:
    """Ask until a scan has been divided among both workers."""
    workers = table.storage._scanner.workers
    async with asyncio.timeout(WAIT_S):
        while True:
            ready = bool(workers._points) and len(workers._workers) == 2
            ready = ready and all(worker.idle for worker in workers._workers)
            answered = workers.answered
            await total(table)
            if ready and workers.answered > answered:
                return
            await asyncio.sleep(0.02)


async def partial(table: Table, *steps: Any, aggregate: Any) -> Any:
    reply = await table.storage.scan(INTERNAL, Scan(table.info.id, steps=steps, aggregate=aggregate))
    return reply.partial


async def total(table: Table) -> Any:
    return (await partial(table, aggregate=Sum(func(lambda row: row["n"]))))[0]


async def test_answers_are_those_of_storage(table: Table) -> None:
    answered = table.storage._scanner.workers.answered
    assert await partial(table, FilterStep(func(lambda row: row["k"] == 3)), aggregate=Count()) == 114
    assert await partial(table, MapStep(func(lambda row: row["id"] + 1)), aggregate=Sum()) == [320_400, ROWS]
    groups = await partial(table, aggregate=Group(Grouping([func(lambda row: row["k"])]), Count(), 100))
    assert sorted(groups) == [[0, 115], [1, 115], [2, 114], [3, 114], [4, 114], [5, 114], [6, 114]]
    top = await partial(table, aggregate=Top(Ordering([(func(lambda row: row["k"]), True)]), 3))
    assert [row["id"] for row in top] == [6, 13, 20]
    assert table.storage._scanner.workers.answered == answered + 4


async def test_a_scan_sees_the_moment_at_which_it_begins(table: Table) -> None:
    """All parts of it, whatever is written before the workers get to them; and all that was written before."""
    answered = table.storage._scanner.workers.answered
    for round in range(1, 30):
        await table.insert({"id": 0, "n": round}, {"id": ROWS - 1, "n": -round}, conflict="replace", durability="soft")
        latest = asyncio.create_task(partial(table, aggregate=Max(func(lambda row: row["n"]))))
        await asyncio.sleep(0)
        await table.insert({"id": 0, "n": 1000}, conflict="replace", durability="soft")
        await table.write("delete", keys=[ROWS - 1])
        await table.insert({"id": ROWS + 5, "n": 1000}, durability="soft")
        (row,) = await latest
        assert row == {"id": 0, "n": round}
        await table.write("delete", keys=[ROWS + 5])
        assert await total(table) == 1000
    assert table.storage._scanner.workers.answered == answered + 58


async def test_sums_of_pairs_that_are_written_together_are_consistent(table: Table) -> None:
    async def write() -> None:
        for round in range(400):
            pair = ({"id": 1, "n": round}, {"id": ROWS - 2, "n": -round})
            await table.insert(*pair, conflict="replace", durability="soft")
            await asyncio.sleep(0)

    writing = asyncio.create_task(write())
    while not writing.done():
        assert await total(table) == 0
    await writing


async def test_killed_workers_are_not_missed_and_come_back(table: Table) -> None:
    workers = table.storage._scanner.workers
    before = workers.processes
    scans = [asyncio.create_task(total(table)) for _ in range(4)]
    await asyncio.sleep(0)
    for process in before:
        os.kill(process, signal.SIGKILL)
    assert await asyncio.gather(*scans) == [0] * 4
    for _ in range(5):
        assert await total(table) == 0
    await until_answered(table)
    assert not set(before) & set(workers.processes)


async def test_a_worker_that_dies_before_it_is_asked_does_not_stay_busy(table: Table) -> None:
    """It dies between its choice and the turn of the loop in which it is asked."""
    worker = table.storage._scanner.workers._workers[0]
    connection, worker._connection = worker._connection, None
    worker.busy = True
    with pytest.raises(scan_workers.WorkerFailed, match="died"):
        await worker.ask({})
    worker._connection = connection
    assert worker.idle


async def test_an_error_of_the_query_is_that_of_storage(table: Table) -> None:
    with pytest.raises(Exception, match="Expected type STRING but found NUMBER"):
        await partial(table, MapStep(func(lambda row: row["k"].upcase())), aggregate=Sum())
    assert await total(table) == 0
