"""Finds the partners of rows in a join by a predicate, by the method that the planner chooses.

The first rows of the left side decide when anything is read of the right side: without any nothing is. A method that
turns out to be costlier than expected, because there are more left rows, is left for a hash table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import KeyRange
from photondb.datum.errors import DatumError
from photondb.datum.keys import after_prefix, primary_key
from photondb.reql.chunk import Chunk
from photondb.reql.errors import ReqlError
from photondb.reql.function import Func
from photondb.reql.index_values import Apart
from photondb.reql.narrowed_sides import Narrowing, narrowing_of
from photondb.reql.planner import costs
from photondb.reql.planner.access import ranges_of
from photondb.reql.planner.expressions import ROW
from photondb.reql.planner.joins import (
    BATCH_ROWS,
    Equality,
    HashTable,
    LookUp,
    Method,
    Way,
    equality_of,
    hash_pays,
    look_up_of,
    no_equality,
    way_by,
    ways_of_join,
)
from photondb.reql.planner.key_sets import NotComparable, one_of
from photondb.reql.planner.narrowing import Needed, cannot_begin_right, rows_found
from photondb.reql.scan_source import ScanSource
from photondb.reql.sources import ComputedSource
from photondb.reql.steps import FilterStep, Step, keeps_count
from photondb.reql.stream import LOCAL_CHUNK_ROWS, Stream, elements, is_infinite
from photondb.reql.system_tables import is_system

if TYPE_CHECKING:
    from photondb.reql.runtime import Runtime

_NOTHING: Any = object()
"""Stands for what a left row has to be equal with when it fails."""


class PartnersHints(NamedTuple):
    """What the query says about how to join; None leaves it to the planner."""

    method: Method | None = None
    first: Literal["left", "right"] | None = None


NO_HINTS = PartnersHints()

_NEEDED = Needed(lacking=True, unkeyed=False)
"""Left rows for which a join by a predicate fails."""


class Partners:
    """The partners of the left rows of a join, among the rows of the right side."""

    def __init__(
        self,
        runtime: Runtime,
        left: Any,
        right: Any,
        predicate: Func,
        alone_too: bool = False,
        hints: PartnersHints = NO_HINTS,
    ) -> None:
        """Partners for each left row; with `alone_too` rows without any are wanted as well. Raises ReqlError for hints
        that cannot be followed."""
        self.runtime = runtime
        self.left = left
        self.right = right
        self.alone_too = alone_too
        self.hints = hints if runtime.context.optimizations else NO_HINTS
        self.rows = _Rereadable(runtime, right)
        equality = equality_of(predicate) if runtime.context.optimizations else None
        self.equality = None if self.hints.method is Method.PAIRS else equality
        self._way: Way | None = None
        self._check_hints()
        self._table: HashTable | None = None
        self._looked_up = 0

    def _check_hints(self) -> None:
        method, first = self.hints
        if method not in (None, Method.PAIRS):
            if self.equality is None:
                raise no_equality()
            self.chosen_way(self.left)
        if first == "right" and self.narrowing() is None:
            raise cannot_begin_right()

    def chosen_way(self, left: Any) -> Way:
        """How the partners of the rows of a left side are found. Raises ReqlError where it cannot be so as hinted."""
        assert self.equality is not None
        return chosen_way(self.runtime, left, self.right, self.equality, self.hints.method)

    def narrowing(self, wanted: int | None = None) -> Narrowing | None:
        """How the left side is narrowed when the right one has been read; None where the left side is read first.
        So many pairs are `wanted`."""
        method, first = self.hints
        if self.equality is None or self.alone_too or first == "left" or method not in (None, Method.HASH):
            return None
        narrowing = narrowing_of(self.runtime, self.left, self.equality.left_expression, _NEEDED)
        if narrowing is None or is_infinite(self.right) or first == "right":
            return narrowing
        left_rows, left_cost = expected(self.runtime, self.left)
        left_cost += left_rows * costs.TAKE
        if left_cost < costs.PLANNING:
            return None
        right_rows, right_cost = expected(self.runtime, self.right)
        cost = narrowing.cost(right_rows, right_cost)
        if wanted is not None:
            left_cost *= min(1.0, wanted / max(rows_found(narrowing.look_up, right_rows), 1.0))
        return narrowing if cost is not None and cost < left_cost + self.chosen_way(self.left).cost else None

    def left_to_read(self, wanted: int | None = None) -> Any:
        """The left side, or only those rows of it that may have partners, by the rows of the right side, when so many
        pairs are wanted."""
        narrowing = self.narrowing(wanted)
        if narrowing is None:
            return self.left
        assert self.equality is not None
        values: list[Any] = []
        with suppress(ReqlError, DatumError):  # something is wrong with a right row: the predicate will say what
            if self.rows.keep():
                values = list(map(self.equality.right, self.rows))
                left = narrowing.by_values(values)
                if left is not None:
                    self._way = Way(Method.HASH, 0.0)
                    return left
        if self.hints.first == "right":
            raise cannot_begin_right()
        return self.left

    def batches(self, lists: Iterable[list[Any]]) -> Iterator[list[Any]]:
        """The left rows in lists of as many as partners should be looked for at a time."""
        rows: list[Any] = []
        for more in lists:
            rows += more
            if len(rows) >= BATCH_ROWS or self._way is None or self._way.method is not Method.PASSES:
                yield rows
                rows = []
        yield rows

    def of(self, rows: Sequence[Any]) -> Iterator[Iterable[Any]]:
        """The rows that may be partners of each of some left rows, in the order of the right side. The predicate is to
        be called for them; with any others it does not hold."""
        equality = self.equality
        if equality is None or not rows:
            return repeat(self.rows, len(rows))
        values = [_left_value(equality, row) for row in rows]
        try:
            table = self._table or self._candidates(equality, values)
            return iter([self.rows if value is _NOTHING else table.matching(value) for value in values])
        except (ReqlError, DatumError):  # something is wrong with a right row: the predicate will say what
            self.equality = None
            return repeat(self.rows, len(rows))

    def _candidates(self, equality: Equality, values: list[Any]) -> HashTable:
        """A table of right rows with all those that equal one of the values."""
        if self._way is None:
            self._way = self.chosen_way(self.left)
            if self._way.look_up is not None and not _all_have_values(self.runtime, self.right, self._way.look_up):
                self._way = Way(Method.HASH, self._way.cost)
        if self._way.method is Method.LOOK_UP and self._looked_up_enough(len(values)):
            self._way = Way(Method.HASH, self._way.cost)
        present = [value for value in values if value is not _NOTHING]
        if self._way.method is Method.HASH:
            if self.rows.keep():
                self._table = HashTable(self.rows, equality.right)
                return self._table
            self._way = Way(Method.PASSES, self._way.cost)
        if self._way.method is Method.PASSES:
            wanted = HashTable(present, lambda value: value)
            return HashTable((row for row in self.rows if wanted.matching(equality.right(row))), equality.right)
        info = self.right.source.info
        if self._way.method is Method.MERGE:
            return HashTable(_between(self.runtime, info, present), equality.right)
        assert self._way.look_up is not None
        index = self._way.look_up.named
        return HashTable(_looked_up(self.runtime, info, index, present), equality.right)

    def _looked_up_enough(self, more: int) -> bool:
        """Whether to look up more rows would take longer than to read the right side, which must not be too large."""
        assert self._way is not None
        self._looked_up += more
        hashed = [way for way in self._ways() if way.method is Method.HASH]
        assert self._way.look_up is not None
        return bool(hashed) and self._looked_up * self._way.look_up.cost > 2 * hashed[0].cost

    def _ways(self) -> list[Way]:
        rows = float(self.runtime.statistics(self.right.source.info).rows)
        return ways_of_join(0, rows, None, False, self.runtime.array_limit)


MakePairs = Callable[["Runtime", int | None], Iterator[list[Any]]]
"""Makes the pairs of a join, of which so many are wanted, if that is known."""


class PartnersSource(ComputedSource):
    """The pairs of a join by a predicate; `name` is its term's."""

    def __init__(self, name: str, partners: Partners, make: MakePairs) -> None:
        super().__init__(lambda runtime: make(runtime, None))
        self.name = name
        self.partners = partners
        self.about = (name,)
        self.inputs = (partners.left, partners.right)
        self._make = make

    def chunks(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        wanted = limit if keeps_count(steps) else None
        pairs = ComputedSource(lambda runtime: self._make(runtime, wanted))
        return pairs.chunks(runtime, steps, limit, rows)


def _left_value(equality: Equality, row: Any) -> Any:
    try:
        return equality.left(row)
    except (ReqlError, DatumError):
        return _NOTHING


def chosen_way(runtime: Runtime, left: Any, right: Any, equality: Equality, wanted: Method | None = None) -> Way:
    """How the rows of two sequences, arrays or streams, find each other: by the method that is wanted, or the cheapest
    one. Raises ReqlError where that is not possible."""
    if is_infinite(left) and wanted is None:
        return Way(Method.HASH, 0.0)
    rows = expected_rows(runtime, right)
    look_up = None
    if _is_table(right):
        info = right.source.info
        look_up = look_up_of(info, equality.right_expression, runtime.statistics(info))
    in_order = look_up is not None and look_up.named is None and _in_order(left, equality)
    left_rows = 0.0 if is_infinite(left) else expected_rows(runtime, left)
    ways = ways_of_join(left_rows, rows, look_up, in_order, runtime.array_limit)
    return ways[0] if wanted is None else way_by(wanted, ways)


def eq_join_look_up(runtime: Runtime, info: TableInfo, index: IndexInfo | None) -> LookUp:
    """How an `eq_join` with a table looks up rows."""
    if index is None:
        return LookUp(None, 1.0)
    known = runtime.statistics(info).indexes.get(index.id)
    return LookUp(index, 1.0 if known is None else max(known.entries / max(known.distinct, 1), 1.0))


def eq_join_by_hash(runtime: Runtime, left: float, info: TableInfo, look_up: LookUp, kept: float, cost: float) -> bool:
    """Whether an `eq_join` of so many rows with a table had better read, at a cost, `kept` rows of it than look up."""
    rows = float(runtime.statistics(info).rows)
    return hash_pays(left, rows, look_up, runtime.array_limit, LOCAL_CHUNK_ROWS, kept, cost)


def expected_rows(runtime: Runtime, sequence: Any) -> float:
    """About how many rows a sequence has."""
    return expected(runtime, sequence)[0]


def expected(runtime: Runtime, sequence: Any) -> tuple[float, float]:
    """About how many rows a sequence has, and what it costs to read them."""
    from photondb.reql.planner.explained_streams import StreamExplainer

    if type(sequence) is list:
        return float(len(sequence)), 0.0
    if sequence.grouping is not None:
        return 0.0, 0.0
    explained = StreamExplainer(runtime).stream(sequence)
    return float(explained["rows"]), float(explained["cost"])


def _is_table(sequence: Any) -> bool:
    """Whether a sequence is a whole table in the order of the primary key."""
    if not isinstance(sequence, Stream) or sequence.steps or sequence.grouping is not None:
        return False
    source = sequence.source
    return isinstance(source, ScanSource) and source.whole and not source.descending and not is_system(source.info)


def _in_order(left: Any, equality: Equality) -> bool:
    """Whether the left rows come in the order of what must be equal: that of their primary key."""
    if not isinstance(left, Stream) or left.grouping is not None:
        return False
    source = left.source
    if not isinstance(source, ScanSource) or source.index is not None or source.descending or len(source.ranges) != 1:
        return False
    filtered = all(type(step) is FilterStep for step in left.steps)
    return filtered and equality.left_expression == ("field", ROW, source.info.primary_key)


def _all_have_values(runtime: Runtime, right: Stream, look_up: LookUp) -> bool:
    """Whether all documents of the table have a value in the index: without one the predicate fails."""
    if look_up.named is None:
        return True
    assert isinstance(right.source, ScanSource)
    places = [KeyRange(place.value, after_prefix(place.value)) for place in (Apart.FAILED, Apart.LACKING)]
    source = ScanSource(right.source.info, look_up.named, places)
    return next(source.chunks(runtime, (), 1, 1), None) is None


def _between(runtime: Runtime, info: TableInfo, values: list[Any]) -> Iterator[Any]:
    """The documents from the least to the greatest of these primary keys."""
    keys = sorted(_primary_keys(values))
    if not keys:
        return iter(())
    source = ScanSource(info, None, (KeyRange(keys[0], after_prefix(keys[-1])),))
    return chain.from_iterable(Stream(source).lists(runtime))


def _primary_keys(values: list[Any]) -> dict[bytes, Any]:
    keys = {}
    for value in values:
        try:
            keys[primary_key(value)] = value
        except DatumError:
            continue  # no document has it
    return keys


def _looked_up(runtime: Runtime, info: TableInfo, index: IndexInfo | None, values: list[Any]) -> Iterator[Any]:
    """The documents with one of the values as their primary key, or in an index, in the order of the table."""
    if index is None:
        keys = _primary_keys(values)
        found = runtime.read_rows(info, [keys[key] for key in sorted(keys)])
        return iter([row for row in found if row is not None])
    try:
        ranges = ranges_of(one_of(values))
    except NotComparable:
        ranges = [KeyRange()]
    source = ScanSource(info, index, ranges, short_cut=True)
    return chain.from_iterable(Stream(source).lists(runtime))


class _Rereadable:
    """A sequence that is gone through again and again: kept when it is no longer than an array may be, otherwise read
    anew each time."""

    def __init__(self, runtime: Runtime, sequence: Any) -> None:
        self.runtime = runtime
        self.sequence = sequence
        self.kept: list[Any] | None = sequence if type(sequence) is list else None
        self.too_long = False

    def keep(self) -> bool:
        """Read all rows, if they can be kept, and say whether they are."""
        if self.kept is None and not self.too_long:
            for _ in self._read():
                if self.too_long:
                    break
        return self.kept is not None

    def __iter__(self) -> Iterator[Any]:
        if self.kept is not None:
            return elements(self.runtime, self.kept)
        return self._read()

    def _read(self) -> Iterator[Any]:
        rows: list[Any] = []
        for row in elements(self.runtime, self.sequence):
            if not self.too_long:
                rows.append(row)
                if len(rows) > self.runtime.array_limit:
                    self.too_long, rows = True, []
            yield row
        if not self.too_long:
            self.kept = rows
