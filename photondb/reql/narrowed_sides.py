"""Left sides of joins of which only those rows are read that may have partners (`photondb.reql.planner.narrowing`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from photondb.api.catalogue import TableInfo
from photondb.api.storage import KeyRange, Scan
from photondb.api.storage_status import IndexStatistics
from photondb.reql.function_runtime import DEFAULT_ARRAY_LIMIT
from photondb.reql.planner.expressions import Expression
from photondb.reql.planner.join_filters import LEFT_OF_PAIR
from photondb.reql.planner.joins import LookUp
from photondb.reql.planner.narrowing import (
    MAX_VALUES,
    Needed,
    cost_of_right_first,
    expression_below,
    look_up_of_left,
    ranges_of_values,
    rows_found,
)
from photondb.reql.planner.trace import Signature, signature
from photondb.reql.scan_source import ScanSource
from photondb.reql.sources import Source
from photondb.reql.steps import Step
from photondb.reql.stream import Stream
from photondb.reql.system_tables import is_system

if TYPE_CHECKING:
    from photondb.reql.runtime import Runtime


class NarrowedSource(ScanSource):
    """The rows of a table that may have partners, about `expected` of them, in the order of the primary key."""

    def __init__(self, info: TableInfo, look_up: LookUp, ranges: Sequence[KeyRange], expected: float) -> None:
        super().__init__(info, look_up.named, ranges, short_cut=look_up.named is not None)
        self.expected = expected

    @property
    def about(self) -> tuple[Hashable, ...]:
        """As other scans, but for the ranges, which are not known before the other side has been read."""
        return self.info.id, None if self.index is None else self.index.id, "narrowed"

    def signature(self, scan: Scan, rest: Sequence[Step]) -> Signature:
        return signature(msgspec.structs.replace(scan, ranges=()), rest)

    def expected_rows(self, rows: int, known: IndexStatistics | None) -> float:
        return min(self.expected, float(rows))


class Narrowing(NamedTuple):
    """How a left side can be narrowed: by looking up rows of a table, from which `rebuilt` makes it again."""

    info: TableInfo
    look_up: LookUp
    needed: Needed
    rebuilt: Callable[[ScanSource], Stream]

    def expected(self, values: float) -> Stream:
        """The side for about so many values, to be explained."""
        rows = rows_found(self.look_up, values)
        return self.rebuilt(NarrowedSource(self.info, self.look_up, (), rows))

    def by_values(self, values: Iterable[Any]) -> Stream | None:
        """The side with the partners of these values; None where they are too many to be looked up."""
        ranges = ranges_of_values(self.look_up, values, self.needed)
        if ranges is None:
            return None
        rows = rows_found(self.look_up, len(ranges))
        return self.rebuilt(NarrowedSource(self.info, self.look_up, ranges, rows))

    def cost(self, right_rows: float, right_cost: float) -> float | None:
        """What it costs to begin with so many rows of the right side; None where they are too many."""
        return None if right_rows > MAX_VALUES else cost_of_right_first(self.look_up, right_rows, right_cost)


class Narrowable(ABC):
    """A source that is made of a left side, and can be made of that when it has been narrowed."""

    left: Any

    @property
    @abstractmethod
    def rows_can_be_left_out(self) -> bool:
        """Whether left rows need not be seen: nothing fails on them, unless they look for what cannot be a key."""

    @abstractmethod
    def with_left(self, left: Stream) -> Source:
        """The same source with another left side."""


def narrowing_of(runtime: Runtime, left: Any, expression: Expression | None, needed: Needed) -> Narrowing | None:
    """How a left side can be narrowed to rows for which `expression` has one of some values, if it can."""
    if expression is None or not isinstance(left, Stream) or left.grouping is not None or left.infinite:
        return None
    if runtime.array_limit < DEFAULT_ARRAY_LIMIT:  # an expression may fail where the function of an index does not
        return None
    below = expression_below(left.steps, expression)
    source = left.source
    if below is None:
        return None
    if isinstance(source, ScanSource):
        if not source.whole or source.descending or is_system(source.info):
            return None
        info = source.info
        look_up = look_up_of_left(info, below, runtime.statistics(info), needed)
        if look_up is None:
            return None
        return Narrowing(info, look_up, needed, lambda scan: Stream(scan, left.table, left.steps))
    if not isinstance(source, Narrowable) or not source.rows_can_be_left_out:
        return None
    inner = narrowing_of(runtime, source.left, LEFT_OF_PAIR.of(below), needed)
    if inner is None:
        return None
    return inner._replace(rebuilt=lambda scan: Stream(source.with_left(inner.rebuilt(scan)), None, left.steps))
