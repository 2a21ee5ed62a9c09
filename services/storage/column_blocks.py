"""Blocks of rows as columns: some thousand primary keys, one after the other, with the fields of their documents.

A block never changes. What changes in a table makes a few blocks anew, so that its price is that of what has changed,
however large the table is; and who evaluates over blocks sees one point in time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, count
from typing import Any

import msgspec
import numpy as np

from photondb.api.storage import KeyRange
from photondb.reql.vectors import NUMBER, Array, Strings, Vector

BLOCK_ROWS = 1 << 14
"""How many rows a block is made with. It may grow to twice as many before it is divided."""


class Keys:
    """Keys in order, in little more memory than their bytes."""

    __slots__ = ("_ends", "joined", "lengths")

    def __init__(self, joined: bytes, lengths: Array) -> None:
        self.joined = joined
        self.lengths = lengths
        self._ends = np.cumsum(lengths, dtype=np.uint32).data

    @classmethod
    def of(cls, keys: Sequence[bytes]) -> Keys:
        """Keys that are in order."""
        return cls(b"".join(keys), np.fromiter(map(len, keys), np.uint32, len(keys)))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, position: int) -> bytes:
        end: int = self._ends[position]
        return self.joined[end - int(self.lengths[position]) : end]

    @property
    def size(self) -> int:
        """How much memory they take."""
        return len(self.joined) + 8 * len(self)

    def part(self, start: int, end: int) -> Keys:
        """The keys from position `start` to `end`."""
        return Keys(self.joined[self._end_before(start) : self._end_before(end)], self.lengths[start:end])

    def merged(self, deleted: Sequence[int], inserted: Sequence[tuple[int, bytes]]) -> Keys:
        """The keys without those at some positions, and with others before some positions."""
        places = sorted([(place, 1, key) for place, key in inserted] + [(place, 2, b"") for place in deleted])
        pieces: list[bytes] = []
        at = 0
        for place, kind, key in places:
            until = self._end_before(place)
            pieces.append(self.joined[at:until])
            at = until
            if kind == 1:
                pieces.append(key)
            else:
                at += int(self.lengths[place])
        pieces.append(self.joined[at:])
        lengths = np.array([len(key) for _, key in inserted], np.uint32)
        into = np.array([place for place, _ in inserted], np.intp)
        return Keys(b"".join(pieces), _merged(self.lengths, np.array(deleted, np.intp), into, lengths))

    def _end_before(self, position: int) -> int:
        return int(self._ends[position - 1]) if position else 0


class Block(msgspec.Struct, frozen=True, gc=False, eq=False):
    """Some rows of a table: their primary keys, and for each field of the table's columns their values. No other block
    has its `number`."""

    keys: Keys
    fields: Sequence[Vector]
    number: int = msgspec.field(default_factory=count().__next__)

    @property
    def size(self) -> int:
        """About how much memory it takes."""
        kinds = sum(not isinstance(vector.kinds, int) for vector in self.fields)
        return self.keys.size + (8 * len(self.fields) + kinds) * len(self.keys)

    def part(self, start: int, end: int) -> Block:
        """The rows from position `start` to `end`."""
        return Block(self.keys.part(start, end), [_part(vector, start, end) for vector in self.fields])

    def changed(self, changed: Mapping[bytes, Sequence[tuple[int, float]] | None]) -> Block:
        """The block with these rows in the place of what it has under their keys: a kind and a number for each field,
        or None for a document that is not there any more."""
        keys = self.keys
        updated: list[tuple[int, bytes]] = []
        inserted: list[tuple[int, bytes]] = []
        deleted: list[int] = []
        for key in sorted(changed):
            place = bisect_left(keys, key)
            if place < len(keys) and keys[place] == key:
                if changed[key] is None:
                    deleted.append(place)
                else:
                    updated.append((place, key))
            elif changed[key] is not None:
                inserted.append((place, key))
        at = np.array([place for place, _ in updated], np.intp)
        gone = np.array(deleted, np.intp)
        into = np.array([place for place, _ in inserted], np.intp)
        values: Any = [changed[key] for _, key in (*updated, *inserted)]
        fields = []
        for number, old in enumerate(self.fields):
            kinds = np.array([row[number][0] for row in values], np.uint8)
            numbers = np.array([row[number][1] for row in values], np.float64)
            fields.append(_changed(old, len(keys), at, gone, into, kinds, numbers))
        return Block(keys.merged(deleted, inserted) if deleted or inserted else keys, fields)


def empty(fields: int) -> Block:
    """A block without rows."""
    return Block(Keys.of([]), [Vector(NUMBER, np.empty(0))] * fields)


def joined(blocks: Sequence[Block]) -> Block:
    """One block with the rows of several that follow one another."""
    keys = Keys(b"".join([block.keys.joined for block in blocks]), np.concatenate([b.keys.lengths for b in blocks]))
    return Block(keys, [_joined(vectors) for vectors in zip(*[_spread(block) for block in blocks], strict=True)])


class Snapshot:
    """All rows of a table at one point in time, in blocks in the order of their keys, none of which is empty."""

    __slots__ = ("_blocks", "_firsts", "_starts", "fields", "strings")

    def __init__(self, fields: Sequence[str], blocks: Sequence[Block], strings: Strings) -> None:
        self.fields = fields
        self.strings = strings
        self._blocks = tuple(blocks)
        self._firsts = [block.keys[0] for block in blocks]
        self._starts = list(accumulate((len(block.keys) for block in blocks), initial=0))

    def parts(self, wanted: KeyRange) -> Iterator[tuple[Block, int]]:
        """The rows of a range, as blocks and parts of blocks, with the position of the first row of each."""
        number = max(bisect_right(self._firsts, wanted.low) - 1, 0)
        while number < len(self._blocks) and self._firsts[number] < wanted.high:
            block, first = self._blocks[number], self._starts[number]
            rows = len(block.keys)
            start = bisect_left(block.keys, wanted.low) if self._firsts[number] < wanted.low else 0
            end = bisect_left(block.keys, wanted.high) if block.keys[rows - 1] >= wanted.high else rows
            if start < end:
                yield (block if end - start == rows else block.part(start, end)), first + start
            number += 1

    def keys(self, positions: Sequence[int]) -> list[bytes]:
        """The keys of rows at some positions of all."""
        found = []
        for position in positions:
            number = bisect_right(self._starts, position) - 1
            found.append(self._blocks[number].keys[position - self._starts[number]])
        return found


def _part(vector: Vector, start: int, end: int) -> Vector:
    kinds = vector.kinds
    return Vector(kinds if isinstance(kinds, int) else kinds[start:end], vector.values[start:end])


def _spread(block: Block) -> list[tuple[Vector, int]]:
    return [(vector, len(block.keys)) for vector in block.fields]


def _joined(vectors: Sequence[tuple[Vector, int]]) -> Vector:
    kinds: Any = vectors[0][0].kinds
    if not (isinstance(kinds, int) and all(vector.all_are(kinds) for vector, _ in vectors)):
        kinds = np.concatenate([vector.spread(rows)[0] for vector, rows in vectors])
    return Vector(kinds, np.concatenate([vector.values for vector, _ in vectors]))


def _changed(old: Vector, rows: int, at: Array, gone: Array, into: Array, kinds: Array, numbers: Array) -> Vector:
    """A vector of so many rows with the first of some values at the places `at`, without the places `gone`, and with
    the rest of the values before the places `into`."""
    values = old.values.copy()
    values[at] = numbers[: len(at)]
    values = _merged(values, gone, into, numbers[len(at) :])
    if isinstance(old.kinds, int) and (kinds == old.kinds).all():
        return Vector(old.kinds, values)
    there = old.spread(rows)[0].copy()
    there[at] = kinds[: len(at)]
    return Vector(_merged(there, gone, into, kinds[len(at) :]), values)


def _merged(old: Array, gone: Array, into: Array, inserted: Array) -> Array:
    """An array without the elements at the places `gone`, and with others before the places `into`."""
    if len(into):
        into = into - np.searchsorted(gone, into)
    if len(gone):
        old = np.delete(old, gone)
    return np.insert(old, into, inserted) if len(into) else old
