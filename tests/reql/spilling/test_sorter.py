"""Sorting by way of files, against Python's own sort."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from photondb.datum.order_bytes import order_bytes
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.memory import MemoryBudget, MemoryUse
from photondb.reql.spilling import sorter as sorting
from photondb.reql.spilling.sorter import Sorter, key_of, merged, row_of
from photondb.reql.spilling.space import SpillFile, SpillSpace
from photondb.reql.spilling.workspace import Workspace
from tests.examples import examples

SETTINGS = settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def space(tmp_path: Path) -> SpillSpace:
    return SpillSpace(tmp_path / "spill", 1 << 30)


def sorter_of(space: SpillSpace, part_bytes: int, limit: int = 1 << 40) -> tuple[Sorter, MemoryUse]:
    memory = MemoryUse(1 << 40, MemoryBudget(limit, part_bytes))
    return Sorter(Workspace(memory, space, lambda rows: None)), memory


def add(sorter: Sorter, numbers: list[int], size: int = 10) -> None:
    """Add rows with these keys, each of which is its key and its place."""
    rows = [b"%d %d" % (number, place) for place, number in enumerate(numbers)]
    for start in range(0, len(rows), size):
        sorter.add(list(map(order_bytes, numbers[start : start + size])), rows[start : start + size])


def rows_of(sorter: Sorter) -> list[bytes]:
    return [row_of(entry) for block in sorter.blocks() for entry in block]


def in_order(numbers: list[int]) -> list[bytes]:
    places = sorted(range(len(numbers)), key=numbers.__getitem__)
    return [b"%d %d" % (numbers[place], place) for place in places]


@SETTINGS
@given(st.lists(st.integers(-20, 20), max_size=200), st.sampled_from([0, 200, 1000, 5000, 1 << 30]), st.integers(2, 5))
def test_any_budget_gives_the_same_order(space: SpillSpace, numbers: list[int], part_bytes: int, files: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "MAX_FILES", files)
        patch.setattr(sorting, "RUN_ROWS", 16)
        patch.setattr(sorting, "BLOCK_BYTES", 100)
        sorter, memory = sorter_of(space, part_bytes)
        add(sorter, numbers)
        assert rows_of(sorter) == in_order(numbers)
        assert rows_of(sorter) == in_order(numbers)  # they can be read again
        assert sorter.spilled == (space.bytes > 0)
        assert sorter.spilled or part_bytes or not numbers
        sorter.close()
    assert space.bytes == 0
    assert memory.used == 0


def test_rows_of_all_sizes(space: SpillSpace) -> None:
    chance = Random(1)
    rows = [chance.randbytes(chance.choice([0, 1, 100, 5000, 200_000])) for _ in range(300)]
    sorter, _ = sorter_of(space, 1 << 20)
    for row in rows:
        sorter.add([order_bytes(len(row))], [row])
    assert rows_of(sorter) == sorted(rows, key=len)
    assert space.files > 10
    assert space.bytes_written > sum(map(len, rows))
    sorter.close()


def test_there_are_never_many_files_and_no_names(space: SpillSpace) -> None:
    sorter, memory = sorter_of(space, 0)
    numbers = [number * 7919 % 1009 for number in range(1009)]
    add(sorter, numbers)
    assert space.files > 100
    assert len([name for name in os.listdir("/proc/self/fd") if _is_in(space, name)]) <= sorting.MAX_FILES
    assert list(space.directory.iterdir()) == []
    assert space.directory.stat().st_mode & 0o777 == 0o700
    assert memory.spilled_bytes == space.bytes_written > space.bytes > 0
    assert rows_of(sorter) == in_order(numbers)
    del sorter  # as an evaluation that has failed does
    assert space.bytes == 0
    assert not any(_is_in(space, name) for name in os.listdir("/proc/self/fd"))


def _is_in(space: SpillSpace, descriptor: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(space.directory))
    except OSError:
        return False


def test_files_are_for_their_owner_only(space: SpillSpace) -> None:
    file = space.open()
    assert os.fstat(file._descriptor).st_mode & 0o777 == 0o600
    file.close()
    file.close()


def test_keys_come_back() -> None:
    entries: list[bytes] = []
    sorter, _ = sorter_of(SpillSpace(Path("/nowhere")), 1 << 30)
    sorter.add([order_bytes("b"), order_bytes([1, None])], [b"first", b""])
    for block in sorter.blocks():
        entries += block
    assert [key_of(entry) for entry in entries] == [order_bytes([1, None]), order_bytes("b")]


@SETTINGS
@given(st.lists(st.sets(st.binary(max_size=3)), max_size=6), st.integers(1, 5))
def test_merging(sets: list[set[bytes]], size: int) -> None:
    runs = [sorted(b"%b%d" % (entry, run) for entry in entries) for run, entries in enumerate(sets)]
    blocks = list(merged([_blocks(run, size) for run in runs]))
    assert [entry for block in blocks for entry in block] == sorted(entry for run in runs for entry in run)
    assert all(left <= right for block in blocks for left, right in pairwise(block))


def _blocks(run: list[bytes], size: int) -> Iterator[list[bytes]]:
    for start in range(0, len(run), size):
        yield run[start : start + size]


# --- disks


def test_no_more_than_may_be(tmp_path: Path) -> None:
    space = SpillSpace(tmp_path, 2000)
    sorter, _ = sorter_of(space, 0)
    with pytest.raises(ReqlError, match=r"no more than 2,000 bytes .* raise PHOTONDB_SPILL_BYTES") as caught:
        add(sorter, list(range(1000)))
    assert caught.value.kind == ErrorKind.RESOURCE_LIMIT
    sorter.close()
    assert space.bytes == 0


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sorter, _ = sorter_of(SpillSpace(tmp_path / "file" / "spill"), 0)
    with pytest.raises(ReqlError, match=r"cannot be used \(Not a directory\).* set PHOTONDB_SPILL_DIR"):
        add(sorter, [1])


def test_a_full_disk(space: SpillSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    sorter, _ = sorter_of(space, 0)

    def write(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", write)
    with pytest.raises(ReqlError, match=r"No space is left on the disk of .* Make room, or set PHOTONDB_SPILL_DIR"):
        add(sorter, [1])
    sorter.close()
    assert space.bytes == 0


def test_half_of_what_is_free_stays_free(tmp_path: Path) -> None:
    space = SpillSpace(tmp_path)
    free = os.statvfs(tmp_path)
    file: SpillFile = space.open()
    with pytest.raises(ReqlError, match="no more than"):
        space.take(free.f_bavail * free.f_frsize * 3 // 4)
    file.append(b"little")
    assert file.read(0, 100) == b"little"
    file.close()


# --- memory


def test_who_is_small_goes_on_when_all_is_taken() -> None:
    budget = MemoryBudget(100 << 20)
    large, small = MemoryUse(1 << 40, budget), MemoryUse(1 << 40, budget)
    large.require(100 << 20)
    assert budget.used == 100 << 20
    assert small.hold(1 << 20)
    small.require(0)
    assert not large.hold(1)
    with pytest.raises(ReqlError, match=r"take as much memory as they may together \(limit 100 MB\)"):
        small.require(10 << 20)
    assert budget.refused == 1
    del large  # its query has ended
    assert budget.used < 100 << 20
    assert small.hold(10 << 20)
    small.hold(-(21 << 20))
    assert budget.used == 0


def test_what_a_query_may_take_by_itself() -> None:
    memory = MemoryUse(10 << 20, MemoryBudget(1 << 40))
    memory.require(9 << 20)
    with pytest.raises(ReqlError, match=r"The query takes more memory than it may \(limit 10 MB\)"):
        memory.require(2 << 20)
