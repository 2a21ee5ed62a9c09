"""Going through a secondary index value by value.

Storage gives the documents in the order of an index, not the values that they have in it; those come from the index's
function. A document of a multi index stands at several places, and which one of them a document was found at shows only
at the first place of a range: there it is the least of its values in the range.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, groupby
from typing import Any

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import KeyRange
from photondb.datum.keys import after_prefix
from photondb.reql.index_values import IndexValues
from photondb.reql.runtime import Runtime
from photondb.reql.scan_source import ScanSource
from photondb.reql.stream import Stream, slice_ranges
from photondb.reql.values import TableSlice

MAX_STRIDE_ROWS = 1000


class IndexWalk:
    """A walk through a slice of a table along an index, in the slice's direction."""

    def __init__(self, runtime: Runtime, piece: TableSlice, index: IndexInfo) -> None:
        self.runtime = runtime
        self.info: TableInfo = piece.info
        self.index = index
        self.values = IndexValues.of_index(index)
        self.descending = piece.ordering == "desc"
        (whole,) = slice_ranges(piece)
        self.low, self.high = whole.low, whole.high

    def distinct(self) -> Iterator[list[Any]]:
        """The different values in the index.

        Where values repeat it jumps from one to the next, so that the rows between cost nothing; where they do not it
        reads ever longer stretches at once.
        """
        stride = 1
        while rows := self._first_rows(stride):
            found = self._values_of(rows)
            yield [value for _, value in found]
            self._go_past(found[-1][0])
            if len(rows) < stride:
                return
            if not self.values.multi:
                stride = min(2 * stride, MAX_STRIDE_ROWS) if 2 * len(found) > len(rows) else max(stride // 4, 1)

    def runs(self) -> Iterator[Iterator[Any]]:
        """The documents of one value after the other; each run must be read before the next one."""
        if not self.values.multi:
            rows = self._stream(KeyRange(self.low, self.high)).lists(self.runtime)
            for _, run in groupby(chain.from_iterable(rows), key=self._key_of):
                yield run
            return
        while rows_found := self._first_rows(1):
            key = self._values_of(rows_found)[0][0]
            stream = self._stream(KeyRange(max(key, self.low), min(after_prefix(key), self.high)))
            yield chain.from_iterable(stream.lists(self.runtime))
            self._go_past(key)

    def _stream(self, wanted: KeyRange) -> Stream:
        return Stream(ScanSource(self.info, self.index, (wanted,), self.descending))

    def _first_rows(self, count: int) -> list[Any]:
        if self.low >= self.high:
            return []
        stream = self._stream(KeyRange(self.low, self.high)).sliced(0, count)
        return list(chain.from_iterable(stream.lists(self.runtime)))

    def _go_past(self, key: bytes) -> None:
        if self.descending:
            self.high = key
        else:
            self.low = after_prefix(key)

    def _key_of(self, row: Any) -> bytes:
        return self._entry(row)[0]

    def _values_of(self, rows: list[Any]) -> list[tuple[bytes, Any]]:
        """The different (key, value) pairs of rows that stand at the beginning of what is left."""
        return [next(run) for _, run in groupby(map(self._entry, rows), key=lambda entry: entry[0])]

    def _entry(self, row: Any) -> tuple[bytes, Any]:
        entries = [entry for entry in self.values.entries(row) if self.low <= entry[0] < self.high]
        return (max if self.descending else min)(entries, key=lambda entry: entry[0])
