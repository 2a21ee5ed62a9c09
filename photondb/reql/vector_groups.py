"""Groups and different values over blocks of rows as columns (see `photondb.reql.vector_aggregates`).

The name of a group is a complex number, of its kind and its value as in a `Vector`: numpy sorts these by the former
and then by the latter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from photondb.reql.vector_aggregates import fractions_of, magnitude_of, numbers_of, own_bytes
from photondb.reql.vector_expressions import Expression
from photondb.reql.vectors import ABSENT, MAX_EXACT, NULL, ODD, Array, Columns, Texts, Unsuited, Vector, all_of

MAX_CODE_RANGE = 1 << 16
"""Integral values within such a range are grouped by counting instead of sorting."""


class Grouping:
    """The number of rows of each group, or the sum of a value of theirs. Of an `indexed` key null is no group."""

    def __init__(self, key: Expression, value: Expression | None, limit: int, indexed: bool) -> None:
        self.key = key
        self.value = value
        self.limit = limit
        self.indexed = indexed

    def summary(self, columns: Columns, values: Vector | None) -> Divided:
        found = self.key(columns)
        if isinstance(found.kinds, int) and found.kinds not in (ODD, ABSENT, NULL):
            names, codes = _divided(found.kinds, all_of(found.values, columns.rows))
        else:
            kinds, numbers = found.spread(columns.rows)
            if (kinds == ODD).any():
                raise Unsuited
            if self.indexed:
                there = (kinds != ABSENT) & (kinds != NULL)
                columns, kinds, numbers = columns.select(there), kinds[there], numbers[there]
            names, codes = _named(np.where(kinds == ABSENT, np.uint8(NULL), kinds), numbers)
        if self.value is None:
            return Divided(names, codes, None)
        addends, counted = numbers_of(self.value(columns), columns.rows)
        return Divided(names, codes if counted is None else codes[counted], addends)

    def start(self, texts: Texts) -> _GroupFolding:
        return _GroupFolding(self, texts)


class Divided:
    """Rows divided into groups: the names of the groups in order, the number of rows that count in each, and for sums
    what is to be added up. `codes` are the places of the rows' groups among the names."""

    __slots__ = ("addends", "counts", "names")

    def __init__(self, names: Array, codes: Array, numbers: Array | None) -> None:
        self.names = names
        self.counts: Array = np.bincount(codes, minlength=len(names))
        self.addends = None if numbers is None else GroupAddends(len(names), codes, numbers)

    @property
    def size(self) -> int:
        addends = 0 if self.addends is None else self.addends.size
        return own_bytes(self.names) + own_bytes(self.counts) + addends


class GroupAddends:
    """Numbers to be added up in groups, each with the place of its group. Groups are `integral` that have no fractions;
    of these the totals are exact."""

    __slots__ = ("codes", "integral", "magnitude", "numbers", "totals")

    def __init__(self, groups: int, codes: Array, numbers: Array) -> None:
        self.magnitude = magnitude_of(numbers)
        self.numbers = numbers
        self.codes: Array = codes.astype(np.uint16 if groups <= 1 << 16 else np.uint32)
        fractions = fractions_of(numbers)
        if fractions is None:
            self.integral: Array = np.ones(groups, np.bool_)
        else:
            self.integral = np.bincount(codes, fractions, groups) == 0
        self.totals: Array = np.bincount(codes, numbers, groups) if self.integral.any() else np.zeros(groups)

    @property
    def size(self) -> int:
        return sum(map(own_bytes, (self.numbers, self.codes, self.integral, self.totals)))


class _GroupFolding:
    """Adds up one after the other in each group, as the evaluator of rows does, where there are fractions."""

    def __init__(self, grouping: Grouping, texts: Texts) -> None:
        self.grouping = grouping
        self.texts = texts
        self.names: Array = np.empty(0, np.complex128)
        self.counts: Array = np.empty(0, np.intp)
        self.totals: Array = np.empty(0)
        self.integral: Array = np.empty(0, np.bool_)
        self.magnitude = 0.0

    def take(self, summary: Divided, first: int) -> None:
        addends = summary.addends
        magnitude = self.magnitude + (0.0 if addends is None else addends.magnitude)
        places = _places(self.names, summary.names)
        if not magnitude < MAX_EXACT and (places is None or self.integral[places].any()):
            raise Unsuited
        if places is None:
            names, kept, places = _united(self.names, summary.names)
            if len(names) > self.grouping.limit:
                raise Unsuited
            self.names = names
            self.counts = _spread(self.counts, kept, len(names))
            self.totals = _spread(self.totals, kept, len(names))
            self.integral = ~_spread(~self.integral, kept, len(names))
        self.magnitude = magnitude
        self.counts[places] += summary.counts
        if addends is not None:
            self._add(addends, places)

    def _add(self, addends: GroupAddends, places: Array | slice) -> None:
        integral = self.integral[places] & addends.integral
        self.integral[places] = integral
        if integral.all():
            self.totals[places] += addends.totals
            return
        codes = addends.codes.astype(np.intp) if isinstance(places, slice) else places[addends.codes]
        np.add.at(self.totals, codes, addends.numbers)  # one after the other, as they come

    def partial(self) -> list[list[Any]]:
        counts = self.counts.tolist()
        names = _data(self.names, self.texts)
        if self.grouping.value is None:
            return [[name, count] for name, count in zip(names, counts, strict=True)]
        totals: list[Any] = self.totals.tolist()
        for place in np.flatnonzero(self.integral).tolist():
            totals[place] = int(totals[place])
        return [[name, [total, count]] for name, total, count in zip(names, totals, counts, strict=True)]

    @property
    def held(self) -> int:
        return len(self.names)


class Distinguishing:
    """The different values behind a map."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def summary(self, columns: Columns, values: Vector | None) -> Different:
        assert values is not None
        if isinstance(values.kinds, int):
            names, _ = _divided(values.kinds, np.asarray(values.values))
        else:
            names, _ = _named(values.kinds, np.asarray(values.values))
        return Different(names)

    def start(self, texts: Texts) -> _DistinctFolding:
        return _DistinctFolding(self, texts)


class Different:
    """The names of different values, in order."""

    __slots__ = ("names",)

    def __init__(self, names: Array) -> None:
        self.names = names

    @property
    def size(self) -> int:
        return own_bytes(self.names)


class _DistinctFolding:
    def __init__(self, distinguishing: Distinguishing, texts: Texts) -> None:
        self.limit = distinguishing.limit
        self.texts = texts
        self.names = np.empty(0, np.complex128)

    def take(self, summary: Different, first: int) -> None:
        if _places(self.names, summary.names) is None:
            names, _, _ = _united(self.names, summary.names)
            if len(names) > self.limit:
                raise Unsuited
            self.names = names

    @property
    def held(self) -> int:
        return len(self.names)

    def partial(self) -> list[Any]:
        return _data(self.names, self.texts)


# --- names


def _named(kinds: Array, numbers: Array) -> tuple[Array, Array]:
    """The names of the different values among some, in order, and for each of these the place of its name."""
    names: list[Array] = []
    known = 0
    codes = np.empty(len(kinds), np.intp)
    for kind in np.flatnonzero(np.bincount(kinds, minlength=256)).tolist():
        members = kinds == kind
        found, places = _divided(kind, numbers[members])
        codes[members] = places + known
        known += len(found)
        names.append(found)
    return np.concatenate(names) if names else np.empty(0, np.complex128), codes


def _divided(kind: int, numbers: Array) -> tuple[Array, Array]:
    """The same where all are of one kind."""
    numbers = np.zeros(len(numbers)) if kind == NULL else np.asarray(numbers, np.float64)
    found, codes = _distinct(numbers) if len(numbers) else (numbers, np.empty(0, np.intp))
    names = np.empty(len(found), np.complex128)
    names.real, names.imag = kind, found
    return names, codes


def _distinct(numbers: Array) -> tuple[Array, Array]:
    """The different numbers among some, in order, and for each of these the place of its number among them."""
    low, high = numbers.min(), numbers.max()
    if high - low < MAX_CODE_RANGE:
        offsets = (numbers - low).astype(np.intp)
        if (offsets + low == numbers).all():
            occurring = np.bincount(offsets) > 0
            present = np.flatnonzero(occurring)
            if len(present) == len(occurring):
                return present + low, offsets
            places = np.cumsum(occurring) - 1
            return present + low, places[offsets]
    found, codes = np.unique(numbers, return_inverse=True)
    return found, codes


def _places(names: Array, wanted: Array) -> Array | slice | None:
    """Where some names are among others, if they are all there."""
    if len(names) == len(wanted) and (names == wanted).all():
        return slice(None)
    if not len(names):
        return None
    places = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    return places if (names[places] == wanted).all() else None


def _united(names: Array, more: Array) -> tuple[Array, Array, Array]:
    """All names of two lists, and where those of each of them are among these."""
    into = np.searchsorted(names, more)
    new = np.ones(len(more), np.bool_) if not len(names) else names[np.minimum(into, len(names) - 1)] != more
    united = np.insert(names, into[new], more[new])
    return united, np.searchsorted(united, names), np.searchsorted(united, more)


def _spread(values: Array, places: Array, count: int) -> Array:
    """Values at some of `count` places, and nothing elsewhere."""
    spread = np.zeros(count, values.dtype)
    spread[places] = values
    return spread


def _data(names: Array, texts: Texts) -> list[Any]:
    """The values that names stand for."""
    kinds, numbers = names.real, names.imag
    data: list[Any] = []
    for kind in np.unique(kinds).tolist():
        data += texts.data(int(kind), numbers[kinds == kind])
    return data
