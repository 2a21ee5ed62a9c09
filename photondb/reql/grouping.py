"""Grouping: rows divided by what one or several functions give for them, with an aggregate for each group."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from photondb.datum.order import sort_key
from photondb.reql.aggregates import Accumulator, Aggregate, aggregate_from_wire
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.function import Func
from photondb.reql.steps import Fields, Step, steps_from_wire, steps_to_wire

_MISSING = object()


class Group:
    """Divide rows by `funcs`, put each group's rows through `steps`, and fold them by `aggregate`.

    With `multi` a row whose value is an array belongs to the group of each element. A row for which a function raises
    a non-existence error belongs to the group null; with `skip_missing` (grouping by an index) to none.
    """

    def __init__(
        self,
        funcs: Sequence[Func],
        multi: bool,
        aggregate: Aggregate,
        limit: int,
        steps: Sequence[Step] = (),
        skip_missing: bool = False,
    ) -> None:
        self.funcs = tuple(funcs)
        self.multi = multi
        self.aggregate = aggregate
        self.limit = limit
        self.steps = tuple(steps)
        self.skip_missing = skip_missing

    @property
    def fields(self) -> Fields | None:
        """The fields of a row that the functions, the steps and the aggregate look at."""
        fields: frozenset[str] = frozenset()
        parts: list[Any] = [*self.funcs]
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
        return self.aggregate.pushable and all(part.pushable for part in (*self.funcs, *self.steps))

    def start(self) -> GroupAccumulator:
        return GroupAccumulator(self)

    def to_wire(self) -> dict[str, Any]:
        return {
            "group": {
                "by": [func.to_wire() for func in self.funcs],
                "multi": self.multi,
                "limit": self.limit,
                "steps": steps_to_wire(self.steps),
                "aggregate": self.aggregate.to_wire(),
                "skip_missing": self.skip_missing,
            }
        }

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Group:
        return cls(
            [Func.from_wire(func) for func in wire["by"]],
            wire["multi"],
            aggregate_from_wire(wire["aggregate"]),
            wire["limit"],
            steps_from_wire(wire["steps"]),
            wire["skip_missing"],
        )


class GroupAccumulator:
    """The groups so far: by the sort key of a group, its value and the accumulator of its rows."""

    def __init__(self, spec: Group) -> None:
        self.spec = spec
        self.groups: dict[Any, tuple[Any, Accumulator]] = {}

    def feed(self, rows: Sequence[Any]) -> None:
        divided: dict[Any, tuple[Any, list[Any]]] = {}
        for value, row in self._divide(rows):
            key = value if type(value) is str or type(value) is int else sort_key(value)
            entry = divided.get(key)
            if entry is None:
                divided[key] = (value, [row])
            else:
                entry[1].append(row)
        for key, (value, members) in divided.items():
            for step in self.spec.steps:
                members = step.apply(members)
            if members:
                self._accumulator(key, value).feed(members)

    def _accumulator(self, key: Any, value: Any) -> Accumulator:
        entry = self.groups.get(key)
        if entry is None:
            if len(self.groups) >= self.spec.limit:
                raise ReqlError(ErrorKind.RESOURCE_LIMIT, f"Too many groups (> {self.spec.limit}).")
            entry = self.groups[key] = (value, self.spec.aggregate.start())
        return entry[1]

    def _divide(self, rows: Sequence[Any]) -> list[tuple[Any, Any]]:
        """(group, row) pairs."""
        spec = self.spec
        if len(spec.funcs) == 1 and not spec.multi:
            func = spec.funcs[0]
            field = func.code.simple_field
            if field is not None:
                try:
                    return [(row[field], row) for row in rows]
                except (KeyError, TypeError):
                    pass  # some row lacks the field or is no object
        pairs = []
        for row in rows:
            values = [self._value(func, row) for func in spec.funcs]
            if _MISSING in values:
                continue
            if spec.multi:
                choices = [(value or [None]) if type(value) is list else [value] for value in values]
                combinations: Any = itertools.product(*choices)
            else:
                combinations = (values,)
            for combination in combinations:
                pairs.append((combination[0] if len(combination) == 1 else list(combination), row))
        return pairs

    def _value(self, func: Func, row: Any) -> Any:
        try:
            return func.call(row)
        except ReqlError as error:
            if error.kind != ErrorKind.NON_EXISTENCE:
                raise
            return _MISSING if self.spec.skip_missing else None

    def partial(self) -> list[list[Any]]:
        return [[value, accumulator.partial()] for value, accumulator in self.groups.values()]

    def merge(self, partial: list[list[Any]]) -> None:
        for value, part in partial:
            key = value if type(value) is str or type(value) is int else sort_key(value)
            self._accumulator(key, value).merge(part)

    def pairs(self) -> list[tuple[Any, Any]]:
        """(group, aggregate) in the order of the groups; groups of which no row counted are left out."""
        found = [(value, accumulator.result()) for value, accumulator in self.groups.values() if not accumulator.empty]
        found.sort(key=lambda pair: sort_key(pair[0]))
        return found

    def result(self) -> Any:
        from photondb.reql.values import Grouped

        return Grouped(self.pairs())

    @property
    def empty(self) -> bool:
        return not self.groups
