"""Parts of sequences: `limit`, `skip`, `slice`, `nth`, `sample`, `is_empty`."""

from __future__ import annotations

import random
from typing import Any

from photondb.datum.binary import binary_bytes, make_binary
from photondb.datum.types import reql_type, type_name
from photondb.reql.effects import Effects
from photondb.reql.errors import ReqlError, logic_error, non_existence_error
from photondb.reql.parameters import Int32, Runtime, Sequence, Value
from photondb.reql.registry import term
from photondb.reql.sources import list_source
from photondb.reql.stream import Stream, elements
from photondb.reql.terms.selections import is_open
from photondb.reql.values import (
    SingleSelection,
    as_datum,
    as_sequence,
    check_array_size,
    is_sequence,
    table_of,
)
from photondb.reql.wire import Term


@term(Term.LIMIT)
def limit(sequence: Sequence, count: Int32) -> Value:
    """The first `count` elements."""
    if count < 0:
        raise logic_error(f"LIMIT takes a non-negative argument (got {count})")
    return sequence[:count] if type(sequence) is list else sequence.sliced(0, count)


@term(Term.SKIP)
def skip(runtime: Runtime, value: Value, count: int) -> Value:
    """All elements but the first `count` ones."""
    return _sliced(runtime, value, count, False, -1, False)


@term(Term.SLICE)
def slice_(
    runtime: Runtime,
    value: Value,
    left: int,
    right: int | None = None,
    *,
    left_bound: str = "closed",
    right_bound: str = "open",
) -> Value:
    """The elements, characters or bytes from position `left` to position `right`, to the end without one. Negative
    positions count from the end. The bounds say whether what is at a position belongs to the part."""
    left_open = is_open("left_bound", left_bound)
    if right is None:
        return _sliced(runtime, value, left, left_open, -1, False)
    return _sliced(runtime, value, left, left_open, right, is_open("right_bound", right_bound))


def _sliced(runtime: Runtime, value: Any, left: int, left_open: bool, right: int, right_open: bool) -> Any:
    if is_sequence(value) and type(value) is not list:
        stream: Any = as_sequence(value)
        from_start = left >= 0 and (right >= 0 or (right == -1 and not right_open))
        if from_start or stream.array_of is None or stream.table is not None:
            return _sliced_stream(stream, left, left_open, right, right_open)
        value = stream.to_list(runtime)
    elif type(value) is not list:
        try:
            value = as_datum(value)
        except ReqlError:
            raise logic_error("Cannot slice non-sequences.").blame(0) from None
    if type(value) is list or type(value) is str:
        start, end = _positions(len(value), left, left_open, right, right_open)
        return value[start:end]
    if reql_type(value) == "BINARY":
        raw = binary_bytes(value)
        start, end = _positions(len(raw), left, left_open, right, right_open)
        return make_binary(raw[start:end])
    raise logic_error(f"Expected ARRAY, BINARY, or STRING, but found {type_name(value)}.").blame(0)


def _positions(size: int, left: int, left_open: bool, right: int, right_open: bool) -> tuple[int, int]:
    """Where the part starts, and where it ends (exclusive). A position before the start counts as the start, and is
    then never left out or taken in by its bound."""
    start, end = max(left if left >= 0 else size + left, 0), max(right if right >= 0 else size + right, 0)
    if left_open and left >= -size:
        start += 1
    if not right_open and right >= -size:
        end += 1
    return start, end


def _sliced_stream(stream: Stream, left: int, left_open: bool, right: int, right_open: bool) -> Stream:
    if left < 0:
        raise logic_error("Cannot use a negative left index on a stream.")
    if right < -1:
        raise logic_error("Cannot use a right index < -1 on a stream.")
    if right == -1 and right_open:
        raise logic_error("Cannot slice to an open right index of -1 on a stream.")
    start = left + left_open
    return stream.sliced(start, None if right == -1 else max(right + (not right_open) - start, 0))


@term(Term.NTH)
def nth(runtime: Runtime, sequence: Value, index: Int32) -> Value:
    """The element at `index` (from 0; from the end when negative) of a sequence, as a document if it is one."""
    table = table_of(sequence)
    found = _nth(runtime, as_sequence(sequence), index)
    if table is not None and type(found) is dict:
        return SingleSelection(runtime, table, found[table.primary_key], found)
    return found


def _nth(runtime: Runtime, sequence: list[Any] | Stream, index: int) -> Any:
    if type(sequence) is not list:
        stream: Stream = sequence  # type: ignore[assignment]
        if index >= 0:
            for chunk in stream.sliced(index, 1).chunks(runtime, 1, 1):
                return chunk.values()[0]
            raise non_existence_error(f"Index out of bounds: {index}")
        if index < -1 and (stream.array_of is None or stream.table is not None):
            raise logic_error(f"Cannot use an index < -1 ({index}) on a stream.")
        if stream.array_of is None:
            return _last(runtime, stream)
        sequence = stream.to_list(runtime)
    if -len(sequence) <= index < len(sequence):
        return sequence[index]
    raise non_existence_error(f"Index out of bounds: {index}")


def _last(runtime: Runtime, stream: Stream) -> Any:
    stream.check_finite()
    last = None
    for chunk in stream.chunks(runtime):
        last = chunk
    if last is None:
        raise non_existence_error("Index out of bounds: -1")
    return last.values()[-1]


@term(Term.SAMPLE, effects=Effects.NONDETERMINISTIC)
def sample(runtime: Runtime, sequence: Sequence, count: int) -> Value:
    """`count` elements, or all if there are fewer, each as likely as any other, in random order."""
    if count < 0:
        raise logic_error(f"Number of items to sample must be non-negative, got `{count}`.")
    check_array_size(count, runtime.array_limit)
    table = table_of(sequence)
    chosen: list[Any] = []
    for number, element in enumerate(elements(runtime, sequence)):
        if number < count:
            chosen.append(element)
        elif (place := random.randrange(number + 1)) < count:
            chosen[place] = element
    random.shuffle(chosen)
    return chosen if table is None else Stream(list_source(chosen), table, array_of=runtime)


@term(Term.IS_EMPTY)
def is_empty(runtime: Runtime, sequence: Sequence) -> bool:
    """Whether there is no element."""
    if type(sequence) is list:
        return not sequence
    return next(iter(sequence.chunks(runtime, 1, 1)), None) is None
