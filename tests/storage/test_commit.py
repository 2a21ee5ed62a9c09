from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from photondb.api.catalogue import TableInfo
from photondb.api.storage import LogGap
from services.storage import layout
from services.storage.commit import Commit, LocalCommitPath, PositionConflict, SyncGroup
from services.storage.log import Position, last_position
from services.storage.metrics import CommitMetrics
from services.storage.rocks import Batch, Store, StoreError
from services.storage.tables import Table
from services.storage.views import View

KEY = b"Sk\0"


class Disk:
    """A sync that takes until it is told to end, and may be told to fail."""

    def __init__(self) -> None:
        self.begun = 0
        self.release = threading.Semaphore(0)
        self.error: StoreError | None = None

    def sync(self) -> None:
        self.begun += 1
        assert self.release.acquire(timeout=120)
        if self.error is not None:
            raise self.error

    async def until_begun(self, count: int) -> None:
        while self.begun < count:
            await asyncio.sleep(0.001)


class Syncs:
    """A SyncGroup over a `Disk`. `mark` counts what was written, `synced` collects what syncs covered."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.mark = 0
        self.synced: list[int] = []
        self.group = SyncGroup(self.disk.sync, lambda: self.mark, self.synced.append, CommitMetrics())


@pytest.fixture
async def syncs() -> AsyncIterator[Syncs]:
    syncs = Syncs()
    yield syncs
    for _ in range(10):
        syncs.disk.release.release()
    await asyncio.to_thread(syncs.group.close)


async def test_all_who_ask_in_one_turn_share_a_sync(syncs: Syncs) -> None:
    waiting = [syncs.group.wait() for _ in range(100)]
    await syncs.disk.until_begun(1)
    assert not any(future.done() for future in waiting)
    syncs.disk.release.release()
    await asyncio.gather(*waiting)
    assert syncs.disk.begun == 1


async def test_who_asks_while_a_sync_runs_waits_for_the_next(syncs: Syncs) -> None:
    syncs.mark = 1
    first = syncs.group.wait()
    await syncs.disk.until_begun(1)
    syncs.mark = 3
    second, third = syncs.group.wait(), syncs.group.wait()
    syncs.mark = 4  # written without a wish for durability, but before the next sync begins
    syncs.disk.release.release()
    await first
    await syncs.disk.until_begun(2)
    assert not second.done()
    assert not third.done()
    assert syncs.synced == [1]
    syncs.disk.release.release()
    await asyncio.gather(second, third)
    assert syncs.disk.begun == 2
    assert syncs.synced == [1, 4]


async def test_failed_sync_fails_those_whom_it_covered_and_no_others(syncs: Syncs) -> None:
    syncs.disk.error = StoreError("io", "broken")
    first = syncs.group.wait()
    await syncs.disk.until_begun(1)
    second = syncs.group.wait()
    syncs.disk.release.release()
    with pytest.raises(StoreError, match="broken"):
        await first
    await syncs.disk.until_begun(2)
    syncs.disk.error = None
    syncs.disk.release.release()
    await second


# --- commits on a real store


class Shard:
    """A store with one table."""

    def __init__(self, path: Path) -> None:
        self.store = Store.open(path)
        self.table = Table(TableInfo(1, "uuid", "t", "test"), Position(), 1)
        self.path = LocalCommitPath(self.store)

    def commit(self, *changes: tuple[bytes, bytes | None], time_us: int = 1) -> Commit:
        """A commit that sets documents (None deletes them)."""
        commit = Commit(self.store, time_us)
        keys = [self.table.document_prefix + key for key, _ in changes]
        commit.read(keys)
        for store_key, (key, new) in zip(keys, changes, strict=True):
            commit.change(self.table, key, commit.documents[store_key], new)
        return commit


@pytest.fixture
async def shard(tmp_path: Path) -> AsyncIterator[Shard]:
    shard = Shard(tmp_path)
    yield shard
    await shard.path.close()
    shard.store.close()


async def test_commit_changes_nothing_until_it_is_appended(shard: Shard) -> None:
    commit = shard.commit((b"a", b"{}"))
    assert shard.table.position == Position()
    assert shard.store.get(shard.table.document_prefix + b"a") is None
    assert shard.path.append(commit, durable=False) is None
    assert shard.table.position.sequence == 1
    assert shard.store.get(shard.table.document_prefix + b"a") == b"{}"


async def test_commit_sees_its_own_changes(shard: Shard) -> None:
    shard.path.append(shard.commit((b"a", b"1"), (b"a", b"22"), (b"b", b"3"), (b"a", None), (b"a", b"4")), False)
    records = shard.path.read(1, 0, 0, 10)
    assert [(record.sequence, record.key, record.old, record.new) for record in records] == [
        (1, b"a", None, b"1"),
        (2, b"a", b"1", b"22"),
        (3, b"b", None, b"3"),
        (4, b"a", b"22", None),
        (5, b"a", None, b"4"),
    ]
    assert (shard.table.position.rows, shard.table.position.document_bytes) == (2, 2)
    assert last_position(View(shard.store), 1) == shard.table.position


async def test_commit_on_a_position_that_is_past_is_refused(shard: Shard) -> None:
    first, second = shard.commit((b"a", b"1")), shard.commit((b"b", b"2"))
    shard.path.append(first, durable=False)
    with pytest.raises(PositionConflict):
        shard.path.append(second, durable=False)
    assert shard.store.get(shard.table.document_prefix + b"b") is None
    assert [record.key for record in shard.path.read(1, 0, 0, 10)] == [b"a"]


async def test_commit_on_a_dropped_table_is_refused(shard: Shard) -> None:
    commit = shard.commit((b"a", b"1"))
    shard.table.dropped = True
    with pytest.raises(PositionConflict):
        shard.path.append(commit, durable=False)


async def test_failed_write_leaves_no_trace(shard: Shard) -> None:
    shard.path.append(shard.commit((b"a", b"1")), durable=False)
    before = shard.table.position.copy()
    seen: list[Commit] = []
    shard.path.follow(seen.append)
    commit = shard.commit((b"a", b"2"), (b"b", b"3"))
    commit.log()
    shard.store.write(commit.batch)  # a batch that was written once is refused
    batch = Batch()
    batch.put(shard.table.document_prefix + b"a", b"1")
    batch.delete(shard.table.document_prefix + b"b")
    batch.delete(layout.record_key(1, 0, 2))
    batch.delete(layout.record_key(1, 0, 3))
    shard.store.write(batch)
    with pytest.raises(StoreError):
        shard.path.append(commit, durable=True)
    assert shard.table.position == before
    await asyncio.sleep(0)
    assert seen == []
    waiting = shard.path.append(shard.commit((b"c", b"4")), durable=True)
    assert waiting is not None
    await waiting
    assert [record.sequence for record in shard.path.read(1, 0, 0, 10)] == [1, 2]


async def test_followers_see_commits_in_order_once_they_are_durable(shard: Shard) -> None:
    disk = Disk()
    shard.path._group._sync = disk.sync
    seen: list[int] = []
    shard.path.follow(lambda commit: seen.append(commit.changes[1].first_sequence))
    shard.path.append(shard.commit((b"a", b"1")), durable=False)
    assert seen == [1], "a soft write need not wait"
    hard = shard.path.append(shard.commit((b"a", b"2")), durable=True)
    assert hard is not None
    await disk.until_begun(1)
    shard.path.append(shard.commit((b"a", b"3")), durable=False)
    assert seen == [1], "a soft write waits for a hard one before it"
    later = shard.path.append(shard.commit((b"a", b"4")), durable=True)
    shard.path.append(shard.commit((b"a", b"5")), durable=False)
    disk.release.release()
    await hard
    assert seen == [1, 2, 3]
    disk.release.release()
    assert later is not None
    await later
    assert seen == [1, 2, 3, 4, 5]
    disk.release.release()  # for the end of the test


# --- reading the log


async def test_reading_the_log_from_a_position(shard: Shard) -> None:
    for number in range(250):
        shard.path.append(shard.commit((b"%03d" % number, b"x" * number), time_us=number), durable=False)
    assert [record.sequence for record in shard.path.read(1, 0, 100, 30)] == list(range(101, 131))
    assert [record.time_us for record in shard.path.read(1, 0, 245, 30)] == list(range(245, 250))
    assert shard.path.read(1, 0, 250, 30) == []
    assert shard.path.read(1, 0, 999, 30) == []
    assert len(shard.path.read(1, 0, 0, 1000)) == 250


async def test_reading_what_was_trimmed_is_a_gap(shard: Shard) -> None:
    for number in range(10):
        shard.path.append(shard.commit((b"%d" % number, b"1")), durable=False)
    batch = Batch()
    batch.delete_range(layout.log_prefix(1), layout.record_key(1, 0, 5))
    shard.store.write(batch)
    for after in (0, 3):
        with pytest.raises(LogGap) as caught:
            shard.path.read(1, 0, after, 10)
        assert caught.value.oldest == 5
    assert shard.path.read(1, 0, 4, 1)[0].sequence == 5
