"""The first or last rows of an order, by an index: `max`, `min`, and `order_by("field").limit(n)`.

The n greatest (or least) entries of an index tell a bound: documents beyond it are not among the first n. So only those
up to the bound are read and put in order, with the ones that have no place in the index, in the same way as all
documents would be: equal values and documents listed apart come out as ever. In ascending order the documents without a
value come first; an index that lists them apart tells which they are. Further parts of an order decide only among
documents whose first values are equal, and these are all read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import KeyRange
from photondb.api.storage_status import IndexStatistics
from photondb.datum.errors import DatumError
from photondb.datum.order import compare
from photondb.reql.accumulators import Aggregate
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.function import Func
from photondb.reql.index_values import Apart, IndexValues
from photondb.reql.ordering import Ordering, Top
from photondb.reql.planner import costs, estimates
from photondb.reql.planner.access import expression_on, lists_values, ranges_of
from photondb.reql.planner.expressions import expression_of, is_safe, resolved
from photondb.reql.planner.key_sets import NOTHING, KeySet, compared
from photondb.reql.row_aggregates import Max, Min
from photondb.reql.wire import Term

MIN_ROWS_PER_WANTED = 20
"""A table must have so many times as many documents as are wanted for an index to pay."""


class Extreme(NamedTuple):
    """The first rows, so many, when the greatest (or least) values of `func` come first; with `lacking` those without
    a value come before all others."""

    func: Func
    number: int
    greatest: bool
    lacking: bool = False


def extreme_of(aggregate: Aggregate) -> Extreme | None:
    """What an aggregate wants of an order, if that can be found by an index."""
    if isinstance(aggregate, Top):
        (func, descending), *others = aggregate.ordering.parts
        if not aggregate.count or not all(_is_safe(other) for other, _ in others):
            return None
        return Extreme(func, aggregate.count, descending, lacking=not descending)
    if isinstance(aggregate, Max | Min) and aggregate.func is not None:
        return Extreme(aggregate.func, 1, isinstance(aggregate, Max))
    return None


def _is_safe(func: Func) -> bool:
    """Whether a function of a document can fail in no other way than that it lacks something."""
    shape = func.code.shape
    return len(func.slots) == 1 and is_safe(shape[2], shape[1][0])


def is_primary_order(info: TableInfo, ordering: Ordering) -> bool | None:
    """Whether an order is that of the primary key (False), or the reverse (True); None for any other one."""
    (func, descending), *others = ordering.parts
    if func.code.simple_field != info.primary_key or not all(_is_safe(other) for other, _ in others):
        return None
    return descending


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
        usable = lists_values(index, lacking=extreme.lacking)
        if usable and expression_on(index) == expression:
            return index
    return None


def bound_ranges(extreme: Extreme) -> list[KeyRange]:
    """The ranges of the index whose first entries tell the bound, one after the other."""
    lacking = ranges_of(KeySet((), frozenset({Apart.LACKING})))
    return [*lacking, KeyRange()] if extreme.lacking else [KeyRange()]


class Bound(NamedTuple):
    """The value that the last of the wanted rows has, as a list of it, empty where it lacks one; and where in the index
    those up to it stand."""

    value: list[Any]
    keys: KeySet

    @property
    def ranges(self) -> list[KeyRange]:
        """The ranges to read."""
        return ranges_of(self.keys)


def bound_of(index: IndexInfo, extreme: Extreme, found: Sequence[Any]) -> Bound | None:
    """The bound, by the documents `found` in its ranges; None where there are too few of them."""
    if len(found) < extreme.number:
        return None
    value = [value for _, value in IndexValues.of_index(index).entries(found[-1])]
    keys = compared(Term.GE if extreme.greatest else Term.LE, value[0]) if value else NOTHING
    apart = keys.apart
    if extreme.lacking:
        apart |= {Apart.LACKING}
    if not _is_safe(extreme.func):
        apart |= {Apart.FAILED}
    return Bound(value, KeySet(keys.ranges, apart))


def pays(bound: Bound, rows: int, known: IndexStatistics | None) -> bool:
    """Whether to read what is up to the bound costs less than to read the table of so many rows: many may be equal."""
    matching = estimates.documents(bound.keys, rows, known)
    return costs.of_index(len(bound.ranges), matching, None, False) < costs.of_table(rows, matching, None)


def reaches(bound: Bound, extreme: Extreme, rows: Sequence[Any]) -> bool:
    """Whether these rows, found up to the bound, are the first ones: so many have reached it. Documents may have gone
    since the bound was found."""
    if len(rows) < extreme.number:
        return False
    try:
        value = extreme.func.call(rows[extreme.number - 1])
        order = compare(value, bound.value[0]) if bound.value else 1
    except ReqlError as error:
        return extreme.lacking and error.kind == ErrorKind.NON_EXISTENCE
    except DatumError:
        return False
    return order >= 0 if extreme.greatest else order <= 0
