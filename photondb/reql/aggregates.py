"""Aggregates that come to a number: how many rows there are, the sum and the mean of their values; and how any
aggregate travels."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

from photondb.datum.types import normalise_number
from photondb.reql.accumulators import Accumulator, Aggregate, OfFunction, nothing_to_take
from photondb.reql.errors import non_existence_error
from photondb.reql.function import Func
from photondb.reql.row_aggregates import Collect, Distinct, Max, Min, Reduce
from photondb.reql.steps import Fields, present_values
from photondb.reql.values import wrong_datum

_NUMBERS = frozenset({int, float})


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


class Sum(OfFunction):
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


class Avg(OfFunction):
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
        raise nothing_to_take("average", "avg")
    return normalise_number(total / count)


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
