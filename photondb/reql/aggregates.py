"""Aggregates: what a stream of rows is folded into, in storage as far as possible and merged in `query`.

An `Aggregate` says what to do and can travel; its `start()` gives the accumulator that does it. Accumulators of
several scans are merged through their partial results, which are JSON values.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

from photondb.datum.order import SortKey, sort_key
from photondb.datum.order_bytes import order_bytes
from photondb.datum.types import normalise_number
from photondb.reql.errors import ReqlError, non_existence_error
from photondb.reql.function import Func
from photondb.reql.memory import mean_weight
from photondb.reql.steps import MISSING, Fields, present_values, values_or_missing
from photondb.reql.values import wrong_datum

_NUMBERS = frozenset({int, float})

UNBOUNDED = 2**53
"""As many rows as there are."""

VALUE_BYTES = 200
"""What a value and its sort key take in a dictionary, besides the value's own weight."""


class Accumulator(Protocol):
    """The state of an aggregate while rows come in."""

    def feed(self, rows: Sequence[Any]) -> None: ...

    def partial(self) -> Any:
        """The state as a JSON value."""
        ...

    def merge(self, partial: Any) -> None:
        """Add the state that another accumulator of the same aggregate had."""
        ...

    def result(self) -> Any:
        """The aggregate's value; raises where there is none (the average of nothing)."""
        ...

    @property
    def empty(self) -> bool:
        """Whether no row has counted, so that a group of such rows is left out."""
        ...

    @property
    def held(self) -> int:
        """How many rows it holds on to."""
        ...


@runtime_checkable
class KeyedAccumulator(Protocol):
    """An accumulator that chooses rows by keys and gives them back as they are, so that a scan can hand it raw
    documents and decode only what the keys are made of. Its partial result is a list of rows."""

    @property
    def key_fields(self) -> Fields | None:
        """The top-level fields that keys are made of; None when it may be all."""
        ...

    def keys_of(self, rows: Sequence[Any]) -> list[Any]:
        """The keys of rows."""
        ...

    def feed_keyed(self, keys: Sequence[Any], rows: Sequence[Any]) -> None:
        """Take rows of which the keys are known, as anything that stands for them."""
        ...


@runtime_checkable
class WeighedAccumulator(Protocol):
    """An accumulator that can become large. Its partial result is a list, and partial results of parts of it may be
    merged as well as all at once; so it can be given up for an empty one at any time, when its partial result is put
    aside before."""

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes."""
        ...


class Aggregate(Protocol):
    """What a stream is folded into."""

    @property
    def fields(self) -> Fields | None:
        """The top-level fields of a row that it looks at; None when it may look at all."""
        ...

    @property
    def pushable(self) -> bool: ...

    @property
    def most_rows(self) -> int:
        """How many rows its result may have, at most."""
        ...

    def start(self) -> Accumulator: ...

    def to_wire(self) -> dict[str, Any]: ...


class Count:
    """The number of rows."""

    most_rows = 1
    fields: Fields | None = frozenset()
    pushable = True

    def start(self) -> Accumulator:
        return _Counting()

    def result_of(self, partial: int) -> int:
        """The result that a partial result amounts to."""
        return partial

    def to_wire(self) -> dict[str, Any]:
        return {"count": True}


class _Counting:
    held = 0

    def __init__(self) -> None:
        self.count = 0

    def feed(self, rows: Sequence[Any]) -> None:
        self.count += len(rows)

    def partial(self) -> int:
        return self.count

    def merge(self, partial: int) -> None:
        self.count += partial

    def result(self) -> int:
        return self.count

    @property
    def empty(self) -> bool:
        return self.count == 0


class _OfFunction:
    """An aggregate over what a function gives for each row (over the rows themselves without one)."""

    most_rows = 1
    name = ""
    fields: Fields | None

    def __init__(self, func: Func | None = None) -> None:
        self.func = func

    @property
    def pushable(self) -> bool:
        return self.func is None or self.func.pushable

    def to_wire(self) -> dict[str, Any]:
        return {self.name: None if self.func is None else self.func.to_wire()}


class Sum(_OfFunction):
    """The sum of numbers; rows without the value are left out."""

    name = "sum"

    def __init__(self, func: Func | None = None) -> None:
        super().__init__(func)
        self.fields = None if func is None else func.fields

    def start(self) -> Accumulator:
        return _Summing(self.func)

    def result_of(self, partial: list[int | float]) -> int | float:
        """The result that a partial result amounts to."""
        return normalise_number(partial[0])


class Avg(_OfFunction):
    """The mean of numbers; rows without the value are left out."""

    name = "avg"

    def __init__(self, func: Func | None = None) -> None:
        super().__init__(func)
        self.fields = None if func is None else func.fields

    def start(self) -> Accumulator:
        return _Averaging(self.func)

    def result_of(self, partial: list[int | float]) -> int | float:
        """The result that a partial result amounts to. Raises ReqlError for that of nothing."""
        return _mean(*partial)


class _Summing:
    held = 0

    def __init__(self, func: Func | None) -> None:
        self.func = func
        self.total: int | float = 0
        self.count = 0

    def feed(self, rows: Sequence[Any]) -> None:
        values = rows if self.func is None else present_values(self.func, rows)
        if not _NUMBERS.issuperset(map(type, values)):
            values = [value for value in values if value is not None]  # null counts as missing
            for value in values:
                if type(value) is not float and type(value) is not int:
                    raise wrong_datum("NUMBER", value)
        # One after the other, whatever the chunks: that decides about the last digits.
        self.total = functools.reduce(operator.add, values, self.total)
        self.count += len(values)

    def partial(self) -> list[int | float]:
        return [self.total, self.count]

    def merge(self, partial: list[int | float]) -> None:
        self.total += partial[0]
        self.count += int(partial[1])

    def result(self) -> int | float:
        return normalise_number(self.total)

    @property
    def empty(self) -> bool:
        return self.count == 0


class _Averaging(_Summing):
    def result(self) -> int | float:
        return _mean(self.total, self.count)


def _mean(total: int | float, count: int | float) -> int | float:
    if not count:
        raise _nothing("average", "avg")
    return normalise_number(total / count)


class Min(_OfFunction):
    """The row with the least value."""

    name = "min"

    fields: Fields | None = None  # the row itself is the result

    def start(self) -> Accumulator:
        return _Extreme(self.func, greatest=False)


class Max(_OfFunction):
    """The row with the greatest value."""

    name = "max"
    fields: Fields | None = None

    def start(self) -> Accumulator:
        return _Extreme(self.func, greatest=True)


class _Extreme:
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

    def merge(self, partial: list[Any]) -> None:
        self.feed(partial)

    def result(self) -> Any:
        if self.best is None:
            name = "max" if self.greatest else "min"
            raise _nothing(name, name)
        return self.row

    @property
    def held(self) -> int:
        return int(self.best is not None)

    @property
    def empty(self) -> bool:
        return self.best is None


def _nothing(what: str, name: str) -> ReqlError:
    return non_existence_error(
        f"Cannot take the {what} of an empty stream.  (If you passed `{name}` a field name, "
        "it may be that no elements of the stream had that field.)"
    )


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


class _Reducing:
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

    def merge(self, partial: list[Any]) -> None:
        self.feed(partial)

    def result(self) -> Any:
        if not self.values:
            error = non_existence_error("Cannot reduce over an empty stream.")
            error.frames = self.func.code.path[:-1]
            raise error
        return self.values[0]

    @property
    def held(self) -> int:
        return len(self.values)

    @property
    def empty(self) -> bool:
        return not self.values


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


class _Distinguishing:
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

    def merge(self, partial: list[Any]) -> None:
        self.feed(partial)

    def result(self) -> list[Any]:
        return [self.values[key] for key in sorted(self.values)]

    @property
    def held(self) -> int:
        return len(self.values)

    @property
    def empty(self) -> bool:
        return not self.values


class Collect:
    """All rows, as an array: what a group without a further aggregate is. `Group` bounds their number."""

    most_rows = UNBOUNDED
    fields: Fields | None = None
    pushable = True

    def start(self) -> Accumulator:
        return _Collecting()

    def to_wire(self) -> dict[str, Any]:
        return {"collect": True}


class _Collecting:
    def __init__(self) -> None:
        self.rows: list[Any] = []

    def feed(self, rows: Sequence[Any]) -> None:
        self.rows.extend(rows)

    def partial(self) -> list[Any]:
        return self.rows

    def merge(self, partial: list[Any]) -> None:
        self.rows.extend(partial)

    def result(self) -> list[Any]:
        return self.rows

    @property
    def held(self) -> int:
        return len(self.rows)

    @property
    def empty(self) -> bool:
        return not self.rows


def aggregate_from_wire(wire: dict[str, Any]) -> Aggregate:
    """The aggregate that `to_wire` wrote."""
    from photondb.reql.ordering import Top

    name, value = next(iter(wire.items()))
    if name == "count":
        return Count()
    if name in _WITH_FUNCTION:
        return _WITH_FUNCTION[name](None if value is None else Func.from_wire(value))
    if name == "reduce":
        return Reduce(Func.from_wire(value))
    if name == "distinct":
        return Distinct(value)
    if name == "collect":
        return Collect()
    if name == "top":
        return Top.from_wire(value)
    if name == "group":
        from photondb.reql.grouping import Group

        return Group.from_wire(value)
    raise non_existence_error(f"Unknown aggregate: {name}.")


_WITH_FUNCTION: dict[str, type[Sum] | type[Avg] | type[Min] | type[Max]] = {
    "sum": Sum,
    "avg": Avg,
    "min": Min,
    "max": Max,
}
