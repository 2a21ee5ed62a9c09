"""Sequences made from sequences, element by element: `map`, `concat_map`, `filter`, `zip`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any

from photondb.datum.text import print_datum
from photondb.reql.errors import ReqlError, logic_error
from photondb.reql.parameters import ConstantOrFunction, Delayed, Func, Function, Kind, Runtime, Sequence, Value
from photondb.reql.registry import term
from photondb.reql.scan_source import ScanSource
from photondb.reql.steps import ConcatMapStep, FilterStep, MapStep, ZipStep
from photondb.reql.stream import PART_ROWS, Stream, apply_step, batches, computed, feed_notes, is_infinite, lists
from photondb.reql.values import as_datum, as_sequence, wrong_type
from photondb.reql.wire import Term


def _index_hint(value: Any) -> Any:
    value = as_datum(value)
    if type(value) is str or value is False:
        return value
    raise logic_error(f"Expected the name of an index or false, but found {print_datum(value)}.")


IndexHint = Annotated[Any, Kind("index name or false", _index_hint)]


@term(Term.MAP, grouped="stream")
def map_(runtime: Runtime, sequence: Sequence, second: Value, *rest: Value) -> Value:
    """What the function, the last argument, gives for each element; for several sequences, for their first elements,
    their second ones and so on, as far as the shortest of them goes."""
    *others, func = (second, *rest)
    sequences = [sequence]
    for position, other in enumerate(others, 1):
        try:
            sequences.append(as_sequence(other))
        except ReqlError as error:
            raise error.blame(position) from None
    count = len(sequences)
    if type(func) is not Func:
        raise wrong_type("FUNCTION", func).blame(count)
    if func.slots and len(func.slots) != count:
        expected = len(func.slots)
        raise logic_error(
            f"The function passed to `map` expects {expected} argument{'' if expected == 1 else 's'}, "
            f"but {count} sequence{' was' if count == 1 else 's were'} found."
        )
    if count == 1:
        return apply_step(sequence, MapStep(func), runtime)

    def make(runtime: Runtime) -> Iterator[list[Any]]:
        rows = zip(*(chain.from_iterable(lists(runtime, each)) for each in sequences), strict=False)
        # What comes from a changefeed must not wait for more of it.
        size = 1 if any(map(feed_notes, sequences)) else PART_ROWS
        return batches((func.call(*row) for row in rows), size)

    return computed(runtime, sequences, make, infinite=all(map(is_infinite, sequences)))


@term(Term.CONCAT_MAP, grouped="stream")
def concat_map(runtime: Runtime, sequence: Sequence, func: Function) -> Value:
    """The elements of what the function gives for each element, one after the other."""
    if type(sequence) is list or func.pushable or sequence.grouping is not None or sequence.feed:
        return apply_step(sequence, ConcatMapStep(func), runtime)

    def make(runtime: Runtime) -> Iterator[list[Any]]:  # what the function gives need not be gone through to its end
        for row in chain.from_iterable(sequence.lists(runtime)):
            yield from lists(runtime, func.evaluate(row))

    return computed(runtime, [sequence], make, infinite=sequence.infinite)


@term(Term.FILTER, grouped="stream", literals=True)
def filter_(
    runtime: Runtime,
    sequence: Sequence,
    predicate: ConstantOrFunction,
    *,
    default: Delayed | None = None,
    index: IndexHint = None,
) -> Value:
    """The elements for which the predicate, a function or a pattern of fields, holds. `default` says whether an
    element is kept that lacks what the predicate looks at; `r.error()` raises the error about it. Documents of a table
    may be found by an index; `index` names the one to use, or false for none, instead of what the planner chooses."""
    if type(index) is str and not _is_filtered_table(sequence):
        raise logic_error("The optional argument `index` of `filter` can only be used on a table.")
    return apply_step(sequence, FilterStep(predicate, False if default is None else default, index), runtime)


def _is_filtered_table(sequence: Any) -> bool:
    return (
        isinstance(sequence, Stream)
        and isinstance(sequence.source, ScanSource)
        and sequence.source.whole
        and all(type(step) is FilterStep for step in sequence.steps)
    )


@term(Term.ZIP)
def zip_(runtime: Runtime, sequence: Sequence) -> Value:
    """Each row of a join with its right side merged into its left side."""
    return apply_step(sequence, ZipStep(), runtime)
