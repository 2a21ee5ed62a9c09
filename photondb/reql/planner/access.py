"""How the documents for a filter are found: from the whole table, or by an index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import KeyRange, TableStatistics
from photondb.datum.keys import after_prefix
from photondb.reql.errors import logic_error
from photondb.reql.function import Func
from photondb.reql.index_values import Apart
from photondb.reql.planner import costs, estimates
from photondb.reql.planner.conditions import Condition
from photondb.reql.planner.expressions import Expression, elements_of, indexed_expression
from photondb.reql.planner.key_sets import KeySet, compound, single_key

MAX_RANGES = 1000
"""An index is not asked for more ranges than this."""


class Choice(msgspec.Struct, frozen=True):
    """A way to find documents: by `index` (None: the whole table), where `keys` has them, which `conditions` of the
    filter narrow. `rows` and `cost` are estimates, `why` says what makes the way possible, or what is against it."""

    index: IndexInfo | None
    keys: KeySet | None
    rows: float
    cost: float
    why: str
    conditions: int = 0

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
) -> Decision:
    """The cheapest way to the documents that fulfil the conditions, of which the first `limit` are wanted. With a hint
    the index of that name (False: none). Raises ReqlError where that index does not help."""
    ways = (
        []
        if hint is False
        else [way for index in info.indexes for way in _by_index(index, conditions, statistics, limit)]
    )
    matching = min((way.rows for way in ways), default=float(statistics.rows))
    why = "no index is on what the filter compares" if hint is not False else "the query says so"
    table = Choice(None, None, float(statistics.rows), costs.of_table(statistics.rows, matching, limit), why)
    if type(hint) is str:
        ways = [way for way in ways if way.index is not None and way.index.name == hint]
        if not ways:
            raise logic_error(_why_not(info, hint, conditions))
        chosen = min(ways, key=_order)
        return Decision(msgspec.structs.replace(chosen, why=f"the query says so; {chosen.why}"), (chosen, table))
    considered = tuple(sorted([*ways, table], key=_order))
    chosen = considered[0]
    if chosen.index is None and ways:
        chosen = msgspec.structs.replace(chosen, why="cheaper than an index, which leads to too many documents")
    return Decision(chosen, considered)


def _order(way: Choice) -> tuple[float, bool, int, str]:
    return way.cost, way.index is None, -way.conditions, "" if way.index is None else way.index.name


def _by_index(
    index: IndexInfo, conditions: Sequence[Condition], statistics: TableStatistics, limit: int | None
) -> list[Choice]:
    if not index.ready or not index.complete or index.geo:
        return []
    known = statistics.indexes.get(index.id)
    ways = []
    for keys, used in key_sets(index, conditions):
        if len(keys.ranges) > MAX_RANGES:
            continue
        rows = min(float(statistics.rows), estimates.documents(keys, statistics.rows, known))
        in_order = single_key(keys) is not None and not index.multi
        cost = costs.of_index(len(keys.ranges) + len(keys.apart), rows, limit, in_order)
        ways.append(Choice(index, keys, rows, cost, " and ".join(used), len(used)))
    return ways


def key_sets(index: IndexInfo, conditions: Sequence[Condition]) -> list[tuple[KeySet, list[str]]]:
    """The key sets of an index that have all documents which fulfil the conditions, and the conditions (as text) that
    each comes from."""
    expression = expression_on(index)
    if expression is None:
        return []
    if index.multi:
        return [
            (_with_failed(condition.keys), [condition.text])
            for condition in conditions
            if condition.elements and condition.expression == expression
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
    found = [_all_on(part, conditions) for part in elements]
    # A document that lacks one of the elements is not in the index: so there must be a condition on each of them, and
    # none that could fail on a document before the missing element is seen.
    if not all(found) or not all(condition.safe for conditions in found for condition in conditions):
        return []
    texts = [condition.text for conditions in found for condition in conditions]
    return [(compound([_met(conditions) for conditions in found]), texts)]


def _all_on(expression: Expression, conditions: Sequence[Condition]) -> list[Condition]:
    return [condition for condition in conditions if condition.expression == expression and not condition.elements]


def _met(conditions: Sequence[Condition]) -> KeySet:
    keys = conditions[0].keys
    for condition in conditions[1:]:
        keys &= condition.keys
    return keys


def _with_failed(keys: KeySet) -> KeySet:
    """With the documents on which the filter fails: it must fail on them now as well."""
    return KeySet(keys.ranges, keys.apart | {Apart.FAILED})


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
    if index is None:
        return f"Index `{name}` was not found on {where}."
    if not index.ready:
        return f"Index `{name}` on {where} is still being built: it cannot answer a filter yet."
    if index.geo:
        return f"Index `{name}` is a geospatial index, which cannot answer a filter."
    if not index.complete:
        return f"Index `{name}` was made by an earlier version: drop it and create it again to use it for filters."
    said = ", ".join(condition.text for condition in conditions) or "no comparison that an index can answer"
    return f"Index `{name}` cannot answer this filter, which has: {said}."
