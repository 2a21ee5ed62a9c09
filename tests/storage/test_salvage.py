"""What `photondb repair` saves of damaged table files."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
from pathlib import Path
from typing import Any

import pytest

from photondb.api.catalogue import CreateIndex
from photondb.api.context import INTERNAL
from photondb.api.storage import KeyRange
from photondb.config import StartupError
from services.storage import layout
from services.storage.check import check_store
from services.storage.repair import repair_directory
from services.storage.rocks import Store, StoreError
from services.storage.salvage import is_readable
from services.storage.table_file import Block, read_blocks
from services.storage.trimmer import LogTrimmer
from tests.storage.conftest import Node
from tests.storage.language import term

COUNT = 2000
DOCUMENTS = layout.document_prefix(1)
ENTRIES = layout.entry_prefix(1, 1)
LOG = layout.log_prefix(1)


def document(number: int) -> dict[str, Any]:
    return {"id": number, "a": number % 10, "text": f"{number * 7919:010}" * 30}


async def make(path: Path, *, trimmed: int) -> Path:
    """A stopped database of one table file: table 1 with `COUNT` documents, an index, and another table. The change log
    of table 1 lacks the first `trimmed` changes."""
    node = Node(path)
    storage = await node.start()
    table = await node.table("documents")
    await table.change(CreateIndex("test", "documents", "by_a", term(lambda row: row["a"])))
    for start in range(0, COUNT, 200):
        await table.insert(*map(document, range(start, start + 200)), durability="soft")
    other = await node.table("other")
    await other.insert(*map(document, range(100)))
    while not (await storage.index_status(INTERNAL, table.info.id))[0].ready:
        await asyncio.sleep(0.001)
    stored = storage._tables[1]
    if trimmed:
        left = stored.position.log_bytes * (COUNT - trimmed) // COUNT
        LogTrimmer(storage._store, {}, max_bytes=left, min_records=1).trim(stored)
        assert abs(stored.oldest - trimmed) < 20
    storage._store.flush()
    storage._store.compact(b"", b"\xff")
    await node.stop()
    return path


def only_file(path: Path) -> Path:
    (file,) = path.glob("*.sst")
    return file


def blocks_of(path: Path, prefix: bytes) -> list[Block]:
    """The blocks that hold keys with the prefix and no others."""
    blocks = read_blocks(only_file(path))
    return [after for before, after in itertools.pairwise(blocks) if before.last[:5] == after.last[:5] == prefix[:5]]


def flip(path: Path, *places: int) -> None:
    file = only_file(path)
    raw = bytearray(file.read_bytes())
    for place in places:
        raw[place] ^= 0xFF
    file.write_bytes(raw)


def repair(path: Path, target: Path) -> tuple[int, list[str]]:
    lines: list[str] = []
    before = only_file(path).read_bytes()
    status = repair_directory(path, target, lines.append)
    assert only_file(path).read_bytes() == before
    return status, lines


async def contents(path: Path) -> list[int]:
    """The ids of the documents of table 1, which the index finds, too; those of the other table are all there."""
    store = Store.open(path)
    assert list(check_store(store)) == []
    store.close()
    node = Node(path)
    storage = await node.start()
    table, other = await node.table("documents"), await node.table("other")
    while not (await storage.index_status(INTERNAL, table.info.id))[0].ready:
        await asyncio.sleep(0.001)
    rows = await table.rows()
    assert rows == [document(row["id"]) for row in rows]
    indexed = await table.rows(index=1, ranges=[KeyRange()])
    assert sorted(row["id"] for row in indexed) == [row["id"] for row in rows]
    assert len(await other.rows()) == 100
    await node.stop()
    return [row["id"] for row in rows]


async def test_damaged_documents_are_made_again_from_the_change_log(tmp_path: Path) -> None:
    path = await make(tmp_path / "data", trimmed=0)
    blocks = blocks_of(path, DOCUMENTS)
    flip(path, blocks[3].start + 100, blocks[4].start + 100, blocks[9].start + 5)
    store = Store.open(path)
    assert not is_readable(store)
    store.close()
    status, lines = repair(path, tmp_path / "repaired")
    assert status == 0, lines
    assert await contents(tmp_path / "repaired") == list(range(COUNT))
    found = [line for line in lines if line.startswith("found: documents of table test.documents")]
    assert len(found) == 2, lines
    assert re.search(r"with primary keys between \d+ and \d+ cannot be read", found[0])
    assert "lost: 0 documents of table test.documents there" in lines


async def test_what_neither_files_nor_log_have_is_lost_and_told(tmp_path: Path) -> None:
    """The log begins in the middle, so that the documents of one damaged block can be made again, and others not."""
    path = await make(tmp_path / "data", trimmed=COUNT // 2)
    blocks = blocks_of(path, DOCUMENTS)
    early, late = blocks[len(blocks) // 6], blocks[5 * len(blocks) // 6]
    flip(path, early.start + 100, late.start + 100)
    status, lines = repair(path, tmp_path / "repaired")
    assert status == 0, lines
    kept = await contents(tmp_path / "repaired")
    missing = sorted(set(range(COUNT)) - set(kept))
    assert 5 < len(missing) < 100
    assert missing == list(range(missing[0], missing[-1] + 1))
    assert f"lost: {len(missing)} documents of table test.documents there" in lines
    ranges = "found: documents of table test.documents with primary keys between {} and {} cannot be read"
    assert ranges.format(missing[0] - 1, missing[-1] + 1) in lines
    assert any(line.startswith("saved: ") for line in lines)


@pytest.mark.parametrize("prefix", [ENTRIES, LOG], ids=["index", "log"])
async def test_damage_elsewhere_loses_no_document(tmp_path: Path, prefix: bytes) -> None:
    path = await make(tmp_path / "data", trimmed=0)
    block = blocks_of(path, prefix)[2]
    flip(path, block.start + 50)
    status, lines = repair(path, tmp_path / "repaired")
    assert status == 0, lines
    assert await contents(tmp_path / "repaired") == list(range(COUNT))
    if prefix == LOG:
        assert any(re.match(r"lost: changes of table test.documents, from number \d+ to \d+", line) for line in lines)
    else:
        assert "found: a part of index by_a of table test.documents cannot be read" in lines
    assert any(line.startswith("mended: table test.documents") for line in lines)


async def test_damage_everywhere(tmp_path: Path) -> None:
    """Every 20th block of the documents, the index and the log: what comes out is sound, and only what is told to be is
    missing."""
    path = await make(tmp_path / "data", trimmed=0)
    places = [block.start + 9 for prefix in (DOCUMENTS, ENTRIES, LOG) for block in blocks_of(path, prefix)[5::20]]
    assert len(places) > 6
    flip(path, *places)
    lines: list[str] = []
    assert repair_directory(path, None, lines.append) == 0
    kept = await contents(path)
    (lost,) = (
        line for line in lines if line.startswith("lost: ") and "documents of table test.documents there" in line
    )
    assert lost == f"lost: {COUNT - len(kept)} documents of table test.documents there"
    assert any("these may not be the last ones" in line for line in lines)
    assert os.listdir(tmp_path) == ["data"]


async def test_a_file_whose_index_is_damaged_is_lost_as_a_whole(tmp_path: Path) -> None:
    node = Node(tmp_path / "data")
    storage = await node.start()
    table = await node.table("documents")
    storage._store.flush()
    await table.insert(*map(document, range(100)))
    storage._store.flush()
    await table.insert(*map(document, range(200, 300)))
    await node.stop()
    files = sorted((tmp_path / "data").glob("*.sst"))  # they are numbered as they are made
    damaged = files[1]
    raw = bytearray(damaged.read_bytes())
    raw[-30:] = bytes(30)
    damaged.write_bytes(raw)
    lines: list[str] = []
    assert repair_directory(tmp_path / "data", None, lines.append) == 0, lines
    node = Node(tmp_path / "data")
    await node.start()
    assert [row["id"] for row in await (await node.table("documents")).rows()] == list(range(200, 300))
    await node.stop()
    assert lines[0].startswith(f"lost: the table file {damaged.name} cannot be opened")
    assert lines[1].startswith("lost: changes of documents of table test.documents with primary keys after 0: ")


async def test_a_damaged_catalogue_cannot_be_mended(tmp_path: Path) -> None:
    path = await make(tmp_path / "data", trimmed=0)
    blocks = read_blocks(only_file(path))
    flip(path, next(block for block in blocks if block.last >= layout.META).start + 20)
    try:
        status, lines = repair(path, tmp_path / "repaired")
    except (StartupError, StoreError) as error:
        pytest.fail(f"no report: {error}")
    assert status == 1
    assert lines[-1].endswith("This cannot be mended: restore a backup.")
