"""The types of values: their names, the pseudo types, and what a number is."""

from __future__ import annotations

from math import copysign, isfinite
from typing import Any, TypeAlias

from photondb.datum.errors import DatumError
from photondb.datum.extreme import MAXVAL, MINVAL, Extreme
from photondb.datum.text import exact_number_text, truncated_print

__all__ = [
    "LONG_ARRAY",
    "MAXVAL",
    "MAX_SAFE_INTEGER",
    "MINVAL",
    "REQL_TYPE",
    "Datum",
    "Extreme",
    "has_canonical_numbers",
    "is_pseudotype",
    "normalise_number",
    "reql_type",
    "truthy",
    "type_name",
]

Datum: TypeAlias = Any
"""A value: None, bool, int, float, str, list, dict with str keys, or an `Extreme`.

It is ``Any`` and not a recursive union because code that handles values dispatches on ``type(value)``.
"""

REQL_TYPE = "$reql_type$"
"""The field whose presence makes an object a pseudo type."""

MAX_SAFE_INTEGER = 2**53
"""Numbers are doubles: up to this magnitude every integer is one, and integral numbers are kept as ``int``."""

LONG_ARRAY = 8
"""From this length on, looking at the set of an array's types is faster than looking at each element."""

_INTEGERS = {int}
_FLOATS = {float}

_TYPE_NAMES: dict[type, str] = {
    type(None): "NULL",
    bool: "BOOL",
    int: "NUMBER",
    float: "NUMBER",
    str: "STRING",
    list: "ARRAY",
}


def type_name(value: Datum) -> str:
    """The name that ``type_of`` gives: ``NULL``, ``BOOL``, ``NUMBER``, ``STRING``, ``ARRAY``, ``OBJECT``,
    ``PTYPE<TIME>``, ``PTYPE<BINARY>``, ``PTYPE<GEOMETRY>``, ``MINVAL`` or ``MAXVAL``.
    """
    kind = type(value)
    if kind is dict:
        name = reql_type(value)
        return "OBJECT" if name is None else f"PTYPE<{name}>"
    if kind is Extreme:
        return str(value.type_name)
    return _TYPE_NAMES[kind]


def is_pseudotype(value: Datum) -> bool:
    """Whether `value` is an object with a ``$reql_type$`` field."""
    return type(value) is dict and REQL_TYPE in value


def reql_type(value: Datum) -> str | None:
    """The name of the pseudo type that `value` is of, such as ``TIME``, or None if it is of none.

    Raises DatumError when the ``$reql_type$`` field is not a string.
    """
    if type(value) is not dict or REQL_TYPE not in value:
        return None
    name = value[REQL_TYPE]
    if type(name) is str:
        return name
    raise DatumError(
        f"Error: Field `{REQL_TYPE}` must be a string (got `{truncated_print(name)}` of type {type_name(name)}):\n"
        f"{truncated_print(value)}"
    )


def normalise_number(number: int | float) -> int | float:
    """`number` as the engine keeps it: an int when it is integral and at most 2**53 in magnitude, else a float.

    Negative zero stays a float, because no int can be it.  Raises DatumError for a number that is not finite.
    """
    if type(number) is int:
        if -MAX_SAFE_INTEGER <= number <= MAX_SAFE_INTEGER:
            return number
        try:
            number = float(number)  # 2**53 + 1 is rounded to 2**53, which is kept as an int
        except OverflowError:
            raise DatumError(f"Non-finite number: {'inf' if number > 0 else '-inf'}") from None
    if -MAX_SAFE_INTEGER <= number <= MAX_SAFE_INTEGER:
        if number == 0 and copysign(1.0, number) < 0:
            return number
        integer = int(number)
        return integer if integer == number else number
    if not isfinite(number):
        raise DatumError(f"Non-finite number: {exact_number_text(number)}")
    return number


def has_canonical_numbers(array: list[Datum], kinds: set[type]) -> bool:
    """Whether `array` holds nothing but ints, or nothing but floats, that `normalise_number` would not change.

    `kinds` are the types of its elements.  No Python loop is involved, so that long arrays, such as vectors, are cheap;
    False may also mean that it takes a closer look.
    """
    if kinds == _INTEGERS:
        return bool(min(array) >= -MAX_SAFE_INTEGER and max(array) <= MAX_SAFE_INTEGER)
    if kinds == _FLOATS:  # a sum is finite only if all of its terms are
        return isfinite(sum(array)) and not any(map(float.is_integer, array))
    return False


def truthy(value: Datum) -> bool:
    """Whether `value` counts as true: everything does but null and false."""
    return value is not None and value is not False
