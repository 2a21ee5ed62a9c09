"""Arrays: adding, removing and replacing elements, and arrays as sets, in which equal values count once."""

from __future__ import annotations

from typing import Any

from photondb.datum.order import sort_key
from photondb.reql.errors import ReqlError, logic_error, non_existence_error
from photondb.reql.function import Func, literal_term
from photondb.reql.parameters import Datum, Runtime, Sequence
from photondb.reql.registry import term
from photondb.reql.steps import FilterStep
from photondb.reql.stream import apply_step
from photondb.reql.values import check_array_size
from photondb.reql.wire import Term


@term(Term.APPEND)
def append(runtime: Runtime, array: list[Any], value: Datum) -> list[Any]:
    """The array with a value behind its last element."""
    return _checked(runtime, [*array, value])


@term(Term.PREPEND)
def prepend(runtime: Runtime, array: list[Any], value: Datum) -> list[Any]:
    """The array with a value before its first element."""
    return _checked(runtime, [value, *array])


@term(Term.INSERT_AT)
def insert_at(runtime: Runtime, array: list[Any], index: int, value: Datum) -> list[Any]:
    """The array with a value before the element at an index; from the end, -1 is behind the last element."""
    at = _gap(array, index)
    return _checked(runtime, [*array[:at], value, *array[at:]])


@term(Term.SPLICE_AT)
def splice_at(runtime: Runtime, array: list[Any], index: int, values: list[Any]) -> list[Any]:
    """The array with the elements of another one before the element at an index; from the end, -1 is behind the last
    element."""
    at = _gap(array, index)
    return _checked(runtime, [*array[:at], *values, *array[at:]])


@term(Term.DELETE_AT)
def delete_at(array: list[Any], index: int, end: int | None = None) -> list[Any]:
    """The array without the element at an index, or without those from an index up to, not including, another one."""
    start = _canonical(index, len(array))
    if end is None:
        return [*array[: _element(array, start)], *array[start + 1 :]]
    stop = _canonical(end, len(array))
    for bound in (start, stop):
        if bound > len(array):
            raise _out_of_bounds(array, bound)
    if start > stop:
        raise logic_error(f"Start index `{start}` is greater than end index `{stop}`.")
    return [*array[:start], *array[stop:]]


@term(Term.CHANGE_AT)
def change_at(array: list[Any], index: int, value: Datum) -> list[Any]:
    """The array with another value in place of the element at an index."""
    at = _element(array, _canonical(index, len(array)))
    return [*array[:at], value, *array[at + 1 :]]


@term(Term.DIFFERENCE)
def difference(runtime: Runtime, sequence: Sequence, other: Sequence) -> Any:
    """The elements of a sequence that are not in another one."""
    unwanted = other if type(other) is list else other.to_list(runtime)
    if type(sequence) is list:
        keys = set(map(sort_key, unwanted))
        return [value for value in sequence if sort_key(value) not in keys]
    contained = [int(Term.CONTAINS), [literal_term(unwanted), [int(Term.VAR), [1]]]]
    wanted = [int(Term.FUNC), [[int(Term.MAKE_ARRAY), [1]], [int(Term.NOT), [contained]]]]
    return apply_step(sequence, FilterStep(Func.from_wire(wanted)), runtime)


@term(Term.SET_INSERT)
def set_insert(runtime: Runtime, array: list[Any], value: Datum) -> list[Any]:
    """The different elements of the array, and a value if it is none of them."""
    return _checked(runtime, _different([*array, value]))


@term(Term.SET_UNION)
def set_union(runtime: Runtime, array: list[Any], other: list[Any]) -> list[Any]:
    """The different elements of both arrays."""
    return _checked(runtime, _different([*array, *other]))


@term(Term.SET_INTERSECTION)
def set_intersection(array: list[Any], other: list[Any]) -> list[Any]:
    """The different elements that both arrays have, in the order of the second one."""
    common = set(map(sort_key, array))
    return [value for value in _different(other) if sort_key(value) in common]


@term(Term.SET_DIFFERENCE)
def set_difference(array: list[Any], other: list[Any]) -> list[Any]:
    """The different elements of the array that the other one does not have."""
    unwanted = set(map(sort_key, other))
    return [value for value in _different(array) if sort_key(value) not in unwanted]


def _different(values: list[Any]) -> list[Any]:
    """The values without repetitions: the first of each."""
    found: dict[Any, Any] = {}
    for value in values:
        found.setdefault(sort_key(value), value)
    return list(found.values())


def _checked(runtime: Runtime, array: list[Any]) -> list[Any]:
    check_array_size(len(array), runtime.array_limit)
    return array


def _canonical(index: int, size: int) -> int:
    """An index counted from the start, where it may still be too great."""
    if index >= 0:
        return index
    if -index > size:
        raise non_existence_error(f"Index out of bounds: {index}")
    return size + index


def _element(array: list[Any], index: int) -> int:
    if index >= len(array):
        raise _out_of_bounds(array, index)
    return index


def _gap(array: list[Any], index: int) -> int:
    """The position of a gap between elements, of which there is one more than there are elements."""
    position = _canonical(index, len(array) + 1)
    if position > len(array):
        raise _out_of_bounds(array, position)
    return position


def _out_of_bounds(array: list[Any], index: int) -> ReqlError:
    return non_existence_error(f"Index `{index}` out of bounds for array of size: `{len(array)}`.")
