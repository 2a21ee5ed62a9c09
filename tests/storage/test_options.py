"""The sizes that storage chooses by itself, and the limits that its operator sets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from photondb.bus import LocalBus
from photondb.config import Settings, StartupError
from photondb.config.machine import memory_bytes, processors
from services.storage.options import (
    MIN_AGGREGATE_BYTES,
    MIN_CACHE_BYTES,
    StorageOptions,
    default_cache_bytes,
    default_column_cache_bytes,
    storage_options,
)
from services.storage.service import Storage
from tests.storage.conftest import Node

GB = 1 << 30


def machine(root: Path, *, total: int, v1: str | None = None, v2: str | None = None) -> Path:
    """A root directory as a machine with that much memory has it, with limits of control groups."""
    (root / "proc").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal:       {total // 1024} kB\nMemFree:  1 kB\n")
    (root / "sys/fs/cgroup/memory").mkdir(parents=True)
    if v1 is not None:
        (root / "sys/fs/cgroup/memory/memory.limit_in_bytes").write_text(v1 + "\n")
    if v2 is not None:
        (root / "sys/fs/cgroup/memory.max").write_text(v2 + "\n")
    return root


def test_processors_are_the_containers_where_it_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3, 5, 7})

    def limited(name: str, **files: str) -> Path:
        group = tmp_path / name / "sys/fs/cgroup"
        (group / "cpu").mkdir(parents=True)
        for file, text in files.items():
            (group / ("cpu.max" if file == "v2" else f"cpu/cpu.cfs_{file}_us")).write_text(text + "\n")
        return tmp_path / name

    assert processors(tmp_path) == 4
    assert processors(limited("a", v2="max 100000")) == 4
    assert processors(limited("b", v2="250000 100000")) == 2
    assert processors(limited("c", v2="50000 100000")) == 1
    assert processors(limited("d", v2="800000 100000")) == 4
    assert processors(limited("e", quota="300000", period="100000")) == 3
    assert processors(limited("f", quota="-1", period="100000")) == 4


def test_memory_is_the_containers_where_it_is_limited(tmp_path: Path) -> None:
    assert memory_bytes(machine(tmp_path / "a", total=8 * GB)) == 8 * GB
    assert memory_bytes(machine(tmp_path / "b", total=8 * GB, v2="max")) == 8 * GB
    assert memory_bytes(machine(tmp_path / "c", total=8 * GB, v2=str(2 * GB))) == 2 * GB
    assert memory_bytes(machine(tmp_path / "d", total=8 * GB, v1=str(1 * GB))) == 1 * GB
    # What version 1 says where there is no limit.
    assert memory_bytes(machine(tmp_path / "e", total=8 * GB, v1="9223372036854771712")) == 8 * GB
    assert memory_bytes(tmp_path / "nothing") == GB


def test_cache_is_a_quarter_within_bounds(tmp_path: Path) -> None:
    assert default_cache_bytes(machine(tmp_path / "a", total=8 * GB)) == 2 * GB
    assert default_cache_bytes(machine(tmp_path / "b", total=8 * GB, v2=str(100 << 20))) == 64 << 20
    assert default_cache_bytes(machine(tmp_path / "c", total=512 * GB)) == 8 * GB


def test_columns_may_take_an_eighth_within_bounds(tmp_path: Path) -> None:
    assert default_column_cache_bytes(machine(tmp_path / "a", total=8 * GB)) == 1 * GB
    assert default_column_cache_bytes(machine(tmp_path / "b", total=8 * GB, v2=str(80 << 20))) == 10 << 20
    assert default_column_cache_bytes(machine(tmp_path / "c", total=512 * GB)) == 4 * GB


def test_settings() -> None:
    environ = {
        "PHOTONDB_CACHE_BYTES": "2000000",
        "PHOTONDB_COLUMN_CACHE_BYTES": "3000000",
        "PHOTONDB_SCAN_WORKERS": "3",
        "PHOTONDB_MMAP_READS": "1",
        "PHOTONDB_MAX_DOCUMENT_BYTES": "5000",
        "PHOTONDB_MAX_CURSOR_SECONDS": "5",
        "PHOTONDB_AGGREGATE_BYTES": "40000000",
    }
    expected = StorageOptions(
        2_000_000,
        3_000_000,
        scan_workers=3,
        mmap_reads=True,
        max_document_bytes=5000,
        max_cursor_age_s=5,
        aggregate_bytes=40_000_000,
    )
    assert storage_options(Settings.load({}, environ)) == expected
    off = storage_options(Settings.load({}, {"PHOTONDB_COLUMN_CACHE_BYTES": "0", "PHOTONDB_SCAN_WORKERS": "0"}))
    assert (off.column_cache_bytes, off.scan_workers) == (0, 0)
    usual = storage_options(Settings.load({}, {}))
    assert usual.column_cache_bytes == default_column_cache_bytes() > 0
    assert usual.scan_workers == min(8, processors() - 1)
    for variable, text in (("PHOTONDB_COLUMN_CACHE_BYTES", "5"), ("PHOTONDB_SCAN_WORKERS", "65")):
        with pytest.raises(StartupError, match=f"{variable} must be"):
            Settings.load({}, {variable: text})
    with pytest.raises(StartupError, match="PHOTONDB_MAX_DOCUMENT_BYTES must be"):
        Settings.load({}, {"PHOTONDB_MAX_DOCUMENT_BYTES": "67108865"})
    with pytest.raises(StartupError, match="PHOTONDB_CACHE_BYTES must be"):
        Settings.load({}, {"PHOTONDB_CACHE_BYTES": "1"})


@pytest.mark.parametrize(("limit", "allowed"), [(5000, 4000), (64 << 20, 20 << 20)])
async def test_limit_of_documents(tmp_path: Path, limit: int, allowed: int) -> None:
    node = Node(tmp_path / "data")
    node.storage = Storage(node.path, LocalBus(), options=StorageOptions(max_document_bytes=limit, mmap_reads=True))
    await node.storage.start()
    table = await node.table("documents")
    assert (await table.insert({"id": 1, "text": "x" * allowed})).inserted == 1
    summary = await table.insert({"id": 2, "text": "x" * limit})
    assert summary.errors == 1
    assert summary.first_error is not None
    assert f"Document too large for disk writes (limit {limit:,} bytes of JSON" in summary.first_error
    assert len((await table.get(1))["text"]) == allowed
    assert await table.get(2) is None
    await node.stop()


def test_storage_nodes_of_one_machine_divide_its_memory() -> None:
    def of(nodes: int) -> StorageOptions:
        return storage_options(Settings.load({"processes": "1", "storage_nodes": str(nodes)}, {}))

    one, four = of(1), of(4)
    assert four.column_cache_bytes == one.column_cache_bytes // 4
    assert four.cache_bytes == max(MIN_CACHE_BYTES, one.cache_bytes // 4)
    assert four.scan_workers == one.scan_workers // 4
    assert MIN_AGGREGATE_BYTES <= four.aggregate_bytes <= one.aggregate_bytes
