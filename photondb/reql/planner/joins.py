"""How the rows of a join find each other, where the predicate begins with an equality.

`inner_join` and `outer_join` call their predicate for every pair of rows. Where the first thing that the predicate asks
is whether something of the left row equals something of the right row, all other pairs are known not to match, and the
predicate is called for none of them. The partners of the left rows are found by the cheapest of several methods. The
answer, its order and its errors stay what they are: a right row for which its side of the equality fails would have
failed with the first left row, so then every pair is gone through.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage_status import TableStatistics
from photondb.datum.order import SortKey, sort_key
from photondb.reql.errors import ReqlError, logic_error
from photondb.reql.function import Func
from photondb.reql.planner import costs
from photondb.reql.planner.access import expression_on, lists_values
from photondb.reql.planner.condition_keys import computed_with
from photondb.reql.planner.expressions import ROW, Expression, expression_of, resolved, uses
from photondb.reql.shape import Shape
from photondb.reql.wire import Term

BATCH_ROWS = 1000
"""For so many left rows at a time partners are looked for."""


class Equality(NamedTuple):
    """What of a left row must equal what of a right row: functions, and where they are that, expressions of the row."""

    left: Callable[[Any], Any]
    right: Callable[[Any], Any]
    left_expression: Expression | None
    right_expression: Expression | None


def equality_of(predicate: Func) -> Equality | None:
    """The equality that a join's predicate begins with, if it does."""
    if len(predicate.slots) != 2 or not predicate.pushable or predicate.code.object_body:
        return None
    sides = sides_of(predicate.code.shape)
    if sides is None:
        return None
    (left_slot, right_slot), (left, right) = predicate.slots, sides
    first, second = predicate.code.shape[1]
    return Equality(
        _of_row(predicate, left, left_slot),
        _of_row(predicate, right, right_slot),
        _expression(predicate, left, first),
        _expression(predicate, right, second),
    )


def _expression(predicate: Func, side: Shape, row: int) -> Expression | None:
    expression = expression_of(side, row)
    return None if expression is None else resolved(expression, predicate)


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


# --- the method


class Method(enum.Enum):
    """How partners are found."""

    PAIRS = "call the predicate for every pair"
    HASH = "hash table of the right side"
    PASSES = "pass over the right side for every thousand left rows"
    LOOK_UP = "look up the partners, many at a time"
    MERGE = "merge both sides, which are in the order of what must be equal"


def method_of(name: str) -> Method:
    """The method that a query names. Raises ReqlError."""
    names = [method.name.lower() for method in Method]
    if name not in names:
        raise logic_error(f'`join_method` must be one of {", ".join(names)}, not "{name}".')
    return Method[name.upper()]


_WHY_NOT = {
    Method.LOOK_UP: "the right side is no table with an index (of this version) on what is compared",
    Method.MERGE: "both sides must be tables that are compared by their primary keys",
    Method.PASSES: "the right side is short enough for a hash table",
    Method.HASH: "the right side has more rows than an array may have",
}


def way_by(method: Method, ways: list[Way]) -> Way:
    """The way by the method that a query wants. Raises ReqlError where there is none."""
    for way in ways:
        if way.method is method:
            return way
    raise logic_error(f'This join cannot be made with `join_method="{method.name.lower()}"`: {_WHY_NOT[method]}.')


def no_equality() -> ReqlError:
    """The error for a join that is to be made by a method for what is equal, and says nothing of that."""
    return logic_error(
        "`join_method` needs a predicate that begins with an equality of something of the left and something of the "
        "right row. Other predicates are called for every pair."
    )


class LookUp(NamedTuple):
    """A way to look up the rows of a table by a value: by an index, or the primary key (None). A value leads to so many
    rows, about (`matching`)."""

    named: IndexInfo | None
    matching: float

    @property
    def cost(self) -> float:
        """What one value costs."""
        found = costs.LOOK_UP + costs.TAKE
        return found if self.named is None else costs.RANGE + self.matching * (costs.ENTRY + found)

    @property
    def by(self) -> str:
        """The way in words."""
        return "primary key" if self.named is None else f"index {self.named.name}"


def look_up_of(
    info: TableInfo, expression: Expression | None, statistics: TableStatistics, lacking: bool = True
) -> LookUp | None:
    """The way to look up rows of a table by the value of an expression, if there is one. The index lists all documents,
    those that are `lacking` a value only if need be, so that it tells whether there are any for which the expression
    has no value."""
    if expression is None:
        return None
    if expression == ("field", ROW, info.primary_key):
        return LookUp(None, 1.0)
    for index in sorted(info.indexes, key=lambda index: index.name):
        usable = lists_values(index, lacking)
        if usable and expression_on(index) == expression:
            known = statistics.indexes.get(index.id)
            matching = statistics.rows * 0.01 if known is None else known.entries / max(known.distinct, 1)
            return LookUp(index, max(matching, 1.0))
    return None


class Way(NamedTuple):
    """A method, what it costs, and how rows are looked up where that is the method."""

    method: Method
    cost: float
    look_up: LookUp | None = None

    @property
    def by(self) -> str:
        """The way in words."""
        return f"{self.method.value}: by {self.look_up.by}" if self.look_up is not None else self.method.value


def ways_of_join(left: float, right: float, look_up: LookUp | None, in_order: bool, most_kept: int) -> list[Way]:
    """The ways to join so many left with so many right rows where something must be equal, the cheapest one first.

    `in_order` says that both sides come in the order of what must be equal. At most so many rows may be kept."""
    batches = max(1, math.ceil(left / BATCH_ROWS))
    all_of_right = costs.START + right * (costs.READ_IN_ORDER + costs.TAKE)
    ways = []
    if right <= most_kept:
        ways.append(Way(Method.HASH, all_of_right + right * costs.KEEP))
    else:
        ways.append(Way(Method.PASSES, batches * all_of_right))
    if look_up is not None:
        ways.append(Way(Method.LOOK_UP, batches * costs.START + left * look_up.cost, look_up))
    if in_order:
        ways.append(Way(Method.MERGE, batches * costs.START + all_of_right))
    return sorted(ways, key=lambda way: way.cost)


def hash_pays(
    left: float, right: float, look_up: LookUp, most_kept: int, chunk_rows: int, kept: float, cost: float
) -> bool:
    """Whether to read `kept` rows of a table of `right` ones once, at a cost, takes clearly less than to look up the
    rows that so many left ones want, of which those of a chunk are looked up together, each of them once."""
    if kept > most_kept:
        return False
    looked_up = min(left, math.ceil(left / chunk_rows) * right / look_up.matching)
    return 2 * cost < looked_up * look_up.cost
