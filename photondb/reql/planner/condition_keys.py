"""What gives the keys that a condition of a filter leads to, when the values that it compares with are known: in each
run of a query anew. It raises the error that the filter fails with for every document, and NotComparable where the keys
cannot be told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from photondb.datum.types import reql_type
from photondb.geo import cells
from photondb.geo.geojson import TYPE as GEOMETRY
from photondb.geo.shapes import shape_of
from photondb.reql.errors import logic_error
from photondb.reql.function import Func
from photondb.reql.planner.key_sets import NOTHING, KeySet, NotComparable, compared, element, one_of
from photondb.reql.shape import Shape

Value = Callable[[Func], Any]
"""Gives the value of what does not depend on the row, in one run of the query."""

MAX_VALUES = 1000
"""How long an array of alternatives may be for an index to be asked for each of them."""


def combined(makers: list[Callable[[Func], KeySet]], combine: Any) -> Callable[[Func], KeySet]:
    """The keys of several, put together."""

    def keys(func: Func) -> KeySet:
        result = makers[0](func)
        for make in makers[1:]:
            result = combine(result, make(func))
        return result

    return makers[0] if len(makers) == 1 else keys


def comparing(operator: int, value: Value) -> Callable[[Func], KeySet]:
    """The values for which a comparison with a value holds."""
    return lambda func: compared(operator, value(func))


def among(values: Value) -> Callable[[Func], KeySet]:
    """The elements of an array of values."""

    def keys(func: Func) -> KeySet:
        given = values(func)
        if type(given) is not list:
            raise logic_error("What is no array has no elements.")  # so the filter fails, whatever the document
        if len(given) > MAX_VALUES:
            raise NotComparable
        return one_of(given) if given else NOTHING

    return keys


def including(values: list[Value]) -> Callable[[Func], KeySet]:
    """Arrays that have all of the values: those with the first of them."""

    def keys(func: Func) -> KeySet:
        first, *_ = [value(func) for value in values]  # if any of them fails, the filter does
        return element(first)

    return keys


def meeting(geometry: Value) -> Callable[[Func], KeySet]:
    """What meets a geometry, in an index of geometries."""

    def keys(func: Func) -> KeySet:
        given = geometry(func)
        if reql_type(given) != GEOMETRY:
            raise NotComparable
        return KeySet(tuple(cells.key_ranges(cells.search_cells(shape_of(given)))))

    return keys


def computed_with(shape: Shape, func: Func) -> Value:
    """What gives the value of a part of a function, with the variables as they are in the function's frame. For a part
    without the row this is constant folding, at the time when the constants are known."""
    from photondb.reql.compiler import Compiler
    from photondb.reql.values import as_datum

    base = func.code.variable_base
    compiler = Compiler(base - 1, len(func.frame) - base)
    run = compiler.compile(shape, ()).run
    size = compiler.frame_size

    def value(func: Func) -> Any:
        frame = func.frame[:]
        frame.extend([None] * (size - len(frame)))
        return as_datum(run(frame))

    return value
