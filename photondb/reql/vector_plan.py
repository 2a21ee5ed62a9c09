"""Which scans can be evaluated over columns, and their plans: filters, a map, and an aggregate.

A plan is made from the same steps and aggregates that `photondb.reql.pipeline` runs over documents, gives the same
partial results, and raises `Unsuited` for everything that is not plain, in the query or in the rows: then the documents
themselves must be scanned. So nothing here raises an error of the query or knows a limit.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from photondb.reql import shape as shapes
from photondb.reql import vectors
from photondb.reql.aggregates import Aggregate, Avg, Count, Distinct, Max, Min, Sum
from photondb.reql.function import Func
from photondb.reql.grouping import Group
from photondb.reql.ordering import Top
from photondb.reql.shape import Shape
from photondb.reql.steps import FilterStep, MapStep, Step
from photondb.reql.vectors import (
    ABSENT,
    BOOL,
    MAX_EXACT,
    NULL,
    NUMBER,
    ODD,
    Array,
    Columns,
    Expression,
    Unsuited,
    Vector,
)
from photondb.reql.wire import Term

_COMPARISONS: dict[int, Callable[[Any, Any], Any]] = {
    Term.EQ: operator.eq,
    Term.NE: operator.ne,
    Term.LT: operator.lt,
    Term.LE: operator.le,
    Term.GT: operator.gt,
    Term.GE: operator.ge,
}
_ARITHMETIC: dict[int, Callable[[Any, Any], Any]] = {
    Term.ADD: operator.add,
    Term.SUB: operator.sub,
    Term.MUL: operator.mul,
    Term.DIV: operator.truediv,
}
MAX_CHOSEN = 1000
"""Of more documents than this each would have to be read by itself: then a scan of all of them is as good."""

MAX_TERMS = 200
"""A block of rows is evaluated in one go: longer expressions are left to the evaluator of single rows, which can be
interrupted."""

MAX_CODE_RANGE = 1 << 16
"""Integral values within such a range are grouped by counting instead of sorting."""


class Folding(Protocol):
    """An aggregate under way. Blocks of rows are fed in order."""

    def feed(self, columns: Columns, values: Vector | None, positions: Array) -> None:
        """Take rows: as documents, or as `values` behind a map. `positions` tell which rows of all they are."""
        ...

    def partial(self) -> Any:
        """The aggregate's partial result; of aggregates that choose rows, their positions (`ChosenRows`)."""
        ...

    @property
    def held(self) -> int:
        """How many groups, values or rows it holds on to."""
        ...


class ChosenRows:
    """The partial result of an aggregate that gives documents: where these stand."""

    __slots__ = ("positions",)

    def __init__(self, positions: Sequence[int]) -> None:
        self.positions = positions


class VectorPlan:
    """A scan that can be evaluated over columns: `fields` are those that it needs."""

    __slots__ = ("_filters", "_map", "_skip_missing", "fields", "start", "terms")

    def __init__(self, steps: Sequence[Step], aggregate: Aggregate) -> None:
        """Raises Unsuited."""
        self.fields: set[str] = set()
        self.terms = 0
        """How many terms are evaluated for each block of rows."""
        self._filters: list[tuple[Expression, bool]] = []
        self._map: Expression | None = None
        self._skip_missing = False
        for step in steps:
            if self._map is not None:
                raise Unsuited
            if type(step) is FilterStep:
                if not isinstance(step.default, bool):
                    raise Unsuited
                self._filters.append((self._predicate(step.func), step.default))
            elif type(step) is MapStep:
                self._map = self._function(step.func)
                self._skip_missing = step.skip_missing
            else:
                raise Unsuited
        self.start = self._folding(aggregate)

    @property
    def chooses_rows(self) -> bool:
        """Whether the aggregate gives documents, so that its partial result tells where they stand."""
        return isinstance(self.start(), _Choosing)

    def feed(self, folding: Folding, columns: Columns, first: int) -> None:
        """Put a block of rows, which are those from position `first` on, through the steps and into the aggregate.
        Where that raises Unsuited, the aggregate is as it was before."""
        positions = np.arange(first, first + columns.rows)
        for predicate, default in self._filters:
            kept = _kept(predicate(columns), columns.rows, default)
            columns, positions = columns.select(kept), positions[kept]
        values = None
        if self._map is not None:
            kinds, numbers = self._map(columns).spread(columns.rows)
            absent = kinds == ABSENT
            if (kinds == ODD).any() or (not self._skip_missing and absent.any()):
                raise Unsuited
            values = Vector(kinds[~absent], numbers[~absent]) if absent.any() else Vector(kinds, numbers)
            positions = positions[~absent]
        folding.feed(columns, values, positions)

    def _folding(self, aggregate: Aggregate) -> Callable[[], Folding]:
        kind = type(aggregate)
        if kind is Count:
            return _Counting
        if isinstance(aggregate, (Sum, Avg)):
            value = self._of_row(aggregate.func)
            return lambda: _Summing(value)
        if isinstance(aggregate, (Min, Max)) and self._map is None and aggregate.func is not None:
            key, greatest = self._function(aggregate.func), kind is Max
            return lambda: _Choosing([(key, greatest)], 1, lacking=False)
        if isinstance(aggregate, Top) and self._map is None and aggregate.count <= MAX_CHOSEN:
            parts = [(self._function(func), descending) for func, descending in aggregate.ordering.parts]
            count = aggregate.count
            return lambda: _Choosing(parts, count, lacking=True)
        if isinstance(aggregate, Distinct) and self._map is not None:
            limit = aggregate.limit
            return lambda: _Distinguishing(limit)
        if isinstance(aggregate, Group):
            return self._grouping(aggregate)
        raise Unsuited

    def _grouping(self, group: Group) -> Callable[[], Folding]:
        grouping, inner = group.grouping, group.aggregate
        indexed = grouping.field_of_index is not None and grouping.index is not None
        if self._map is not None or group.steps or grouping.multi:
            raise Unsuited
        if not indexed and (len(grouping.funcs) != 1 or grouping.index is not None):
            raise Unsuited
        func = grouping.index.func if indexed and grouping.index is not None else grouping.funcs[0]
        key, limit = self._function(func), group.limit
        if type(inner) is Count:
            return lambda: _Grouping(key, None, limit, indexed)
        if isinstance(inner, (Sum, Avg)) and inner.func is not None:
            value = self._function(inner.func)
            return lambda: _Grouping(key, value, limit, indexed)
        raise Unsuited

    def _of_row(self, func: Func | None) -> Expression | None:
        if (func is None) is (self._map is None):
            raise Unsuited  # a document is no number, and what a map has made has no columns
        return None if func is None else self._function(func)

    # --- functions

    def _predicate(self, func: Func) -> Expression:
        if not func.code.object_body:
            return self._function(func)
        body = func.code.shape[2]
        if body[0] == shapes.OBJECT:
            pattern = [(name, self._expression(shape, func)) for name, shape in body[1]]
        else:
            value = func.body(func.frame)
            if type(value) is not dict:
                return vectors.constant(value)
            pattern = [(name, vectors.constant(wanted)) for name, wanted in value.items()]
        if not pattern or "$reql_type$" in dict(pattern):
            raise Unsuited
        self.fields.update(name for name, _ in pattern)
        return vectors.first_deciding(
            False, [vectors.comparison(operator.eq, vectors.field(name), wanted) for name, wanted in pattern]
        )

    def _function(self, func: Func) -> Expression:
        if len(func.slots) != 1 or not func.pushable or func.code.object_body:
            raise Unsuited
        if func.code.simple_field is not None:
            self.fields.add(func.code.simple_field)
            return vectors.field(func.code.simple_field)
        return self._expression(func.code.shape[2], func)

    def _expression(self, shape: Shape, func: Func) -> Expression:
        tag = shape[0]
        if tag == shapes.CONSTANT:
            return vectors.constant(func.frame[1 + shape[1]])
        if tag == shapes.LITERAL:
            return vectors.constant(shape[1])
        if tag == shapes.LITERAL_SCALAR:
            return vectors.constant(shape[2])
        if tag == shapes.VAR and func.code.variable_base + shape[1] not in func.slots:
            return vectors.constant(func.frame[func.code.variable_base + shape[1]])
        if tag < 0 or shape[2]:
            raise Unsuited
        return self._term(tag, shape[1], func)

    def _term(self, tag: int, args: Sequence[Shape], func: Func) -> Expression:
        self.terms += 1
        if self.terms > MAX_TERMS:
            raise Unsuited
        if tag in (Term.BRACKET, Term.GET_FIELD, Term.HAS_FIELDS):
            if not self._is_row(args[0], func) or not all(arg[0] == shapes.LITERAL for arg in args[1:]):
                raise Unsuited
            names = [arg[1] for arg in args[1:]]
            self.fields.update(names)
            if tag == Term.HAS_FIELDS:
                return vectors.having(names)
            if len(names) != 1:
                raise Unsuited
            return vectors.field(names[0])
        if any(arg[0] == Term.ARGS for arg in args):
            raise Unsuited
        parts = [self._expression(arg, func) for arg in args]
        if tag in (Term.AND, Term.OR) and parts:
            return vectors.first_deciding(tag == Term.OR, parts)
        if tag == Term.NOT and len(parts) == 1:
            return vectors.negation(parts[0])
        if tag == Term.BRANCH and len(parts) == 3:
            return vectors.choice(parts[0], parts[1], parts[2])
        if len(parts) == 2:
            if tag in _COMPARISONS:
                return vectors.comparison(_COMPARISONS[tag], parts[0], parts[1])
            if tag in _ARITHMETIC:
                return vectors.arithmetic(_ARITHMETIC[tag], parts[0], parts[1])
            if tag == Term.DEFAULT:
                return vectors.defaulting(parts[0], parts[1])
        raise Unsuited

    @staticmethod
    def _is_row(shape: Shape, func: Func) -> bool:
        return bool(shape[0] == shapes.VAR and func.code.variable_base + shape[1] == func.slots[0])


def _kept(found: Vector, rows: int, default: bool) -> Array:
    """The positions of rows for which a filter gives something true; `default` is for those that lack what it asks."""
    if found.all_are(BOOL):
        return np.flatnonzero(np.broadcast_to(found.values, (rows,)))
    kinds, values = found.spread(rows)
    if (kinds == ODD).any():
        raise Unsuited
    true = (kinds != NULL) & ((kinds != BOOL) | (values != 0)) & (kinds != ABSENT)
    return np.flatnonzero(true | (kinds == ABSENT) if default else true)


def _numbers(vector: Vector, rows: int) -> tuple[Array, Array | None]:
    """The numbers to be added up, and where they are (None: everywhere). Null and what is absent are left out."""
    if vector.all_are(NUMBER):
        return np.broadcast_to(vector.values, (rows,)), None
    kinds, values = vector.spread(rows)
    counted = kinds == NUMBER
    if not (counted | (kinds == NULL) | (kinds == ABSENT)).all():
        raise Unsuited
    return values[counted], counted


class _Counting:
    def __init__(self) -> None:
        self.count = 0

    def feed(self, columns: Columns, values: Vector | None, positions: Array) -> None:
        self.count += len(positions)

    @property
    def held(self) -> int:
        return 0

    def partial(self) -> int:
        return self.count


class _Summing:
    """Adds up one after the other, as the evaluator of rows does, because that decides about the last digits."""

    def __init__(self, value: Expression | None) -> None:
        self.value = value
        self.total = 0.0
        self.count = 0
        self.magnitude = 0.0
        self.fractional = False
        """Whether a number with a fraction has come: a sum of integers alone goes on exactly, however large it gets."""

    def feed(self, columns: Columns, values: Vector | None, positions: Array) -> None:
        if values is None:
            assert self.value is not None
            values = self.value(columns)
        numbers, _ = _numbers(values, len(positions))
        if not len(numbers):
            return
        self.magnitude += float(np.abs(numbers).sum())
        if not self.magnitude < MAX_EXACT:
            raise Unsuited  # integers are added exactly, doubles are not beyond this
        self.fractional = self.fractional or bool((np.floor(numbers) != numbers).any())
        self.total = float(np.add.accumulate(np.concatenate([[self.total], numbers]))[-1])
        self.count += len(numbers)

    @property
    def held(self) -> int:
        return 0

    def partial(self) -> list[int | float]:
        return [self.total if self.fractional else int(self.total), self.count]


class _Grouping:
    """Counts the rows of each group, or adds up a value of theirs. Of an `indexed` key null is no group."""

    def __init__(self, key: Expression, value: Expression | None, limit: int, indexed: bool) -> None:
        self.key = key
        self.indexed = indexed
        self.value = value
        self.limit = limit
        self.groups: dict[tuple[int, float], tuple[float, int]] = {}
        self.columns: Columns | None = None
        self.magnitude = 0.0
        self.fractional: set[tuple[int, float]] = set()
        """The groups with numbers that have fractions."""

    def feed(self, columns: Columns, values: Vector | None, positions: Array) -> None:
        if not len(positions):
            return
        kinds, numbers = self.key(columns).spread(columns.rows)
        if (kinds == ODD).any():
            raise Unsuited
        if self.indexed:
            there = np.flatnonzero((kinds != ABSENT) & (kinds != NULL))
            columns, kinds, numbers = columns.select(there), kinds[there], numbers[there]
            if not len(there):
                return
        self.columns = columns
        names, codes = _codes(np.where(kinds == ABSENT, np.uint8(NULL), kinds), numbers)
        if len(self.groups) + sum(name not in self.groups for name in names) > self.limit:
            raise Unsuited
        before = [self.groups.get(name, _NOTHING) for name in names]
        counts = np.array([count for _, count in before], np.int64)
        totals = np.array([total for total, _ in before], np.float64)
        if self.value is None:
            counts += np.bincount(codes, minlength=len(names))
        else:
            found, counted = _numbers(self.value(columns), columns.rows)
            codes = codes if counted is None else codes[counted]
            self.magnitude += float(np.abs(found).sum())
            if not self.magnitude < MAX_EXACT:
                raise Unsuited
            fractions = np.floor(found) != found
            if fractions.any():
                self.fractional.update([names[code] for code in np.flatnonzero(np.bincount(codes[fractions]))])
            np.add.at(totals, codes, found)  # one after the other, as the evaluator of rows does it
            counts += np.bincount(codes, minlength=len(names))
        self.groups.update(zip(names, zip(totals.tolist(), counts.tolist(), strict=True), strict=True))

    @property
    def held(self) -> int:
        return len(self.groups)

    def partial(self) -> list[list[Any]]:
        columns = self.columns
        if columns is None:
            return []
        return [
            [
                columns.datum(*name),
                count if self.value is None else [total if name in self.fractional else int(total), count],
            ]
            for name, (total, count) in self.groups.items()
        ]


_NOTHING = (0.0, 0)


def _codes(kinds: Array, numbers: Array) -> tuple[list[tuple[int, float]], Array]:
    """The different values among some, and for each of these its number among them."""
    names: list[tuple[int, float]] = []
    codes = np.empty(len(kinds), np.intp)
    for kind in np.flatnonzero(np.bincount(kinds, minlength=256)):
        members = slice(None) if not names and (kinds == kind).all() else kinds == kind
        found, numbered = _distinct(np.zeros(1) if kind == NULL else numbers[members])
        codes[members] = numbered if len(numbered) > 1 else numbered[0]
        codes[members] += len(names)
        names += [(int(kind), value) for value in found.tolist()]
    return names, codes


def _distinct(numbers: Array) -> tuple[Array, Array]:
    """The different numbers among some, and for each of these the position of its number among them."""
    low, high = numbers.min(), numbers.max()
    if high - low < MAX_CODE_RANGE:
        offsets = (numbers - low).astype(np.intp)
        if (offsets + low == numbers).all():
            present = np.flatnonzero(np.bincount(offsets))
            places = np.zeros(int(high - low) + 1, np.intp)
            places[present] = np.arange(len(present))
            return present + low, places[offsets]
    found, numbered = np.unique(numbers, return_inverse=True)
    return found, numbered


class _Choosing:
    """Finds the first `count` rows of an order, the earlier one of equals; only those that have the values unless rows
    that are `lacking` them count, too, which come before all others."""

    def __init__(self, parts: Sequence[tuple[Expression, bool]], count: int, lacking: bool) -> None:
        self.parts = parts
        self.count = count
        self.lacking = lacking
        self.keys: list[Array] = []
        self.positions: Array = np.empty(0, np.intp)

    def feed(self, columns: Columns, values: Vector | None, positions: Array) -> None:
        keys: list[Array] = []  # the least important first
        for expression, descending in reversed(self.parts):
            vector = expression(columns)
            kinds, numbers = Vector(vector.kinds, columns.sortable(vector)).spread(columns.rows)
            if (kinds == ODD).any():
                raise Unsuited
            numbers = np.where((kinds == ABSENT) | (kinds == NULL), 0.0, numbers)
            signed = kinds.astype(np.int16)
            keys += [-numbers, -signed] if descending else [numbers, signed]
        if not self.lacking:
            there = keys[-1] != ABSENT
            keys, positions = [key[there] for key in keys], positions[there]
        if len(self.parts) == 1 and 0 < self.count < len(positions) and (keys[1] == keys[1][0]).all():
            cut = np.partition(keys[0], self.count - 1)[self.count - 1]
            near = np.flatnonzero(keys[0] <= cut)
            keys, positions = [key[near] for key in keys], positions[near]
        if self.keys:
            keys = [np.concatenate(pair) for pair in zip(self.keys, keys, strict=True)]
            positions = np.concatenate([self.positions, positions])
        first = np.lexsort(keys)[: self.count]
        self.keys, self.positions = [key[first] for key in keys], positions[first]

    @property
    def held(self) -> int:
        return len(self.positions)

    def partial(self) -> ChosenRows:
        return ChosenRows(self.positions.tolist())


class _Distinguishing:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.found: dict[tuple[int, float], None] = {}
        self.columns: Columns | None = None

    def feed(self, columns: Columns, values: Vector | None, positions: Array) -> None:
        assert values is not None
        if not len(positions):
            return
        self.columns = columns
        names, _ = _codes(np.asarray(values.kinds), np.asarray(values.values))
        if len(self.found) + sum(name not in self.found for name in names) > self.limit:
            raise Unsuited
        self.found.update(dict.fromkeys(names))

    @property
    def held(self) -> int:
        return len(self.found)

    def partial(self) -> list[Any]:
        return [] if self.columns is None else [self.columns.datum(*name) for name in self.found]
