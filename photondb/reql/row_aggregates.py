"""Aggregates that come to rows, or to values that are made of them: the first and last ones, different ones, all of
them, and what a function reduces them to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from photondb.datum.order import SortKey, sort_key
from photondb.datum.order_bytes import order_bytes
from photondb.reql.accumulators import UNBOUNDED, Accumulator, OfFunction, nothing_to_take
from photondb.reql.errors import non_existence_error
from photondb.reql.function import Func
from photondb.reql.memory import mean_weight
from photondb.reql.steps import MISSING, Fields, values_or_missing

VALUE_BYTES = 200
"""What a value and its sort key take in a dictionary, besides the value's own weight."""


class _OfRows(ABC):
    """An accumulator whose partial result is some of the rows, or as good as rows: it takes that in as it takes rows
    in."""

    @abstractmethod
    def feed(self, rows: Sequence[Any]) -> None: ...

    @property
    @abstractmethod
    def held(self) -> int: ...

    def merge(self, partial: list[Any]) -> None:
        self.feed(partial)

    @property
    def empty(self) -> bool:
        return not self.held


class Min(OfFunction):
    """The row with the least value."""

    name = "min"

    fields: Fields | None = None  # the row itself is the result

    def start(self) -> Accumulator:
        return _Extreme(self.func, greatest=False)


class Max(OfFunction):
    """The row with the greatest value."""

    name = "max"
    fields: Fields | None = None

    def start(self) -> Accumulator:
        return _Extreme(self.func, greatest=True)


class _Extreme(_OfRows):
    def __init__(self, func: Func | None, greatest: bool) -> None:
        self.func = func
        self.greatest = greatest
        self.best: SortKey | None = None
        self.row: Any = None

    @property
    def key_fields(self) -> Fields | None:
        return None if self.func is None else self.func.fields

    def keys_of(self, rows: Sequence[Any]) -> list[SortKey | None]:
        if self.func is None:
            return list(map(sort_key, rows))
        return [None if value is MISSING else sort_key(value) for value in values_or_missing(self.func, rows)]

    def feed(self, rows: Sequence[Any]) -> None:
        self.feed_keyed(self.keys_of(rows), rows)

    def feed_keyed(self, keys: Sequence[Any], rows: Sequence[Any]) -> None:
        present = [position for position, key in enumerate(keys) if key is not None]
        if not present:
            return
        best = (max if self.greatest else min)(present, key=keys.__getitem__)  # the first of equal ones
        key = keys[best]
        if self.best is None or (key > self.best if self.greatest else key < self.best):
            self.best, self.row = key, rows[best]

    def partial(self) -> list[Any]:
        return [] if self.best is None else [self.row]

    def result(self) -> Any:
        if self.best is None:
            name = "max" if self.greatest else "min"
            raise nothing_to_take(name, name)
        return self.row

    @property
    def held(self) -> int:
        return int(self.best is not None)


class Reduce:
    """The rows folded pairwise by a function."""

    most_rows = 1
    fields: Fields | None = None

    def __init__(self, func: Func) -> None:
        self.func = func

    @property
    def pushable(self) -> bool:
        return self.func.pushable

    def start(self) -> Accumulator:
        return _Reducing(self.func)

    def to_wire(self) -> dict[str, Any]:
        return {"reduce": self.func.to_wire()}


class _Reducing(_OfRows):
    def __init__(self, func: Func) -> None:
        self.func = func
        self.values: list[Any] = []  # at most one: the rows so far

    def feed(self, rows: Sequence[Any]) -> None:
        if not rows:
            return
        call = self.func.call
        if self.values:
            value, rest = self.values[0], rows
        else:
            value, rest = rows[0], rows[1:]
        for row in rest:
            value = call(value, row)
        self.values = [value]

    def partial(self) -> list[Any]:
        return self.values

    def result(self) -> Any:
        if not self.values:
            error = non_existence_error("Cannot reduce over an empty stream.")
            error.frames = self.func.code.path[:-1]
            raise error
        return self.values[0]

    @property
    def held(self) -> int:
        return len(self.values)


class Distinct:
    """The different values among the rows, in order."""

    fields: Fields | None = None
    pushable = True

    def __init__(self, limit: int) -> None:
        self.limit = limit

    @property
    def most_rows(self) -> int:
        return self.limit

    def start(self) -> Accumulator:
        return _Distinguishing(self.limit)

    def to_wire(self) -> dict[str, Any]:
        return {"distinct": self.limit}

    def result_of(self, partial: list[Any]) -> list[Any]:
        """The result where there is but one partial result, of values that are all different."""
        return self.combined([sorted(partial, key=sort_key)])

    def key_of(self, value: Any) -> bytes:
        """The place of a value in the order of the result."""
        return order_bytes(value)

    def combined(self, results: Iterable[list[Any]]) -> list[Any]:
        """One result of those of several parts, whose values are all different and in order."""
        from photondb.reql.values import check_array_size

        values: list[Any] = []
        for result in results:
            values += result
            check_array_size(len(values), self.limit)
        return values


class _Distinguishing(_OfRows):
    """The accumulator of `Distinct`. It is a WeighedAccumulator."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.values: dict[SortKey, Any] = {}
        self.weight = 0

    def feed(self, rows: Sequence[Any]) -> None:
        values = self.values
        known = len(values)
        for row in rows:
            values.setdefault(sort_key(row), row)
        if len(values) > known:
            self.weight += (len(values) - known) * (VALUE_BYTES + mean_weight(rows))
        if len(values) > self.limit:
            from photondb.reql.values import check_array_size

            check_array_size(len(values), self.limit)

    def partial(self) -> list[Any]:
        return list(self.values.values())

    def result(self) -> list[Any]:
        return [self.values[key] for key in sorted(self.values)]

    @property
    def held(self) -> int:
        return len(self.values)


class Collect:
    """All rows, as an array: what a group without a further aggregate is. `Group` bounds their number."""

    most_rows = UNBOUNDED
    fields: Fields | None = None
    pushable = True

    def start(self) -> Accumulator:
        return _Collecting()

    def to_wire(self) -> dict[str, Any]:
        return {"collect": True}


class _Collecting(_OfRows):
    def __init__(self) -> None:
        self.rows: list[Any] = []

    def feed(self, rows: Sequence[Any]) -> None:
        self.rows.extend(rows)

    def partial(self) -> list[Any]:
        return self.rows

    def result(self) -> list[Any]:
        return self.rows

    @property
    def held(self) -> int:
        return len(self.rows)
