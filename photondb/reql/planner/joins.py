"""How the rows of a join find each other: by a hash table where the predicate begins with an equality.

`inner_join` and `outer_join` call their predicate for every pair of rows. Where the first thing that the predicate asks
is whether something of the left row equals something of the right row, all other pairs are known not to match, and the
predicate is called for none of them. That takes the time of both sequences together instead of their product. The
answer, its order and its errors stay what they are: a right row for which its side of the equality fails would have
failed with the first left row, so then every pair is gone through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from photondb.datum.errors import DatumError
from photondb.datum.order import SortKey, sort_key
from photondb.reql.errors import ReqlError
from photondb.reql.function import Func
from photondb.reql.planner.conditions import computed_with
from photondb.reql.planner.expressions import uses
from photondb.reql.shape import Shape
from photondb.reql.wire import Term


class Equality(NamedTuple):
    """What of a left row must equal what of a right row."""

    left: Callable[[Any], Any]
    right: Callable[[Any], Any]


def equality_of(predicate: Func) -> Equality | None:
    """The equality that a join's predicate begins with, if it does."""
    if len(predicate.slots) != 2 or not predicate.pushable or predicate.code.object_body:
        return None
    sides = sides_of(predicate.code.shape)
    if sides is None:
        return None
    (left_slot, right_slot), (left, right) = predicate.slots, sides
    return Equality(_of_row(predicate, left, left_slot), _of_row(predicate, right, right_slot))


def sides_of(function: Shape) -> tuple[Shape, Shape] | None:
    """The two sides of the equality at the beginning of a function of two rows: that of the first row comes first."""
    _, (first, second), body = function
    while body[0] == Term.AND and body[1] and not body[2]:
        body = body[1][0]
    if body[0] != Term.EQ or len(body[1]) != 2 or body[2]:
        return None
    one, other = body[1]
    if uses(one, second):
        one, other = other, one
    if uses(one, first) and not uses(one, second) and uses(other, second) and not uses(other, first):
        return one, other
    return None


def _of_row(predicate: Func, shape: Shape, slot: int) -> Callable[[Any], Any]:
    value = computed_with(shape, predicate)

    def of_row(row: Any) -> Any:
        predicate.frame[slot] = row
        return value(predicate)

    return of_row


class HashTable:
    """Rows by what must equal something."""

    def __init__(self, rows: Iterable[Any], of_row: Callable[[Any], Any]) -> None:
        """Raises ReqlError or DatumError where there is no such thing of a row."""
        self._rows: dict[SortKey, list[Any]] = {}
        for row in rows:
            self._rows.setdefault(sort_key(of_row(row)), []).append(row)

    def matching(self, value: Any) -> list[Any]:
        """The rows with that value, in their order. Raises DatumError for one that cannot be compared."""
        return self._rows.get(sort_key(value), [])


def hash_table(rows: Iterable[Any], equality: Equality) -> HashTable | None:
    """A table of the right rows; None where something is wrong with one of them."""
    try:
        return HashTable(rows, equality.right)
    except (ReqlError, DatumError):
        return None
