"""What keeps RocksDB from ever stopping writers: its settings, and who waits before it would."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from photondb.api.catalogue import CreateIndex, DropIndex
from photondb.api.context import INTERNAL
from photondb.api.storage import Write
from services.storage import layout, pressure, rocks
from services.storage.commit import MAX_UNSYNCED_BYTES
from services.storage.log import trim_point
from services.storage.rocks import Store
from services.storage.trimmer import LogTrimmer
from tests.storage.conftest import Table
from tests.storage.language import term


def settings_in_effect(path: Path) -> dict[str, str]:
    """What RocksDB says that it runs with."""
    newest = max(path.glob("OPTIONS-*"), key=lambda file: file.stat().st_mtime_ns)
    pairs = (line.partition("=") for line in newest.read_text().splitlines())
    return {name.strip(): value for name, _, value in pairs}


@pytest.mark.parametrize(("cache_bytes", "buffer_bytes"), [(8 << 20, 16 << 20), (256 << 20, 64 << 20)])
def test_settings(tmp_path: Path, cache_bytes: int, buffer_bytes: int) -> None:
    for _ in range(2):  # a new store, and an existing one
        store = Store.open(tmp_path / "data", cache_bytes=cache_bytes)
        found = settings_in_effect(tmp_path / "data")
        store.close()
        assert found["write_buffer_size"] == str(buffer_bytes)
        assert found["max_write_buffer_number"] == str(rocks.WRITE_BUFFERS)
        assert found["level0_slowdown_writes_trigger"] == str(rocks.SLOWDOWN_FILES)
        assert found["level0_stop_writes_trigger"] == str(rocks.STOP_FILES)
        assert found["max_background_jobs"] == str(rocks.BACKGROUND_JOBS)
        assert found["avoid_unnecessary_blocking_io"] == "true"
        assert found["compression"] == "kLZ4Compression"
        assert found["bottommost_compression"] == "kZSTD"


def test_large_writers_wait_long_before_rocksdb_stops_all() -> None:
    assert rocks.PRESSED_WRITE_BUFFERS <= rocks.WRITE_BUFFERS - 3
    assert rocks.PRESSED_FILES <= rocks.SLOWDOWN_FILES // 2 <= rocks.STOP_FILES // 2


def test_a_store_is_pressed_by_files_that_are_not_compacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "data")
    assert not store.is_pressed()
    store.database.set_options({"disable_auto_compactions": "true"})
    for number in range(3):
        batch = rocks.Batch()
        batch.put(b"dkey", b"%d" % number)
        store.write(batch)
        store.flush()
    monkeypatch.setattr(rocks, "PRESSED_FILES", 3)
    assert store.is_pressed()
    store.compact(b"", b"\xff")
    assert not store.is_pressed()
    store.close()


async def test_only_those_who_write_much_wait(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    await table.insert(*({"id": number, "a": number} for number in range(100)), durability="soft")
    pressed = True
    monkeypatch.setattr(Store, "is_pressed", lambda store: pressed)
    monkeypatch.setattr(pressure, "MAX_LOOKS", 1_000_000)
    monkeypatch.setattr(pressure, "LOOK_EVERY_S", 0.001)
    await table.change(CreateIndex("test", table.info.name, "a", term(lambda row: row["a"])))
    documents = [{"id": number} for number in range(1000, 2000)]
    large = asyncio.ensure_future(table.insert(*documents))
    for number in range(20):
        assert (await table.insert({"id": -number})).inserted == 1 or number == 0
    (status,) = await table.storage.index_status(INTERNAL, table.info.id)
    assert (large.done(), status.ready, await table.get(1000)) == (False, False, None)
    pressed = False
    assert (await large).inserted == 1000
    while not (await table.storage.index_status(INTERNAL, table.info.id))[0].ready:
        await asyncio.sleep(0.001)


async def test_a_store_that_stays_pressed_takes_large_writes_all_the_same(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "is_pressed", lambda store: True)
    monkeypatch.setattr(pressure, "MAX_LOOKS", 2)
    assert (await table.insert(*({"id": number} for number in range(1000)))).inserted == 1000


async def test_what_is_written_softly_is_on_its_way_to_the_disk_before_it_is_much(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = 0
    store = table.storage._store

    def sync() -> None:
        nonlocal syncs
        syncs += 1

    monkeypatch.setattr(table.storage._path._group, "_sync", sync)
    document = {"id": 0, "text": "x" * 1_000_000}
    for _ in range(MAX_UNSYNCED_BYTES // 1_000_000 - 1):
        await table.insert(document, conflict="replace", durability="soft")
        document["text"] = str(document["text"])[1:]
    for _ in range(10):
        await asyncio.sleep(0.001)
    before = syncs
    for _ in range(MAX_UNSYNCED_BYTES // 1_000_000):
        write = Write(table.info.id, "insert", documents=[document], conflict="replace", durability="soft")
        await table.storage.write(INTERNAL, [write])
        document["text"] = str(document["text"])[1:]
    while syncs == before:
        await asyncio.sleep(0.001)
    store.sync()


async def test_trimming_takes_a_few_reads_and_one_deletion_whatever_there_is_to_trim(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    await table.insert(*({"id": number} for number in range(5000)), durability="soft")
    store = table.storage._store
    reads: list[bytes] = []
    batches: list[int] = []
    get, write = Store.get, Store.write

    def counted_write(store: Store, batch: rocks.Batch) -> None:
        batches.append(len(batch))
        write(store, batch)

    monkeypatch.setattr(Store, "get", lambda store, key: reads.append(key) or get(store, key))  # type: ignore[func-returns-value]
    monkeypatch.setattr(Store, "write", counted_write)
    stored = table.storage._tables[table.info.id]
    await LogTrimmer(store, table.storage._tables, max_bytes=1).trim_all()
    assert stored.oldest == 5000
    assert batches == [1]
    assert len(reads) <= 2 * (5000).bit_length() + 4
    assert trim_point(store, table.info.id, stored.oldest, stored.position, 0, 1) == 5000
    assert get(store, layout.record_key(table.info.id, layout.SHARD, 4999)) is None


async def test_an_index_that_is_dropped_while_its_build_waits_leaves_nothing_behind(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checker at the end of the test looks for keys of indexes that do not exist."""
    await table.insert(*({"id": number, "a": number} for number in range(1000)), durability="soft")
    pressed = True
    monkeypatch.setattr(Store, "is_pressed", lambda store: pressed)
    monkeypatch.setattr(pressure, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(pressure, "MAX_LOOKS", 1_000_000)
    await table.change(CreateIndex("test", table.info.name, "a", term(lambda row: row["a"])))
    await asyncio.sleep(0.005)
    await table.change(DropIndex("test", table.info.name, "a"))
    pressed = False
    while table.storage._catalogue.builder._tasks:
        await asyncio.sleep(0.001)
