"""An order of the rows of a table by an index, which is read in its order, instead of sorting.

The rows come as they are stored and need not be taken apart, compared and written again. That saves more than it costs
to look up each document, as long as documents are in memory; an index that carries what is wanted needs no look-up.
Where only the first rows are wanted the index is read as far as it takes to find them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import KeyRange
from photondb.api.storage_status import IndexStatistics, TableStatistics
from photondb.reql.index_values import Apart
from photondb.reql.ordering import Ordering
from photondb.reql.planner import costs
from photondb.reql.planner.access import expression_on, lists_values, ranges_of
from photondb.reql.planner.expressions import Expression, elements_of, expression_of, resolved
from photondb.reql.planner.key_sets import KeySet
from photondb.reql.planner.narrowing import expression_below
from photondb.reql.steps import Fields, Step

MAX_LOOKED_UP_BYTES = 64 * 1024 * 1024
"""More than so many bytes of documents are not looked up one by one for an order: they may have to be read from the
disk."""

MAX_READS_PER_EXPECTED = 8
MAX_READ_SHARE = 0.25
MIN_MOST_READ = 1000
"""The first rows that filters keep may be rarer than expected: so many times as many documents as expected are read by
an index, and no more than this share of the table, unless they are few."""

_LACKING = frozenset({Apart.LACKING})


class IndexOrder(msgspec.Struct, frozen=True):
    """An index whose order, `descending` or not, is that of rows, and what it costs to read what is wanted of it."""

    index: IndexInfo
    descending: bool
    carried: bool
    """Whether its entries carry all that is wanted, so that no document is looked up."""
    reads: float = 0.0
    """About how many of its entries are read."""
    cost: float = 0.0

    @property
    def elsewhere(self) -> list[KeyRange]:
        """Where documents are listed apart that stand elsewhere in the order of values. Those without a value come
        before all others there, and so where the index says, if it is on but one value."""
        apart = frozenset(Apart) - {Apart.SINGLE}
        return ranges_of(KeySet((), apart - _LACKING if self._one_value else apart))

    @property
    def ranges(self) -> list[KeyRange]:
        """All of the index, in the order in which it is to be read: what is listed apart and stands elsewhere comes
        first, so that it is seen before any row has been given to anybody."""
        lacking = ranges_of(KeySet((), _LACKING)) if self._one_value else []
        rest = [KeyRange(), *lacking] if self.descending else [*lacking, KeyRange()]
        return [*self.elsewhere, *rest]

    @property
    def _one_value(self) -> bool:
        on = expression_on(self.index)
        return on is not None and elements_of(on) == (on,)

    def most_read(self, rows: int) -> int:
        """How many of the `rows` documents of the table may have to be read before it shows that the estimate was
        wrong, and to sort them is better."""
        return max(int(min(MAX_READS_PER_EXPECTED * self.reads, rows * MAX_READ_SHARE)), MIN_MOST_READ)


def index_orders_of(
    info: TableInfo, ordering: Ordering, steps: Sequence[Step], wanted: Fields | None, statistics: TableStatistics
) -> list[IndexOrder]:
    """The indexes that the rows which `steps` make of a table can be read in order by. `wanted` are the fields that are
    looked at or given out, None for whole documents."""
    expressions = _expressions(ordering, steps)
    if expressions is None:
        return []
    found = []
    for index in info.indexes:
        on = expression_on(index) if lists_values(index, lacking=True) else None
        if on is None or elements_of(on) != expressions:
            continue
        if _suits(statistics.indexes.get(index.id), len(expressions)):
            carried = index.include_all or (wanted is not None and bool(index.include) and wanted <= set(index.include))
            found.append(IndexOrder(index, ordering.reverse, carried))
    return found


def cheapest(
    orders: Sequence[IndexOrder],
    statistics: TableStatistics,
    matching: float,
    limit: int | None,
    sorted_cost: float,
) -> IndexOrder | None:
    """The order that it costs least to read the first `limit` of `matching` rows by; None where to sort them costs
    less."""
    share = 1.0 if limit is None or matching <= limit else limit / matching
    reads = statistics.rows * share
    bearable = statistics.bytes * share <= MAX_LOOKED_UP_BYTES
    priced = [
        msgspec.structs.replace(order, reads=reads, cost=costs.of_index_order(reads, order.carried, order.descending))
        for order in orders
        if order.carried or bearable
    ]
    best = min(priced, key=lambda order: (order.cost, order.index.name), default=None)
    return best if best is not None and best.cost < sorted_cost else None


def _expressions(ordering: Ordering, steps: Sequence[Step]) -> tuple[Expression, ...] | None:
    """What documents are ordered by, all in one direction."""
    found = []
    for func, descending in ordering.parts:
        if descending is not ordering.reverse or len(func.slots) != 1 or not func.pushable:
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
