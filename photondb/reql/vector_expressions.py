"""Expressions over whole columns of rows at once, with the results that they have row by row.

What an operation has no plain result for (the sum of a number and a string) is `ODD`. An odd value stays odd through
every operation, unless it is left out as `and`, `or`, `branch` and `default` leave things out.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from photondb.reql.vectors import (
    ABSENT,
    BOOL,
    NULL,
    NUMBER,
    ODD,
    STRING,
    Columns,
    Strings,
    Unsuited,
    Vector,
    kind_and_number,
)

Expression = Callable[[Columns], Vector]


def constant(value: Any) -> Expression:
    """A value of the query. Raises Unsuited for one that is not plain."""
    if type(value) is str:
        return lambda columns: Vector(STRING, np.float64(columns.texts.code_of(value)))
    kind, number = kind_and_number(value, ..., Strings(0))
    if kind == ODD:
        raise Unsuited
    vector = Vector(kind, np.float64(number))
    return lambda columns: vector


def field(name: str) -> Expression:
    """A field of the row."""
    return lambda columns: columns.vector(name)


def comparison(compare: Callable[[Any, Any], Any], left: Expression, right: Expression) -> Expression:
    """Two values compared, by an operator of Python."""
    ordered = compare not in (operator.eq, operator.ne)

    def evaluate(columns: Columns) -> Vector:
        a, b = left(columns), right(columns)
        first = columns.texts.sortable(a) if ordered else a.values
        second = columns.texts.sortable(b) if ordered else b.values
        if _plain(a) and _plain(b):
            if a.kinds == b.kinds:
                return Vector(BOOL, compare(first, second))
            return Vector(BOOL, np.bool_(compare(a.kinds, b.kinds)))
        values = np.where(np.equal(a.kinds, b.kinds), compare(first, second), compare(a.kinds, b.kinds))
        return Vector(_kinds(a, b, BOOL), values)

    return evaluate


def arithmetic(operate: Callable[[Any, Any], Any], left: Expression, right: Expression) -> Expression:
    """Two numbers added, subtracted, multiplied or divided."""

    additive = operate in (operator.add, operator.sub)

    def evaluate(columns: Columns) -> Vector:
        a, b = left(columns), right(columns)
        numbers = a.all_are(NUMBER) and b.all_are(NUMBER)
        with np.errstate(all="ignore"):
            values = operate(np.asarray(a.values, np.float64), np.asarray(b.values, np.float64))
            # Sums of finite numbers other than negative zero are never negative zero.
            if numbers and np.isfinite(values.sum()) and (additive or values.all()):
                return Vector(NUMBER, values)
        odd = ~np.isfinite(values) | ((values == 0) & np.signbit(values))
        if numbers:
            return Vector(np.where(odd, np.uint8(ODD), np.uint8(NUMBER)) if odd.any() else NUMBER, values)
        odd = odd | np.not_equal(a.kinds, NUMBER) | np.not_equal(b.kinds, NUMBER)
        kinds = _kinds(a, b, NUMBER)
        return Vector(np.where(odd & np.equal(kinds, NUMBER), np.uint8(ODD), kinds), values)

    return evaluate


def first_deciding(stop_at: bool, parts: Sequence[Expression]) -> Expression:
    """`and` (which stops at a false value) and `or` (which stops at a true one)."""

    def evaluate(columns: Columns) -> Vector:
        result = parts[0](columns)
        for part in parts[1:]:
            following = part(columns)
            if result.all_are(BOOL) and following.all_are(BOOL):
                join = np.logical_or if stop_at else np.logical_and
                result = Vector(BOOL, join(result.values, following.values))
            else:
                stops = _bad(result.kinds) | np.equal(_truth(result), stop_at)
                result = _where(stops, result, following)
        return result

    return evaluate


def negation(part: Expression) -> Expression:
    """True for false and null."""

    def evaluate(columns: Columns) -> Vector:
        value = part(columns)
        kinds = BOOL if _plain(value) else np.where(_bad(value.kinds), value.kinds, np.uint8(BOOL))
        return Vector(kinds, np.logical_not(_truth(value)))

    return evaluate


def defaulting(part: Expression, otherwise: Expression) -> Expression:
    """The first value, or the second where the first is null or absent."""

    def evaluate(columns: Columns) -> Vector:
        value = part(columns)
        if value.all_are(NUMBER) or value.all_are(STRING) or value.all_are(BOOL):
            return value
        return _where(np.not_equal(value.kinds, ABSENT) & np.not_equal(value.kinds, NULL), value, otherwise(columns))

    return evaluate


def having(names: Sequence[str]) -> Expression:
    """Whether the row has all these fields, none of them null."""

    def evaluate(columns: Columns) -> Vector:
        values: Any = np.bool_(True)
        for name in names:
            kinds = columns.vector(name).kinds
            values = values & np.not_equal(kinds, ABSENT) & np.not_equal(kinds, NULL)
        return Vector(BOOL, values)

    return evaluate


def choice(condition: Expression, value: Expression, otherwise: Expression) -> Expression:
    """One value where a condition holds, and another where it does not."""

    def evaluate(columns: Columns) -> Vector:
        asked = condition(columns)
        chosen = _where(_truth(asked), value(columns), otherwise(columns))
        return chosen if _plain(asked) else _where(_bad(asked.kinds), asked, chosen)

    return evaluate


def _plain(vector: Vector) -> bool:
    """Whether no value is absent or odd, as far as is known without looking at each."""
    return isinstance(vector.kinds, int) and vector.kinds not in (ABSENT, ODD)


def _bad(kinds: Any) -> Any:
    """Where values are absent or odd."""
    return np.equal(kinds, ABSENT) | np.equal(kinds, ODD)


def _kinds(a: Vector, b: Vector, kind: int) -> Any:
    """What an operation on two values gives where both are plain, and which of them is given where one is not."""
    return np.where(_bad(a.kinds), np.uint8(0) + a.kinds, np.where(_bad(b.kinds), np.uint8(0) + b.kinds, kind)).astype(
        np.uint8
    )


def _truth(vector: Vector) -> Any:
    """Where values count as true."""
    return np.not_equal(vector.kinds, NULL) & (np.not_equal(vector.kinds, BOOL) | np.not_equal(vector.values, 0))


def _where(condition: Any, a: Vector, b: Vector) -> Vector:
    kinds: Any = a.kinds
    if not (isinstance(a.kinds, int) and isinstance(b.kinds, int) and a.kinds == b.kinds):
        kinds = np.where(condition, a.kinds, b.kinds).astype(np.uint8)
    return Vector(kinds, np.where(condition, a.values, b.values))
