"""JSON as text: reading it and writing it."""

from __future__ import annotations

import json as parser
import math
from typing import Any

from photondb.datum.json_syntax import flaw
from photondb.datum.text import print_compact, print_datum
from photondb.datum.validation import validate
from photondb.reql.errors import ReqlError, logic_error, resource_limit
from photondb.reql.parameters import Datum, Runtime
from photondb.reql.registry import term
from photondb.reql.values import check_array_size, take_turns
from photondb.reql.wire import Term

EXACT_DIGITS = 15
"""An integer of so many digits is a double without being rounded."""


class NotJson(Exception):
    """A text is not JSON; `flaw` says why."""

    def __init__(self, flaw: str) -> None:
        super().__init__(flaw)
        self.flaw = flaw


@term(Term.JSON)
def json(runtime: Runtime, text: str) -> Any:
    """The value that a JSON text stands for."""
    take_turns(runtime, len(text))
    if "\0" in text:
        raise logic_error("Encountered unescaped null byte in JSON string.")
    try:
        return read_json(text, runtime.array_limit)
    except NotJson as error:
        shown = text if len(text) <= 40 else text[:37] + "..."
        raise logic_error(f'Failed to parse "{shown}" as JSON: {error.flaw}') from None


@term(Term.TO_JSON_STRING)
def to_json_string(runtime: Runtime, value: Datum) -> str:
    """The JSON text of a value, with the fields of objects in order."""
    text = print_compact(value)
    take_turns(runtime, len(text))
    return text


def read_json(text: str, array_limit: int) -> Any:
    """The value that a JSON text stands for. Raises NotJson, and DatumError or ReqlError for what is no value."""
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise NotJson(_flaw(text)) from None
    if len(text) > 2 * array_limit:  # an element takes two characters at least
        _check_arrays(value, array_limit)
    return validate(value, literals=True)  # as RethinkDB allows, so that a text can be merged with its literals


def _flaw(text: str) -> str:
    try:
        return flaw(text) or "Unspecific syntax error."
    except RecursionError:
        raise _too_deep() from None


def _too_deep() -> ReqlError:
    return resource_limit("JSON text is nested too deeply.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for position, name in enumerate(names) if name in names[:position])
        raise logic_error(f"Duplicate key {print_datum(twice)} in JSON.")
    return made


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= EXACT_DIGITS else _float(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(digits)
    return number


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


_DECODER = parser.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_refuse)


def _check_arrays(value: Any, limit: int) -> None:
    if type(value) is list:
        check_array_size(len(value), limit)
        for element in value:
            _check_arrays(element, limit)
    elif type(value) is dict:
        for field in value.values():
            _check_arrays(field, limit)
