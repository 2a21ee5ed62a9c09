"""Joins: `inner_join`, `outer_join`, `eq_join`."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from itertools import chain, groupby
from typing import Any

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import KeyRange
from photondb.datum.errors import DatumError
from photondb.datum.keys import key_range, primary_key
from photondb.datum.order import SortKey, sort_key
from photondb.datum.types import truthy
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.index_values import IndexValues
from photondb.reql.join_feeds import JoinedSource
from photondb.reql.join_partners import Partners, PartnersSource, eq_join_by_hash, expected_rows
from photondb.reql.parameters import (
    ConstantOrFunction,
    FieldOrFunction,
    Func,
    Runtime,
    Sequence,
    Table,
    reql_error,
)
from photondb.reql.registry import term
from photondb.reql.sources import ScanSource
from photondb.reql.steps import LocalStep
from photondb.reql.stream import LOCAL_CHUNK_ROWS, Stream, computed, elements, is_infinite, lists
from photondb.reql.terms.selections import ordinary_index
from photondb.reql.wire import Term

Row = dict[str, Any]


@term(Term.INNER_JOIN, grouped="stream")
def inner_join(runtime: Runtime, left: Sequence, right: Sequence, predicate: ConstantOrFunction) -> Any:
    """All pairs {left, right} for which the predicate holds."""
    return _joined(runtime, "inner_join", left, right, predicate, lambda row: [])


@term(Term.OUTER_JOIN, grouped="stream")
def outer_join(runtime: Runtime, left: Sequence, right: Sequence, predicate: ConstantOrFunction) -> Any:
    """The same, with {left} alone for each row of the left side that has no partner."""
    return _joined(runtime, "outer_join", left, right, predicate, lambda row: [{"left": row}])


def _joined(
    runtime: Runtime, name: str, left: Any, right: Any, predicate: Func, alone: Callable[[Any], list[Row]]
) -> Any:
    partners = Partners(runtime, left, right, predicate)

    def join(rows: Iterable[Any]) -> Iterator[list[Row]]:
        rows = list(rows)
        for row, others in zip(rows, partners.of(rows), strict=True):
            pairs = [{"left": row, "right": other} for other in others if truthy(predicate.call(row, other))]
            yield pairs or alone(row)

    def make(runtime: Runtime) -> Iterator[list[Row]]:
        joined: list[Row] = []
        for rows in partners.batches(lists(runtime, left)):
            for pairs in join(rows):
                joined += pairs
                if len(joined) >= LOCAL_CHUNK_ROWS:
                    yield joined
                    joined = []
        yield joined

    if type(left) is not list and left.grouping is not None:
        return left.with_step(LocalStep(lambda rows: list(chain.from_iterable(join(rows)))))
    joined = computed(runtime, [left], make, infinite=is_infinite(left))
    if type(joined) is not list:
        joined.source = PartnersSource(name, partners, make)  # type: ignore[union-attr]
    return joined


@term(Term.EQ_JOIN, grouped="stream")
def eq_join(
    runtime: Runtime,
    left: Sequence,
    func: FieldOrFunction,
    table: Table,
    *,
    index: str | None = None,
    ordered: bool = False,
) -> Any:
    """The pairs {left, right} of the rows of a sequence and the documents of a table that have, as their primary key
    or in an index, what the function or field gives for the row. Rows without it, and those for which it is null, have
    no partners. The pairs come in the order of the left side if `ordered`."""
    info = table.info
    chosen = None if index is None else ordinary_index(runtime, info, index)
    runtime.require_index(info, chosen)
    join = _EqualityJoin(func, info, chosen, ordered)

    def make(runtime: Runtime) -> Iterator[list[Row]]:
        pairs = None
        for rows in lists(runtime, left):
            wanted = [(key, row) for key, row in zip(map(join.key, rows), rows, strict=True) if key is not None]
            if pairs is None and wanted:
                pairs = _pairs(runtime, left, join)
            if pairs is not None:
                yield from pairs(runtime, wanted)

    joined = computed(runtime, [left], make, infinite=is_infinite(left))
    if type(joined) is not list:
        joined.source = JoinedSource(left, join, make)  # type: ignore[union-attr]
    return joined


def _pairs(runtime: Runtime, left: Any, join: _EqualityJoin) -> Callable[..., Iterator[list[Row]]]:
    """How the pairs of an `eq_join` are found: rows are looked up, unless it is cheaper to read the table."""
    if is_infinite(left) or not eq_join_by_hash(runtime, expected_rows(runtime, left), join.right, join.index):
        return join.pairs
    kept: dict[bytes, list[Row]] = {}
    documents = elements(runtime, Stream(ScanSource(join.right, None, (KeyRange(),))))
    for count, document in enumerate(documents, 1):
        if count > runtime.array_limit:
            return join.pairs
        for place in join.places(document):
            kept.setdefault(place, []).append(document)
    return lambda _, wanted: join.pairs_of_kept(kept, wanted)


class _EqualityJoin:
    """How rows find their partners in a table, by its primary key or by an index."""

    def __init__(self, func: Func, right: TableInfo, index: IndexInfo | None, ordered: bool) -> None:
        self.right = right
        self.index = index
        self._ordered = ordered or index is None
        self._func = func
        self._index = None if index is None else IndexValues.of_index(index)
        self._look_up = _by_primary_key if index is None else _by_index(index, ordered)

    def key(self, row: Any) -> Any:
        """What a row looks for; None for nothing."""
        try:
            return self._func.call(row)
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
        if self._index is None:
            return [primary_key(document[self.right.primary_key])]
        return [key for key, _ in self._index.entries(document)]

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
