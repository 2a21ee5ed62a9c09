"""What is in a sequence, and where: `contains`, `offsets_of`, `distinct`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from photondb.datum.order import equal
from photondb.datum.types import truthy
from photondb.reql.errors import ReqlError, logic_error
from photondb.reql.index_walk import IndexWalk
from photondb.reql.parameters import Func, Runtime, Sequence, Value, equality_function, field_function
from photondb.reql.planner.distincts import places_of_values
from photondb.reql.registry import term
from photondb.reql.row_aggregates import Distinct
from photondb.reql.scan_source import ScanSource
from photondb.reql.sources import ComputedSource
from photondb.reql.spilling.folding import Folding
from photondb.reql.steps import FilterStep, MapStep
from photondb.reql.stream import Stream, computed, elements, fold, is_infinite, lists, table_stream
from photondb.reql.terms.selections import ordinary_index
from photondb.reql.values import TableSlice, as_datum, as_sequence
from photondb.reql.wire import Term

_RAISE = [int(Term.FUNC), [[int(Term.MAKE_ARRAY), []], [int(Term.ERROR)]]]
"""The default of a filter that raises the error about what is missing: r.error()."""


@term(Term.CONTAINS)
def contains(runtime: Runtime, sequence: Sequence, *required: Value) -> bool:
    """Whether the sequence has all of the values, and for each function an element that fulfils it. What is required
    twice must be there twice."""
    if type(sequence) is list and len(required) == 1 and type(required[0]) is str:
        return required[0] in sequence
    values: list[Any] = []
    funcs: list[Func] = []
    for position, what in enumerate(required, 1):
        if type(what) is Func:
            funcs.append(what)
            continue
        try:
            values.append(as_datum(what))
        except ReqlError as error:
            raise error.blame(position) from None
    if type(sequence) is not list and len(required) == 1:
        sequence.check_finite()
        predicate = funcs[0] if funcs else equality_function(values[0])
        if not predicate.code.object_body:
            found = sequence.with_step(FilterStep(predicate, Func.from_wire(_RAISE))).chunks(runtime, 1, 1)
            return next(found, None) is not None
    for element in elements(runtime, sequence):
        for position, value in enumerate(values):
            if equal(value, element):
                del values[position]
                break
        for position, func in enumerate(funcs):
            if truthy(func.call(element)):
                del funcs[position]
                break
        if not values and not funcs:
            return True
    return False


@term(Term.OFFSETS_OF)
def offsets_of(runtime: Runtime, sequence: Sequence, what: Value) -> Value:
    """The positions of the elements that equal `what`, or that fulfil it where it is a function."""
    if type(what) is not Func:
        try:
            what = equality_function(as_datum(what))
        except ReqlError as error:
            raise error.blame(1) from None
    keeps = FilterStep(what).selector()

    def make(runtime: Runtime) -> Iterator[list[Any]]:
        offset = 0
        for rows in lists(runtime, sequence):
            yield [position for position, row in enumerate(rows, offset) if keeps(row)]
            offset += len(rows)

    return computed(runtime, [sequence], make, infinite=is_infinite(sequence))


@term(Term.DISTINCT)
def distinct(runtime: Runtime, value: Value, *, index: str | None = None) -> Value:
    """The different elements of a sequence, in order; of a table the different values of an index."""
    if type(value) is TableSlice:
        stream = _distinct_of_slice(runtime, value, index)
        if stream is not None:
            return stream
    if index is not None:
        raise logic_error("Can only perform an indexed distinct on a TABLE.")
    sequence = as_sequence(value)
    if runtime.streams and isinstance(sequence, Stream) and sequence.grouping is None:
        stream = sequence
        stream.check_finite()
        return Stream(ComputedSource(lambda runtime: _distinct_parts(runtime, stream)), array_of=runtime)
    found = _distinct_by_index(runtime, sequence) if isinstance(sequence, Stream) else None
    return fold(sequence, Distinct(runtime.array_limit), runtime) if found is None else found


def _distinct_by_index(runtime: Runtime, stream: Stream) -> list[Any] | None:
    """The different values of a field of a table, if there is an index with few of them."""
    source, steps = stream.source, stream.steps
    if not isinstance(source, ScanSource) or not source.whole or stream.grouping is not None or not steps:
        return None
    index = runtime.index_of_values(source.info, steps)
    if index is None:
        return None
    folding = Distinct(runtime.array_limit).start()
    apart = ScanSource(source.info, index, places_of_values(steps[0]))
    for rows in Stream(apart, steps=steps).lists(runtime):
        folding.feed(rows)
    for rows in IndexWalk(runtime, TableSlice(source.info, index, index.name, "asc"), index).distinct():
        folding.feed(rows)
    return folding.result()  # type: ignore[no-any-return]


def _distinct_parts(runtime: Runtime, stream: Stream) -> Iterator[list[Any]]:
    folding = stream.aggregate(runtime, Distinct(runtime.sequence_limit))
    return folding.results() if isinstance(folding, Folding) else iter([folding.result()])


def _distinct_of_slice(runtime: Runtime, piece: TableSlice, name: str | None) -> Stream | None:
    key = piece.info.primary_key
    if name == key:
        return table_stream(piece).with_step(MapStep(field_function(key)))
    if piece.index_named is not None and piece.index_named != (name or key):
        return None
    index = None if name is None else ordinary_index(runtime, piece.info, name)
    if index is None:  # documents have different primary keys
        return Stream(table_stream(piece).source)
    runtime.require_index(piece.info, index)
    ordered = TableSlice(piece.info, index, name, piece.ordering or "asc", piece.bounds, piece.read_mode)
    return Stream(ComputedSource(lambda runtime: IndexWalk(runtime, ordered, index).distinct()))
