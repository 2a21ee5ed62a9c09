"""Values of many rows at once, as numpy arrays.

A `Vector` holds one value for each of many rows: its kind, in the order of ReQL's types, and a double, which is the
number itself, 0 or 1 for a boolean, and the code of a string in `Strings`. What does not fit into that (arrays,
objects, negative zero) is `ODD`, and stays so (`photondb.reql.vector_expressions`): whoever finds nothing odd in what
comes out of an expression has exactly what the evaluator of single rows gives, and whoever finds something asks that
evaluator. `ABSENT` is a value that is not there: the non-existence error on its way through an expression.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import copysign
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

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
    """Values of many rows, or one that is the same for all: then `values` is a scalar. `kinds` is one number where all
    values are of one kind, as far as is known without looking at each, and an array otherwise."""

    __slots__ = ("kinds", "values")

    def __init__(self, kinds: Any, values: Any) -> None:
        self.kinds = kinds if isinstance(kinds, int) or kinds.ndim else int(kinds)  # numpy makes arrays of no dimension
        self.values = values

    def at(self, rows: Array) -> Vector:
        """The values of some rows, by position or by a mask."""
        kinds = self.kinds if isinstance(self.kinds, int) else self.kinds[rows]
        return Vector(kinds, self.values[rows] if np.ndim(self.values) else self.values)

    def view(self) -> Vector:
        """The same values, as views of its arrays."""
        return Vector(self.kinds if isinstance(self.kinds, int) else self.kinds.view(), self.values.view())

    def spread(self, rows: int) -> tuple[Array, Array]:
        """Kinds and values of `rows` rows as arrays."""
        return all_of(np.asarray(self.kinds, np.uint8), rows), all_of(np.asarray(self.values, np.float64), rows)

    def all_are(self, kind: int) -> bool:
        """Whether all values are known to be of a kind."""
        return isinstance(self.kinds, int) and self.kinds == kind


def all_of(values: Array, rows: int) -> Array:
    """The values of `rows` rows, of which a single one is that of all."""
    return values if values.ndim else np.broadcast_to(values, (rows,))


class Texts:
    """The strings of rows as an evaluation finds them, and those of the query beside them."""

    __slots__ = ("_extra", "_known", "_strings", "_table")

    def __init__(self, strings: Strings) -> None:
        self._strings = strings
        self._known = -1
        self._extra: list[str] = []
        self._table = np.empty(0)

    @property
    def has_own(self) -> bool:
        """Whether there are strings of the query that are in no row, so that they have numbers in this evaluation
        alone."""
        return bool(self._extra)

    def code_of(self, text: str) -> int:
        """The number that stands for a string of the query: that of the rows' strings, or a negative one of its own."""
        code = self._strings.known(text)
        if text in self._extra:
            if code is not None:
                raise Unsuited  # it has come up in rows after it had got a number of its own
            return -1 - self._extra.index(text)
        if code is None:
            self._extra.append(text)
            self._known = -1
            return -len(self._extra)
        return code

    def ranks(self) -> Array:
        """Ranks by code. The query's own strings have negative codes, so that they are at the end, as Python counts.
        With each new string ranks become others, but their order does not."""
        if self._known != len(self._strings.texts):
            texts, ranks = self._strings.ranked()
            place = {text: number for number, text in enumerate(sorted(self._extra), 1)}
            extra = [2 * bisect_left(texts, text) + place[text] / (len(place) + 1) for text in reversed(self._extra)]
            self._table = np.concatenate([ranks, np.array(extra, np.float64)])
            self._known = len(texts)
        return self._table

    def sortable(self, vector: Vector) -> Any:
        """Numbers for the values of a vector that are in the order of the values among those of one kind."""
        if isinstance(vector.kinds, int):
            if vector.kinds != STRING:
                return vector.values
            return self.ranks()[np.asarray(vector.values).astype(np.intp)]
        strings = vector.kinds == STRING
        if not strings.any():
            return vector.values
        values = np.array(np.broadcast_to(vector.values, strings.shape), np.float64)
        values[strings] = self.ranks()[values[strings].astype(np.intp)]
        return values

    def data(self, kind: int, values: Array) -> list[Any]:
        """The values that numbers stand for with a kind."""
        if kind == NUMBER:
            integral = (np.floor(values) == values) & (np.abs(values) <= MAX_EXACT)
            data: list[Any] = values.tolist()
            if integral.all():
                return list(map(int, data))
            for place in np.flatnonzero(integral).tolist():
                data[place] = int(data[place])
            return data
        if kind == STRING:
            return [self._strings.texts[code] if code >= 0 else self._extra[-1 - code] for code in map(int, values)]
        return list(map(bool, values.tolist())) if kind == BOOL else [None] * len(values)


class Columns:
    """Rows as columns, by the names of their fields."""

    __slots__ = ("_mask", "_origin", "_places", "_vectors", "rows", "texts")

    def __init__(self, vectors: dict[str, Vector], rows: int, texts: Texts) -> None:
        self.rows = rows
        self.texts = texts
        self._vectors = vectors
        self._origin: Columns | None = None
        self._mask: Array | None = None
        self._places: Array | None = None

    def vector(self, field: str) -> Vector:
        """The values of a field."""
        found = self._vectors.get(field)
        if found is None:
            assert self._origin is not None, f"the column of field {field} is not there"
            found = self._vectors[field] = self._origin.vector(field).at(self._chosen())
        return found

    @property
    def positions(self) -> Array:
        """Where the rows stand among those that were there before any were selected."""
        if self._origin is None:
            return np.arange(self.rows)
        chosen = self._chosen()
        return chosen if self._origin._origin is None else self._origin.positions[chosen]

    def select(self, mask: Array) -> Columns:
        """The rows for which a mask is true."""
        chosen = Columns({}, int(np.count_nonzero(mask)), self.texts)
        chosen._origin, chosen._mask = self, mask
        return chosen

    def _chosen(self) -> Array:
        if self._places is None:
            assert self._mask is not None
            self._places = np.flatnonzero(self._mask)
        return self._places


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
    pairs = [kind_and_number(value, missing, strings) for value in values]
    kinds = np.array([kind for kind, _ in pairs], np.uint8)
    numbers = np.array([number for _, number in pairs], np.float64)
    return Vector(int(kinds[0]) if len(kinds) and (kinds == kinds[0]).all() else kinds, numbers)


_NUMBERS = {int, float}
_STRINGS = {str}


def kind_and_number(value: Any, missing: Any, strings: Strings) -> tuple[int, float]:
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
