"""Which scans can be evaluated over columns, and their plans: filters, a map, and an aggregate.

A plan is made from the same steps and aggregates that `photondb.reql.pipeline` runs over documents, gives the same
partial results, and raises `Unsuited` for everything that is not plain, in the query or in the rows: then the documents
themselves must be scanned. So nothing here raises an error of the query or knows a limit.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from photondb.reql.accumulators import Aggregate
from photondb.reql.aggregates import Avg, Count, Sum
from photondb.reql.function import Func
from photondb.reql.grouping import Group
from photondb.reql.ordering import Top
from photondb.reql.row_aggregates import Distinct, Max, Min
from photondb.reql.steps import FilterStep, MapStep, Step
from photondb.reql.vector_aggregates import Choosing, Counting, Folding, Summary, Summing, VectorAggregate
from photondb.reql.vector_expressions import Expression
from photondb.reql.vector_functions import FunctionTranslator
from photondb.reql.vector_groups import Distinguishing, Grouping
from photondb.reql.vectors import ABSENT, BOOL, NULL, ODD, Array, Columns, Texts, Unsuited, Vector, all_of

MAX_CHOSEN = 1000
"""Of more documents than this each would have to be read by itself: then a scan of all of them is as good."""


class VectorPlan:
    """A scan that can be evaluated over columns: `fields` are those that it needs. Plans with the same `key` are the
    same."""

    __slots__ = ("_aggregate", "_filters", "_map", "_skip_missing", "_translator", "fields", "key")

    def __init__(self, steps: Sequence[Step], aggregate: Aggregate) -> None:
        """Raises Unsuited."""
        self._translator = translator = FunctionTranslator()
        self._filters: list[tuple[Expression, bool]] = []
        self._map: Expression | None = None
        self._skip_missing = False
        for step in steps:
            if self._map is not None:
                raise Unsuited
            if type(step) is FilterStep:
                if not isinstance(step.default, bool):
                    raise Unsuited
                translator.parts += ("filter", step.default)
                self._filters.append((translator.predicate(step.func), step.default))
            elif type(step) is MapStep:
                translator.parts += ("map", step.skip_missing)
                self._map = translator.function(step.func)
                self._skip_missing = step.skip_missing
            else:
                raise Unsuited
        self._aggregate = self._vector_aggregate(aggregate)
        self.fields = frozenset(translator.fields)
        self.key: Hashable = tuple(translator.parts)

    @property
    def chooses_rows(self) -> bool:
        """Whether the aggregate gives documents, so that its partial result tells where they stand."""
        return type(self._aggregate) is Choosing

    def start(self, texts: Texts) -> Folding:
        """Begin to fold summaries of blocks whose strings are `texts`."""
        return self._aggregate.start(texts)

    def summary(self, columns: Columns) -> Summary:
        """What a block of rows comes to behind the steps. Raises Unsuited."""
        for predicate, default in self._filters:
            columns = columns.select(_kept(predicate(columns), columns.rows, default))
        if self._map is None:
            return self._aggregate.summary(columns, None)
        found = self._map(columns)
        if isinstance(found.kinds, int) and found.kinds not in (ODD, ABSENT):
            return self._aggregate.summary(columns, Vector(found.kinds, all_of(found.values, columns.rows)))
        kinds, numbers = found.spread(columns.rows)
        there = kinds != ABSENT
        if (kinds == ODD).any() or not (self._skip_missing or there.all()):
            raise Unsuited
        return self._aggregate.summary(columns.select(there), Vector(kinds[there], numbers[there]))

    def _vector_aggregate(self, aggregate: Aggregate) -> VectorAggregate:
        translator = self._translator
        kind = type(aggregate)
        if kind is Count:
            translator.parts.append("count")
            return Counting()
        if isinstance(aggregate, (Sum, Avg)):
            translator.parts.append("sum")  # an average has the same partial result
            return Summing(self._of_row(aggregate.func))
        if isinstance(aggregate, (Min, Max)) and self._map is None and aggregate.func is not None:
            translator.parts += ("extreme", kind is Max)
            return Choosing([(translator.function(aggregate.func), kind is Max)], 1, lacking=False)
        if isinstance(aggregate, Top) and self._map is None and aggregate.count <= MAX_CHOSEN:
            translator.parts += ("top", aggregate.count, *[descending for _, descending in aggregate.ordering.parts])
            parts = [(translator.function(func), descending) for func, descending in aggregate.ordering.parts]
            return Choosing(parts, aggregate.count, lacking=True)
        if isinstance(aggregate, Distinct) and self._map is not None:
            translator.parts += ("distinct", aggregate.limit)
            return Distinguishing(aggregate.limit)
        if isinstance(aggregate, Group):
            return self._grouping(aggregate)
        raise Unsuited

    def _grouping(self, group: Group) -> Grouping:
        translator = self._translator
        grouping, inner = group.grouping, group.aggregate
        indexed = grouping.field_of_index is not None and grouping.index is not None
        if self._map is not None or group.steps or grouping.multi:
            raise Unsuited
        if not indexed and (len(grouping.funcs) != 1 or grouping.index is not None):
            raise Unsuited
        func = grouping.index.func if indexed and grouping.index is not None else grouping.funcs[0]
        translator.parts += ("group", group.limit, indexed)
        key = translator.function(func)
        if type(inner) is Count:
            return Grouping(key, None, group.limit, indexed)
        if isinstance(inner, (Sum, Avg)) and inner.func is not None:
            return Grouping(key, translator.function(inner.func), group.limit, indexed)
        raise Unsuited

    def _of_row(self, func: Func | None) -> Expression | None:
        if (func is None) is (self._map is None):
            raise Unsuited  # a document is no number, and what a map has made has no columns
        return None if func is None else self._translator.function(func)


def _kept(found: Vector, rows: int, default: bool) -> Array:
    """For which rows a filter gives something true; `default` is for those that lack what it asks."""
    if found.all_are(BOOL):
        return all_of(np.asarray(found.values, np.bool_), rows)
    kinds, values = found.spread(rows)
    if (kinds == ODD).any():
        raise Unsuited
    true: Array = (kinds != NULL) & ((kinds != BOOL) | (values != 0)) & (kinds != ABSENT)
    return true | (kinds == ABSENT) if default else true
