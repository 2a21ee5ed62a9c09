"""What `photondb repair` saves, what it says is lost, and what it leaves alone."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from photondb.api.catalogue import CreateIndex
from photondb.api.context import INTERNAL
from photondb.api.storage import KeyRange, LogGap
from photondb.config import StartupError
from photondb.datum.keys import encode_key
from services.storage import layout
from services.storage.check import check_store
from services.storage.repair import repair_directory
from services.storage.rocks import Batch, Store
from tests.storage.conftest import Node
from tests.storage.language import term

DOCUMENTS = layout.document_prefix(1)
ENTRIES = layout.entry_prefix(1, 1)
COUNT = 300


async def fill(node: Node) -> None:
    """Table 1 with `COUNT` documents, each written by a call of its own, and index 1 on `a`."""
    await node.start()
    table = await node.table("documents")
    await table.change(CreateIndex("test", "documents", "by_a", term(lambda row: row["a"])))
    while not (await node.storage.index_status(INTERNAL, table.info.id))[0].ready:
        await asyncio.sleep(0.001)
    for number in range(COUNT):
        await table.insert({"id": number, "a": number % 10, "text": "x" * 200}, durability="soft")


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A directory of a database that was stopped."""
    node = Node(tmp_path / "data")
    await fill(node)
    await node.stop()
    return node.path


@pytest.fixture
async def crashed(tmp_path: Path) -> Path:
    """A directory as a crash leaves it, with a flipped byte in the middle of its write-ahead log."""
    node = Node(tmp_path / "live")
    await fill(node)
    await node.storage.sync(INTERNAL, 1)
    path = tmp_path / "crashed"
    shutil.copytree(node.path, path, ignore=lambda directory, names: [n for n in names if n.endswith(".sock")])
    await node.stop()
    log = max(path.glob("*.log"), key=lambda file: file.stat().st_size)
    raw = bytearray(log.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    log.write_bytes(raw)
    return path


def files_of(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}


def problems_in(path: Path) -> list[str]:
    store = Store.open(path)
    problems = list(check_store(store))
    store.close()
    return problems


async def rows_of(path: Path) -> tuple[list[int], list[int]]:
    """The ids of the documents, and of those that the index finds, once it is built; sorted."""
    node = Node(path)
    await node.start()
    table = await node.table("documents")
    while not (await node.storage.index_status(INTERNAL, table.info.id))[0].ready:
        await asyncio.sleep(0.001)
    rows = [row["id"] for row in await table.rows()]
    indexed = [row["id"] for row in await table.rows(index=1, ranges=[KeyRange()])]
    assert (await table.insert({"id": "new", "a": 1})).inserted == 1
    await node.stop()
    return rows, sorted(indexed)


async def test_damaged_log_loses_what_is_behind_the_damage_and_says_so(crashed: Path, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="photondb repair"):
        Store.open(crashed)
    lines: list[str] = []
    before = files_of(crashed)
    assert repair_directory(crashed, tmp_path / "repaired", lines.append) == 0
    assert files_of(crashed) == before
    assert problems_in(tmp_path / "repaired") == []
    rows, indexed = await rows_of(tmp_path / "repaired")
    kept = len(rows)
    assert 0 < kept < COUNT
    assert rows == indexed == list(range(kept))
    expected = f"lost: {COUNT - kept} changes of table test.documents, numbers {kept + 1} to {COUNT} at least"
    assert lines == [f"copying {crashed} to {tmp_path / 'repaired'}", expected]


def test_in_place(crashed: Path) -> None:
    lines: list[str] = []
    assert repair_directory(crashed, None, lines.append) == 0
    assert len(lines) == 1
    assert lines[0].startswith("lost: ")
    assert problems_in(crashed) == []
    assert {file.name for file in crashed.parent.iterdir()} == {"live", "crashed"}


async def test_sound_data_loses_nothing(path: Path) -> None:
    lines: list[str] = []
    assert repair_directory(path, None, lines.append) == 0
    assert lines == []
    assert await rows_of(path) == (list(range(COUNT)), list(range(COUNT)))


def deleted(key: bytes) -> Callable[[Batch], None]:
    return lambda batch: batch.delete(key)


def written(key: bytes, value: bytes) -> Callable[[Batch], None]:
    return lambda batch: batch.put(key, value)


WITHOUT_7 = [*range(7), *range(8, COUNT)]


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        (deleted(DOCUMENTS + encode_key(7)), WITHOUT_7),
        (written(DOCUMENTS + encode_key(7), b'{"a":7}'), WITHOUT_7),
        (written(DOCUMENTS + encode_key(7), b"{"), WITHOUT_7),
        (written(DOCUMENTS + encode_key(COUNT), b'{"id":%d,"a":1}' % COUNT), [*range(COUNT + 1)]),
        (deleted(ENTRIES + encode_key(7) + encode_key(7)), [*range(COUNT)]),
        (written(ENTRIES + encode_key(8) + encode_key(7), encode_key(7)), [*range(COUNT)]),
        (deleted(layout.record_key(1, 0, 12)), [*range(COUNT)]),
        (written(layout.document_prefix(9) + b"x", b"{}"), [*range(COUNT)]),
        (written(layout.entry_prefix(1, 5) + b"x", b""), [*range(COUNT)]),
    ],
)
async def test_what_does_not_agree_is_made_to_agree(
    path: Path, change: Callable[[Batch], None], rows: list[int]
) -> None:
    store = Store.open(path)
    batch = Batch()
    change(batch)
    store.write(batch)
    store.close()
    assert problems_in(path)
    lines: list[str] = []
    assert repair_directory(path, None, lines.append) == 0
    assert lines
    assert problems_in(path) == []
    assert await rows_of(path) == (rows, rows)


async def test_reader_of_a_mended_log_learns_of_the_gap(path: Path) -> None:
    store = Store.open(path)
    batch = Batch()
    batch.delete(layout.record_key(1, 0, 12))
    store.write(batch)
    store.close()
    assert repair_directory(path, None, lambda line: None) == 0
    node = Node(path)
    storage = await node.start()
    with pytest.raises(LogGap):
        await storage.read_log(INTERNAL, 1, 0, COUNT, 10)
    await node.stop()


def test_nothing_is_overwritten_and_nothing_in_use_is_touched(path: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(StartupError, match="exists already"):
        repair_directory(path, tmp_path / "full", print)
    with pytest.raises(StartupError, match="there is no PhotonDB data"):
        repair_directory(tmp_path / "full", None, print)
    # A process of its own, because a lock does not keep out the process that has it.
    program = "from pathlib import Path; from services.storage.rocks import Store\n"
    program += f"store = Store.open(Path({str(path)!r})); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StartupError, match="is in use by another process"):
            repair_directory(path, tmp_path / "new", print)
        assert not (tmp_path / "new").exists()
        holder.kill()
