"""Types: what a value is, and turning it into a value of another type."""

from __future__ import annotations

import re
from typing import Any

from photondb.datum.binary import binary_bytes, make_binary
from photondb.datum.text import print_compact, print_datum, truncated_print
from photondb.datum.types import normalise_number, type_name
from photondb.datum.validation import check_pseudotype
from photondb.reql.errors import ErrorKind, ReqlError, logic_error
from photondb.reql.parameters import Runtime, Value, as_string
from photondb.reql.registry import term
from photondb.reql.stream import Stream, as_stream, elements
from photondb.reql.values import (
    as_datum,
    as_sequence,
    check_array_size,
    is_sequence,
    take_turns,
    value_type,
    wrong_datum,
)
from photondb.reql.wire import Term

_KIND_NAMES = {
    "DATABASE": "DB",
    "SEQUENCE": "STREAM",
    "SELECTION": "SELECTION<STREAM>",
    "SINGLE_SELECTION": "SELECTION<OBJECT>",
}
"""How `type_of` names the kinds of values whose name in error messages is another one."""

_CONVERTS_TO = {
    "TABLE": frozenset({"TABLE", "TABLE_SLICE", "SELECTION", "SEQUENCE"}),
    "TABLE_SLICE": frozenset({"TABLE_SLICE", "SELECTION", "SEQUENCE"}),
    "SELECTION": frozenset({"SELECTION", "SEQUENCE"}),
    "SINGLE_SELECTION": frozenset({"SINGLE_SELECTION", "DATUM"}),
    "DATUM": frozenset({"DATUM", "SEQUENCE"}),
}
"""What a value of a kind can be used as without being changed; itself only, where nothing is said."""

_KINDS = {
    _KIND_NAMES.get(kind, kind): kind for kind in (*_CONVERTS_TO, "DATABASE", "SEQUENCE", "FUNCTION", "GROUPED_DATA")
}
_DATUM_TYPES = frozenset({"NULL", "BINARY", "BOOL", "NUMBER", "STRING", "ARRAY", "OBJECT", "MINVAL", "MAXVAL"})

_SPACE_AND_NUMBER = re.compile(
    r"[ \t\n\v\f\r]*(?P<number>[+-]?(?:"
    r"(?P<hex>0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?[0-9]+)?)"
    r"|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?|[nN][aA][nN]))"
)
"""A number as C's scanf reads it, which is what RethinkDB uses."""


@term(Term.TYPE_OF, grouped="whole")
def type_of(value: Value) -> str:
    """The name of a value's type."""
    return value_name(value)


def value_name(value: Any) -> str:
    """The name of the type of any value, as `type_of` gives it."""
    kind = value_type(value)
    if kind == "DATUM":
        return type_name(as_datum(value))
    if isinstance(value, Stream):
        if value.grouping is not None:
            return "GROUPED_STREAM"
        if value.array_of is not None:
            return "SELECTION<ARRAY>"
    return _KIND_NAMES.get(kind, kind)


@term(Term.COERCE_TO)
def coerce_to(runtime: Runtime, value: Value, wanted: str) -> Any:
    """The value as one of another type."""
    target = wanted.upper()
    if target not in _DATUM_TYPES and target not in _KINDS:
        raise logic_error(f"Unknown Type: {target}")
    kind = value_type(value)
    if target in _KINDS and _KINDS[target] in _CONVERTS_TO.get(kind, (kind,)):
        return value
    if kind in ("DATUM", "SINGLE_SELECTION"):
        value = as_datum(value)
        name = _coercible_name(value)
        if name == target:
            return value
        if target != "BOOL":
            return _coerce_datum(runtime, value, name, target)
    elif target != "BOOL":
        return _coerce_sequence(runtime, value, value_name(value), target)
    return value is not None


def to_string(value: Any) -> str:
    """A datum as a string: a string itself, the text in a binary, JSON for everything else."""
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    if type(value) is dict and value.get("$reql_type$") == "BINARY":
        return _text(binary_bytes(value))
    return print_compact(value)


def _coercible_name(value: Any) -> str:
    """The name of a datum's type as far as coercion is concerned, which takes times and geometry for objects."""
    if type(value) is dict:
        return "BINARY" if value.get("$reql_type$") == "BINARY" else "OBJECT"
    return type_name(value)


def _coerce_datum(runtime: Runtime, value: Any, name: str, target: str) -> Any:
    if target == "STRING":
        text = to_string(value)
        take_turns(runtime, len(text))
        return text
    if name == "STRING" and target == "BINARY":
        return make_binary(value.encode())
    if name == "STRING" and target == "NUMBER":
        return _number(value)
    if name == "OBJECT" and target == "ARRAY":
        check_array_size(len(value), runtime.array_limit)
        return [[field, value[field]] for field in sorted(value)]
    if name == "ARRAY":
        return _coerce_sequence(runtime, value, name, target)
    raise _cannot_coerce(value, name, target)


def _coerce_sequence(runtime: Runtime, value: Any, name: str, target: str) -> Any:
    if is_sequence(value):
        if target == "OBJECT":
            return _object(elements(runtime, value))
        if target in ("ARRAY", "DATUM"):
            return as_stream(as_sequence(value)).to_list(runtime)
    raise _cannot_coerce(value, name, target)


def _cannot_coerce(value: Any, name: str, target: str) -> ReqlError:
    kind = ErrorKind.NON_EXISTENCE if value is None else ErrorKind.LOGIC
    return ReqlError(kind, f"Cannot coerce {name} to {target}.").blame(0)


def _object(pairs: Any) -> dict[str, Any]:
    """The object of [field, value] pairs."""
    made: dict[str, Any] = {}
    for pair in pairs:
        if type(pair) is not list:
            raise wrong_datum("ARRAY", pair)
        if len(pair) != 2:
            raise logic_error(f"Expected array of size 2, but got size {len(pair)}.")
        field, value = as_string(pair[0]), pair[1]
        if field in made:
            raise logic_error(
                f"Duplicate key {print_datum(field)} in coerced object.  "
                f"(got {truncated_print(made[field])} and {truncated_print(value)} as values)"
            )
        made[field] = value
    if "$reql_type$" in made:
        check_pseudotype(made)
    return made


def _number(text: str) -> int | float:
    found = _SPACE_AND_NUMBER.fullmatch(text)
    if found is None:
        raise logic_error(f"Could not coerce `{text}` to NUMBER.")
    number = found["number"]
    return normalise_number(float.fromhex(number) if found["hex"] else float(number))


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        reason, position = _flaw(data, error.start)
        start = data[: min(position, 20)].decode("utf-8", "ignore")
        raise logic_error(
            f"String `{start}` (truncated) is not a UTF-8 string; {reason} at position {position}."
        ) from None


def _flaw(data: bytes, start: int) -> tuple[str, int]:
    """Why the character that begins at `start` is not UTF-8, and at which byte that shows."""
    first = data[start]
    length = next(
        (length for length, mark in ((2, 0b110), (3, 0b1110), (4, 0b11110)) if first >> (7 - length) == mark), 0
    )
    if not length:
        return "Invalid initial byte seen", start
    for position in range(start + 1, start + length):
        if position == len(data):
            return "Expected continuation byte, saw end of string", position
        if data[position] >> 6 != 0b10:
            return "Expected continuation byte, saw something else", position
    if data[start : start + 2] >= b"\xf4\x90":
        reason = "Non-Unicode character encoded (beyond U+10FFFF)"
    else:
        reason = "surrogate code point" if first == 0xED else "Overlong encoding seen"
    return reason, start + length - 1
