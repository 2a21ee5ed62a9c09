"""Storage on a disk that is full: a small file system in memory, which takes root to mount."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from photondb.api.catalogue import CreateDatabase
from photondb.api.context import INTERNAL
from photondb.reql.errors import ErrorKind, ReqlError
from services.storage import rocks
from tests.small_disk import mounted_disk
from tests.storage.conftest import Node, Table

DISK_BYTES = 24 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_disk(tmp_path / "disk", DISK_BYTES) as path:
        yield path


async def fill(table: Table) -> tuple[int, ReqlError]:
    """Insert documents until that fails: how many there are, and the error."""
    number = 0
    while True:
        documents = [{"id": number + n, "text": f"{number}" * 2000} for n in range(10)]
        try:
            assert (await table.insert(*documents)).inserted == 10
        except ReqlError as error:
            return number, error
        number += 10


async def until_there_is_room(table: Table) -> None:
    """Writes go on by themselves: RocksDB looks for free space every few seconds."""
    while True:
        try:
            assert (await table.insert({"id": "after"})).inserted == 1
        except ReqlError:
            await asyncio.sleep(0.1)
        else:
            return


async def test_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # RocksDB goes on when there is room for a write buffer, which must be less than the disk.
    monkeypatch.setattr(rocks, "MIN_WRITE_BUFFER_BYTES", 4 << 20)
    monkeypatch.setattr(rocks, "MAX_WRITE_BUFFER_BYTES", 4 << 20)
    node = Node(small_disk / "data")
    await node.start()
    table = await node.table("documents")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(DISK_BYTES // 2))
    number, error = await fill(table)
    assert error.kind == ErrorKind.OP_FAILED
    assert error.message == "No space is left on the disk that holds the data directory."
    assert number > 0
    # What is there can be read, and nothing of the failed write is.
    assert len(await table.rows()) == number
    assert (await table.storage.table_stats(INTERNAL, table.info.id)).rows == number
    assert await table.storage.log_position(INTERNAL, table.info.id) == [number]
    assert len(await table.storage.read_log(INTERNAL, table.info.id, 0, number - 5, 100)) == 5
    before = await node.storage.catalogue(INTERNAL)
    with pytest.raises(ReqlError, match="No space is left"):
        await node.storage.change_catalogue(INTERNAL, CreateDatabase("x" * (DISK_BYTES // 2)))
    assert await node.storage.catalogue(INTERNAL) == before
    ballast.unlink()
    await until_there_is_room(table)
    (record,) = await table.storage.read_log(INTERNAL, table.info.id, 0, number, 100)
    assert record.sequence == number + 1
    await node.stop()
    await node.start()
    assert len(await (await node.table("documents")).rows()) == number + 1
    await node.stop()
