from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.api.catalogue import TableInfo
from photondb.api.context import INTERNAL
from photondb.api.storage import CHANGES_SUBJECT, LogGap
from photondb.bus import BusMessage
from photondb.rpc.events import decode_change_batch
from services.storage import layout
from services.storage.commit import Commit, LocalCommitPath
from services.storage.log import Position, oldest_sequence, trim_point
from services.storage.rocks import Store
from services.storage.tables import Table as StoredTable
from services.storage.trimmer import LogTrimmer
from services.storage.views import View
from tests.storage.conftest import Node, Table
from tests.storage.language import constant

# --- layout


@given(
    table=st.integers(1, 2**32 - 2),
    other=st.integers(1, 2**32 - 2),
    sequence=st.integers(0, 2**64 - 1),
    later=st.integers(0, 2**64 - 1),
    key=st.binary(max_size=20),
)
def test_layout(table: int, other: int, sequence: int, later: int, key: bytes) -> None:
    first, second = layout.record_key(table, 0, sequence), layout.record_key(table, 0, later)
    assert (first < second) == (sequence < later)
    assert layout.sequence_of(first) == sequence
    assert layout.log_prefix(table) <= first < layout.end_of(layout.log_prefix(table))
    owned = [
        layout.document_prefix(table) + key,
        layout.entry_prefix(table, 7) + key,
        first,
        layout.build_key(table, 7),
    ]
    for stored in owned:
        homes = [low <= stored < high for low, high in layout.table_ranges(table)]
        assert sum(homes) == 1
        assert table == other or not any(low <= stored < high for low, high in layout.table_ranges(other))
    assert sum(low <= stored < high for stored in owned for low, high in layout.index_ranges(table, 7)) == 2
    assert not any(low <= stored < high for stored in owned for low, high in layout.index_ranges(table, 8))


# --- trimming


def filled(path: Path, changes: list[tuple[int, int]]) -> tuple[Store, StoredTable]:
    """A store whose log has a record for each (time, size of document)."""
    store = Store.open(path)
    table = StoredTable(TableInfo(1, "uuid", "t", "test"), Position(), 1)
    commits = LocalCommitPath(store)
    for number, (time_us, size) in enumerate(changes):
        commit = Commit(store, time_us)
        commit.change(table, b"%06d" % number, None, b"x" * size)
        commits.append(commit, durable=False)
    commits._group.close()
    return store, table


@pytest.mark.parametrize(
    ("keep_after_us", "max_bytes", "first_kept"),
    [
        (0, 10**9, 1),
        (500, 10**9, 500),
        (501, 10**9, 501),
        (10**9, 10**9, 1000),  # never without the last record
        (0, 0, 1000),
        (0, 10 * 148, 991),
        (0, 10 * 148 - 1, 992),
        (995, 10 * 148, 995),
    ],
)
def test_trim_point(tmp_path: Path, keep_after_us: int, max_bytes: int, first_kept: int) -> None:
    store, table = filled(tmp_path, [(number, 100) for number in range(1, 1001)])
    assert table.position.log_bytes == 148 * 1000
    assert trim_point(store, 1, 1, table.position, keep_after_us, max_bytes) == first_kept
    store.close()


def test_trimming_by_age_and_bytes_keeps_the_newest(tmp_path: Path) -> None:
    now = time.time_ns() // 1000
    store, table = filled(tmp_path, [(now - 10**9, 100)] * 500 + [(now, 100)] * 500)
    trimmer = LogTrimmer(store, {1: table}, max_age_s=600, min_records=100)
    trimmer.trim(table)
    assert table.oldest == oldest_sequence(View(store), 1) == 501
    trimmer.trim(table)
    assert table.oldest == 501
    LogTrimmer(store, {1: table}, max_bytes=148 * 10, min_records=500).trim(table)
    assert table.oldest == 501, "there is not enough to trim"
    LogTrimmer(store, {1: table}, max_bytes=148 * 10, min_records=400).trim(table)
    assert table.oldest == oldest_sequence(View(store), 1) == 991
    LogTrimmer(store, {1: table}, max_bytes=0, min_records=1).trim(table)
    assert table.oldest == oldest_sequence(View(store), 1) == 1000
    store.close()


async def test_log_goes_on_after_it_was_trimmed_and_the_store_was_opened_again(node: Node, table: Table) -> None:
    await table.insert(*({"id": number} for number in range(2000)))
    before = await table.storage.table_stats(INTERNAL, table.info.id)
    stored = table.storage._tables[table.info.id]
    LogTrimmer(table.storage._store, {}, max_bytes=0).trim(stored)
    await node.stop()
    await node.start()
    table = await node.table("documents")
    assert await table.storage.table_stats(INTERNAL, table.info.id) == before
    assert await table.storage.log_position(INTERNAL, table.info.id) == [2000]
    with pytest.raises(LogGap) as caught:
        await table.storage.read_log(INTERNAL, table.info.id, 0, 0, 10)
    assert caught.value.oldest == 2000
    await table.insert({"id": "new"})
    (record,) = await table.storage.read_log(INTERNAL, table.info.id, 0, 2000, 10)
    assert (record.sequence, record.old, record.new) == (2001, None, b'{"id":"new"}')


# --- what is published


async def test_commits_are_published_in_order(table: Table, node: Node) -> None:
    heard: list[BusMessage] = []
    subject = CHANGES_SUBJECT.format(table_uuid=table.info.uuid, shard=0)
    await table.insert({"id": "unheard"})
    subscription = await node.bus.subscribe(subject, heard.append)
    await table.insert({"id": 1}, {"id": 2}, durability="hard")
    await table.write("update", keys=[1], function=constant({"a": 1}), durability="soft")
    await table.write("update", keys=[1, 3], function=constant({"a": 1}))
    await table.write("delete", keys=[2])
    async with asyncio.timeout(10):
        while sum(len(decode_change_batch(message.payload).records) for message in heard) < 4:
            await asyncio.sleep(0.001)
    await subscription.close()
    batches = [decode_change_batch(message.payload) for message in heard]
    following = 2
    for batch in batches:  # commits that come fast may share one
        assert (batch.table_uuid, batch.shard, batch.first_sequence) == (table.info.uuid, 0, following)
        following += len(batch.records)
    published = [record for batch in batches for record in batch.records]
    assert published == await table.storage.read_log(INTERNAL, table.info.id, 0, 1, 10)
    assert [(record.old, record.new) for record in published] == [
        (None, b'{"id":1}'),
        (None, b'{"id":2}'),
        (b'{"id":1}', b'{"id":1,"a":1}'),
        (b'{"id":2}', None),
    ]


async def test_positions_are_announced_after_a_gap(table: Table, node: Node) -> None:
    heard: list[BusMessage] = []
    await table.insert({"id": 1}, {"id": 2})
    await node.bus.subscribe(CHANGES_SUBJECT.format(table_uuid=table.info.uuid, shard=0), heard.append)
    table.storage._publisher.announce_positions()
    await table.storage.sync(INTERNAL, table.info.id)
    (batch,) = [decode_change_batch(message.payload) for message in heard]
    assert (batch.first_sequence, list(batch.records)) == (3, [])


async def test_time_never_goes_back(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    await table.insert({"id": 1})
    monkeypatch.setattr(time, "time_ns", lambda: 1)
    await table.insert({"id": 2})
    first, second = await table.storage.read_log(INTERNAL, table.info.id, 0, 0, 10)
    assert first.time_us == second.time_us
