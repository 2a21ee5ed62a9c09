from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from services.storage.rocks import Batch, Store
from services.storage.table_file import Block, TableFileDamaged, read_blocks


def table_file(path: Path, rows: dict[bytes, bytes], *, bottom: bool, versions: int = 1) -> Path:
    """A table file with the rows: of the lowest level, which is compressed with zstd, or of the first one, with lz4."""
    store = Store.open(path)
    kept = []
    for _ in range(versions):
        batch = Batch()
        for key, value in rows.items():
            batch.put(key, value)
        store.write(batch)
        kept.append(store.database.iter())  # so that RocksDB keeps this version
    store.flush()
    if bottom:
        store.compact(b"", b"\xff")
    kept.clear()
    (file,) = store.database.live_files()
    store.close()
    return path / file["name"].lstrip("/")


@pytest.mark.parametrize("bottom", [False, True], ids=["lz4", "zstd"])
@pytest.mark.parametrize("versions", [1, 3])
def test_blocks(tmp_path: Path, bottom: bool, versions: int) -> None:
    rows = {b"d%06d" % number: b"word %d " % number * (number % 50) for number in range(3000)}
    path = table_file(tmp_path / "data", rows, bottom=bottom, versions=versions)
    blocks = read_blocks(path)
    assert len(blocks) > 10
    assert blocks[0].start == 0
    for before, after in itertools.pairwise(blocks):
        assert before.last <= after.last
        assert after.start == before.start + before.size + 5
    assert blocks[-1].last >= max(rows)
    # Each key of the file is in the first block whose last key is not smaller.
    assert sum(block.size for block in blocks) < path.stat().st_size
    assert all(block.last[:1] in (b"d", b"e", b"\0") for block in blocks), blocks


def test_a_file_of_one_block(tmp_path: Path) -> None:
    path = table_file(tmp_path / "data", {b"key": b"value"}, bottom=True)
    (block,) = read_blocks(path)
    assert type(block) is Block
    assert block.last >= b"key"


@pytest.mark.parametrize("damage", ["cut short", "empty", "footer", "index", "missing"])
def test_damage(tmp_path: Path, damage: str) -> None:
    path = table_file(tmp_path / "data", {b"d%06d" % number: b"x" * 500 for number in range(1000)}, bottom=True)
    raw = path.read_bytes()
    last = read_blocks(path)[-1]
    if damage == "cut short":
        path.write_bytes(raw[:-100])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "footer":
        path.write_bytes(raw[:-53] + bytes(53))
    elif damage == "index":
        path.write_bytes(raw[: last.start + last.size + 5] + bytes(2000) + raw[last.start + last.size + 2005 :])
    else:
        path.unlink()
    with pytest.raises(TableFileDamaged):
        read_blocks(path)
