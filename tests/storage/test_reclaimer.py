"""Dropping a table or an index frees the disk space that it took."""

from __future__ import annotations

import asyncio
import random

import pytest

from photondb.api.catalogue import CreateIndex, DropIndex, DropTable
from photondb.api.context import INTERNAL
from tests.storage.conftest import Node, Table
from tests.storage.language import term

TEXT_BYTES = 2_000_000


def table_bytes(node: Node) -> int:
    """The size of all table files."""
    return int(node.storage._store.database.property_int_value("rocksdb.total-sst-files-size") or 0)


async def fill(table: Table) -> None:
    chance = random.Random(1)
    for number in range(0, 100, 10):
        documents = [{"id": number + n, "text": chance.randbytes(TEXT_BYTES // 200).hex()} for n in range(10)]
        await table.insert(*documents, durability="soft")


@pytest.mark.timeout(60)
async def test_dropped_table_frees_its_space(node: Node) -> None:
    kept, dropped = await node.table("kept"), await node.table("dropped")
    await kept.insert({"id": 1})
    await fill(dropped)
    node.storage._store.flush()
    assert table_bytes(node) > TEXT_BYTES / 4
    await node.storage.change_catalogue(INTERNAL, DropTable("test", "dropped"))
    while table_bytes(node) > TEXT_BYTES / 10:
        await asyncio.sleep(0.01)
    assert await kept.rows() == [{"id": 1}]


@pytest.mark.timeout(60)
async def test_dropped_index_frees_its_space(node: Node, table: Table) -> None:
    await fill(table)
    await table.change(CreateIndex("test", "documents", "text", term(lambda row: row["text"])))
    while not (await node.storage.index_status(INTERNAL, table.info.id))[0].ready:
        await asyncio.sleep(0.001)
    node.storage._store.flush()
    before = table_bytes(node)
    await table.change(DropIndex("test", "documents", "text"))
    while table_bytes(node) > before * 0.8:
        await asyncio.sleep(0.01)
    assert len(await table.rows()) == 100


async def test_stopping_does_not_wait_for_everything_that_was_dropped(node: Node) -> None:
    for number in range(30):
        await (await node.table(f"t{number}")).insert({"id": 1})
    for number in range(30):
        await node.storage.change_catalogue(INTERNAL, DropTable("test", f"t{number}"))
    await node.stop()
    await node.start()
    assert not (await node.storage.catalogue(INTERNAL)).tables
