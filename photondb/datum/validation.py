"""Checks values that come from clients, and brings them into canonical form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from photondb.datum.binary import sanitise_binary
from photondb.datum.errors import DatumError, type_error
from photondb.datum.size import NESTING_LIMIT, check_size
from photondb.datum.text import print_datum
from photondb.datum.time import sanitise_time
from photondb.datum.types import (
    LONG_ARRAY,
    MAX_SAFE_INTEGER,
    REQL_TYPE,
    Datum,
    has_canonical_numbers,
    normalise_number,
    reql_type,
    type_name,
)

__all__ = ["NESTING_LIMIT", "check_pseudotype", "validate"]

_STRINGS = {str}

CONTAINERS_AT_A_TIME = 2048
"""How many objects and arrays are checked between two pauses."""


def validate(
    value: Datum,
    *,
    nesting_limit: int = NESTING_LIMIT,
    literals: bool = False,
    pause: Callable[[], None] | None = None,
) -> Datum:
    """Check a `value` from a client and return it in canonical form.

    Keys must be strings, strings must be expressible in UTF-8, numbers finite, pseudo types known and well-formed, and
    containers at most `nesting_limit` deep.  Numbers, times and binaries are brought into canonical form in place: the
    containers returned are those passed in.  `literals` allows ``r.literal`` objects, as in the argument of ``merge``.
    `pause` is called now and then while that takes long.  Raises DatumError.
    """
    kind = type(value)
    if kind is not dict and kind is not list:
        return _validate_scalar(value)
    level: list[Any] = [value]
    depth = 0
    while level:
        depth += 1
        if depth > nesting_limit:
            raise DatumError(f"Value is nested too deeply (the limit is {nesting_limit} levels).", "resource")
        inner: list[Any] = []
        if pause is None or len(level) <= CONTAINERS_AT_A_TIME:
            _validate_level(level, inner, literals)
        else:
            for start in range(0, len(level), CONTAINERS_AT_A_TIME):
                _validate_level(level[start : start + CONTAINERS_AT_A_TIME], inner, literals)
                pause()
        level = inner
    return value


def _validate_level(containers: list[Any], inner: list[Any], literals: bool) -> None:
    for container in containers:
        if type(container) is dict:
            _validate_fields(container, inner)
            if REQL_TYPE in container:
                _validate_pseudotype(container, literals)
        else:
            _validate_elements(container, inner)


def check_pseudotype(value: dict[str, Datum]) -> Datum:
    """Check an object with a ``$reql_type$`` that a query has made, and return it in canonical form.

    Raises DatumError, for what is too large to be checked, too.
    """
    check_size(value)
    return validate(value)


def _validate_fields(fields: dict[str, Any], inner: list[Any]) -> None:
    """Check the names and values of `fields`, and append to `inner` what must be looked into."""
    try:
        names = "".join(fields)
    except TypeError:
        raise DatumError("Object keys must be strings.") from None
    if not names.isascii():
        for name in fields:
            _validate_string(name)
    for name, value in fields.items():
        kind = type(value)
        if kind is str:
            if not value.isascii():
                _validate_string(value)
        elif kind is int:
            if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
                fields[name] = normalise_number(value)
        elif kind is float:
            fields[name] = normalise_number(value)
        elif kind is dict or kind is list:
            inner.append(value)
        elif kind is not bool and value is not None:
            raise _not_json(value)


def _validate_elements(elements: list[Any], inner: list[Any]) -> None:
    """Check `elements`, and append to `inner` what must be looked into."""
    if len(elements) >= LONG_ARRAY:
        kinds = set(map(type, elements))
        if kinds == _STRINGS:
            if "".join(elements).isascii():
                return
        elif has_canonical_numbers(elements, kinds):
            return
    for index, value in enumerate(elements):
        kind = type(value)
        if kind is dict or kind is list:
            inner.append(value)
        elif kind is not int or not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            elements[index] = _validate_scalar(value)


def _validate_scalar(value: Datum) -> Datum:
    kind = type(value)
    if kind is str:
        if not value.isascii():
            _validate_string(value)
        return value
    if kind is int or kind is float:
        return normalise_number(value)
    if kind is bool or value is None:
        return value
    raise _not_json(value)


def _validate_string(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        position = len(text[: error.start].encode())
        start = text[: error.start].encode()[:20].decode("utf-8", "ignore")
        raise DatumError(
            f"String `{start}` (truncated) is not a UTF-8 string; surrogate code point at position {position}."
        ) from None


def _not_json(value: Datum) -> DatumError:
    try:
        print_datum(value)
    except DatumError as error:
        return error  # an Extreme
    except TypeError:
        pass
    return DatumError(f"Cannot convert {type(value).__name__} to a value.")


def _validate_pseudotype(value: dict[str, Datum], literals: bool) -> None:
    name = reql_type(value)
    if name == "LITERAL" and not literals:
        raise DatumError(
            "Stray literal keyword found: literal is only legal inside of the object passed to merge or update and "
            "cannot nest inside other literals."
        )
    check = _PSEUDOTYPES.get(name or "")
    if check is None:
        raise DatumError(f"Unknown $reql_type$ `{type_name(value)}`.")
    check(value)


def _check_literal(value: dict[str, Datum]) -> None:
    for name in value:
        if name != REQL_TYPE and name != "value":
            raise DatumError(f"Invalid literal term with illegal key `{name}`.")


_GEOMETRY_FIELDS: dict[str, type] = {"coordinates": list, "type": str}


def _check_geometry(value: dict[str, Datum]) -> None:
    """Check the fields' types only: whether a shape makes sense is checked where it is made or used."""
    for name in sorted(value):
        field = value[name]
        expected = _GEOMETRY_FIELDS.get(name)
        if expected is None:
            if name != "crs" and name != REQL_TYPE:
                raise DatumError(f"Unrecognized field `{name}` found in geometry object.")
        elif type(field) is not expected:
            raise type_error(field, f"Expected type {type_name(expected())} but found {type_name(field)}.")
    for name in ("type", "coordinates"):
        if name not in value:
            raise DatumError(f"Field `{name}` not found in geometry object.", "non_existence")


_PSEUDOTYPES: dict[str, Callable[[dict[str, Datum]], None]] = {
    "TIME": sanitise_time,
    "BINARY": sanitise_binary,
    "GEOMETRY": _check_geometry,
    "LITERAL": _check_literal,
}
