"""Which side of a join is read first: of the left side only those rows need to be read for which the right one may have
partners, where an index of its table leads to them.

`orders.inner_join(few, ...)` reads the few rows first and looks up their orders, instead of reading all orders. They
come in the order of their table all the same, and the pairs are made as ever, so that neither the answer nor its order
changes. Rows for which the join would fail are among those that are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from photondb.api.catalogue import TableInfo
from photondb.api.storage import KeyRange
from photondb.api.storage_status import TableStatistics
from photondb.datum.errors import DatumError
from photondb.datum.keys import after_prefix, primary_key
from photondb.reql.errors import ReqlError, logic_error
from photondb.reql.index_values import Apart
from photondb.reql.planner import costs
from photondb.reql.planner.access import MAX_RANGES, ranges_of
from photondb.reql.planner.conditions import never_fails
from photondb.reql.planner.expressions import Expression
from photondb.reql.planner.joins import LookUp, look_up_of
from photondb.reql.planner.key_sets import KeySet, NotComparable, one_of
from photondb.reql.planner.projections import projection_of
from photondb.reql.steps import FilterStep, MapStep, Step

MAX_VALUES = MAX_RANGES
"""For so many different values of the right side, at most, rows of the left one are looked up."""

WHY = "only rows that the right side may have partners for are read"


class Needed(NamedTuple):
    """Which rows a join must see besides those with a partner, because it fails on them: those that are `lacking` what
    is compared, and those with what cannot be a key (`unkeyed`)."""

    lacking: bool
    unkeyed: bool

    @property
    def apart(self) -> frozenset[Apart]:
        """Where an index lists them."""
        lacking = {Apart.LACKING} if self.lacking else set()
        unkeyed = {Apart.ARRAY, Apart.OBJECT} if self.unkeyed else set()
        return frozenset({Apart.FAILED, *lacking, *unkeyed})


def expression_below(steps: Sequence[Step], expression: Expression) -> Expression | None:
    """What an expression of the rows that leave `steps` is of the documents that enter them; None where it is none, or
    where a step may fail on a document, so that all must go through it."""
    found: Expression | None = expression
    for step in reversed(steps):
        if type(step) is FilterStep and never_fails(step):
            continue
        projection = projection_of(step) if type(step) is MapStep else None
        found = None if projection is None or found is None else projection.of(found)
        if found is None:
            return None
    return found


def look_up_of_left(
    info: TableInfo, expression: Expression, statistics: TableStatistics, needed: Needed
) -> LookUp | None:
    """How the rows of a left side are found by what must be equal."""
    return look_up_of(info, expression, statistics, needed.lacking)


def ranges_of_values(look_up: LookUp, values: Iterable[Any], needed: Needed) -> list[KeyRange] | None:
    """The ranges to read for partners of these values; None where there are too many."""
    if look_up.named is None:
        primary = sorted(set(_primary_keys(values)))
        return [KeyRange(key, after_prefix(key)) for key in primary] if len(primary) <= MAX_VALUES else None
    try:
        keys = one_of(values)
    except NotComparable:
        return None
    if len(keys.ranges) > MAX_VALUES:
        return None
    return ranges_of(KeySet(keys.ranges, keys.apart | needed.apart))


def _primary_keys(values: Iterable[Any]) -> Iterable[bytes]:
    for value in values:
        try:
            yield primary_key(value)
        except DatumError:
            continue  # no document has it


def rows_found(look_up: LookUp, values: float) -> float:
    """About how many rows are found for so many values."""
    return values * look_up.matching


def cost_of_right_first(look_up: LookUp, right_rows: float, right_cost: float) -> float:
    """What it costs to read so many rows of the right side and then those of the left one."""
    found = rows_found(look_up, right_rows)
    return (
        right_cost
        + right_rows * (costs.TAKE + costs.KEEP)
        + costs.of_index(round(right_rows), found, None, False)
        + found * costs.TAKE
    )


def cannot_begin_right() -> ReqlError:
    """The error for a query that wants the right side to be read first where that is not possible."""
    return logic_error(
        '`join_first="right"` needs, on the left, a table with an index on what is compared, and on the right at most '
        f"{MAX_VALUES} rows."
    )
