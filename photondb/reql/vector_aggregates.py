"""Aggregates over blocks of rows as columns: numbers of them, sums, and the first rows of an order.

What a block of rows comes to is a `summary`, which depends on nothing but the rows of that block, so that it can be
kept for as long as these stay as they are. A `Folding` takes the summaries of all blocks in order, and comes to the
partial result that the evaluator of single rows gives, sums to the last digit. `photondb.reql.vector_groups` has the
aggregates that divide rows into groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from photondb.reql.vector_expressions import Expression
from photondb.reql.vectors import ABSENT, MAX_EXACT, NULL, NUMBER, ODD, Array, Columns, Texts, Unsuited, Vector, all_of

NEAR_EXACT = 2.0**40
"""Numbers whose largest one times how many they are is below this need not be looked at more closely: 8,000 blocks of
them come to less than `MAX_EXACT`."""

SAMPLE_ROWS = 1024
"""Of many rows so many tell how far those that come first may reach."""

PENDING_ROWS = 4096
"""So many rows, or four times as many as are wanted, are gathered before those that come first are chosen again."""


class Summary(Protocol):
    """What a block of rows comes to. It does not change."""

    @property
    def size(self) -> int:
        """How many bytes of memory its arrays take that are not columns of the block."""
        ...


class Folding(Protocol):
    """An aggregate under way."""

    def take(self, summary: Any, first: int) -> None:
        """Take the summary of the next block, whose rows are those from position `first` on. Where that raises Unsuited
        the folding is as it was."""
        ...

    def partial(self) -> Any:
        """The aggregate's partial result; of aggregates that choose rows, their positions (`ChosenRows`)."""
        ...

    @property
    def held(self) -> int:
        """How many groups, values or rows it holds on to."""
        ...


class VectorAggregate(Protocol):
    """An aggregate that can be evaluated over columns."""

    def summary(self, columns: Columns, values: Vector | None) -> Summary:
        """What rows come to: as documents, or as `values` behind a map. Raises Unsuited."""
        ...

    def start(self, texts: Texts) -> Folding: ...


class ChosenRows:
    """The partial result of an aggregate that gives documents: where these stand."""

    __slots__ = ("positions",)

    def __init__(self, positions: Sequence[int]) -> None:
        self.positions = positions


def own_bytes(array: Array) -> int:
    """How much memory an array takes by itself: none where it is a view of another one."""
    return array.nbytes if array.base is None else 0


def numbers_of(vector: Vector, rows: int) -> tuple[Array, Array | None]:
    """The numbers to be added up, and where they are (None: everywhere). Null and what is absent are left out."""
    if vector.all_are(NUMBER):
        return all_of(vector.values, rows), None
    kinds, values = vector.spread(rows)
    counted = kinds == NUMBER
    if not (counted | (kinds == NULL) | (kinds == ABSENT)).all():
        raise Unsuited
    return values[counted], counted


def magnitude_of(numbers: Array) -> float:
    """What the magnitudes of numbers add up to, or somewhat more. Integers are added exactly, which doubles are not
    where this is `MAX_EXACT` or more."""
    if not len(numbers):
        return 0.0
    magnitude = float(max(numbers.max(), -numbers.min())) * len(numbers)
    return magnitude if magnitude < NEAR_EXACT else float(np.abs(numbers).sum())


def fractions_of(numbers: Array) -> Array | None:
    """Which numbers have fractions, if there are any."""
    fractions: Array = np.floor(numbers) != numbers
    return fractions if fractions.any() else None


def added_up(total: float, numbers: Array) -> float:
    """Numbers added to a total, one after the other, which decides about the last digits. Numpy adds in another order,
    but it has no other way to subtract."""
    return float(np.subtract.reduce(-numbers, initial=total))


# --- count


class Counting:
    """The number of rows."""

    def summary(self, columns: Columns, values: Vector | None) -> Tally:
        return Tally(columns.rows)

    def start(self, texts: Texts) -> _CountFolding:
        return _CountFolding()


class Tally:
    """So many rows."""

    __slots__ = ("rows",)
    size = 0

    def __init__(self, rows: int) -> None:
        self.rows = rows


class _CountFolding:
    held = 0

    def __init__(self) -> None:
        self.count = 0

    def take(self, summary: Tally, first: int) -> None:
        self.count += summary.rows

    def partial(self) -> int:
        return self.count


# --- sum


class Summing:
    """The sum of numbers, and how many there are."""

    def __init__(self, value: Expression | None) -> None:
        self.value = value

    def summary(self, columns: Columns, values: Vector | None) -> Addends:
        if values is None:
            assert self.value is not None
            values = self.value(columns)
        numbers, _ = numbers_of(values, columns.rows)
        return Addends(numbers)

    def start(self, texts: Texts) -> _SumFolding:
        return _SumFolding()


class Addends:
    """Numbers to be added up; `total` is their sum where all are `integral`."""

    __slots__ = ("integral", "magnitude", "numbers", "total")

    def __init__(self, numbers: Array) -> None:
        self.numbers = numbers
        self.magnitude = magnitude_of(numbers)
        self.integral = fractions_of(numbers) is None
        self.total = float(numbers.sum()) if self.integral else 0.0

    @property
    def size(self) -> int:
        return own_bytes(self.numbers)


class _SumFolding:
    """Adds up as the evaluator of rows does."""

    held = 0

    def __init__(self) -> None:
        self.total = 0.0
        self.count = 0
        self.magnitude = 0.0
        self.integral = True

    def take(self, summary: Addends, first: int) -> None:
        magnitude = self.magnitude + summary.magnitude
        if self.integral and not magnitude < MAX_EXACT:
            raise Unsuited
        self.magnitude = magnitude
        self.integral = self.integral and summary.integral
        if self.integral:
            self.total += summary.total
        else:
            self.total = added_up(self.total, summary.numbers)
        self.count += len(summary.numbers)

    def partial(self) -> list[int | float]:
        return [int(self.total) if self.integral else self.total, self.count]


# --- the first rows of an order


class Choosing:
    """The first `count` rows of an order, the earlier one of equals; only those that have the values unless rows that
    are `lacking` them count, too, which come before all others."""

    def __init__(self, parts: Sequence[tuple[Expression, bool]], count: int, lacking: bool) -> None:
        self.parts = parts
        self.count = count
        self.lacking = lacking

    def summary(self, columns: Columns, values: Vector | None) -> Candidates:
        parts: list[tuple[Array, Array]] = []
        for expression, _ in self.parts:
            kinds, numbers = expression(columns).spread(columns.rows)
            if (kinds == ODD).any():
                raise Unsuited
            parts.append((kinds, numbers))
        found = Candidates(parts, columns.positions)
        if not self.lacking:
            found = found.at(np.flatnonzero(parts[0][0] != ABSENT))
        return self.first_of(found, columns.texts)

    def start(self, texts: Texts) -> _ChoiceFolding:
        return _ChoiceFolding(self, texts)

    def first_of(self, rows: Candidates, texts: Texts) -> Candidates:
        """The first rows among some, in their order."""
        keys: list[Array] = []  # the least important first
        for (kinds, numbers), (_, descending) in zip(reversed(rows.parts), reversed(self.parts), strict=True):
            places = texts.sortable(Vector(kinds, numbers))
            without = (kinds == ABSENT) | (kinds == NULL)
            if without.any():
                places = np.where(without, 0.0, places)
            signed = kinds.astype(np.int16)
            keys += [-places, -signed] if descending else [places, signed]
        if len(self.parts) == 1 and 0 < self.count < len(rows) and (keys[1] == keys[1][0]).all():
            near = np.flatnonzero(keys[0] <= _bound(keys[0], self.count))
            keys, rows = [key[near] for key in keys], rows.at(near)
        return rows.at(np.lexsort(keys)[: self.count])


def _bound(places: Array, count: int) -> float:
    """The `count`-th of some numbers in order."""
    step = len(places) // SAMPLE_ROWS
    if step > 1 and count < SAMPLE_ROWS:
        # The bound of some of them is no less than that of all.
        places = places[places <= np.partition(places[::step], count - 1)[count - 1]]
    return float(np.partition(places, count - 1)[count - 1])


class Candidates:
    """Rows that may come first: what they are sorted by, as kinds and numbers for each part of the order, and where
    they stand in their block."""

    __slots__ = ("parts", "positions")

    def __init__(self, parts: Sequence[tuple[Array, Array]], positions: Array) -> None:
        self.parts = parts
        self.positions = positions

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def size(self) -> int:
        return sum(own_bytes(kinds) + own_bytes(numbers) for kinds, numbers in self.parts) + own_bytes(self.positions)

    def at(self, rows: Array) -> Candidates:
        """Some of the rows, by position."""
        return Candidates([(kinds[rows], numbers[rows]) for kinds, numbers in self.parts], self.positions[rows])


class _ChoiceFolding:
    def __init__(self, choosing: Choosing, texts: Texts) -> None:
        self.choosing = choosing
        self.texts = texts
        self.pending: list[Candidates] = []
        self.held = 0

    def take(self, summary: Candidates, first: int) -> None:
        self.pending.append(Candidates(summary.parts, summary.positions + first))
        self.held += len(summary)
        if self.held > max(PENDING_ROWS, 4 * self.choosing.count):
            self._choose()

    def partial(self) -> ChosenRows:
        return ChosenRows(self._choose().positions.tolist())

    def _choose(self) -> Candidates:
        if not self.pending:
            return Candidates((), np.empty(0, np.intp))
        parts = [
            (np.concatenate([kinds for kinds, _ in part]), np.concatenate([numbers for _, numbers in part]))
            for part in zip(*[candidates.parts for candidates in self.pending], strict=True)
        ]
        positions = np.concatenate([candidates.positions for candidates in self.pending])
        chosen = self.choosing.first_of(Candidates(parts, positions), self.texts)
        self.pending, self.held = [chosen], len(chosen)
        return chosen
