"""Backups made while writers run, what is restored from them, and what is refused."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from photondb.api.catalogue import CreateDatabase, CreateIndex, CreateTable, DropIndex, DropTable, SplitTable
from photondb.api.context import INTERNAL
from photondb.config import StartupError
from services.storage import catalog_state, layout
from services.storage.archive import BackupDamaged, Manifest, read_manifest
from services.storage.backup import back_up
from services.storage.check import check_store, rows
from services.storage.restore import backups_until, restore
from services.storage.rocks import Store
from services.storage.trimmer import LogTrimmer
from services.storage.views import View
from tests.storage.conftest import Node, Table
from tests.storage.language import constant, term

State = dict[int, dict[str, Any]]


def quiet(step: str, total: int) -> Callable[[int], None]:
    return lambda count: None


async def backup(node: Node, target: Path, base: Path | None = None) -> Manifest:
    """Back a running node up, in a thread as another process would do it."""
    loop = asyncio.get_running_loop()

    def checkpoint() -> Path:
        return Path(asyncio.run_coroutine_threadsafe(node.storage.checkpoint(INTERNAL), loop).result())

    return await asyncio.to_thread(back_up, checkpoint, target, base, quiet)


class Writer:
    """Writes to a table for as long as it is let, one document at a time, and knows what was there after each."""

    def __init__(self, table: Table, seed: int) -> None:
        self.table = table
        self.states: list[State] = [{}]
        self._chance = random.Random(seed)

    async def write(self, count: int) -> None:
        for _ in range(count):
            await self._write()

    async def run(self) -> None:
        while True:
            await self._write()
            await asyncio.sleep(0)

    async def _write(self) -> None:
        state = dict(self.states[-1])
        number = len(self.states)
        key = self._chance.randrange(40)
        # The model has the change before storage is asked, in whose log it has the same number.
        if key not in state:
            state[key] = {"id": key, "n": number}
            self.states.append(state)
            await self.table.insert(state[key], durability="soft")
        elif self._chance.random() < 0.3:
            del state[key]
            self.states.append(state)
            await self.table.write("delete", keys=[key], durability="soft")
        else:
            state[key] = {"id": key, "n": number}
            self.states.append(state)
            await self.table.write("update", keys=[key], function=constant({"n": number}), durability="soft")


def contents(path: Path, table: int) -> State:
    """The documents of a table in a restored directory, which must be sound."""
    store = Store.open(path)
    try:
        assert list(check_store(store)) == []
        found = {}
        for _, raw in rows(View(store), layout.document_prefix(table)):
            document = orjson.loads(raw)
            found[document["id"]] = document
        return found
    finally:
        store.close()


@pytest.fixture
async def writers(node: Node) -> list[Writer]:
    """Two tables with an index, and writers for them."""
    found = []
    for number, name in enumerate(("a", "b")):
        table = await node.table(name)
        await table.change(CreateIndex("test", name, "n", term(lambda row: row["n"]), include_all=True))
        found.append(Writer(table, number))
    return found


async def progress(writers: list[Writer]) -> None:
    """Return when all writers have written some more."""
    goals = [(writer, len(writer.states) + 10) for writer in writers]
    while any(len(writer.states) < goal for writer, goal in goals):
        await asyncio.sleep(0.001)


async def test_backups_under_writers_are_what_was_there_at_their_moment(
    node: Node, writers: list[Writer], tmp_path: Path
) -> None:
    tasks = [asyncio.create_task(writer.run()) for writer in writers]
    names = ["full", "first", "second"]
    manifests = []
    for number, name in enumerate(names):
        base = tmp_path / names[number - 1] if number else None
        await progress(writers)
        manifests.append(await backup(node, tmp_path / name, base))
    await progress(writers)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for count in (1, 2, 3):
        target = tmp_path / f"restored {count}"
        restore([tmp_path / name for name in reversed(names[:count])], target, None, quiet)
        for writer in writers:
            table = writer.table.info.id
            sequence = manifests[count - 1].marks[table].sequence
            assert contents(target, table) == writer.states[sequence]
    sequences = [manifest.marks[1].sequence for manifest in manifests]
    assert sequences == sorted(set(sequences)), "the writers did not write during the backups"
    assert not list((node.path / "checkpoints").iterdir())


async def test_a_moment_has_the_tables_and_indexes_of_then(node: Node, writers: list[Writer], tmp_path: Path) -> None:
    """What was made later is left out; of what was dropped before the next backup it is said that it is missing."""
    (writer, dropped) = writers
    await writer.write(20)
    await dropped.write(20)
    await backup(node, tmp_path / "full")
    at_us = time.time_ns() // 1000
    await writer.table.change(CreateIndex("test", "a", "later", term(lambda row: row["n"])))
    for change in (CreateDatabase("later"), CreateTable("later", "t"), CreateTable("test", "c")):
        await node.storage.change_catalogue(INTERNAL, change)
    await writer.write(20)
    await node.storage.change_catalogue(INTERNAL, DropTable("test", "b"))
    await backup(node, tmp_path / "more", tmp_path / "full")
    both = [tmp_path / "full", tmp_path / "more"]
    assert backups_until(both, at_us) == both
    assert backups_until(both, at_us - 60_000_000) == both[:1]
    missing = restore(both, tmp_path / "restored", at_us, quiet)
    assert [(table.name, table.last) for table in missing] == [("test.b", tmp_path / "full")]
    assert contents(tmp_path / "restored", writer.table.info.id) == writer.states[20]
    store = Store.open(tmp_path / "restored")
    state = catalog_state.load(store)
    store.close()
    assert state is not None
    assert set(state.databases) == {"rethinkdb", "test"}
    assert {record.info.name: [index.name for index in record.info.indexes] for record in state.tables.values()} == {
        "a": ["n"]
    }
    assert restore(both, tmp_path / "newest", None, quiet) == []
    store = Store.open(tmp_path / "newest")
    assert {name for _, name in (catalog_state.load(store) or state).catalogue().tables} == {"a", "c", "t"}
    store.close()


async def test_any_moment_can_be_restored(node: Node, writers: list[Writer], tmp_path: Path) -> None:
    (writer, _) = writers
    table = writer.table.info.id
    await writer.write(60)
    await backup(node, tmp_path / "full")
    await writer.write(60)
    last = await backup(node, tmp_path / "more", tmp_path / "full")
    records = await node.storage.read_log(INTERNAL, table, 0, 0, 1000)
    for number in (1, 2, 30, 59, 60, 61, 90, 120):
        time_us = records[number - 1].time_us
        count = sum(record.time_us <= time_us for record in records)
        for at_us, state in ((time_us, writer.states[count]), (time_us - 1, None)):
            target = tmp_path / f"at {number} {at_us}"
            restore([tmp_path / "full", tmp_path / "more"], target, at_us, quiet)
            if state is None:
                state = writer.states[sum(record.time_us <= at_us for record in records)]
            assert contents(target, table) == state
    with pytest.raises(StartupError, match="the backups end at"):
        restore([tmp_path / "full", tmp_path / "more"], tmp_path / "late", last.taken_us + 1, quiet)


async def test_restored_data_is_served_and_written_to(node: Node, writers: list[Writer], tmp_path: Path) -> None:
    (writer, _) = writers
    await writer.write(50)
    await backup(node, tmp_path / "full")
    await writer.write(50)
    await backup(node, tmp_path / "more", tmp_path / "full")
    restore([tmp_path / "full", tmp_path / "more"], tmp_path / "restored", None, quiet)
    other = Node(tmp_path / "restored")
    await other.start()
    assert (await other.storage.catalogue(INTERNAL)) == (await node.storage.catalogue(INTERNAL))
    writer.table = await other.table("a")
    await writer.write(50)
    assert {row["id"]: row for row in await writer.table.rows()} == writer.states[-1]
    indexed = await writer.table.rows(index=1)
    assert [row["n"] for row in indexed] == sorted(row["n"] for row in writer.states[-1].values())
    await other.stop()


async def test_changes_of_the_catalogue_between_backups(node: Node, writers: list[Writer], tmp_path: Path) -> None:
    first, second = writers
    await first.write(30)
    await second.write(30)
    await backup(node, tmp_path / "full")
    await node.storage.change_catalogue(INTERNAL, DropTable("test", "b"))
    await first.table.change(DropIndex("test", "a", "n"))
    await first.table.change(CreateIndex("test", "a", "m", term(lambda row: row["n"]), include=("x",)))
    await first.table.change(SplitTable("test", "a", 3))
    third = Writer(await node.table("c"), 3)
    await third.write(30)
    await first.write(30)
    while not (await node.storage.index_status(INTERNAL, first.table.info.id))[0].ready:
        await asyncio.sleep(0.001)
    await backup(node, tmp_path / "more", tmp_path / "full")
    restore([tmp_path / "full", tmp_path / "more"], tmp_path / "restored", None, quiet)
    assert contents(tmp_path / "restored", first.table.info.id) == first.states[-1]
    assert contents(tmp_path / "restored", third.table.info.id) == third.states[-1]
    other = Node(tmp_path / "restored")
    await other.start()
    assert ("test", "b") not in (await other.storage.catalogue(INTERNAL)).tables
    table = await other.table("a")
    assert table.info.split_points == first.table.info.split_points != ()
    while not (await other.storage.index_status(INTERNAL, table.info.id))[0].ready:
        await asyncio.sleep(0.001)
    assert len(await table.rows(index=table.index("m"))) == len(first.states[-1])
    await other.stop()


def flip(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    file.write_bytes(raw)


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip, shorten, Path.unlink])
async def test_every_damage_of_a_backup_is_found(
    node: Node, writers: list[Writer], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    await writers[0].write(100)
    await backup(node, tmp_path / "full")
    await writers[0].write(100)
    await backup(node, tmp_path / "more", tmp_path / "full")
    names = [(part, file.name) for part in ("full", "more") for file in _files(tmp_path / part)]
    assert len(names) > 5
    for number, (part, name) in enumerate(names):
        for copied in ("full", "more"):
            shutil.copytree(tmp_path / copied, tmp_path / f"copy {number}" / copied)
        damage(tmp_path / f"copy {number}" / part / name)
        parts = [tmp_path / f"copy {number}" / copied for copied in ("full", "more")]
        error = StartupError if name == "manifest.json" and damage is Path.unlink else BackupDamaged
        with pytest.raises(error):
            restore(parts, tmp_path / "restored", None, quiet)
        assert not (tmp_path / "restored").exists()
    restore([tmp_path / "full", tmp_path / "more"], tmp_path / "restored", None, quiet)


def _files(path: Path) -> list[Path]:
    return sorted(path.iterdir())


async def test_nothing_is_overwritten(node: Node, tmp_path: Path) -> None:
    await backup(node, tmp_path / "full")
    manifest = read_manifest(tmp_path / "full")
    with pytest.raises(StartupError, match="exists already"):
        await backup(node, tmp_path / "full")
    assert read_manifest(tmp_path / "full") == manifest
    with pytest.raises(StartupError, match="exists already"):
        restore([tmp_path / "full"], node.path, None, quiet)


async def test_backups_that_do_not_belong_together_are_refused(
    node: Node, writers: list[Writer], tmp_path: Path
) -> None:
    await backup(node, tmp_path / "full")
    await writers[0].write(5)
    await backup(node, tmp_path / "first", tmp_path / "full")
    await writers[0].write(5)
    await backup(node, tmp_path / "second", tmp_path / "first")
    with pytest.raises(StartupError, match="second does not go on from the other backups"):
        restore([tmp_path / "full", tmp_path / "second"], tmp_path / "restored", None, quiet)
    with pytest.raises(StartupError, match="one full backup is needed, and 0 were given"):
        restore([tmp_path / "first"], tmp_path / "restored", None, quiet)
    other = Node(tmp_path / "other")
    await other.start()
    with pytest.raises(StartupError, match="the base is a backup of other data"):
        await backup(other, tmp_path / "wrong", tmp_path / "full")
    assert not (tmp_path / "wrong").exists()
    await other.stop()


async def test_base_that_the_log_does_not_reach_is_refused(node: Node, writers: list[Writer], tmp_path: Path) -> None:
    (writer, _) = writers
    await writer.write(10)
    await backup(node, tmp_path / "full")
    await writer.write(10)
    found = node.storage._tables[writer.table.info.id]
    LogTrimmer(node.storage._store, {}, max_bytes=1, min_records=1).trim(found)
    with pytest.raises(StartupError, match="make a full backup"):
        await backup(node, tmp_path / "more", tmp_path / "full")


async def test_table_that_is_younger_than_the_moment_is_empty(node: Node, tmp_path: Path) -> None:
    before = Writer(await node.table("before"), 1)
    await before.write(10)
    (last,) = await node.storage.read_log(INTERNAL, before.table.info.id, 0, 9, 10)
    await node.storage.change_catalogue(INTERNAL, CreateTable("test", "after"))
    after = Writer(await node.table("after"), 2)
    await after.write(10)
    await backup(node, tmp_path / "full")
    restore([tmp_path / "full"], tmp_path / "restored", last.time_us, quiet)
    assert contents(tmp_path / "restored", before.table.info.id) == before.states[-1]
    assert contents(tmp_path / "restored", after.table.info.id) == {}
    store = Store.open(tmp_path / "restored")
    state = catalog_state.load(store)
    store.close()
    assert state is not None
    assert state.counters.node_id == (await node.storage.catalogue(INTERNAL)).node_id
