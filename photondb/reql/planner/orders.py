"""An order of all rows of a table by an index, which is read in its order, instead of sorting.

The rows come as they are stored and need not be taken apart, compared and written again. That saves more than it costs
to look up each document, as long as documents are in memory; an index that carries what is wanted needs no look-up.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import IndexStatistics, KeyRange, TableStatistics
from photondb.reql.index_values import Apart
from photondb.reql.ordering import Ordering
from photondb.reql.planner import costs
from photondb.reql.planner.access import expression_on, lists_values, ranges_of
from photondb.reql.planner.expressions import Expression, elements_of, expression_of, resolved
from photondb.reql.planner.key_sets import KeySet
from photondb.reql.planner.narrowing import expression_below
from photondb.reql.steps import Fields, Step

MAX_LOOKED_UP_BYTES = 64 * 1024 * 1024
"""Documents of larger tables are not looked up one by one for an order: they may have to be read from the disk."""


class IndexOrder(msgspec.Struct, frozen=True):
    """An index whose order is wanted, and what it costs to read all of it."""

    index: IndexInfo
    carried: bool
    """Whether its entries carry all that is wanted, so that no document is looked up."""
    cost: float

    @property
    def places(self) -> tuple[bytes, ...]:
        """Where documents are listed apart that come before all others in the order of values as well."""
        return (Apart.LACKING.value,) if self._one_value else ()

    @property
    def ranges(self) -> list[KeyRange]:
        """All of the index, in the order in which it is to be read. What is listed apart and stands elsewhere in the
        order of values comes first, so that it is seen before any row has been given to anybody."""
        lacking = ranges_of(KeySet((), frozenset({Apart.LACKING})))
        others = ranges_of(KeySet((), frozenset(Apart) - {Apart.SINGLE, Apart.LACKING}))
        return [*others, *lacking, KeyRange()]

    @property
    def _one_value(self) -> bool:
        on = expression_on(self.index)
        return on is not None and elements_of(on) == (on,)


def index_order_of(
    info: TableInfo,
    ordering: Ordering,
    steps: Sequence[Step],
    wanted: Fields | None,
    statistics: TableStatistics,
    sorted_cost: float,
) -> IndexOrder | None:
    """The index to read the rows in order by that `steps` make of a table, where that costs less than to sort them.
    `wanted` are the fields that are looked at or given out, None for whole documents."""
    expressions = _expressions(ordering, steps)
    if expressions is None:
        return None
    found = []
    for index in info.indexes:
        usable = lists_values(index, lacking=True)
        known = statistics.indexes.get(index.id)
        on = expression_on(index) if usable else None
        if on is None or elements_of(on) != expressions or not _suits(known, len(expressions)):
            continue
        carried = index.include_all or (wanted is not None and bool(index.include) and wanted <= set(index.include))
        if carried or statistics.bytes <= MAX_LOOKED_UP_BYTES:
            found.append(IndexOrder(index, carried, costs.of_index_order(statistics.rows, carried)))
    best = min(found, key=lambda one: (one.cost, one.index.name), default=None)
    return best if best is not None and best.cost < sorted_cost else None


def _expressions(ordering: Ordering, steps: Sequence[Step]) -> tuple[Expression, ...] | None:
    """What documents are ordered by. Only in ascending order are equal ones in an index as they are in the table."""
    found = []
    for func, descending in ordering.parts:
        if descending or len(func.slots) != 1 or not func.pushable:
            return None
        expression = expression_of(func.code.shape[2], func.code.shape[1][0])
        expression = None if expression is None else resolved(expression, func)
        expression = None if expression is None else expression_below(steps, expression)
        if expression is None:
            return None
        found.append(expression)
    return tuple(found)


def _suits(known: IndexStatistics | None, parts: int) -> bool:
    """Whether it is known that no documents stand elsewhere in an index than in the order of values. Those that lack
    the value come first, if it is but one."""
    if known is None:
        return False
    return not any(count for name, count in known.apart.items() if parts > 1 or name != Apart.LACKING.name)
