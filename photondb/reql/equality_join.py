"""Joins of a sequence with a table whose documents are found by their primary key or by an index: `eq_join`.

There are two methods, to look up the documents for the rows of the left side, many at a time, and to read the right
side once and keep it in a hash table; and either side may be the one that is read first.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterator, Sequence
from copy import copy
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import KeyRange
from photondb.datum.errors import DatumError
from photondb.datum.keys import key_range, primary_key
from photondb.datum.order import SortKey, sort_key
from photondb.reql.chunk import Chunk
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.function import Func
from photondb.reql.index_values import IndexValues
from photondb.reql.join_partners import eq_join_by_hash, eq_join_look_up, expected
from photondb.reql.narrowed_sides import Narrowable, Narrowing, narrowing_of
from photondb.reql.parameters import reql_error
from photondb.reql.planner import costs
from photondb.reql.planner.expressions import expression_of, is_safe, resolved
from photondb.reql.planner.join_filters import SideFilters, keeps_objects, side_filters
from photondb.reql.planner.narrowing import Needed, cannot_begin_right, rows_found
from photondb.reql.scan_source import ScanSource
from photondb.reql.sources import ComputedSource
from photondb.reql.steps import FilterStep, Step, keeps_count
from photondb.reql.stream import LOCAL_CHUNK_ROWS, Stream, elements, lists
from photondb.reql.system_tables import is_system

if TYPE_CHECKING:
    from photondb.reql.runtime import Runtime

Row = dict[str, Any]

MIN_CHUNK_ROWS = 50
"""So many left rows are read at a time, at least, where few pairs are wanted."""

LATER_ROWS = 2000
"""After so many left rows, which did not make enough pairs, the right side is read where that takes less."""

NEEDED = Needed(lacking=False, unkeyed=True)
"""Left rows for which the join fails: those with what cannot be a key. Those that lack it just have no partner."""


class JoinHints(NamedTuple):
    """What the query says about how to join; None leaves it to the planner."""

    method: Literal["look_up", "hash"] | None = None
    first: Literal["left", "right"] | None = None


NO_HINTS = JoinHints()


class JoinPlan(NamedTuple):
    """How a join is carried out."""

    left: Any
    """The left side, with the filters behind the join that are about it alone."""
    right: Stream | None
    """What is read of the right side, to be kept; None where its documents are looked up."""
    narrowing: Narrowing | None
    """How the left side is narrowed when the right one has been read; None where the left side is read first."""
    cost: float
    """What it costs besides reading the left side."""
    later: Stream | None = None
    """What is kept of the right side when more left rows have been read than a query that wants few pairs should
    need."""


class EqualityJoin:
    """How rows find their partners in a table, by its primary key or by an index."""

    def __init__(
        self, func: Func, right: TableInfo, index: IndexInfo | None, ordered: bool, hints: JoinHints = NO_HINTS
    ) -> None:
        self.right = right
        self.index = index
        self.func = func
        self.hints = hints
        self._ordered = ordered or index is None
        self._index = None if index is None else IndexValues.of_index(index)
        self._look_up = _by_primary_key if index is None else _by_index(index, ordered)

    @property
    def never_fails(self) -> bool:
        """Whether what a row looks for can be told for every one that is an object. It may be no key all the same."""
        code = self.func.code
        return self.func.pushable and len(code.slots) == 1 and is_safe(code.shape[2], code.shape[1][0])

    def of_narrowed(self) -> EqualityJoin:
        """The same join of a left side that another join has narrowed already."""
        join = copy(self)
        join.hints = self.hints._replace(first=None)
        return join

    def key(self, row: Any) -> Any:
        """What a row looks for; None for nothing."""
        try:
            return self.func.call(row)
        except ReqlError as error:
            if error.kind != ErrorKind.NON_EXISTENCE:
                raise
            return None

    def place(self, key: Any) -> bytes:
        """Where that is found."""
        try:
            return primary_key(key) if self._index is None else _index_range(key).low
        except DatumError as error:
            raise reql_error(error) from None

    def places(self, document: Row) -> list[bytes]:
        """Where a document is found."""
        return [place for place, _ in self.entries(document)]

    def entries(self, document: Row) -> list[tuple[bytes, Any]]:
        """Where a document is found, and by what value."""
        if self._index is None:
            value = document[self.right.primary_key]
            return [(primary_key(value), value)]
        return self._index.entries(document)

    def pairs(self, runtime: Runtime, wanted: list[tuple[Any, Any]]) -> Iterator[list[Row]]:
        """The pairs of rows, given with their keys."""
        try:
            yield from self._look_up(runtime, self.right, wanted)
        except DatumError as error:
            raise reql_error(error) from None

    def pairs_of_kept(self, kept: dict[bytes, list[Row]], wanted: list[tuple[Any, Any]]) -> Iterator[list[Row]]:
        """The same, with the documents of the table by where they are found, in their order."""
        sought = [(self.place(key), row) for key, row in wanted]
        if self._ordered:
            yield [{"left": row, "right": found} for place, row in sought for found in kept.get(place, ())]
            return
        sought.sort(key=lambda pair: pair[0])  # in the order of the index, as they are looked up
        for place, rows in groupby(sought, key=lambda pair: pair[0]):
            alike = [row for _, row in rows]
            yield [{"left": row, "right": found} for found in kept.get(place, ()) for row in alike]

    def joined(self, runtime: Runtime, plan: JoinPlan, rows: int = LOCAL_CHUNK_ROWS) -> Iterator[list[Row]]:
        """The pairs, made of about so many rows of the left side at a time."""
        left, kept = plan.left, None
        if plan.narrowing is not None:
            left, kept = self._right_first(runtime, plan, plan.narrowing)
        right, later = plan.right, plan.later
        read = 0
        for some in lists(runtime, left) if type(left) is list else _lists_of(runtime, left, rows):
            wanted = [(key, row) for key, row in zip(map(self.key, some), some, strict=True) if key is not None]
            read += len(some)
            if later is not None and read > LATER_ROWS:
                right, later = later, None
            if right is not None and kept is None and wanted:  # without any left rows nothing is read of the right
                kept, right = self._kept(runtime, right), None
            if wanted:
                yield from self.pairs(runtime, wanted) if kept is None else self.pairs_of_kept(kept, wanted)

    def _right_first(
        self, runtime: Runtime, plan: JoinPlan, narrowing: Narrowing
    ) -> tuple[Stream, dict[bytes, list[Row]] | None]:
        """What is to be read of the left side, when the right side has been read, and that."""
        assert plan.right is not None
        kept = self._kept(runtime, plan.right)
        values = {}
        for place, documents in (kept or {}).items():
            values[place] = next(value for found, value in self.entries(documents[0]) if found == place)
        left = None if kept is None else narrowing.by_values(values.values())
        if left is None and self.hints.first == "right":
            raise cannot_begin_right()
        return plan.left if left is None else left, kept

    def _kept(self, runtime: Runtime, right: Stream) -> dict[bytes, list[Row]] | None:
        """The documents of the right side by where they are found; None where there are too many."""
        kept: dict[bytes, list[Row]] = {}
        for count, document in enumerate(elements(runtime, right), 1):
            if count > runtime.array_limit:
                return None
            for place in self.places(document):
                kept.setdefault(place, []).append(document)
        return kept


def _lists_of(runtime: Runtime, left: Stream, rows: int) -> Iterator[list[Any]]:
    for chunk in left.chunks(runtime, None, rows):
        yield chunk.values()


class JoinedSource(ComputedSource, Narrowable):
    """The pairs of a join, which can also be watched (`photondb.reql.join_feeds`)."""

    def __init__(self, left: Stream, join: EqualityJoin) -> None:
        super().__init__(lambda runtime: join.joined(runtime, plan_of(runtime, left, join)))
        self.left = left
        self.join = join

    @property
    def about(self) -> tuple[Hashable, ...]:  # type: ignore[override]
        return self.join.right.id, None if self.join.index is None else self.join.index.id

    @property
    def inputs(self) -> Sequence[Any]:  # type: ignore[override]
        return (self.left,)

    @property
    def rows_can_be_left_out(self) -> bool:
        return self.join.never_fails

    def with_left(self, left: Stream) -> JoinedSource:
        return JoinedSource(left, self.join.of_narrowed())

    def chunks(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        plan = self.plan(runtime, steps, limit)
        wanted = limit if keeps_count(steps) else None
        size = LOCAL_CHUNK_ROWS if wanted is None else min(LOCAL_CHUNK_ROWS, max(2 * wanted, MIN_CHUNK_ROWS))
        pairs = ComputedSource(lambda runtime: self.join.joined(runtime, plan, size))
        return pairs.chunks(runtime, steps, limit, rows)

    def plan(self, runtime: Runtime, steps: Sequence[Step], limit: int | None) -> JoinPlan:
        """How the join is carried out, when `steps` stand behind it and so many of their rows are wanted."""
        return plan_of(runtime, self.left, self.join, steps, limit if keeps_count(steps) else None)


def plan_of(
    runtime: Runtime, left: Any, join: EqualityJoin, steps: Sequence[Step] = (), wanted: int | None = None
) -> JoinPlan:
    """How to join a left side with the right one, with `steps` behind the join, when so many pairs are `wanted`. Reads
    nothing. In transactions the right side is not read as a whole: they would conflict with whatever others write to
    it. Raises ReqlError for hints that cannot be followed."""
    method, first = join.hints
    look_up = eq_join_look_up(runtime, join.right, join.index)
    if not runtime.context.optimizations or _is_endless(left):
        return JoinPlan(left, None, None, 0.0)
    filters = _filters(left, join, steps)
    for step in filters.left:
        left = left.with_step(step)
    rows, left_cost = expected(runtime, left)
    needed = rows if wanted is None else min(rows, float(max(wanted, 1)))
    left_cost = (left_cost + rows * costs.TAKE) * needed / max(rows, 1.0)
    by_look_up = JoinPlan(left, None, None, needed * look_up.cost)
    alone = bool(runtime.context.transaction) or is_system(join.right)
    if first == "right" and alone:
        raise cannot_begin_right()
    little = left_cost + by_look_up.cost < costs.PLANNING and needed == rows
    if alone or method == "look_up" or (join.hints == NO_HINTS and little):
        return by_look_up
    right = Stream(ScanSource(join.right, None, (KeyRange(),)), None, filters.right)
    right_rows, right_cost = expected(runtime, right)
    by_hash = JoinPlan(left, right, None, right_cost + right_rows * (costs.TAKE + costs.KEEP))
    narrowing = None if first == "left" else _narrowing(runtime, left, join)
    if first == "right":
        if narrowing is None:
            raise cannot_begin_right()
        return by_hash._replace(narrowing=narrowing)
    if narrowing is not None and wanted is not None:  # so few left rows may have partners that more must be read
        share = max(1.0, rows / max(rows_found(narrowing.look_up, right_rows), 1.0))
        left_cost, needed = left_cost * share, min(rows, needed * share)
    hashed = method == "hash" or eq_join_by_hash(runtime, needed, join.right, look_up, right_rows, by_hash.cost)
    later = None
    if not hashed and method is None and wanted is not None:
        pays = eq_join_by_hash(runtime, rows, join.right, look_up, right_rows, by_hash.cost)
        later = right if pays else None
    chosen = by_hash if hashed else by_look_up._replace(cost=needed * look_up.cost, later=later)
    cost = None if narrowing is None else narrowing.cost(right_rows, right_cost)
    if cost is not None and cost < left_cost + chosen.cost:
        return by_hash._replace(narrowing=narrowing)
    return chosen


def _is_endless(left: Any) -> bool:
    """Whether nothing is known of a left side: a changefeed, or groups, of which there cannot be a join."""
    return type(left) is not list and (left.infinite or bool(left.feed) or left.grouping is not None)


def _filters(left: Any, join: EqualityJoin, steps: Sequence[Step]) -> SideFilters:
    """The filters of each side. A left row can be left out where nothing fails on it before it is joined."""
    if not steps or type(steps[0]) is not FilterStep:
        return SideFilters((), ())
    filters = side_filters(steps)
    if (
        join.never_fails
        and type(left) is not list
        and isinstance(left.source, ScanSource)
        and keeps_objects(left.steps)
    ):
        return filters
    return SideFilters((), filters.right)


def _narrowing(runtime: Runtime, left: Any, join: EqualityJoin) -> Narrowing | None:
    func = join.func
    if not func.pushable or len(func.slots) != 1:
        return None
    expression = expression_of(func.code.shape[2], func.code.shape[1][0])
    expression = None if expression is None else resolved(expression, func)
    return narrowing_of(runtime, left, expression, NEEDED)


# --- looking up


def _index_range(key: Any) -> KeyRange:
    return KeyRange(*key_range(key, key, "closed", "closed", secondary=True))


def _by_primary_key(runtime: Runtime, info: TableInfo, wanted: list[tuple[Any, Any]]) -> Iterator[list[Row]]:
    keys = {primary_key(key): key for key, _ in wanted}
    found = dict(zip(keys, runtime.read_rows(info, list(keys.values())), strict=True))
    pairs = [(row, found[primary_key(key)]) for key, row in wanted]
    yield [{"left": row, "right": document} for row, document in pairs if document is not None]


def _by_index(
    index: IndexInfo, ordered: bool
) -> Callable[[Runtime, TableInfo, list[tuple[Any, Any]]], Iterator[list[Row]]]:
    values = IndexValues.of_index(index)

    def look_up(runtime: Runtime, info: TableInfo, wanted: list[tuple[Any, Any]]) -> Iterator[list[Row]]:
        # The documents come in the order of the index: one row at a time where the order of the rows counts.
        for portion in [[pair] for pair in wanted] if ordered else [wanted]:
            seekers: dict[bytes, list[Any]] = {}
            ranges = {}
            for key, row in portion:
                found_in = _index_range(key)
                ranges[found_in.low] = found_in
                seekers.setdefault(found_in.low, []).append(row)
            matched = _Matched(info, values, seekers)
            for documents in Stream(ScanSource(info, index, [ranges[low] for low in sorted(ranges)])).lists(runtime):
                yield [{"left": row, "right": found} for found in documents for row in seekers[matched.key(found)]]

    return look_up


class _Matched:
    """Tells by which key a document was found in an index. In a multi index a document may be found by several keys
    of the ranges that were read: then it comes once for each of them, in their order."""

    def __init__(self, info: TableInfo, values: IndexValues, keys: Container[bytes]) -> None:
        self.primary_key = info.primary_key
        self.values = values
        self.keys = keys
        self.left: dict[SortKey, list[bytes]] = {}

    def key(self, document: Row) -> bytes:
        """The key of the document, which has just been read."""
        if not self.values.multi:
            return self.values.entries(document)[0][0]
        identity = sort_key(document[self.primary_key])
        left = self.left.get(identity)
        if not left:
            found = (key for key, _ in self.values.entries(document) if key in self.keys)
            left = self.left[identity] = sorted(found, reverse=True)
        return left.pop()
