"""The first rows of an ordered selection, kept up to date: what a feed on `order_by(index).limit(n)` shows.

More rows than are shown are kept in reserve, so that the next ones are at hand when some leave. Only when the reserve
is used up does the window ask for rows from storage. These may be newer than what it knows; so it shows nothing while
it catches up with them, and then the difference at once. This is the state machine alone, without the I/O.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import starmap, zip_longest
from typing import NamedTuple

from services.changefeed.selection import same

_INVERTED = bytes(255 - byte for byte in range(256))


def order_key(entry: bytes, descending: bool) -> bytes:
    """A key that comes in the order of the window, from a self-delimiting one; applying it twice gives it back."""
    return entry.translate(_INVERTED) if descending else entry


class WindowChange(NamedTuple):
    """A row that leaves, another that comes, or a row that changes; offsets are the places before and after."""

    old: bytes | None
    new: bytes | None
    old_offset: int | None
    new_offset: int | None


class Entry(NamedTuple):
    """A row: its key in the window's order, the key of its document, and its JSON."""

    order: bytes
    key: bytes
    value: bytes


class Window:
    """The first `size` rows, and a reserve.

    All rows up to `complete_to` (in the window's order) are known; None means that all are. It starts with none known.
    """

    def __init__(self, size: int, reserve: int) -> None:
        self.size = size
        self._capacity = size + reserve
        self.complete_to: bytes | None = b""
        self._orders: list[bytes] = []
        self._entries: dict[bytes, Entry] = {}
        self._by_key: dict[bytes, list[bytes]] = {}
        self._shown: list[bytes] = []
        self._gone: dict[bytes, Entry] = {}  # what the reader knows and the window no longer has
        self._come: dict[bytes, Entry] = {}  # what the window has and the reader does not know

    @property
    def wants(self) -> int:
        """How many rows after `complete_to` should be fetched; 0 while there are enough."""
        if self.complete_to is None or len(self._orders) >= self.size:
            return 0
        return self._capacity - len(self._orders)

    @property
    def changed(self) -> bool:
        """Whether there is something that the reader does not know."""
        return bool(self._gone or self._come)

    def rows(self) -> list[bytes]:
        """The JSON of the rows that are shown, in order."""
        return [self._entries[order].value for order in self._orders[: self.size]]

    def apply(self, key: bytes, entries: Sequence[Entry]) -> None:
        """The document `key` now has these entries and no others."""
        for order in self._by_key.get(key, ())[:]:
            self._remove(order)
        for entry in entries:
            if self.complete_to is None or entry.order <= self.complete_to:
                self._insert(entry)
        self._trim()

    def concerns(self, key: bytes, entries: Sequence[Entry]) -> bool:
        """Whether `apply` would do anything."""
        return key in self._by_key or any(
            self.complete_to is None or entry.order <= self.complete_to for entry in entries
        )

    def extend(self, entries: Sequence[Entry], complete_to: bytes | None) -> None:
        """Rows that follow on `complete_to`, all of them up to the new one."""
        for entry in entries:
            if entry.order not in self._entries:
                self._insert(entry)
        self.complete_to = complete_to
        self._trim()

    def show(self) -> list[WindowChange]:
        """What has changed since this was called last; the reader knows it from now on.

        A row that leaves is told of together with one that comes, of the same document if there is one, so that the
        reader never has more rows than `size`.
        """
        changed = [order for order in sorted(self._gone) if order in self._come]
        changes = [self._tell(self._gone.pop(order), self._come.pop(order)) for order in changed]
        leaving = [self._gone[order] for order in sorted(self._gone)]
        coming = {order: self._come[order] for order in sorted(self._come)}
        self._gone.clear()
        self._come.clear()
        moved = {entry.key: entry for entry in coming.values()}
        replaced = []
        for entry in leaving:
            partner = moved.pop(entry.key, None)
            if partner is None:
                replaced.append(entry)
            else:
                del coming[partner.order]
                changes.append(self._tell(entry, partner))
        rest = list(coming.values())
        changes.extend(starmap(self._tell, zip_longest(replaced, rest)))
        return [change for change in changes if change is not None]

    # --- the rows and what the reader knows of them

    def _tell(self, old: Entry | None, new: Entry | None) -> WindowChange | None:
        old_offset = new_offset = None
        if old is not None:
            old_offset = bisect_left(self._shown, old.order)
            del self._shown[old_offset]
        if new is not None:
            new_offset = bisect_left(self._shown, new.order)
            self._shown.insert(new_offset, new.order)
        if old is not None and new is not None and old_offset == new_offset and same(old.value, new.value):
            return None
        return WindowChange(
            None if old is None else old.value, None if new is None else new.value, old_offset, new_offset
        )

    def _insert(self, entry: Entry) -> None:
        place = bisect_left(self._orders, entry.order)
        self._orders.insert(place, entry.order)
        self._entries[entry.order] = entry
        self._by_key.setdefault(entry.key, []).append(entry.order)
        if place < self.size:
            self._enters(entry)
            if len(self._orders) > self.size:
                self._leaves(self._entries[self._orders[self.size]])

    def _remove(self, order: bytes) -> None:
        place = bisect_left(self._orders, order)
        del self._orders[place]
        entry = self._entries.pop(order)
        entries = self._by_key[entry.key]
        entries.remove(order)
        if not entries:
            del self._by_key[entry.key]
        if place < self.size:
            self._leaves(entry)
            if len(self._orders) >= self.size:
                self._enters(self._entries[self._orders[self.size - 1]])

    def _enters(self, entry: Entry) -> None:
        gone = self._gone.get(entry.order)
        if gone is not None and gone.value == entry.value:
            del self._gone[entry.order]
        else:
            self._come[entry.order] = entry

    def _leaves(self, entry: Entry) -> None:
        if self._come.pop(entry.order, None) is None:
            self._gone[entry.order] = entry

    def _trim(self) -> None:
        """Forget rows beyond the capacity: they can be fetched again."""
        while len(self._orders) > self._capacity:
            self._remove(self._orders[-1])
            self.complete_to = self._orders[-1]
