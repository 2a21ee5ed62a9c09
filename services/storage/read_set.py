"""What a transaction has read of a table: what must not have changed when it is committed.

It may say that more was read than was, never less. So it needs little memory however much is read: what would become
too long a list of keys or ranges becomes the whole table, or the whole index.
"""

from __future__ import annotations

from bisect import bisect_right

from photondb.api.storage import LogRecord
from photondb.datum.json import loads_stored
from services.storage import layout
from services.storage.indexes import Index
from services.storage.tables import Table
from services.storage.views import UNBOUNDED, Reader

MAX_KEYS = 50_000
"""How many single keys of a table are remembered."""

MAX_RANGES = 10_000
"""How many separate ranges of a table or of an index are remembered."""


class RangeSet:
    """Ranges of keys, low inclusive, high exclusive, all within one prefix."""

    __slots__ = ("_finished", "_highs", "_lows", "_merged", "prefix")

    def __init__(self, prefix: bytes) -> None:
        self.prefix = prefix
        self._lows: list[bytes] = []
        self._highs: list[bytes] = []
        self._finished = False
        self._merged = 0
        """How many ranges there were when they were last put in order, without any overlap."""

    def __len__(self) -> int:
        return len(self._lows)

    def add(self, low: bytes, high: bytes) -> None:
        """Add a range."""
        if high <= low or self._finished:
            return
        if self._highs and self._highs[-1] == low:
            self._highs[-1] = high  # a read that goes on
        else:
            self._lows.append(low)
            self._highs.append(high)
        if len(self._lows) > 2 * self._merged + 64:
            self.merge()

    def add_all(self) -> None:
        """Add everything with the prefix."""
        self._lows, self._highs = [self.prefix], [layout.end_of(self.prefix)]
        self._merged = 1

    def finish(self) -> None:
        """Get ready for `meets`. What is read from now on is too late to matter."""
        self.merge()
        self._finished = True

    def merge(self) -> None:
        """Put the ranges in order and join those that overlap or touch."""
        lows: list[bytes] = []
        highs: list[bytes] = []
        for low, high in sorted(zip(self._lows, self._highs, strict=True)):
            if highs and low <= highs[-1]:
                highs[-1] = max(highs[-1], high)
            else:
                lows.append(low)
                highs.append(high)
        self._lows, self._highs, self._merged = lows, highs, len(lows)
        if len(lows) > MAX_RANGES:
            self.add_all()

    def meets(self, key: bytes) -> bool:
        """Whether a key is in one of the ranges, which must be finished."""
        place = bisect_right(self._lows, key) - 1
        return place >= 0 and key < self._highs[place]


class TableReads:
    """What was read of one table."""

    __slots__ = ("_indexes", "_keys", "_prefix", "_ranges")

    def __init__(self, table: Table) -> None:
        self._prefix = table.document_prefix
        self._keys: set[bytes] = set()
        self._ranges = RangeSet(table.document_prefix)
        self._indexes: dict[Index, RangeSet] = {}

    def __len__(self) -> int:
        return len(self._keys) + len(self._ranges) + sum(map(len, self._indexes.values()))

    def add_keys(self, keys: list[bytes]) -> None:
        """Documents were read by their (store) keys, whether they are there or not."""
        self._keys.update(keys)
        if len(self._keys) > MAX_KEYS:
            self._keys.clear()
            self._ranges.add_all()

    def add_all(self) -> None:
        """The whole table was read, or the number of its documents was."""
        self._ranges.add_all()

    def ranges(self, index: Index | None) -> RangeSet:
        """The ranges of the primary key, or of an index, that were read."""
        if index is None:
            return self._ranges
        found = self._indexes.get(index)
        if found is None:
            found = self._indexes[index] = RangeSet(index.prefix)
        return found

    def finish(self) -> None:
        """Get ready for `meets`."""
        for ranges in (self._ranges, *self._indexes.values()):
            ranges.finish()

    def meets(self, record: LogRecord) -> bool:
        """Whether a change is one of something that was read: by its key, or by an entry of an index that the document
        had before or has now."""
        key = self._prefix + record.key
        if key in self._keys or self._ranges.meets(key):
            return True
        for index, ranges in self._indexes.items():
            for document in (record.old, record.new):
                if document is None:
                    continue
                entries = index.entry_keys(record.key, loads_stored(document))
                if any(ranges.meets(index.prefix + entry) for entry in entries):
                    return True
        return False


class TrackedReader(Reader):
    """A read that is remembered, as far as it went."""

    __slots__ = ("_descending", "_high", "_low", "_ranges", "_reader")

    def __init__(self, reader: Reader, ranges: RangeSet, low: bytes, high: bytes, descending: bool) -> None:
        super().__init__()
        self._reader = reader
        self._ranges = ranges
        self._low = low
        self._high = high
        self._descending = descending

    def take(self, count: int, max_bytes: int = UNBOUNDED) -> list[tuple[bytes, bytes]]:
        rows = self._reader.take(count, max_bytes)
        self._remember(rows[-1][0] if rows else None)
        return rows

    def take_keys(self, count: int) -> list[bytes]:
        keys = self._reader.take_keys(count)
        self._remember(keys[-1] if keys else None)
        return keys

    def close(self) -> None:
        self._reader.close()
        self.done = True

    def _remember(self, last: bytes | None) -> None:
        self.done = self._reader.done
        if self.done:
            self._ranges.add(self._low, self._high)
        elif last is not None and self._descending:
            self._ranges.add(last, self._high)
            self._high = last
        elif last is not None:
            after = last + b"\0"
            self._ranges.add(self._low, after)
            self._low = after
