"""Sorting any number of rows: sorted runs in memory, and in files when they become too many, merged as a stream.

An entry is one byte string: the row's key (`photondb.datum.order_bytes`), its number, the row, and the length of key
and number. So entries compare as their rows should come, and rows with the same key in the order in which they were
added; and sorting and merging them is what Python's sort does with byte strings, without any code of ours in between.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from struct import Struct

from photondb.reql.spilling.space import SpillFile
from photondb.reql.spilling.workspace import Workspace

RUN_ROWS = 4096
"""How many entries are sorted at once, which takes two or three milliseconds."""

MERGED_ROWS = 16_384
MIN_SLICE_ROWS = 64
"""How many entries are merged at once, about, and how many of one run take part at least."""

BLOCK_BYTES = 64 << 10
"""How much of a file is read at a time, about."""

WRITE_BYTES = 1 << 20
"""How much is written at a time, about."""

MAX_FILES = 32
"""How many files a sort may have open; when there would be more, some are merged into one."""

MIN_MERGED_FILES = 2

_ENTRY_BYTES = 64
"""What an entry takes in memory besides its bytes."""

_NUMBER = Struct(">Q")
_LENGTH = Struct(">I")


def row_of(entry: bytes) -> bytes:
    """The row of an entry."""
    return entry[_LENGTH.unpack_from(entry, len(entry) - 4)[0] : -4]


def key_of(entry: bytes) -> bytes:
    """The key of an entry."""
    return entry[: _LENGTH.unpack_from(entry, len(entry) - 4)[0] - 8]


class _FileRun:
    """Sorted entries in a file. They can be read again and again."""

    def __init__(self, file: SpillFile) -> None:
        self.file = file
        self.largest_block = 0
        self._blocks: list[tuple[int, int, int]] = []

    def write(self, blocks: Iterator[list[bytes]]) -> None:
        """Write all there is."""
        waiting: list[bytes] = []
        size = end = 0
        for block in blocks:
            for part in _parts(block):
                data = array("I", map(len, part)).tobytes() + b"".join(part)
                self._blocks.append((end, len(data), len(part)))
                self.largest_block = max(self.largest_block, len(data))
                end += len(data)
                size += len(data)
                waiting.append(data)
                if size >= WRITE_BYTES:
                    self.file.append(b"".join(waiting))
                    waiting.clear()
                    size = 0
        if waiting:
            self.file.append(b"".join(waiting))

    def blocks(self) -> Iterator[list[bytes]]:
        """The entries in order."""
        for offset, size, count in self._blocks:
            data = self.file.read(offset, size)
            lengths = array("I")
            lengths.frombytes(data[: 4 * count])
            entries = []
            start = 4 * count
            for length in lengths:
                entries.append(data[start : start + length])
                start += length
            yield entries


class Sorter:
    """Rows that are added with their keys, and come back in the order of the keys; equal ones as they were added.

    Rows can be read several times, after all were added. Inside of an evaluation others go on meanwhile.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._count = 0
        self._pending: list[bytes] = []
        self._size = 0
        self._runs: list[list[bytes]] = []
        self._files: list[_FileRun] = []

    @property
    def spilled(self) -> bool:
        """Whether rows have been put aside."""
        return bool(self._files)

    def add(self, keys: Sequence[bytes], rows: Sequence[bytes]) -> None:
        """Take rows. Raises a resource-limit error when there is no place for them."""
        number, length = _NUMBER.pack, _LENGTH.pack
        first = self._count
        self._count += len(rows)
        entries = [
            b"".join((key, number(position), row, length(len(key) + 8)))
            for position, (key, row) in enumerate(zip(keys, rows, strict=True), first)
        ]
        self._pending += entries
        self._size += sum(map(len, entries)) + len(entries) * _ENTRY_BYTES
        if len(self._pending) >= RUN_ROWS:
            self._sort_pending()
        if not self._workspace.hold(self._size):
            self.spill()

    def spill(self) -> None:
        """Put all that is in memory into a file."""
        self._sort_pending()
        if not self._runs:
            return
        if len(self._files) >= MAX_FILES:
            self._merge_files(MAX_FILES // 2)
        self._files.append(self._write(self._merged_runs()))
        self._runs = []
        self._size = 0
        self._workspace.hold(0)

    def blocks(self) -> Iterator[list[bytes]]:
        """All entries in order, some at a time."""
        self._sort_pending()
        if not self._files:
            return self._merged_runs()
        self.spill()
        while len(self._files) > MIN_MERGED_FILES and not self._workspace.hold(_memory_of(self._files)):
            self._merge_files(len(self._files) // 2)
        return self._checked(merged([run.blocks() for run in self._files]))

    def close(self) -> None:
        """Give everything up."""
        for run in self._files:
            run.file.close()
        self._files = []
        self._runs = []
        self._pending = []
        self._workspace.close()

    def _sort_pending(self) -> None:
        if self._pending:
            self._pending.sort()
            self._runs.append(self._pending)
            self._pending = []

    def _merged_runs(self) -> Iterator[list[bytes]]:
        rows = max(MIN_SLICE_ROWS, MERGED_ROWS // max(1, len(self._runs)))
        return self._checked(merged([_slices(run, rows) for run in self._runs]))

    def _merge_files(self, count: int) -> None:
        """Make one of the smallest files."""
        self._files.sort(key=lambda run: run.file.size)
        count = max(count, MIN_MERGED_FILES)
        some, self._files = self._files[:count], self._files[count:]
        self._files.append(self._write(self._checked(merged([run.blocks() for run in some]))))
        for run in some:
            run.file.close()

    def _write(self, blocks: Iterator[list[bytes]]) -> _FileRun:
        run = _FileRun(self._workspace.open_file())
        run.write(blocks)
        self._workspace.note_spilled(run.file.size)
        return run

    def _checked(self, blocks: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
        for block in blocks:
            yield block
            self._workspace.checkpoint(len(block))


def merged(runs: Sequence[Iterator[list[bytes]]]) -> Iterator[list[bytes]]:
    """The entries of sorted runs, which are all different, in order. Runs are read block by block.

    Of the blocks that stand at the heads of runs, everything up to the least of their last entries can be given out:
    what comes after a block is greater than its last entry. That is sorted, which finds it nearly in order.
    """
    heads: list[tuple[bytes, int]] = []
    blocks: dict[int, list[bytes]] = {}

    def advance(number: int) -> None:
        block = next(runs[number], None)
        if block is not None:
            blocks[number] = block
            heappush(heads, (block[0], number))

    for number in range(len(runs)):
        advance(number)
    while heads:
        _, number = heappop(heads)
        taking = [number]
        bound = blocks[number][-1]
        while heads and heads[0][0] <= bound:
            _, number = heappop(heads)
            taking.append(number)
            bound = min(bound, blocks[number][-1])
        found: list[bytes] = []
        for number in taking:
            block = blocks[number]
            end = bisect_right(block, bound)
            if end == len(block):
                found += block
                advance(number)
            else:
                found += block[:end]
                blocks[number] = block[end:]
                heappush(heads, (block[end], number))
        if len(taking) > 1:
            found.sort()
        yield found


def _slices(entries: list[bytes], rows: int) -> Iterator[list[bytes]]:
    for start in range(0, len(entries), rows):
        yield entries[start : start + rows]


def _parts(entries: list[bytes]) -> Iterator[list[bytes]]:
    """Entries in parts of about a block's size."""
    rows = max(1, len(entries) * BLOCK_BYTES // (sum(map(len, entries)) + 1))
    return _slices(entries, rows)


def _memory_of(files: Sequence[_FileRun]) -> int:
    """How much memory it takes to merge files: a block of each, and what is given out of them."""
    return 2 * sum(run.largest_block for run in files)
