"""What a transaction has written, laid over the store as it was when the transaction began."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from services.storage.views import UNBOUNDED, Reader

SORTED_AT_A_TIME = 2000
"""How many values are put in order between two looks at the clock, at first."""


class Overlay:
    """Keys of the store with the values that they have instead: None for those that are deleted.

    A read that takes long sees the overlay as it was when the read began: `frozen` gives it to keep, and the first
    write after that goes on with a copy.
    """

    __slots__ = ("_frozen", "_keys", "values")

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self.values: dict[bytes, bytes | None] = {}
        self._frozen: FrozenOverlay | None = None

    def frozen(self) -> FrozenOverlay:
        """The overlay as it is now, for one reader."""
        if self._frozen is None:
            self._frozen = FrozenOverlay(self._keys, self.values)
        self._frozen.readers += 1
        return self._frozen

    def put(self, key: bytes, value: bytes | None) -> None:
        """Let `key` have a value; None deletes it."""
        if self._frozen is not None:
            if self._frozen.readers:
                self._keys, self.values = self._keys.copy(), self.values.copy()
            self._frozen = None
        if key not in self.values:
            insort(self._keys, key)
        self.values[key] = value


class FrozenOverlay:
    """An overlay at one moment, and how many still read it. `keys` are those of `values`, in order."""

    __slots__ = ("keys", "readers", "values")

    def __init__(self, keys: list[bytes], values: Mapping[bytes, bytes | None]) -> None:
        self.keys = keys
        self.values = values
        self.readers = 0


def sorting(values: list[Any], key: Callable[[Any], bytes] | None = None) -> Iterator[None]:
    """Put values in order, with a step for each part: longer and longer ones, of sorted halves."""
    length = SORTED_AT_A_TIME
    while True:
        for start in range(0, len(values), length):
            values[start : start + length] = sorted(values[start : start + length], key=key)
            yield
        if length >= len(values):
            return
        length *= 2


class MergedReader(Reader):
    """An ordered read of a range of the store with an overlay on it."""

    __slots__ = ("_base", "_descending", "_held", "_high", "_low", "_overlay")

    def __init__(self, base: Reader, overlay: FrozenOverlay, low: bytes, high: bytes, descending: bool) -> None:
        super().__init__()
        self._base = base
        self._overlay = overlay
        # What is left to be read, of the store and of the overlay alike.
        self._low = low
        self._high = high
        self._descending = descending
        self._held: list[tuple[bytes, bytes]] = []
        """Rows that were read already, in order."""

    def take(self, count: int, max_bytes: int = UNBOUNDED) -> list[tuple[bytes, bytes]]:
        rows, self._held = self._held, []
        room = max_bytes - sum(len(value) for _, value in rows)
        while len(rows) < count and room > 0 and not self._base.done:
            found = self._next(count - len(rows), room)
            room -= sum(len(value) for _, value in found)
            rows += found
        if len(rows) > count:
            self._held = rows[count:]
            del rows[count:]
        elif self._base.done:
            self.done = True
        return rows

    def take_keys(self, count: int) -> list[bytes]:
        return [key for key, _ in self.take(count)]

    def close(self) -> None:
        self._base.close()
        self._held = []
        self.done = True

    def _next(self, count: int, max_bytes: int) -> list[tuple[bytes, bytes]]:
        """The store's next rows, with those of the overlay that come before or between them."""
        rows = self._base.take(count, max_bytes)
        low, high = self._low, self._high
        if not self._base.done:
            if self._descending:
                low = self._high = rows[-1][0]
            else:
                high = self._low = rows[-1][0] + b"\0"
        keys, values = self._overlay.keys, self._overlay.values
        changed = keys[bisect_left(keys, low) : bisect_left(keys, high)]
        if not changed:
            return rows
        merged = dict(rows)
        for key in changed:
            value = values[key]
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = value
        return sorted(merged.items(), reverse=self._descending)
