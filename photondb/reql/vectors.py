"""Expressions over whole columns of rows at once, with the results that they have row by row.

A `Vector` holds one value for each of many rows: its kind, in the order of ReQL's types, and a double, which is the
number itself, 0 or 1 for a boolean, and the code of a string in `Strings`. What does not fit into that (arrays,
objects, negative zero) and what an operation has no plain result for (the sum of a number and a string) is `ODD`. An
odd value stays odd through every operation, unless it is left out as `and`, `or`, `branch` and `default` leave things
out. So whoever finds none in what comes out has exactly what the evaluator of single rows gives, and whoever finds one
asks that evaluator. `ABSENT` is a value that is not there: the non-existence error on its way through an expression.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Callable, Sequence
from math import copysign
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from photondb.datum.types import normalise_number

ABSENT: Final = 0
BOOL: Final = 2
NULL: Final = 3
NUMBER: Final = 4
STRING: Final = 9
ODD: Final = 255

Array = NDArray[Any]
MAX_EXACT: Final = 2.0**53


class Unsuited(Exception):
    """The plain evaluator must decide: something in the rows is not plain, or the query is not."""


class Strings:
    """The different strings of some columns, numbered in the order in which they were met. There may be `limit`."""

    __slots__ = ("_codes", "_sorted", "bytes", "limit", "texts")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.texts: list[str] = []
        self.bytes = 0
        """About how much memory they take."""
        self._codes: dict[str, int] = {}
        self._sorted: tuple[list[str], Array] = [], np.empty(0)

    def code(self, text: str) -> int | None:
        """The number of a string, a new one if need be; None when there are too many."""
        code = self._codes.get(text)
        if code is None:
            if len(self.texts) >= self.limit:
                return None
            code = self._codes[text] = len(self.texts)
            self.texts.append(text)
            self.bytes += 160 + 2 * len(text)
        return code

    def codes(self, texts: Sequence[str]) -> list[int] | None:
        """The numbers of strings, new ones if need be; None when there are too many."""
        known = list(map(self._codes.get, texts))
        if None in known:
            known = list(map(self.code, texts))
        return None if None in known else known  # type: ignore[return-value]

    def known(self, text: str) -> int | None:
        """The number of a string if it has one."""
        return self._codes.get(text)

    def ranked(self) -> tuple[list[str], Array]:
        """All strings in order, and by code the odd numbers that are in the same order."""
        if len(self._sorted[0]) != len(self.texts):
            order = sorted(range(len(self.texts)), key=self.texts.__getitem__)
            ranks = np.empty(len(order))
            ranks[order] = np.arange(1, 2 * len(order), 2)
            self._sorted = [self.texts[code] for code in order], ranks
        return self._sorted


class Vector:
    """Values of many rows, or one that is the same for all: then `kinds` and `values` are scalars. `kinds` is also one
    number where all values are of one kind."""

    __slots__ = ("kinds", "values")

    def __init__(self, kinds: Any, values: Any) -> None:
        self.kinds = kinds
        self.values = values

    def at(self, rows: Array) -> Vector:
        """The values of some rows, by position or by a mask."""
        kinds = self.kinds if isinstance(self.kinds, int) else self.kinds[rows]
        return Vector(kinds, self.values[rows] if np.ndim(self.values) else self.values)

    def spread(self, rows: int) -> tuple[Array, Array]:
        """Kinds and values of `rows` rows as arrays."""
        kinds = np.broadcast_to(np.asarray(self.kinds, np.uint8), (rows,))
        return kinds, np.broadcast_to(np.asarray(self.values, np.float64), (rows,))

    def all_are(self, kind: int) -> bool:
        """Whether all values are known to be of a kind."""
        return isinstance(self.kinds, int) and self.kinds == kind


class Texts:
    """The strings of rows as an evaluation finds them, and those of the query beside them."""

    __slots__ = ("_extra", "_known", "_strings", "_table")

    def __init__(self, strings: Strings) -> None:
        self._strings = strings
        self._known = len(strings.texts)
        self._extra: list[str] = []
        self._table: Array | None = None

    def renew(self) -> None:
        """Take in strings that have come up in rows since. Ranks that were given before are not valid any more."""
        if self._known != len(self._strings.texts):
            self._known = len(self._strings.texts)
            self._table = None

    def code_of(self, text: str) -> int:
        """The number that stands for a string of the query: that of the rows' strings, or a negative one of its own."""
        code = self._strings.known(text)
        if text in self._extra:
            if code is not None:
                raise Unsuited  # it has come up in rows after it had got a number of its own
            return -1 - self._extra.index(text)
        if code is None:
            self._extra.append(text)
            self._table = None
            return -len(self._extra)
        return code

    def ranks(self) -> Array:
        """Ranks by code. The query's own strings have negative codes, so that they are at the end, as Python counts."""
        if len(self._strings.texts) != self._known:
            raise Unsuited  # there are new strings since the evaluation began, so that ranks are not what they were
        if self._table is None:
            texts, ranks = self._strings.ranked()
            place = {text: number for number, text in enumerate(sorted(self._extra), 1)}
            extra = [2 * bisect_left(texts, text) + place[text] / (len(place) + 1) for text in reversed(self._extra)]
            self._table = np.concatenate([ranks, np.array(extra, np.float64)])
        return self._table

    def text(self, code: int) -> str:
        """The string of a number."""
        return self._strings.texts[code] if code >= 0 else self._extra[-1 - code]


class Columns:
    """Rows as columns, by the names of their fields."""

    __slots__ = ("_selected", "_vectors", "rows", "texts")

    def __init__(self, vectors: dict[str, Vector], rows: int, texts: Texts) -> None:
        self.rows = rows
        self.texts = texts
        self._vectors = vectors
        self._selected: tuple[Columns, Array] | None = None

    def vector(self, field: str) -> Vector:
        """The values of a field."""
        found = self._vectors.get(field)
        if found is None:
            assert self._selected is not None, f"the column of field {field} is not there"
            origin, rows = self._selected
            found = self._vectors[field] = origin.vector(field).at(rows)
        return found

    def part(self, start: int, end: int) -> Columns:
        """The rows from position `start` to `end`."""
        vectors = {
            name: Vector(
                found.kinds if isinstance(found.kinds, int) else found.kinds[start:end], found.values[start:end]
            )
            for name, found in self._vectors.items()
        }
        return Columns(vectors, end - start, self.texts)

    def select(self, rows: Array) -> Columns:
        """The rows at some positions."""
        chosen = Columns({}, len(rows), self.texts)
        chosen._selected = self, rows
        return chosen

    def sortable(self, vector: Vector) -> Any:
        """Numbers for the values of a vector that are in the order of the values among those of one kind."""
        if isinstance(vector.kinds, int):
            if vector.kinds != STRING:
                return vector.values
            return self.texts.ranks()[np.asarray(vector.values).astype(np.intp)]
        strings = vector.kinds == STRING
        if not strings.any():
            return vector.values
        values = np.array(np.broadcast_to(vector.values, strings.shape), np.float64)
        values[strings] = self.texts.ranks()[values[strings].astype(np.intp)]
        return values

    def datum(self, kind: int, value: float) -> Any:
        """The value that a kind and a number stand for."""
        if kind == NUMBER:
            return normalise_number(float(value))
        if kind == STRING:
            return self.texts.text(int(value))
        return bool(value) if kind == BOOL else None


Expression = Callable[[Columns], Vector]


def column_of(values: Sequence[Any], missing: Any, strings: Strings) -> Vector:
    """Values as they are in documents; `missing` stands for one that is not there."""
    types = set(map(type, values))
    if types <= _NUMBERS:
        numbers = np.array(values, np.float64)
        negative_zeros = (numbers == 0) & np.signbit(numbers)
        if negative_zeros.any():
            return Vector(np.where(negative_zeros, np.uint8(ODD), np.uint8(NUMBER)), numbers)
        return Vector(NUMBER, numbers)
    if types == _STRINGS:
        codes = strings.codes(values)
        if codes is not None:
            return Vector(STRING, np.array(codes, np.float64))
    pairs = [_kind_and_number(value, missing, strings) for value in values]
    kinds = np.array([kind for kind, _ in pairs], np.uint8)
    numbers = np.array([number for _, number in pairs], np.float64)
    return Vector(int(kinds[0]) if len(kinds) and (kinds == kinds[0]).all() else kinds, numbers)


_NUMBERS = {int, float}
_STRINGS = {str}


def _kind_and_number(value: Any, missing: Any, strings: Strings) -> tuple[int, float]:
    kind = type(value)
    if kind is str:
        code = strings.code(value)
        return (ODD, 0.0) if code is None else (STRING, code)
    if kind is int or (kind is float and not (value == 0 and copysign(1.0, value) < 0)):
        return NUMBER, value
    if kind is bool:
        return BOOL, float(value)
    if value is None:
        return NULL, 0.0
    return (ABSENT, 0.0) if value is missing else (ODD, 0.0)


# --- expressions


def constant(value: Any) -> Expression:
    """A value of the query. Raises Unsuited for one that is not plain."""
    if type(value) is str:
        return lambda columns: Vector(STRING, np.float64(columns.texts.code_of(value)))
    kind, number = _kind_and_number(value, ..., Strings(0))
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
        first = columns.sortable(a) if ordered else a.values
        second = columns.sortable(b) if ordered else b.values
        if _plain(a) and _plain(b):
            if a.kinds == b.kinds:
                return Vector(BOOL, compare(first, second))
            return Vector(BOOL, np.bool_(compare(a.kinds, b.kinds)))
        values = np.where(np.equal(a.kinds, b.kinds), compare(first, second), compare(a.kinds, b.kinds))
        return Vector(_kinds(a, b, BOOL), values)

    return evaluate


def arithmetic(operate: Callable[[Any, Any], Any], left: Expression, right: Expression) -> Expression:
    """Two numbers added, subtracted, multiplied or divided."""

    def evaluate(columns: Columns) -> Vector:
        a, b = left(columns), right(columns)
        with np.errstate(all="ignore"):
            values = operate(np.asarray(a.values, np.float64), np.asarray(b.values, np.float64))
        odd = ~np.isfinite(values) | ((values == 0) & np.signbit(values))
        if a.all_are(NUMBER) and b.all_are(NUMBER):
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
