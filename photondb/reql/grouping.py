"""Grouping: rows divided by what one or several functions give for them, with an aggregate for each group."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from photondb.datum.order import sort_key
from photondb.datum.order_bytes import order_bytes
from photondb.reql.accumulators import Accumulator, Aggregate
from photondb.reql.aggregates import Avg, Count, Sum, aggregate_from_wire
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.function import Func
from photondb.reql.index_values import IndexValues
from photondb.reql.memory import mean_weight, weight
from photondb.reql.row_aggregates import Collect
from photondb.reql.steps import Fields, Step, plain_fields, steps_from_wire, steps_to_wire

if TYPE_CHECKING:
    from photondb.reql.values import Grouped

_KEY_TYPES = frozenset({bool, float, int, str})
"""Types of values that always have a place in an index."""

_NUMBER_TYPES = frozenset({int, float})

_NUMBERS_ONLY = (Count, Sum, Avg)
"""Aggregates whose accumulators hold no rows."""

GROUP_BYTES = 400
"""What a group takes besides its value and its rows."""


class Grouping:
    """How rows are divided: by what `funcs` give for them, and by an index when there is one.

    With `multi` a row for which a function gives an array belongs to the group of each element. A row for which a
    function raises a non-existence error belongs to the group null; one that is not in the index to none.
    """

    __slots__ = ("funcs", "index", "multi")

    def __init__(self, funcs: Sequence[Func], multi: bool = False, index: IndexValues | None = None) -> None:
        self.funcs = tuple(funcs)
        self.multi = multi
        self.index = index

    @property
    def parts(self) -> tuple[Func, ...]:
        """All functions that it calls."""
        return self.funcs if self.index is None else (*self.funcs, self.index.func)

    @property
    def field_of_index(self) -> str | None:
        """The field that rows are divided by where that is an index on nothing but a field."""
        index = self.index
        plain = index is not None and not self.funcs and not self.multi and not index.multi
        return index.func.code.simple_field if plain and index is not None else None

    def divide(self, rows: Sequence[Any], limit: int) -> list[tuple[Any, Any]]:
        """(group, row) pairs. A row may belong to `limit` groups."""
        if len(self.funcs) == 1 and not self.multi and self.index is None:
            func = self.funcs[0]
            values = plain_fields(func, rows)
            if values is not None:
                return list(zip(values, rows, strict=True))
            return [(_value_or_null(func, row), row) for row in rows]
        field = self.field_of_index
        if field is not None:
            found = [(row[field], row) for row in rows if row.get(field) is not None]
            if all(type(value) in _KEY_TYPES for value, _ in found):
                return found
        return [(group, row) for row in rows for group in self._groups_of(row, limit)]

    def _groups_of(self, row: Any, limit: int) -> list[Any]:
        choices = [self._choices(_value_or_null(func, row)) for func in self.funcs]
        if self.index is not None:
            values = [value for _, value in self.index.entries(row)]
            choices.append([choice for value in values for choice in self._choices(value)])
        if len(choices) == 1:
            return choices[0]
        if math.prod(map(len, choices)) > limit:
            raise too_many_groups(limit)
        return [list(combination) for combination in itertools.product(*choices)]

    def _choices(self, value: Any) -> list[Any]:
        if self.multi and type(value) is list:
            return value or [None]
        return [value]

    def to_wire(self) -> dict[str, Any]:
        index = None if self.index is None else self.index.to_wire()
        return {"by": [func.to_wire() for func in self.funcs], "multi": self.multi, "index": index}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Grouping:
        index = None if wire["index"] is None else IndexValues.from_wire(wire["index"])
        return cls([Func.from_wire(func) for func in wire["by"]], wire["multi"], index)


def too_many_groups(limit: int) -> ReqlError:
    """The error for more groups than an array may have elements."""
    return ReqlError(ErrorKind.RESOURCE_LIMIT, f"Too many groups (> {limit}).")


def too_much_grouped(limit: int) -> ReqlError:
    """The error for more rows in groups than an array may have elements."""
    return ReqlError(
        ErrorKind.RESOURCE_LIMIT,
        f"Grouped data over size limit `{limit}`.  Try putting a reduction (like `.reduce` or `.count`) on the end.",
    )


def _value_or_null(func: Func, row: Any) -> Any:
    try:
        return func.call(row)
    except ReqlError as error:
        if error.kind != ErrorKind.NON_EXISTENCE:
            raise
        return None


class Group:
    """Divide rows, put each group's rows through `steps`, and fold them by `aggregate`. There may be `limit` groups,
    and where the rows themselves are collected `limit` rows in all groups together."""

    def __init__(self, grouping: Grouping, aggregate: Aggregate, limit: int, steps: Sequence[Step] = ()) -> None:
        self.grouping = grouping
        self.aggregate = aggregate
        self.limit = limit
        self.steps = tuple(steps)

    @property
    def fields(self) -> Fields | None:
        """The fields of a row that the functions, the steps and the aggregate look at."""
        fields: frozenset[str] = frozenset()
        parts: list[Any] = [*self.grouping.parts]
        for step in self.steps:
            parts.append(step)
            if step.replaces_rows:
                break
        else:
            parts.append(self.aggregate)
        for part in parts:
            if part.fields is None:
                return None
            fields |= part.fields
        return fields

    @property
    def pushable(self) -> bool:
        return self.aggregate.pushable and all(part.pushable for part in (*self.grouping.parts, *self.steps))

    @property
    def most_rows(self) -> int:
        return self.limit

    def start(self) -> GroupAccumulator:
        return GroupAccumulator(self)

    def to_wire(self) -> dict[str, Any]:
        return {
            "group": {
                "grouping": self.grouping.to_wire(),
                "limit": self.limit,
                "steps": steps_to_wire(self.steps),
                "aggregate": self.aggregate.to_wire(),
            }
        }

    def key_of(self, part: list[Any]) -> bytes:
        """The place of a group, as it is in a partial result, in the order of the result."""
        return order_bytes(part[0])

    def result_of(self, partial: list[list[Any]]) -> Grouped:
        """The result where there is but one partial result, of groups that are all different."""
        from photondb.reql.values import Grouped

        inner = self.aggregate
        if not isinstance(inner, _NUMBERS_ONLY):
            accumulator = self.start()
            accumulator.merge(partial)
            return Grouped(accumulator.pairs())
        if len(partial) > self.limit:
            raise too_many_groups(self.limit)
        if isinstance(inner, Count):
            return Grouped(_in_order([(value, count) for value, count in partial if count]))
        return Grouped(_in_order([(value, inner.result_of(part)) for value, part in partial if part[1]]))

    def combined(self, results: Iterable[Grouped]) -> Grouped:
        """One result of those of several parts, whose groups are all different and in order."""
        from photondb.reql.values import Grouped

        pairs: list[tuple[Any, Any]] = []
        collected = 0
        for result in results:
            pairs += result.pairs
            if len(pairs) > self.limit:
                raise too_many_groups(self.limit)
            if type(self.aggregate) is Collect:
                collected += sum([len(rows) for _, rows in result.pairs])
                if collected > self.limit:
                    raise too_much_grouped(self.limit)
        return Grouped(pairs)

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Group:
        return cls(
            Grouping.from_wire(wire["grouping"]),
            aggregate_from_wire(wire["aggregate"]),
            wire["limit"],
            steps_from_wire(wire["steps"]),
        )


def _in_order(pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Pairs in the order of what stands first in them."""
    types = {type(value) for value, _ in pairs}
    if types <= _NUMBER_TYPES or types == {str}:
        pairs.sort(key=itemgetter(0))  # Python's order of numbers and of strings is ReQL's
    else:
        pairs.sort(key=lambda pair: sort_key(pair[0]))
    return pairs


class GroupAccumulator:
    """The groups so far: by the sort key of a group, its value and the accumulator of its rows. It is a
    WeighedAccumulator."""

    def __init__(self, spec: Group) -> None:
        self.spec = spec
        self.groups: dict[Any, tuple[Any, Accumulator]] = {}
        self.collected = 0
        self.weight = 0
        self._holds = not isinstance(spec.aggregate, _NUMBERS_ONLY)

    def feed(self, rows: Sequence[Any]) -> None:
        divided: dict[Any, tuple[Any, list[Any]]] = {}
        for value, row in self.spec.grouping.divide(rows, self.spec.limit):
            key = value if type(value) is str or type(value) is int else sort_key(value)
            entry = divided.get(key)
            if entry is None:
                divided[key] = (value, [row])
            else:
                entry[1].append(row)
        held = 0
        for key, (value, members) in divided.items():
            for step in self.spec.steps:
                members = step.apply(members)
            if members:
                accumulator = self._accumulator(key, value)
                self._check_size(len(members))
                if not self._holds:
                    accumulator.feed(members)
                    continue
                held -= accumulator.held
                accumulator.feed(members)
                held += accumulator.held
        if held > 0:
            self.weight += held * mean_weight(rows)

    def _accumulator(self, key: Any, value: Any) -> Accumulator:
        entry = self.groups.get(key)
        if entry is None:
            if len(self.groups) >= self.spec.limit:
                raise too_many_groups(self.spec.limit)
            entry = self.groups[key] = (value, self.spec.aggregate.start())
            self.weight += GROUP_BYTES + weight(value)
        return entry[1]

    def _check_size(self, rows: int) -> None:
        if type(self.spec.aggregate) is Collect:
            self.collected += rows
            if self.collected > self.spec.limit:
                raise too_much_grouped(self.spec.limit)

    def partial(self) -> list[list[Any]]:
        return [[value, accumulator.partial()] for value, accumulator in self.groups.values()]

    def merge(self, partial: list[list[Any]]) -> None:
        for value, part in partial:
            key = value if type(value) is str or type(value) is int else sort_key(value)
            accumulator = self._accumulator(key, value)
            if type(self.spec.aggregate) is Collect:
                self._check_size(len(part))
            held = accumulator.held
            accumulator.merge(part)
            if accumulator.held > held:
                self.weight += (accumulator.held - held) * mean_weight(part)

    def pairs(self) -> list[tuple[Any, Any]]:
        """(group, aggregate) in the order of the groups; groups of which no row counted are left out."""
        return _in_order(
            [(value, accumulator.result()) for value, accumulator in self.groups.values() if not accumulator.empty]
        )

    def result(self) -> Any:
        from photondb.reql.values import Grouped

        return Grouped(self.pairs())

    @property
    def empty(self) -> bool:
        return not self.groups

    @property
    def held(self) -> int:
        return len(self.groups)
