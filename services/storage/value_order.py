"""Reads an index from its greatest value down as a sort would put the documents: those of one value in the order of the
primary key, and not turned around as well.

What is read backwards is held until its value is complete, and turned. Where a value has more entries than are worth
holding, it is read forwards by a reader of its own.
"""

from __future__ import annotations

from itertools import chain

from photondb.datum.keys import after_prefix
from services.storage.indexes import Index
from services.storage.views import UNBOUNDED, Reader, ReadView

MIN_ENTRIES = 64
"""How many entries are read backwards at a time, at least: a value that has as many is read forwards."""

MAX_ENTRIES_BYTES = 256 << 10
"""How many bytes of entries are read backwards at a time; an entry may carry what it likes of its document."""


class DescendingValues(Reader):
    """The entries of an index that is not multi from `low` (inclusive) to `high` (exclusive), store keys both."""

    __slots__ = ("_backwards", "_forwards", "_held", "_index", "_low", "_ready", "_view")

    def __init__(self, view: ReadView, index: Index, low: bytes, high: bytes) -> None:
        super().__init__()
        self._view = view
        self._index = index
        self._low = low
        self._backwards = view.read(low, high, descending=True)
        self._forwards: Reader | None = None
        """Reads the entries of one value, which `_backwards` has been moved beyond."""
        self._held: list[tuple[bytes, bytes]] = []
        """What was read of a value that may have more entries, backwards."""
        self._ready: list[tuple[bytes, bytes]] = []
        """Entries that are to be given, the last one first."""

    def take(self, count: int, max_bytes: int = UNBOUNDED) -> list[tuple[bytes, bytes]]:
        rows: list[tuple[bytes, bytes]] = []
        room = max_bytes
        while len(rows) < count and room > 0:
            if self._ready:
                found = self._given(count - len(rows), room)
            elif self._forwards is not None:
                found = self._forwards.take(count - len(rows), room)
                if self._forwards.done:
                    self._forwards.close()
                    self._forwards = None
            elif not self._backwards.done:
                self._read_backwards(max(count, MIN_ENTRIES))
                continue
            else:
                break
            rows += found
            room -= sum(len(value) for _, value in found)
        self.done = not self._ready and self._forwards is None and self._backwards.done
        return rows

    def _given(self, count: int, max_bytes: int) -> list[tuple[bytes, bytes]]:
        rows = self._ready[: -count - 1 : -1]
        room = max_bytes
        for given, (_, value) in enumerate(rows, 1):
            room -= len(value)
            if room <= 0:
                del rows[given:]
                break
        del self._ready[-len(rows) :]
        return rows

    def _read_backwards(self, count: int) -> None:
        """Read on, and make ready what is complete of that."""
        held = self._held + self._backwards.take(count, MAX_ENTRIES_BYTES)
        self._held = []
        values = self._values_of(held)
        runs: list[list[tuple[bytes, bytes]]] = []
        start = 0
        for end in range(1, len(held) + 1):
            if end == len(held) or values[end] != values[start]:
                runs.append(held[start:end])
                start = end
        if runs and not self._backwards.done:
            self._held = runs.pop()
        # What is given comes from the end, and was read backwards: so only the values are to be turned.
        runs.reverse()
        self._ready = list(chain.from_iterable(runs))
        if not runs and self._held:
            value = values[-1]
            self._held = []
            self._backwards.close()
            self._forwards = self._view.read(value, after_prefix(value))
            self._backwards = self._view.read(self._low, value, descending=True)

    def _values_of(self, entries: list[tuple[bytes, bytes]]) -> list[bytes]:
        """The beginning of each entry's key that all entries of its value share."""
        if not self._index.covering:
            return [key[: -len(primary)] for key, primary in entries]
        primary_of = self._index.primary_of
        return [key[: -len(primary_of(value))] for key, value in entries]

    def take_keys(self, count: int) -> list[bytes]:
        return [key for key, _ in self.take(count)]

    def close(self) -> None:
        self._backwards.close()
        if self._forwards is not None:
            self._forwards.close()
        self._held, self._ready = [], []
        self.done = True
