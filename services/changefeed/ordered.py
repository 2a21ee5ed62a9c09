"""The entries that documents have in an ordered selection, and the scans that give the next of them."""

from __future__ import annotations

from collections.abc import Iterable

from photondb.api.storage import KeyRange
from photondb.datum.keys import primary_key
from services.changefeed.documents import Document
from services.changefeed.selection import Selection
from services.changefeed.window import Entry, order_key

REPEAT_BYTES = 4
"""Storage tells apart equal entries of one document in a multi index by a number after the key, save the first."""

_FIRST = bytes(REPEAT_BYTES)


class OrderedSelection:
    """A selection on one range, in the order of its key. `primary_key_field` names the field with the primary key."""

    def __init__(self, selection: Selection, whole_range: KeyRange, descending: bool, primary_key_field: str) -> None:
        self.selection = selection
        self.descending = descending
        self._range = whole_range
        self._field = primary_key_field

    def orders(self, key: bytes, document: Document) -> list[bytes]:
        """The places of a document in the order, first to last."""
        selection = self.selection
        if selection.index is None:
            return [order_key(key, self.descending)] if selection.ranges.count(key) else []
        seen: dict[bytes, int] = {}
        orders = []
        for index_key in document.index_keys(selection.index):
            if selection.ranges.count(index_key):
                repeat = seen.get(index_key, 0)
                seen[index_key] = repeat + 1
                entry = index_key + key
                if selection.index.values.multi:
                    entry += repeat.to_bytes(REPEAT_BYTES, "big")
                orders.append(order_key(entry, self.descending))
        orders.sort()
        return orders

    def entries(self, key: bytes, document: Document | None) -> list[Entry]:
        """The rows that a document has in the selection after its steps."""
        if document is None:
            return []
        orders = self.orders(key, document)
        value = self.selection.show(document) if orders else None
        return [] if value is None else [Entry(order, key, value) for order in orders]

    def range_after(self, order: bytes) -> KeyRange:
        """The range of what comes after `order`; all of it for b""."""
        if not order:
            return self._range
        entry = order_key(order, self.descending)
        index = self.selection.index
        if index is not None and index.values.multi and entry.endswith(_FIRST):
            entry = entry[:-REPEAT_BYTES]
        if self.descending:
            return KeyRange(self._range.low, min(entry, self._range.high))
        return KeyRange(max(entry + b"\0", self._range.low), self._range.high)


class ScannedEntries:
    """Turns the rows of a scan over `range_after(order)` into entries.

    A document comes as often as it has entries in the range, in the order of these: which entry a row is follows from
    how often its document came before.
    """

    def __init__(self, ordered: OrderedSelection, order: bytes) -> None:
        self._ordered = ordered
        self._after = order
        self._left: dict[bytes, list[bytes]] = {}
        self.entries: list[Entry] = []
        self.reached = order
        """The place of the last row."""

    def add(self, rows: Iterable[bytes]) -> None:
        """Take rows that passed the selection's filters. Raises the error of a step that fails."""
        ordered = self._ordered
        for raw in rows:
            document = Document(raw)
            key = primary_key(document.value[ordered._field])
            left = self._left.get(key)
            if left is None:
                left = [order for order in ordered.orders(key, document) if order > self._after]
                left.reverse()
                self._left[key] = left
            self.reached = left.pop()
            value = ordered.selection.show_filtered(document)
            if value is not None:
                self.entries.append(Entry(self.reached, key, value))
