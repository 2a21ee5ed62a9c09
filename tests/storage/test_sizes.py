"""The sizes of tables on the disk."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from photondb.api.catalogue import CreateIndex
from photondb.api.context import INTERNAL
from photondb.api.storage_status import TableSizes
from services.storage import sizes as module
from services.storage.table_file import Block
from tests.storage.conftest import Node, Table
from tests.storage.language import term


async def fill(table: Table, count: int, text_bytes: int) -> None:
    """Insert documents that cannot be compressed."""
    chance = random.Random(text_bytes)
    for start in range(0, count, 500):
        await table.insert(
            *(
                {"id": number, "a": number, "text": chance.randbytes(text_bytes // 2).hex()}
                for number in range(start, start + 500)
            ),
            durability="soft",
        )


async def sizes_of(*tables: Table) -> list[TableSizes]:
    storage = tables[0].storage
    storage._store.flush()
    found = (await storage.engine_stats(INTERNAL)).tables
    return [found[table.info.id] for table in tables]


@pytest.mark.parametrize("compacted", [False, True])
async def test_what_is_whose(node: Node, compacted: bool) -> None:
    first, second = await node.table("first"), await node.table("second")
    await first.change(CreateIndex("test", "first", "text", term(lambda row: row["text"])))
    await first.change(CreateIndex("test", "first", "a", term(lambda row: row["a"])))
    await fill(first, 2000, 400)
    await fill(second, 1000, 1600)
    if compacted:
        node.storage._store.compact(b"", b"\xff")
    (one, two) = await sizes_of(first, second)
    # A hexadecimal digit is half a byte of chance; documents and the log hold the same.
    for found, raw in ((one.documents, 2000 * 200), (two.documents, 1000 * 800), (one.change_log, 2000 * 200)):
        assert raw <= found <= 2.6 * raw
    assert set(one.indexes) == {first.index("text"), first.index("a")}
    assert 2000 * 200 <= one.indexes[first.index("text")] <= 2.6 * 2000 * 200
    assert one.indexes[first.index("a")] < 60_000
    assert two.indexes == {}
    files = node.storage._store.table_files()
    everything = one.documents + one.change_log + sum(one.indexes.values()) + two.documents + two.change_log
    assert 0.95 * sum(size for _, size, _, _ in files) < everything <= sum(size for _, size, _, _ in files)


async def test_a_file_is_looked_into_once(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    read: Callable[[object], list[Block]] = module.read_blocks  # type: ignore[assignment]
    monkeypatch.setattr(module, "read_blocks", lambda path: looked.append(path.name) or read(path))
    await fill(table, 500, 400)
    before = await sizes_of(table)
    assert await sizes_of(table) == before
    assert len(looked) == 1
    await table.insert({"id": -1})
    await sizes_of(table)
    assert len(set(looked)) == len(looked) == 2
