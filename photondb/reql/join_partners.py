"""Finds the partners of rows in a join by a predicate, by the method that the planner chooses.

The first rows of the left side decide when anything is read of the right side: without any nothing is. A method that
turns out to be costlier than expected, because there are more left rows, is left for a hash table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import KeyRange
from photondb.datum.errors import DatumError
from photondb.datum.keys import after_prefix, primary_key
from photondb.reql.errors import ReqlError
from photondb.reql.function import Func
from photondb.reql.index_values import Apart
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
    ways_of_join,
)
from photondb.reql.planner.key_sets import NotComparable, one_of
from photondb.reql.sources import ComputedSource, ScanSource
from photondb.reql.steps import FilterStep
from photondb.reql.stream import LOCAL_CHUNK_ROWS, Stream, elements, is_infinite
from photondb.reql.system_tables import is_system

if TYPE_CHECKING:
    from photondb.reql.runtime import Runtime

_NOTHING: Any = object()
"""Stands for what a left row has to be equal with when it fails."""


class Partners:
    """The partners of the left rows of a join, among the rows of the right side."""

    def __init__(self, runtime: Runtime, left: Any, right: Any, predicate: Func) -> None:
        self.runtime = runtime
        self.left = left
        self.right = right
        self.rows = _Rereadable(runtime, right)
        self.equality = equality_of(predicate) if runtime.context.optimizations else None
        self._way: Way | None = None
        self._table: HashTable | None = None
        self._looked_up = 0

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
            self._way = chosen_way(self.runtime, self.left, self.right, equality)
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


class PartnersSource(ComputedSource):
    """The pairs of a join by a predicate; `name` is its term's."""

    def __init__(self, name: str, partners: Partners, make: Callable[[Runtime], Iterator[list[Any]]]) -> None:
        super().__init__(make)
        self.name = name
        self.partners = partners
        self.about = (name,)
        self.inputs = (partners.left, partners.right)


def _left_value(equality: Equality, row: Any) -> Any:
    try:
        return equality.left(row)
    except (ReqlError, DatumError):
        return _NOTHING


def chosen_way(runtime: Runtime, left: Any, right: Any, equality: Equality) -> Way:
    """How the rows of two sequences, arrays or streams, find each other."""
    if is_infinite(left):
        return Way(Method.HASH, 0.0)
    rows = expected_rows(runtime, right)
    look_up = None
    if _is_table(right):
        info = right.source.info
        look_up = look_up_of(info, equality.right_expression, runtime.statistics(info))
    in_order = look_up is not None and look_up.named is None and _in_order(left, equality)
    return ways_of_join(expected_rows(runtime, left), rows, look_up, in_order, runtime.array_limit)[0]


def eq_join_look_up(runtime: Runtime, info: TableInfo, index: IndexInfo | None) -> LookUp:
    """How an `eq_join` with a table looks up rows."""
    if index is None:
        return LookUp(None, 1.0)
    known = runtime.statistics(info).indexes.get(index.id)
    return LookUp(index, 1.0 if known is None else max(known.entries / max(known.distinct, 1), 1.0))


def eq_join_by_hash(runtime: Runtime, left: float, info: TableInfo, index: IndexInfo | None) -> bool:
    """Whether an `eq_join` of so many rows with a table had better read all of it. In a transaction it would then
    conflict with whatever others write to it."""
    if not runtime.context.optimizations or runtime.context.transaction or is_system(info):
        return False
    right = float(runtime.statistics(info).rows)
    return hash_pays(left, right, eq_join_look_up(runtime, info, index), runtime.array_limit, LOCAL_CHUNK_ROWS)


def expected_rows(runtime: Runtime, sequence: Any) -> float:
    """About how many rows a sequence has."""
    from photondb.reql.planner.explained_streams import StreamExplainer

    if type(sequence) is list:
        return float(len(sequence))
    if sequence.grouping is not None:
        return 0.0
    return float(StreamExplainer(runtime).stream(sequence)["rows"])


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
