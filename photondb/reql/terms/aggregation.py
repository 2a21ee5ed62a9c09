"""What sequences add up to: `count`, `sum`, `avg`, `min`, `max`, `reduce`, `fold`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from photondb.datum.binary import binary_bytes
from photondb.datum.types import reql_type
from photondb.reql.aggregates import Avg, Count, Sum
from photondb.reql.errors import logic_error
from photondb.reql.parameters import (
    Datum,
    FieldOrFunction,
    Func,
    Function,
    Runtime,
    Sequence,
    Value,
    equality_function,
)
from photondb.reql.registry import term
from photondb.reql.row_aggregates import Max, Min, Reduce
from photondb.reql.steps import FilterStep
from photondb.reql.stream import apply_step, computed, elements, fold, is_infinite, lists
from photondb.reql.terms.selections import ordinary_index
from photondb.reql.values import SingleSelection, TableSlice, as_datum, expect_table, wrong_datum
from photondb.reql.wire import Term


@term(Term.COUNT, grouped="stream")
def count(runtime: Runtime, value: Value, what: Value = ...) -> int:
    """How many elements a sequence has; how many equal `what`, or fulfil it where it is a function. Without `what`
    also the characters of a string, the bytes of a binary and the fields of an object."""
    if what is ...:
        if type(value) is SingleSelection:
            value = value.row
        if type(value) is dict:
            return len(binary_bytes(value)) if reql_type(value) == "BINARY" else len(value)
        if type(value) is str:
            return len(value)
    else:
        predicate = what if type(what) is Func else equality_function(as_datum(what))
        value = apply_step(value, FilterStep(predicate), runtime)
    return fold(value, Count(), runtime)  # type: ignore[no-any-return]


@term(Term.SUM, grouped="stream")
def sum_(runtime: Runtime, value: Value, func: FieldOrFunction | None = None, *, index: Value = None) -> int | float:
    """The sum of the elements, or of what the function or field gives for those that have it."""
    _refuse_index("sum", value, func, index)
    return fold(value, Sum(func), runtime)  # type: ignore[no-any-return]


@term(Term.AVG, grouped="stream")
def avg(runtime: Runtime, value: Value, func: FieldOrFunction | None = None, *, index: Value = None) -> int | float:
    """The mean of the elements, or of what the function or field gives for those that have it."""
    _refuse_index("avg", value, func, index)
    return fold(value, Avg(func), runtime)  # type: ignore[no-any-return]


@term(Term.MIN, grouped="stream")
def min_(runtime: Runtime, value: Value, func: FieldOrFunction | None = None, *, index: str | None = None) -> Value:
    """The least element, or the one for which the function or field gives the least value, or the first document in
    an index."""
    if _uses_index("min", value, func, index):
        return _first_of_index(runtime, value, index, "asc")
    return fold(value, Min(func), runtime)


@term(Term.MAX, grouped="stream")
def max_(runtime: Runtime, value: Value, func: FieldOrFunction | None = None, *, index: str | None = None) -> Value:
    """The greatest element, or the one for which the function or field gives the greatest value, or the last document
    in an index."""
    if _uses_index("max", value, func, index):
        return _first_of_index(runtime, value, index, "desc")
    return fold(value, Max(func), runtime)


def _refuse_index(name: str, value: Any, func: Func | None, index: Any) -> None:
    if index is None:
        return
    if func is None:
        expect_table(value)
        raise logic_error(f"Cannot call {name} on an index.")
    raise logic_error(f"Cannot provide both a function and an index to {name}.")


def _uses_index(name: str, value: Any, func: Func | None, index: str | None) -> bool:
    if func is None:
        return index is not None or (type(value) is TableSlice and value.whole)
    if index is not None:
        raise logic_error(f"Cannot provide both a function and an index to {name}.")
    return False


def _first_of_index(runtime: Runtime, value: Any, name: str | None, ordering: str) -> SingleSelection:
    table = expect_table(value)
    index = None if name is None else ordinary_index(runtime, table.info, name)
    piece = TableSlice(table.info, index, name, ordering, None, table.read_mode)
    return SingleSelection(runtime, table.info, first_of=piece)


@term(Term.REDUCE, grouped="stream")
def reduce(runtime: Runtime, value: Value, func: Function, *, base: Value = None) -> Value:
    """The elements combined two by two, in any order; the function should not mind. `base` is of old and has no
    effect."""
    return fold(value, Reduce(func), runtime)


@term(Term.FOLD, grouped="stream")
def fold_(
    runtime: Runtime,
    sequence: Sequence,
    base: Datum,
    func: Function,
    *,
    emit: Function | None = None,
    final_emit: Function | None = None,
) -> Value:
    """The elements combined from the first to the last: `func` makes of the state so far, `base` at first, and an
    element the next state. `final_emit` makes the result of the last state. With `emit` the result is a sequence: the
    elements of what it gives for each old state, element and new state, and of what `final_emit` gives."""
    if len(func.slots) not in (0, 2):
        raise logic_error("The accumulator function passed to `fold` should expect 2 arguments")
    if emit is not None:
        emitting, finishing = emit, final_emit

        def make(runtime: Runtime) -> Iterator[list[Any]]:
            state = base
            for rows in lists(runtime, sequence):
                emitted: list[Any] = []
                for row in rows:
                    old, state = state, func.call(state, row)
                    emitted += _array(emitting.call(old, row, state))
                if emitted:
                    yield emitted
            if finishing is not None:
                yield _array(finishing.call(state))

        return computed(runtime, [sequence], make, infinite=is_infinite(sequence))
    state = base
    for row in elements(runtime, sequence):
        runtime.checkpoint()  # states may grow, so that a step takes longer than a row
        state = func.call(state, row)
    return state if final_emit is None else final_emit.call(state)


def _array(value: Any) -> list[Any]:
    if type(value) is list:
        return value
    raise wrong_datum("ARRAY", value)
