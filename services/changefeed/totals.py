"""Aggregates of a selection's rows, kept up to date one row at a time: counts, sums and averages, also by group.

Sums are exact, so that a row that goes takes away just what it brought: a sum of doubles that is rounded at every step
would drift. What is shown is rounded once.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from photondb.datum.json import dumps
from photondb.datum.order import sort_key
from photondb.datum.types import normalise_number
from photondb.reql.accumulators import Aggregate
from photondb.reql.aggregates import Avg, Count, Sum
from photondb.reql.errors import logic_error
from photondb.reql.grouping import Group, too_many_groups
from photondb.reql.steps import present_values
from photondb.reql.uninterrupted import WORK
from photondb.reql.values import wrong_datum


class _Total:
    """What some rows add up to; `shown` is the JSON that the reader knows."""

    __slots__ = ("count", "group", "shown", "sum")

    def __init__(self, group: bytes | None) -> None:
        self.group = group
        self.count = 0
        self.sum = Fraction(0)
        self.shown: bytes | None = None


class TotalChange:
    """An aggregate's change; `group` is the group as JSON, None where there are no groups. None is no value."""

    __slots__ = ("group", "new", "old")

    def __init__(self, group: bytes | None, old: bytes | None, new: bytes | None) -> None:
        self.group = group
        self.old = old
        self.new = new


class Totals:
    """The aggregate of rows that come and go: a count, a sum or an average, or one of them for each group."""

    def __init__(self, aggregate: Aggregate) -> None:
        self._group = aggregate if isinstance(aggregate, Group) else None
        self._aggregate = aggregate.aggregate if isinstance(aggregate, Group) else aggregate
        assert isinstance(self._aggregate, Count | Sum | Avg)
        self._totals: dict[Any, _Total] = {}
        self._changed: dict[Any, _Total] = {}
        if self._group is None:
            self._changed[None] = self._totals[None] = _Total(None)

    @property
    def changed(self) -> bool:
        """Whether there may be something that the reader does not know."""
        return bool(self._changed)

    def add(self, row: Any) -> None:
        """A row has come. Raises ReqlError where a function fails for it, or where it gives no number."""
        WORK.do(self._count, row, 1)

    def remove(self, row: Any) -> None:
        """A row has gone."""
        WORK.do(self._count, row, -1)

    def show(self, limit: int | None = None) -> list[TotalChange]:
        """The changes since this was called last, up to `limit`; the reader knows them from now on."""
        changes: list[TotalChange] = []
        while self._changed and (limit is None or len(changes) < limit):
            key = next(iter(self._changed))
            total = self._changed.pop(key)
            old, new = total.shown, self._value(total)
            total.shown = new
            if new != old:
                changes.append(TotalChange(total.group, old, new))
            if total.group is not None and total.count == 0:
                del self._totals[key]
        return changes

    def _count(self, row: Any, sign: int) -> None:
        for key, group, members in self._divided(row):
            values = self._values(members)
            if not values:
                continue
            total = self._totals.get(key)
            if total is None:
                if self._group is not None and len(self._totals) >= self._group.limit:
                    raise too_many_groups(self._group.limit)
                total = self._totals[key] = _Total(group)
            total.count += sign * len(values)
            for value in values:
                total.sum += sign * Fraction(value)
            self._changed[key] = total

    def _divided(self, row: Any) -> list[tuple[Any, bytes | None, list[Any]]]:
        """The groups that a row belongs to, and the rows that it is in each."""
        if self._group is None:
            return [(None, None, [row])]
        divided: list[tuple[Any, bytes | None, list[Any]]] = []
        for group, member in self._group.grouping.divide([row], self._group.limit):
            members = [member]
            for step in self._group.steps:
                members = step.apply(members)
            divided.append((sort_key(group), dumps(group), members))
        return divided

    def _values(self, rows: list[Any]) -> list[Any]:
        """The numbers that rows count by."""
        aggregate = self._aggregate
        if isinstance(aggregate, Count):
            return [1] * len(rows)
        assert isinstance(aggregate, Sum | Avg)
        values = rows if aggregate.func is None else present_values(aggregate.func, rows)
        values = [value for value in values if value is not None]  # null counts as missing
        for value in values:
            if type(value) is not int and type(value) is not float:
                raise wrong_datum("NUMBER", value)
        return values

    def _value(self, total: _Total) -> bytes | None:
        if total.count == 0 and (total.group is not None or isinstance(self._aggregate, Avg)):
            return None
        exact = total.sum / total.count if isinstance(self._aggregate, Avg) else total.sum
        try:
            return dumps(normalise_number(int(exact) if exact.denominator == 1 else float(exact)))
        except OverflowError:
            raise logic_error(f"Non-finite number: {'inf' if exact > 0 else '-inf'}") from None
