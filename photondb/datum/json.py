"""JSON in and out.

`loads` reads JSON from anywhere and brings its numbers into canonical form.  Two cheaper ways: what `dumps` wrote is
canonical already, and `loads_stored`, which is orjson alone, is enough; and what goes through `validate` anyway, which
also normalises, can be read with `loads_stored`, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from photondb.datum.size import check_size
from photondb.datum.text import print_compact, print_datum, truncated_print
from photondb.datum.types import LONG_ARRAY, MAX_SAFE_INTEGER, Datum, has_canonical_numbers, normalise_number
from photondb.datum.validation import NESTING_LIMIT, validate

__all__ = [
    "NESTING_LIMIT",
    "dumps",
    "dumps_computed",
    "loads",
    "loads_stored",
    "print_compact",
    "print_datum",
    "truncated_print",
    "validate",
]

loads_stored: Callable[[bytes], Datum] = orjson.loads
"""Read JSON that `dumps` wrote, or that `validate` will see: nothing is normalised here."""

_PLAIN_TYPES = frozenset((str, bool, type(None)))


def loads(raw: bytes | str) -> Datum:
    """Read JSON from outside, with integral numbers as int up to 2**53 and all others as float.

    Raises ValueError (orjson.JSONDecodeError) for what is not JSON, not UTF-8 or nested more than 1024 deep.
    """
    value = orjson.loads(raw)
    kind = type(value)
    if kind is dict or kind is list:
        _normalise_numbers(value)
        return value
    return normalise_number(value) if kind is int or kind is float else value


def dumps(value: Datum) -> bytes:
    """Write a value whose numbers are in canonical form as compact JSON.

    A lone surrogate, which UTF-8 cannot express, becomes U+FFFD.  Raises DatumError for an `Extreme`, and for what is
    nested so deeply that Python cannot follow.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        # Rare: nested deeper than orjson writes (254), a lone surrogate, or an Extreme, which print_compact refuses.
        return print_compact(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def dumps_computed(value: Datum) -> bytes:
    """The same for a value that a query has computed, which may be larger than anybody can write.

    Raises DatumError for that, too.
    """
    check_size(value)
    return dumps(value)


def _normalise_numbers(container: dict[str, Any] | list[Any]) -> None:
    """Bring the numbers in `container` into canonical form, in place (iteratively: JSON nests deeper than Python)."""
    containers = [container]
    items: Iterable[tuple[Any, Any]]
    while containers:
        current: Any = containers.pop()
        if type(current) is dict:
            items = current.items()
        else:
            if len(current) >= LONG_ARRAY:
                kinds = set(map(type, current))
                if kinds <= _PLAIN_TYPES or has_canonical_numbers(current, kinds):
                    continue
            items = enumerate(current)
        for place, value in items:
            kind = type(value)
            if kind is str:
                continue
            if kind is int:
                if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
                    current[place] = normalise_number(value)
            elif kind is float:
                if value.is_integer():
                    current[place] = normalise_number(value)
            elif kind is dict or kind is list:
                containers.append(value)
