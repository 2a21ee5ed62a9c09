"""What a feed is on: which rows, seen through which steps. Feeds on the same thing share one `Selection`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Sequence
from typing import Any

from photondb.api.storage import KeyRange
from photondb.datum.errors import DatumError
from photondb.datum.json import dumps, dumps_computed, loads_stored
from photondb.datum.keys import after_prefix
from photondb.datum.order import equal
from photondb.reql.errors import ReqlError
from photondb.reql.steps import FilterStep, Step, steps_from_wire, steps_to_wire
from photondb.reql.uninterrupted import WORK
from services.changefeed.documents import Document, Index, Row
from services.changefeed.equality import required_equality
from services.changefeed.notices import Change


class KeyRanges:
    """Ranges of keys that may overlap: how often a key is in them.

    `points` are those of them that hold the entries of one value each, by that value's key, with how often they count.
    """

    __slots__ = ("_bounds", "_counts", "points", "whole")

    def __init__(self, ranges: Sequence[KeyRange]) -> None:
        steps: dict[bytes, int] = {}
        for wanted in ranges:
            if wanted.low < wanted.high:
                steps[wanted.low] = steps.get(wanted.low, 0) + wanted.repeat
                steps[wanted.high] = steps.get(wanted.high, 0) - wanted.repeat
        self._bounds = sorted(steps)
        self._counts: list[int] = []
        count = 0
        for bound in self._bounds:
            count += steps[bound]
            self._counts.append(count)
        self.whole = len(ranges) == 1 and ranges[0] == KeyRange()
        self.points: dict[bytes, int] | None = None
        if all(wanted.low and wanted.high == after_prefix(wanted.low) for wanted in ranges):
            self.points = {}
            for wanted in ranges:
                self.points[wanted.low] = self.points.get(wanted.low, 0) + wanted.repeat

    def spans(self) -> list[tuple[bytes, bytes]]:
        """The keys that are in any of the ranges, as spans that do not touch one another."""
        found: list[tuple[bytes, bytes]] = []
        for low, high, count in zip(self._bounds, self._bounds[1:], self._counts, strict=False):
            if count and found and found[-1][1] == low:
                found[-1] = found[-1][0], high
            elif count:
                found.append((low, high))
        return found

    def count(self, key: bytes) -> int:
        """In how many of the ranges `key` is."""
        if self.points is not None:
            return self.points.get(key, 0)
        place = bisect_right(self._bounds, key) - 1
        return self._counts[place] if place >= 0 else 0


class Selection:
    """The rows with keys in `ranges`, of the primary key or of `index`, after `steps`.

    `filters` are the filters that the steps begin with: they can be left to storage when rows are read, and the
    documents still be recognised. Rows that do not have the `equality`, where there is one, are left out by them.
    """

    __slots__ = ("_keeps", "_rest", "equality", "filters", "identity", "index", "place", "ranges", "steps")

    def __init__(self, index: Index | None, ranges: Sequence[KeyRange], steps: Sequence[Step]) -> None:
        self.index = index
        self.ranges = KeyRanges(ranges)
        self.place = None if index is None else index.id, tuple(ranges)
        self.identity = identity_of(*self.place, steps)
        # Compiled anew: the query that they come from may go on using its own.
        self.steps = tuple(steps_from_wire(steps_to_wire(steps)))
        self.filters: list[FilterStep] = []
        for step in self.steps:
            if not isinstance(step, FilterStep):
                break
            self.filters.append(step)
        self.equality = required_equality(self.filters)
        self._keeps = [step.selector() for step in self.filters]
        self._rest = self.steps[len(self.filters) :]

    def copies(self, key: bytes, document: Document | None) -> int:
        """How often the document is among the rows, before the steps: a multi index may have it several times."""
        if document is None:
            return 0
        if self.index is None:
            return self.ranges.count(key)
        return sum(map(self.ranges.count, document.index_keys(self.index)))

    def show(self, document: Document) -> bytes | None:
        """The JSON of what the steps make of a document; None for nothing, which null counts as.

        A document for which a step fails is as one that a filter leaves out, as in RethinkDB.
        """
        try:
            if self._keeps and not WORK.do(self._is_kept, document.value):
                return None
            return self.show_filtered(document)
        except (ReqlError, DatumError):
            return None

    def _is_kept(self, value: Any) -> bool:
        return all(keeps(value) for keeps in self._keeps)

    def show_filtered(self, document: Document) -> bytes | None:
        """The same for a document that has passed the filters; a step that fails raises its error."""
        return WORK.do(self._after_steps, document.value) if self._rest else document.raw

    def _after_steps(self, value: Any) -> bytes | None:
        values = [value]
        for step in self._rest:
            values = step.apply(values)
        return dumps_computed(values[0]) if values and values[0] is not None else None

    def changes(self, row: Row) -> list[Change]:
        """What a commit changes among the rows after the steps."""
        old_copies, new_copies = self.copies(row.key, row.old), self.copies(row.key, row.new)
        if not old_copies and not new_copies:
            return []
        old = self.show(row.old) if old_copies and row.old is not None else None
        new = self.show(row.new) if new_copies and row.new is not None else None
        old_copies = 0 if old is None else old_copies
        new_copies = 0 if new is None else new_copies
        # Storage never commits a document that equals the one before, but the steps may make the same of both.
        kept = 0
        if old is not None and new is not None and self._rest and same(old, new):
            kept = min(old_copies, new_copies)
        end = max(old_copies, new_copies)
        return [
            Change(
                row.key,
                copy,
                old if copy < old_copies else None,
                new if copy < new_copies else None,
                row.shard,
                row.sequence,
                0 if copy + 1 == end else copy + 1 - kept,
            )
            for copy in range(kept, end)
        ]


def identity_of(index_id: int | None, ranges: Sequence[KeyRange], steps: Sequence[Step]) -> Hashable:
    """What is equal for selections of the same rows of a table after the same steps."""
    return index_id, tuple(ranges), dumps(steps_to_wire(steps))


def same(left: bytes, right: bytes) -> bool:
    """Whether two JSON values are equal in ReQL."""
    return left == right or equal(loads_stored(left), loads_stored(right))
