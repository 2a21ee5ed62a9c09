"""The different values of a field, and the groups of an index, by that index instead of all documents."""

from __future__ import annotations

from collections.abc import Sequence

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import KeyRange
from photondb.api.storage_status import IndexStatistics, TableStatistics
from photondb.reql import shape as shapes
from photondb.reql.function import Func
from photondb.reql.index_values import Apart
from photondb.reql.planner import costs, estimates
from photondb.reql.planner.access import expression_on, lists_values, ranges_of
from photondb.reql.planner.expressions import ROW
from photondb.reql.planner.key_sets import KeySet
from photondb.reql.steps import MapStep, Step
from photondb.reql.wire import Term


def index_of_values(info: TableInfo, steps: Sequence[Step], statistics: TableStatistics) -> IndexInfo | None:
    """The index that has all values which the steps make of a table's documents, where these are a field, and where to
    go from one value to the next in it costs less than to read the table."""
    step = steps[0] if len(steps) == 1 else None
    field = _field_of(step.func) if isinstance(step, MapStep) else None
    if field is None or not isinstance(step, MapStep):
        return None
    for index in info.indexes:
        usable = lists_values(index, lacking=not step.skip_missing)
        if usable and expression_on(index) == ("field", ROW, field):
            return index if _jumps_pay(statistics.indexes.get(index.id), statistics.rows, _places(step)) else None
    return None


def _field_of(func: Func) -> str | None:
    """The field that a function of a document gives, if it does nothing else."""
    _, parameters, body = func.code.shape
    if len(parameters) != 1 or body[0] not in (Term.BRACKET, Term.GET_FIELD):
        return None
    subject, name = body[1]
    found: str | None = name[1] if subject == (shapes.VAR, parameters[0]) and name[0] == shapes.LITERAL else None
    return found


def _jumps_pay(known: IndexStatistics | None, rows: int, places: frozenset[Apart]) -> bool:
    if known is None:
        return False
    jumps = costs.START + known.distinct * costs.JUMP + estimates.apart(places, known) * costs.LOOK_UP
    return jumps < costs.of_table(rows, rows, None)


def places_of_values(step: Step) -> list[KeyRange]:
    """Where the index lists documents that have a value without a place in its order, and those for which the step
    fails."""
    return ranges_of(KeySet((), _places(step)))


def _places(step: Step) -> frozenset[Apart]:
    skips = isinstance(step, MapStep) and step.skip_missing
    return frozenset({Apart.ARRAY, Apart.NULL, Apart.OBJECT}) if skips else frozenset(Apart)


def is_sparse(index: IndexInfo, statistics: TableStatistics) -> bool:
    """Whether so few of a table's documents have a place in an index that to look them up costs less than to read the
    table."""
    known = statistics.indexes.get(index.id)
    if known is None:
        return False
    return costs.of_index(1, known.entries, None, False) < costs.of_table(statistics.rows, statistics.rows, None)
