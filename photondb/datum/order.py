"""The total order of values across all types.

Types come in the order of their names: MINVAL, ARRAY, BOOL, NULL, NUMBER, OBJECT, PTYPE<BINARY>, PTYPE<TIME>, STRING,
MAXVAL.  Strings compare by their UTF-8 bytes (which is the order of code points, Python's own), times by their
epoch time whatever their zones, binaries by their bytes, arrays element by element, objects field by field in the order
of the names.

Geometry compares as the object that it is, so that it has a place among objects.  RethinkDB does the same, but puts it
after PTYPE<BINARY> when it meets one, which is not transitive; here it is an object there, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from photondb.datum.binary import binary_bytes
from photondb.datum.errors import DatumError
from photondb.datum.extreme import MINVAL, Extreme
from photondb.datum.size import check_size
from photondb.datum.types import REQL_TYPE, Datum, reql_type

__all__ = ["SortKey", "compare", "equal", "sort_key"]

SortKey = tuple[Any, ...]

_MINVAL, _ARRAY, _BOOL, _NULL, _NUMBER, _OBJECT, _BINARY, _TIME, _STRING, _MAXVAL = range(10)


def sort_key(value: Datum) -> SortKey:
    """A tuple that compares with other values' tuples as the values do.

    It is hashable, and equal exactly for values that are equal in ReQL, so that it serves as the key of a dict.
    Raises DatumError for a pseudo type without an order, and for what is too large.
    """
    kind = type(value)
    if kind is str:
        return (_STRING, value)
    if kind is int or kind is float:
        return (_NUMBER, value)
    if kind is list or kind is dict:
        _check_nested(value)
    return _SORT_KEYS[kind](value)


def compare(left: Datum, right: Datum) -> int:
    """-1, 0 or 1 as `left` is less than, equal to or greater than `right`.

    Raises DatumError for a pseudo type without an order.
    """
    kind, other = type(left), type(right)
    if (kind is other and kind in _SCALARS) or (kind in _NUMBERS and other in _NUMBERS):
        return bool(left > right) - bool(left < right)
    left_key, right_key = sort_key(left), sort_key(right)
    return (left_key > right_key) - (left_key < right_key)


def equal(left: Datum, right: Datum) -> bool:
    """Whether two values are the same in ReQL: true is not 1, and a time is the same in every zone."""
    if left is right:
        return True
    kind, other = type(left), type(right)
    if kind in _SCALARS and kind is other:
        return bool(left == right)
    if kind is not other:
        return kind in _NUMBERS and other in _NUMBERS and bool(left == right)
    if (kind is dict or kind is list) and len(left) == len(right):
        _check_nested(left)
        return _equal(left, right)
    return False  # null equals itself, and each Extreme, which `is` has found


def _equal(left: Datum, right: Datum) -> bool:
    """Whether two values are the same, of which one is known not to be too large."""
    kind = type(left)
    if left is right:
        return True
    if kind is not type(right) or (kind is not dict and kind is not list):
        return equal(left, right)
    if kind is list:
        return len(left) == len(right) and all(map(_equal, left, right))
    if REQL_TYPE in left or REQL_TYPE in right:
        return _key(left) == _key(right)
    return left.keys() == right.keys() and all(map(_equal, left.values(), map(right.__getitem__, left)))


def _check_nested(container: dict[str, Any] | list[Any]) -> None:
    """Raise for what is too large to be gone through. Only what has containers in it can be."""
    for value in container.values() if type(container) is dict else container:
        if type(value) is dict or type(value) is list:
            check_size(container)
            return


def _key(value: Datum) -> SortKey:
    """The sort key of a value that is known not to be too large."""
    kind = type(value)
    if kind is str:
        return (_STRING, value)
    if kind is int or kind is float:
        return (_NUMBER, value)
    return _SORT_KEYS[kind](value)


def _object_key(value: dict[str, Datum]) -> SortKey:
    if REQL_TYPE in value:
        name = reql_type(value)
        if name == "TIME":
            return (_TIME, value["epoch_time"])
        if name == "BINARY":
            return (_BINARY, binary_bytes(value))
        if name != "GEOMETRY":
            raise DatumError(f"Incomparable type PTYPE<{name}>.")
    fields: list[Any] = []
    for item in sorted(value):
        fields.append(item)
        fields.append(_key(value[item]))
    return (_OBJECT, tuple(fields))


_NULL_KEY = (_NULL,)
_FALSE_KEY = (_BOOL, False)
_TRUE_KEY = (_BOOL, True)
_MINVAL_KEY = (_MINVAL,)
_MAXVAL_KEY = (_MAXVAL,)

_SORT_KEYS: dict[type, Callable[[Any], SortKey]] = {
    type(None): lambda value: _NULL_KEY,
    bool: lambda value: _TRUE_KEY if value else _FALSE_KEY,
    list: lambda value: (_ARRAY, tuple(map(_key, value))),
    dict: _object_key,
    Extreme: lambda value: _MINVAL_KEY if value is MINVAL else _MAXVAL_KEY,
}
_SCALARS = frozenset({str, int, float, bool})
_NUMBERS = frozenset({int, float})
