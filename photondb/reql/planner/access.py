"""How the documents for a filter are found: from the whole table, or by an index."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import IndexPart, KeyRange
from photondb.api.storage_status import TableStatistics
from photondb.datum.keys import after_prefix
from photondb.reql.errors import logic_error
from photondb.reql.function import Func
from photondb.reql.index_values import Apart
from photondb.reql.planner import costs, estimates
from photondb.reql.planner.conditions import Alternatives, Condition
from photondb.reql.planner.expressions import ROW, Expression, elements_of, indexed_expression
from photondb.reql.planner.key_sets import KeySet, beginning, compound, single_key

MAX_RANGES = 1000
"""An index is not asked for more ranges than this."""


class Choice(msgspec.Struct, frozen=True):
    """A way to find documents: by `index` (None: the whole table), where `keys` has them, which `conditions` of the
    filter narrow. `rows` and `cost` are estimates, `why` says what makes the way possible, or what is against it.
    `others` are ways by further indexes: documents are what `every` one of them leads to, or what any of them does."""

    index: IndexInfo | None
    keys: KeySet | None
    rows: float
    cost: float
    why: str
    conditions: int = 0
    others: tuple[Choice, ...] = ()
    every: bool = True
    entries: float = 0.0
    """About how many entries of the index are read."""

    @property
    def is_whole_table(self) -> bool:
        """Whether all documents are read. Otherwise `keys` are of the index, or, without one, of the primary key."""
        return self.keys is None

    @property
    def parts(self) -> list[IndexPart]:
        """What to read of the further indexes."""
        return [IndexPart(other.index.id, other.ranges) for other in self.others if other.index is not None]

    @property
    def by(self) -> str:
        """The way in words."""
        if self.index is None:
            return "whole table" if self.is_whole_table else "primary key"
        names = [other.index.name for other in (self, *self.others) if other.index is not None]
        return f"index {names[0]}" if not self.others else "indexes " + (" and " if self.every else " or ").join(names)

    @property
    def ranges(self) -> list[KeyRange]:
        """The ranges of the index to read."""
        assert self.keys is not None
        return ranges_of(self.keys)


def ranges_of(keys: KeySet) -> list[KeyRange]:
    """The ranges of an index in which a key set is, in ascending order."""
    places = [(place.value, after_prefix(place.value)) for place in sorted(keys.apart)]
    return [KeyRange(low, high) for low, high in (*keys.ranges, *places)]


class Decision(NamedTuple):
    """The way that was chosen, and all that were looked at, the cheapest one first."""

    chosen: Choice
    considered: tuple[Choice, ...]


def choose(
    info: TableInfo,
    conditions: Sequence[Condition],
    statistics: TableStatistics,
    limit: int | None = None,
    hint: str | bool | None = None,
    alternatives: Sequence[Alternatives] = (),
) -> Decision:
    """The cheapest way to the documents that fulfil the conditions and alternatives, of which the first `limit` are
    wanted. With a hint the index of that name (False: none). Raises ReqlError where that index does not help."""
    ways = [] if hint is False else _ways(info, conditions, statistics, limit)
    by_primary_key = None if hint is False else _by_primary_key(info, conditions, statistics, limit)
    if type(hint) is str:
        ways = [way for way in ways if way.index is not None and way.index.name == hint]
        if hint == info.primary_key and by_primary_key is not None:
            ways = [by_primary_key]
        if not ways:
            raise logic_error(_why_not(info, hint, conditions))
    elif hint is None:
        ways += _intersections(ways, statistics, limit)
        unions = [_union(info, one, statistics, limit) for one in alternatives]
        ways += [way for way in (*unions, by_primary_key) if way is not None]
    matching = min((way.rows for way in ways), default=float(statistics.rows))
    why = "no index is on what the filter compares" if hint is not False else "the query says so"
    cost = costs.of_table(statistics.rows, matching, limit)
    if any(condition.geo for condition in conditions):
        cost *= 1 + costs.GEOMETRY / costs.READ_IN_ORDER
    table = Choice(None, None, float(statistics.rows), cost, why)
    if type(hint) is str:
        chosen = min(ways, key=_order)
        return Decision(msgspec.structs.replace(chosen, why=f"the query says so; {chosen.why}"), (chosen, table))
    considered = tuple(sorted([*ways, table], key=_order))
    chosen = considered[0]
    if chosen.is_whole_table and ways:
        chosen = msgspec.structs.replace(chosen, why="cheaper than an index, which leads to too many documents")
    return Decision(chosen, considered)


def _order(way: Choice) -> tuple[float, bool, int, int, str]:
    return way.cost, way.is_whole_table, -way.conditions, len(way.others), way.by


def _ways(
    info: TableInfo, conditions: Sequence[Condition], statistics: TableStatistics, limit: int | None
) -> list[Choice]:
    """The ways by one index each."""
    return [way for index in info.indexes for way in _by_index(index, conditions, statistics, limit)]


def _by_primary_key(
    info: TableInfo, conditions: Sequence[Condition], statistics: TableStatistics, limit: int | None
) -> Choice | None:
    """The way by the primary key, whose documents stand in its order: what a condition leads to is read as it is."""
    found = _all_on(("field", ROW, info.primary_key), conditions)
    keys = _met(found) if found else None
    if keys is None or len(keys.ranges) > MAX_RANGES:
        return None
    rows = estimates.by_primary_key(keys, statistics.rows)
    cost = len(keys.ranges) * costs.RANGE + costs.of_table(rows, rows, limit)
    why = " and ".join(condition.text for condition in found)
    return Choice(None, KeySet(keys.ranges), rows, cost, why, len(found))


MAX_COMBINED = 8
"""So many indexes are looked at to be used together; those that lead to the fewest documents."""


def _intersections(ways: Sequence[Choice], statistics: TableStatistics, limit: int | None) -> list[Choice]:
    """The best way by what several indexes lead to, if any is better than the best one of them: to gather entries is
    cheaper than to look up documents. The conditions are taken to be independent of each other."""
    found: Choice | None = None
    by_rows = sorted(ways, key=lambda way: (way.rows, *_order(way)))[:MAX_COMBINED]
    for way in by_rows:
        if found is None:
            found = way
            continue
        assert way.index is not None
        if way.index in [other.index for other in (found, *found.others)]:
            continue
        rows = found.rows * min(way.rows / max(statistics.rows, 1), 1.0)
        together = (found, *found.others, way)
        cost = _cost_of(together, rows, limit)
        if cost < found.cost:
            (first, *others) = (msgspec.structs.replace(one, others=()) for one in together)
            found = msgspec.structs.replace(
                first,
                rows=rows,
                cost=cost,
                why=" and ".join(one.why for one in together),
                conditions=sum(one.conditions for one in together),
                others=tuple(others),
            )
    return [] if found is None or not found.others else [found]


def _union(
    info: TableInfo, alternatives: Alternatives, statistics: TableStatistics, limit: int | None
) -> Choice | None:
    """The way by an index for each of the branches."""
    branches = [_ways(info, conditions, statistics, None) for conditions in alternatives.branches]
    if not all(branches):
        return None
    together = [min(ways, key=_order) for ways in branches]
    rows = min(sum(way.rows for way in together), float(statistics.rows))
    first, *others = together
    return msgspec.structs.replace(
        first,
        rows=rows,
        cost=_cost_of(together, rows, limit),
        why=" or ".join(way.why for way in together),
        conditions=1,
        others=tuple(others),
        every=False,
    )


def _cost_of(together: Sequence[Choice], rows: float, limit: int | None) -> float:
    ranges = sum(len(way.ranges) for way in together)
    return costs.of_several(ranges, sum(way.entries for way in together), rows, limit)


def _by_index(
    index: IndexInfo, conditions: Sequence[Condition], statistics: TableStatistics, limit: int | None
) -> list[Choice]:
    if not index.ready or not index.complete:
        return []
    known = statistics.indexes.get(index.id)
    ways = []
    for keys, used in key_sets(index, conditions):
        if len(keys.ranges) > MAX_RANGES:
            continue
        if index.geo:
            rows = statistics.rows * estimates.MEETING_SHARE
        else:
            rows = min(float(statistics.rows), estimates.documents(keys, statistics.rows, known))
        in_order = single_key(keys) is not None and not index.multi
        cost = costs.of_index(len(keys.ranges) + len(keys.apart), rows, limit, in_order)
        cost += rows * costs.GEOMETRY if index.geo else 0.0
        ways.append(Choice(index, keys, rows, cost, " and ".join(used), len(used), entries=rows))
    return ways


def key_sets(index: IndexInfo, conditions: Sequence[Condition]) -> list[tuple[KeySet, list[str]]]:
    """The key sets of an index that have all documents which fulfil the conditions, and the conditions (as text) that
    each comes from."""
    expression = expression_on(index)
    if expression is None:
        return []
    if index.multi or index.geo:
        return [
            (_with_failed(condition.keys), [condition.text])
            for condition in conditions
            if (condition.geo if index.geo else condition.elements) and condition.expression == expression
        ]
    single = _all_on(expression, conditions)
    if single:
        keys = _met(single)
        if not all(condition.safe for condition in single):
            keys = _with_failed(keys)
        return [(keys, [condition.text for condition in single])]
    elements = elements_of(expression)
    if elements == (expression,):
        return []
    found = list(itertools.takewhile(bool, (_all_on(part, conditions) for part in elements)))
    # A document that lacks one of the elements has no place among the others: so there must be a condition on each of
    # them, unless such documents are listed apart, and none that could fail on a document before that is seen.
    if not found or not all(condition.safe for conditions in found for condition in conditions):
        return []
    texts = [condition.text for conditions in found for condition in conditions]
    parts = [_met(conditions) for conditions in found]
    if len(found) == len(elements):
        return [(compound(parts), texts)]
    return [(beginning(parts), texts)] if index.lists_lacking else []


def _all_on(expression: Expression, conditions: Sequence[Condition]) -> list[Condition]:
    on_values = [condition for condition in conditions if not condition.elements and not condition.geo]
    return [condition for condition in on_values if condition.expression == expression]


def _met(conditions: Sequence[Condition]) -> KeySet:
    keys = conditions[0].keys
    for condition in conditions[1:]:
        keys &= condition.keys
    return keys


def _with_failed(keys: KeySet) -> KeySet:
    """With the documents on which the filter fails: it must fail on them now as well."""
    return KeySet(keys.ranges, keys.apart | {Apart.FAILED})


def lists_values(index: IndexInfo, lacking: bool) -> bool:
    """Whether each document stands once in an index, by its value; those that are `lacking` one only if need be."""
    whole = index.ready and index.complete and not index.multi and not index.geo
    return whole and (index.lists_lacking or not lacking)


_expressions: dict[tuple[int, str], tuple[IndexInfo, Expression | None]] = {}
MAX_EXPRESSIONS = 10_000


def expression_on(index: IndexInfo) -> Expression | None:
    """What an index is on; kept for each index, because functions are compiled for it."""
    key = (id(index), index.name)
    known = _expressions.get(key)
    if known is None or known[0] is not index:
        if len(_expressions) >= MAX_EXPRESSIONS:
            _expressions.clear()
        known = _expressions[key] = (index, indexed_expression(Func.from_wire(index.function)))
    return known[1]


def _why_not(info: TableInfo, name: str, conditions: Sequence[Condition]) -> str:
    index = info.index(name)
    where = f"table `{info.database}.{info.name}`"
    if index is None and name != info.primary_key:
        return f"Index `{name}` was not found on {where}."
    if index is not None and not index.ready:
        return f"Index `{name}` on {where} is still being built: it cannot answer a filter yet."
    if index is not None and index.geo and index.multi:
        return f"Index `{name}` is a geospatial index with several shapes for a document, and cannot answer a filter."
    if index is not None and not index.complete:
        return f"Index `{name}` was made by an earlier version: drop it and create it again to use it for filters."
    said = ", ".join(condition.text for condition in conditions) or "no comparison that an index can answer"
    return f"Index `{name}` cannot answer this filter, which has: {said}."
