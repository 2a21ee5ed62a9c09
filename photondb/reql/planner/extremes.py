"""The first or last rows of an order, by an index: `max`, `min`, and `order_by(r.desc(...)).limit(n)`.

The n greatest entries of an index tell a bound: documents with a lesser value are not among the first n. So only those
from the bound on are read and put in order, with the ones that have no place in the index, in the same way as all
documents would be: equal values and documents listed apart come out as ever. In ascending order the documents without a
value come first, which are in no index: so there it is only good for `min`, which leaves them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import KeyRange, Scan
from photondb.datum.errors import DatumError
from photondb.datum.order import compare
from photondb.reql.aggregates import Aggregate, Max, Min
from photondb.reql.errors import ReqlError
from photondb.reql.function import Func
from photondb.reql.index_values import Apart, IndexValues
from photondb.reql.ordering import Top
from photondb.reql.planner.access import expression_on, ranges_of
from photondb.reql.planner.expressions import expression_of, is_safe, resolved
from photondb.reql.planner.key_sets import KeySet, compared
from photondb.reql.wire import Term

MIN_ROWS_PER_WANTED = 20
"""A table must have so many times as many documents as are wanted for an index to pay."""


class Extreme(NamedTuple):
    """The first rows, so many, when the greatest (or least) values of `func` come first."""

    func: Func
    number: int
    greatest: bool


def extreme_of(aggregate: Aggregate) -> Extreme | None:
    """What an aggregate wants of an order, if that can be found by an index."""
    if isinstance(aggregate, Top):
        (func, descending), *others = aggregate.ordering.parts
        return Extreme(func, aggregate.count, True) if descending and not others and aggregate.count else None
    if isinstance(aggregate, Max | Min) and aggregate.func is not None:
        return Extreme(aggregate.func, 1, isinstance(aggregate, Max))
    return None


def index_for(info: TableInfo, extreme: Extreme, rows: int) -> IndexInfo | None:
    """The index of a table of so many rows by which they are found; None where none helps or it would not pay."""
    func = extreme.func
    if rows < extreme.number * MIN_ROWS_PER_WANTED or len(func.slots) != 1 or not func.pushable:
        return None
    expression = expression_of(func.code.shape[2], func.code.shape[1][0])
    expression = None if expression is None else resolved(expression, func)
    if expression is None:
        return None
    for index in info.indexes:
        if index.ready and index.complete and not index.multi and expression_on(index) == expression:
            return index
    return None


def bound_scan(info: TableInfo, index: IndexInfo, extreme: Extreme) -> Scan:
    """The scan of the entries that tell the bound."""
    return Scan(info.id, index.id, (KeyRange(),), descending=extreme.greatest, limit=extreme.number)


class Bound(NamedTuple):
    """The value that the last of the wanted rows has, and where in the index those from it on stand."""

    value: Any
    ranges: list[KeyRange]


def bound_of(index: IndexInfo, extreme: Extreme, found: Sequence[Any]) -> Bound | None:
    """The bound, by the documents that its scan `found`; None where there are too few of them."""
    if len(found) < extreme.number:
        return None
    (value,) = [value for _, value in IndexValues.of_index(index).entries(found[-1])]
    keys = compared(Term.GE if extreme.greatest else Term.LE, value)
    shape = extreme.func.code.shape
    if not is_safe(shape[2], shape[1][0]):
        keys = KeySet(keys.ranges, keys.apart | {Apart.FAILED})
    return Bound(value, ranges_of(keys))


def reaches(bound: Bound, extreme: Extreme, rows: Sequence[Any]) -> bool:
    """Whether these rows, found from the bound on, are the first ones: so many have reached it. Documents may have gone
    since the bound was found."""
    if len(rows) < extreme.number:
        return False
    try:
        order = compare(extreme.func.call(rows[extreme.number - 1]), bound.value)
    except (ReqlError, DatumError):
        return False
    return order >= 0 if extreme.greatest else order <= 0
