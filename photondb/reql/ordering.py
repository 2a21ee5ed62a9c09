"""Sorting: by several functions of a row, each ascending or descending, and the first rows of such an order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from photondb.datum.order import sort_key
from photondb.datum.order_bytes import LACKING as LACKING_BYTES
from photondb.datum.order_bytes import descending as turned
from photondb.datum.order_bytes import order_bytes
from photondb.reql.accumulators import Accumulator
from photondb.reql.function import Func
from photondb.reql.memory import mean_weight
from photondb.reql.row_aggregates import VALUE_BYTES
from photondb.reql.steps import MISSING, Fields, values_or_missing

LACKING = (-1,)
"""The sort key of a row that lacks the value; it comes before all values."""


class _Descending:
    """A sort key turned around."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key

    def __lt__(self, other: _Descending) -> bool:
        return bool(other.key < self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and bool(self.key == other.key)


class Ordering:
    """What to sort by: (function, descending) pairs, the first one first.

    Where all parts descend, rows have plain keys that are sorted in reverse (`reverse`); where only some do, their
    keys are turned around one by one, which is slower.
    """

    __slots__ = ("parts", "reverse")

    def __init__(self, parts: Sequence[tuple[Func, bool]]) -> None:
        self.parts = tuple(parts)
        self.reverse = all(descending for _, descending in self.parts)

    @property
    def fields(self) -> Fields | None:
        """The fields of a row that it looks at."""
        fields: frozenset[str] = frozenset()
        for func, _ in self.parts:
            if func.fields is None:
                return None
            fields |= func.fields
        return fields

    @property
    def pushable(self) -> bool:
        return all(func.pushable for func, _ in self.parts)

    def keys(self, rows: Sequence[Any]) -> list[Any]:
        """The sort keys of the rows."""
        columns = []
        for func, descending in self.parts:
            column = _column(func, rows)
            columns.append([_Descending(key) for key in column] if descending and not self.reverse else column)
        return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))

    def ascending_keys(self, rows: Sequence[Any]) -> list[Any]:
        """Keys that are in ascending order when the rows are in this order, whatever its direction."""
        return [_Descending(key) for key in self.keys(rows)] if self.reverse else self.keys(rows)

    def byte_keys(self, rows: Sequence[Any]) -> list[bytes]:
        """Byte strings that are in ascending order when the rows are in this order."""
        columns = []
        for func, descending in self.parts:
            values = values_or_missing(func, rows)
            keys = [LACKING_BYTES if value is MISSING else order_bytes(value) for value in values]
            columns.append(list(map(turned, keys)) if descending else keys)
        return columns[0] if len(columns) == 1 else list(map(b"".join, zip(*columns, strict=True)))

    def sort(self, rows: Sequence[Any]) -> list[Any]:
        """The rows in order; equal ones stay as they are."""
        return [rows[i] for i in self.positions(self.keys(rows))]

    def positions(self, keys: Sequence[Any]) -> list[int]:
        """Where the rows of these keys stand, in order."""
        return sorted(range(len(keys)), key=keys.__getitem__, reverse=self.reverse)

    def to_wire(self) -> list[Any]:
        return [[func.to_wire(), descending] for func, descending in self.parts]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> Ordering:
        return cls([(Func.from_wire(func), descending) for func, descending in wire])


def _column(func: Func, rows: Sequence[Any]) -> list[Any]:
    return [LACKING if value is MISSING else sort_key(value) for value in values_or_missing(func, rows)]


class Top:
    """The first `count` rows of an order, kept while rows stream by: `order_by(...).limit(n)` without sorting all."""

    fields: Fields | None = None

    def __init__(self, ordering: Ordering, count: int) -> None:
        self.ordering = ordering
        self.count = count

    @property
    def pushable(self) -> bool:
        return self.ordering.pushable

    @property
    def most_rows(self) -> int:
        return self.count

    def start(self) -> Accumulator:
        return TopRows(self.ordering, self.count)

    def to_wire(self) -> dict[str, Any]:
        return {"top": {"by": self.ordering.to_wire(), "count": self.count}}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Top:
        return cls(Ordering.from_wire(wire["by"]), wire["count"])


class TopRows:
    """The accumulator of `Top`. It keeps a few times `count` rows and cuts back when they become too many; rows that
    can't be among the first any more are dropped by one comparison. It is a KeyedAccumulator and a
    WeighedAccumulator."""

    def __init__(self, ordering: Ordering, count: int) -> None:
        self.ordering = ordering
        self.count = count
        self.keys: list[Any] = []
        self.rows: list[Any] = []
        self.cut: Any = None

    @property
    def key_fields(self) -> Fields | None:
        return self.ordering.fields

    def keys_of(self, rows: Sequence[Any]) -> list[Any]:
        return self.ordering.keys(rows)

    def feed(self, rows: Sequence[Any]) -> None:
        self.feed_keyed(self.keys_of(rows), rows)

    def feed_keyed(self, keys: Sequence[Any], rows: Sequence[Any]) -> None:
        """Take rows of which the sort keys are known."""
        cut = self.cut
        if cut is None:
            self.keys.extend(keys)
            self.rows.extend(rows)
        elif self.ordering.reverse:
            for key, row in zip(keys, rows, strict=True):
                if key > cut:
                    self.keys.append(key)
                    self.rows.append(row)
        else:
            for key, row in zip(keys, rows, strict=True):
                if key < cut:
                    self.keys.append(key)
                    self.rows.append(row)
        if len(self.rows) > 2 * self.count + 256:
            self._cut_back()

    def _cut_back(self) -> None:
        order = self.ordering.positions(self.keys)[: self.count]
        self.rows = [self.rows[i] for i in order]
        self.keys = [self.keys[i] for i in order]
        if len(self.rows) == self.count and self.count:
            self.cut = self.keys[-1]

    def partial(self) -> list[Any]:
        self._cut_back()
        return self.rows

    def merge(self, partial: list[Any]) -> None:
        self.feed(partial)

    def result(self) -> list[Any]:
        self._cut_back()
        return self.rows

    @property
    def held(self) -> int:
        return len(self.rows)

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes."""
        return len(self.rows) * (VALUE_BYTES + mean_weight(self.rows))

    @property
    def empty(self) -> bool:
        return not self.rows
