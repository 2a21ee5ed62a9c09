"""Fields of all documents of a table as columns in memory, kept exact.

A commit notes the keys of the documents that it has changed, which is all that a write costs. Before the columns are
used they are brought up to date: the changed documents are read, and arrays take the place of the ones before. So an
array, once it is made, stays as it is, and who evaluates over it sees one point in time.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from photondb.api.storage import KeyRange
from photondb.reql.vectors import Array, Columns, Strings, Unsuited, Vector, column_of
from services.storage.rocks import Store
from services.storage.tables import Table

SLICE_S = 0.002
"""How long documents are read before others get their turn."""

CATCH_UP_DOCUMENTS = 256
"""How many changed documents are read at a time."""

MIN_CHANGED = 4096
MAX_CHANGED_PART = 8
"""Columns are given up when more documents have changed than so many, and more than one in so many of the table."""

MIN_STRINGS = 4096
MAX_STRINGS_PART = 4
"""Columns hold at most so many different strings, or one for so many documents; those beyond are left to scans."""

BYTES_PER_KEY = 49
"""What a key takes in memory besides its length: the object, and its place in a list."""

BYTES_PER_VALUE = 9

GiveWay = Callable[[], Awaitable[None]]
Column = tuple[Array, Array]


class Snapshot(msgspec.Struct, frozen=True):
    """The columns of a table at one point in time: primary keys in order, and for each field kinds and numbers."""

    keys: list[bytes]
    fields: dict[str, Column]
    strings: Strings

    def columns(self, fields: Iterable[str]) -> Columns:
        """Some of the fields."""
        vectors = {}
        for name in fields:
            kinds, values = self.fields[name]
            uniform = len(kinds) > 0 and kinds[0] == kinds.min() == kinds.max()
            vectors[name] = Vector(int(kinds[0]) if uniform else kinds, values)
        return Columns(vectors, len(self.keys), self.strings)

    def positions(self, wanted: KeyRange) -> tuple[int, int]:
        """From where to where the keys of a range are."""
        return bisect_left(self.keys, wanted.low), bisect_left(self.keys, wanted.high)


class TableColumns:
    """The columns of one table. They are made from documents that are added in the order of their keys, as of the
    moment when the object is made, and follow the table from that moment on."""

    def __init__(self, store: Store, table: Table, fields: Sequence[str]) -> None:
        self._store = store
        self._table = table
        self.fields = tuple(fields)
        self._names = [f"f{number}" for number in range(len(self.fields))]
        row = msgspec.defstruct(
            "Row",
            [(name, Any, msgspec.UNSET) for name in self._names],
            rename=dict(zip(self._names, self.fields, strict=True)),
            gc=False,
        )
        self._decode = msgspec.json.Decoder(row).decode
        self._changed: set[bytes] = set()
        self._read: dict[bytes, bytes | None] = {}
        rows = table.position.rows
        strings = Strings(max(MIN_STRINGS, rows // MAX_STRINGS_PART))
        self.snapshot = Snapshot([], {}, strings)
        self._blocks: list[list[Column]] = []
        self.key_bytes = 0
        self._closed = False
        table.watchers = (*table.watchers, self._changed)

    def close(self) -> None:
        """Follow the table no longer."""
        self._closed = True
        self._table.watchers = tuple(one for one in self._table.watchers if one is not self._changed)

    @property
    def size(self) -> int:
        """About how much memory the columns take."""
        return (
            self.key_bytes
            + len(self.snapshot.keys) * (BYTES_PER_KEY + BYTES_PER_VALUE * len(self.fields))
            + self.snapshot.strings.bytes
        )

    @property
    def outrun(self) -> bool:
        """Whether so much has changed that the columns had better be made anew."""
        changed = len(self._changed) + len(self._read)
        return changed > max(MIN_CHANGED, self._table.position.rows // MAX_CHANGED_PART)

    # --- making them

    def add(self, keys: Sequence[bytes], documents: Sequence[bytes]) -> None:
        """Add documents, in the order of their primary keys."""
        self.snapshot.keys.extend(keys)
        self.key_bytes += sum(map(len, keys))
        self._blocks.append(self._columns_of(documents))

    def finish(self) -> None:
        """All documents have been added."""
        fields = {}
        for number, name in enumerate(self.fields):
            kinds = [block[number][0] for block in self._blocks] or [np.empty(0, np.uint8)]
            values = [block[number][1] for block in self._blocks] or [np.empty(0)]
            fields[name] = np.concatenate(kinds), np.concatenate(values)
        self.snapshot = msgspec.structs.replace(self.snapshot, fields=fields)
        self._blocks.clear()

    def _columns_of(self, documents: Iterable[bytes]) -> list[Column]:
        rows = list(map(self._decode, documents))
        strings = self.snapshot.strings
        return [column_of([getattr(row, name) for row in rows], msgspec.UNSET, strings) for name in self._names]

    # --- keeping them up

    async def caught_up(self, give_way: GiveWay) -> Snapshot:
        """The columns as of now: nothing has been written since when this returns. Raises StoreError, and Unsuited when
        they have been given up."""
        slice_end = time.perf_counter() + SLICE_S
        prefix = self._table.document_prefix
        while self._changed:
            keys = [self._changed.pop() for _ in range(min(CATCH_UP_DOCUMENTS, len(self._changed)))]
            documents = self._store.documents.read([prefix + key for key in keys])
            self._read.update(zip(keys, documents, strict=True))
            if time.perf_counter() > slice_end:
                await give_way()
                slice_end = time.perf_counter() + SLICE_S
        if self._closed:
            raise Unsuited
        if self._read:
            self._take_in(self._read)
            self._read = {}
        return self.snapshot

    def _take_in(self, changed: dict[bytes, bytes | None]) -> None:
        """Make arrays with these documents as they are now."""
        keys = self.snapshot.keys
        updated: list[tuple[int, bytes]] = []
        inserted: list[tuple[int, bytes, bytes]] = []
        deleted: list[int] = []
        for key in sorted(changed):
            document = changed[key]
            place = bisect_left(keys, key)
            there = place < len(keys) and keys[place] == key
            if there and document is not None:
                updated.append((place, document))
            elif there:
                deleted.append(place)
            elif document is not None:
                inserted.append((place, key, document))
        fresh = self._columns_of([document for _, document in updated] + [document for _, _, document in inserted])
        at = np.array([place for place, _ in updated], np.intp)
        gone = np.array(deleted, np.intp)
        into = np.array([place for place, _, _ in inserted], np.intp)
        into -= np.searchsorted(gone, into)
        fields: dict[str, Column] = {}
        for name, new in zip(self.fields, fresh, strict=True):
            kinds, values = (
                _replaced(old, at, news[: len(at)], gone, into, news[len(at) :])
                for old, news in zip(self.snapshot.fields[name], new, strict=True)
            )
            fields[name] = kinds, values
        if deleted or inserted:
            self.key_bytes += sum(len(key) for _, key, _ in inserted) - sum(len(keys[place]) for place in deleted)
            keys = _merged(keys, deleted, [(place, key) for place, key, _ in inserted])
        self.snapshot = Snapshot(keys, fields, self.snapshot.strings)


def _replaced(old: Array, at: Array, updates: Array, gone: Array, into: Array, inserts: Array) -> Array:
    """An array with some elements replaced, then some left out, and then some put in before the places `into`."""
    new = old.copy()
    new[at] = updates
    if len(gone):
        new = np.delete(new, gone)
    return np.insert(new, into, inserts) if len(into) else new


def _merged(keys: list[bytes], deleted: list[int], inserted: list[tuple[int, bytes]]) -> list[bytes]:
    """Keys without those at some places, and with others put in before some places."""
    changes: list[tuple[int, bytes | None]] = [*inserted, *((place, None) for place in deleted)]
    changes.sort(key=lambda change: (change[0], change[1] is None))
    merged: list[bytes] = []
    start = 0
    for place, key in changes:
        merged += keys[start:place]
        start = place
        if key is None:
            start += 1
        else:
            merged.append(key)
    return merged + keys[start:]
