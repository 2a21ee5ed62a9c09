"""Sorting the rows of a stream: a few at once, many by way of a Sorter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from photondb.reql.chunk import Chunk
from photondb.reql.errors import ReqlError
from photondb.reql.memory import mean_weight
from photondb.reql.ordering import Ordering
from photondb.reql.pipeline import field_decoder
from photondb.reql.spilling.sorter import Sorter, row_of
from photondb.reql.values import check_array_size

if TYPE_CHECKING:
    from photondb.reql.runtime import Runtime

SMALL_ROWS = 5_000
"""Up to so many rows are sorted at once, as they are."""

T = TypeVar("T")


def sorted_chunks(
    runtime: Runtime, chunks: Iterator[Chunk], ordering: Ordering, limit: int, rows: int
) -> Iterator[Chunk]:
    """The rows of the chunks in order, equal ones as they came, in chunks of about `rows`. Raises the array limit's
    error when they are more than `limit`."""
    held: list[Chunk] = []
    count = size = 0
    sorter: Sorter | None = None
    try:
        for chunk in chunks:
            count += len(chunk)
            check_array_size(count, limit)
            if sorter is not None:
                _add(sorter, chunk, ordering, runtime)
                continue
            held.append(chunk)
            size += chunk.size() if chunk.is_json else len(chunk) * mean_weight(chunk.values())
            if count > SMALL_ROWS or size > runtime.small_bytes:
                sorter = Sorter(runtime.workspace())
                for earlier in held:
                    _add(sorter, earlier, ordering, runtime)
                held.clear()
        if sorter is None:
            yield from _sliced(_sorted_at_once(held, ordering, runtime), rows)
            return
        for block in sorter.blocks():
            yield from _sliced(Chunk.of_raw(list(map(row_of, block))), rows)
    finally:
        if sorter is not None:
            sorter.close()


def _add(sorter: Sorter, chunk: Chunk, ordering: Ordering, runtime: Runtime) -> None:
    sorter.add(_keys(chunk, ordering, ordering.byte_keys, runtime), chunk.rows())
    runtime.checkpoint(len(chunk))


def _sorted_at_once(chunks: list[Chunk], ordering: Ordering, runtime: Runtime) -> Chunk:
    keys = [key for chunk in chunks for key in _keys(chunk, ordering, ordering.keys, runtime)]
    order = ordering.positions(keys)
    if all(chunk.is_json for chunk in chunks):
        raw = [row for chunk in chunks for row in chunk.rows()]
        return Chunk.of_raw([raw[position] for position in order])
    values = [value for chunk in chunks for value in chunk.values()]
    return Chunk.of_values([values[position] for position in order])


def _keys(chunk: Chunk, ordering: Ordering, keys_of: Callable[[Sequence[Any]], list[T]], runtime: Runtime) -> list[T]:
    """The keys of rows, of which no more is decoded than the keys are made of. Where something is wrong with that, the
    whole rows are, which error messages show."""
    fields = ordering.fields
    if fields is not None and chunk.is_json and runtime.context.optimizations:
        try:
            return keys_of(list(map(field_decoder(fields), chunk.rows())))
        except (ReqlError, msgspec.DecodeError):
            pass
    return keys_of(chunk.values())


def _sliced(chunk: Chunk, rows: int) -> Iterator[Chunk]:
    if len(chunk) <= rows:
        if len(chunk):
            yield chunk
        return
    raw = chunk.rows() if chunk.is_json else None
    for start in range(0, len(chunk), rows):
        if raw is not None:
            yield Chunk.of_raw(raw[start : start + rows])
        else:
            yield Chunk.of_values(chunk.values()[start : start + rows])
