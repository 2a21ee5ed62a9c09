"""Sequences put together: `union`; and from nothing: `range`."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count
from typing import Any

from photondb.datum.types import MAX_SAFE_INTEGER
from photondb.reql.callsite import call_closure
from photondb.reql.compiler import Compiler, Node
from photondb.reql.effects import Effects
from photondb.reql.errors import Frames, ReqlError, logic_error
from photondb.reql.function import Frame
from photondb.reql.ordering import Ordering
from photondb.reql.parameters import Runtime
from photondb.reql.registry import special_form, term
from photondb.reql.shape import Shape
from photondb.reql.sources import ComputedSource
from photondb.reql.stream import (
    LOCAL_CHUNK_ROWS,
    Stream,
    as_stream,
    batches,
    computed,
    is_array,
    is_infinite,
    lists,
    united_stream,
)
from photondb.reql.terms.control import compile_all, spliced_values
from photondb.reql.terms.sorting import Directed, order_part, refuse_spliced
from photondb.reql.values import Grouped, as_datum, as_sequence
from photondb.reql.wire import Term


@special_form(
    Term.UNION,
    "*sequences: sequence",
    "interleave: bool, or a field name or function or an array of them, each within asc or desc or not",
    grouped="each",
)
def union(compiler: Compiler, shape: Shape, path: Frames) -> Node:
    """The elements of all sequences. `interleave` keeps those of one sequence together (false), or says how the
    sequences, which must be in that order already, are merged."""
    compiler.check_optargs(("interleave",), shape[2], path)
    nodes, effects = compile_all(compiler, shape, path)
    interleave = _Interleave(compiler, shape[2][0][1], (*path, "interleave")) if shape[2] else None
    if interleave is not None:
        effects |= interleave.effects

    def values(frame: Frame) -> list[Any]:
        return spliced_values(nodes, frame)

    def ordering(frame: Frame) -> Ordering | bool:
        return True if interleave is None else interleave.ordering(frame)

    run = call_closure(_united, True, [(values, None), (ordering, None)], [], path)
    return Node(run, shape, effects, bool(nodes) and nodes[0].grouped)


class _Interleave:
    """The optional argument of `union`, compiled: a boolean, or one or several things to order by."""

    def __init__(self, compiler: Compiler, shape: Shape, path: Frames) -> None:
        several = shape[0] == Term.MAKE_ARRAY
        parts = shape[1] if several else (shape,)
        refuse_spliced(parts, path[:-1])
        self.several = several
        self.parts = [
            Directed(compiler, part, (*path, position) if several else path, "field")
            for position, part in enumerate(parts)
        ]
        self.effects = Effects.NONE
        for part in self.parts:
            self.effects |= part.node.effects

    def ordering(self, frame: Frame) -> Ordering | bool:
        """What to merge by; True for no order at all, False for one sequence after the other."""
        if self.several:
            return Ordering([part.part(frame) for part in self.parts])
        (only,) = self.parts
        value = only.node.run(frame)
        if type(value) is bool:
            return value
        if type(value) is list:  # an array of constants
            return Ordering([order_part(name, False) for name in value])
        return Ordering([order_part(value, only.descending)])


def _united(runtime: Runtime, values: list[Any], ordering: Ordering | bool) -> Any:
    if values:
        first, *others = values
        if isinstance(first, Stream) and first.grouping is not None:
            first = first.to_grouped(runtime)
        if type(first) is Grouped:
            united = [(group, _united(runtime, [member, *others], ordering)) for group, member in first.pairs]
            return Grouped([(group, as_datum(member)) for group, member in united])
    sequences = []
    for position, value in enumerate(values):
        try:
            sequences.append(as_sequence(value))
        except ReqlError as error:
            raise error.blame(position) from None
    if isinstance(ordering, Ordering):
        infinite = any(map(is_infinite, sequences))
        return computed(runtime, sequences, lambda runtime: _merged(runtime, sequences, ordering), infinite)
    if all(type(sequence) is list for sequence in sequences):
        return computed(runtime, sequences, lambda runtime: _joined(runtime, sequences))
    streams = [as_stream(sequence) for sequence in sequences]
    return united_stream(streams, runtime if all(map(is_array, sequences)) else None)


def _joined(runtime: Runtime, sequences: list[Any]) -> Iterator[list[Any]]:
    for sequence in sequences:
        yield from lists(runtime, sequence)


def _merged(runtime: Runtime, sequences: list[Any], ordering: Ordering) -> Iterator[list[Any]]:
    """The rows of sequences that are in order, in that order."""
    keyed = [_keyed(runtime, sequence, ordering) for sequence in sequences]
    return batches(row for _, row in heapq.merge(*keyed, key=lambda pair: pair[0]))


def _keyed(runtime: Runtime, sequence: Any, ordering: Ordering) -> Iterator[tuple[Any, Any]]:
    """(sort key, row) pairs; raises where they are not in order."""
    last = None
    for rows in lists(runtime, sequence):
        for key, row in zip(ordering.ascending_keys(rows), rows, strict=True):
            if last is not None and key < last:
                raise logic_error("The streams given as arguments are not ordered by given ordering.")
            last = key
            yield key, row


@term(Term.RANGE, effects=Effects.ENDLESS)
def range_(first: int | None = None, second: int | None = None) -> Stream:
    """The integers from `first` to `second` (exclusive), from 0 to the only argument, or from 0 without end."""
    if first is None:
        return Stream(ComputedSource(lambda _: _integers(0, None)), infinite=True)
    start, end = (0, first) if second is None else (first, second)
    return Stream(ComputedSource(lambda _: _integers(start, end)))


def _integers(start: int, end: int | None) -> Iterator[list[int]]:
    for low in count(start, LOCAL_CHUNK_ROWS):
        high = low + LOCAL_CHUNK_ROWS if end is None else min(low + LOCAL_CHUNK_ROWS, end)
        if low >= high:
            return
        if high > MAX_SAFE_INTEGER + 1:
            raise logic_error("`range` out of safe double bounds.")
        yield list(range(low, high))
