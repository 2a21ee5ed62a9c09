"""The kinds of parameters that terms have, and the check and conversion that each stands for.

A term's Python signature is its ReQL signature: the annotation of a parameter names one of the kinds below. At
compile time each kind gives a check for one argument of one call, which knows where the argument stands in the query.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any

from photondb.datum.errors import DatumError
from photondb.datum.text import exact_number_text, truncated_print
from photondb.datum.types import MAX_SAFE_INTEGER, truthy
from photondb.reql import shape as shapes
from photondb.reql.effects import Effects
from photondb.reql.errors import ErrorKind, Frames, ReqlError
from photondb.reql.function import Func, FunctionCode, literal_term
from photondb.reql.runtime import Runtime
from photondb.reql.stream import Stream
from photondb.reql.values import (
    PLAIN_TYPES,
    Database,
    SingleSelection,
    TableSlice,
    as_datum,
    as_sequence,
    expect_table,
    wrong_datum,
    wrong_type,
)
from photondb.reql.wire import Term

Check = Callable[[Any], Any]


class Kind:
    """A kind of parameter: how docs name it, and how an argument is checked (None: anything goes)."""

    def __init__(self, name: str, convert: Check | None, shortcut: str = "") -> None:
        self.name = name
        self.convert = convert
        self.shortcut = shortcut

    def check(self, path: Frames) -> Check | None:
        """The check for the argument at `path`."""
        convert = self.convert
        if convert is None:
            return None

        def checked(value: Any) -> Any:
            try:
                return convert(value)
            except ReqlError as error:
                if error.frames is None:
                    error.frames = path
                raise
            except DatumError as error:
                raise reql_error(error, path) from None

        return checked


_KINDS = {
    "logic": ErrorKind.LOGIC,
    "non_existence": ErrorKind.NON_EXISTENCE,
    "resource": ErrorKind.RESOURCE_LIMIT,
}


def reql_error(error: DatumError, path: Frames | None = None) -> ReqlError:
    """The ReQL error that an error of the value library becomes."""
    return ReqlError(_KINDS[error.kind], error.message, path)


def as_string(value: Any) -> str:
    """The string that a value is. This and the functions after it raise RethinkDB's errors for other values."""
    if type(value) is str:
        return value
    value = as_datum(value)
    if type(value) is str:
        return value
    raise wrong_datum("STRING", value)


def as_number(value: Any) -> int | float:
    if type(value) is int or type(value) is float:
        return value
    value = as_datum(value)
    if type(value) is int or type(value) is float:
        return value
    raise wrong_datum("NUMBER", value)


def as_integer(value: Any) -> int:
    value = as_number(value)
    if type(value) is int:
        return value
    if value.is_integer() and abs(value) <= MAX_SAFE_INTEGER:  # such as 5.0 in an optional argument, or negative zero
        return int(value)
    outside = "" if abs(value) <= MAX_SAFE_INTEGER else " (<-2^53)" if value < 0 else " (>2^53)"
    raise ReqlError(ErrorKind.LOGIC, f"Number not an integer{outside}: {exact_number_text(value)}")


def as_int32(value: Any) -> int:
    integer = as_integer(value)
    if -(2**31) <= integer < 2**31:
        return integer
    raise ReqlError(ErrorKind.LOGIC, f"Integer too large: {integer}")


def as_boolean(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    return truthy(as_datum(value))


def as_array(value: Any) -> list[Any]:
    if type(value) is list:
        return value
    value = as_datum(value)
    if type(value) is list:
        return value
    raise wrong_datum("ARRAY", value)


def as_object(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        value = as_datum(value)
        if type(value) is not dict:
            raise wrong_datum("OBJECT", value)
    if "$reql_type$" in value:
        raise wrong_datum("OBJECT", value)
    return value


def _pseudotype(name: str) -> Check:
    def convert(value: Any) -> Any:
        value = as_datum(value)
        if type(value) is dict and value.get("$reql_type$") == name:
            return value
        raise ReqlError(ErrorKind.LOGIC, f"Not a {name} pseudotype: `{truncated_print(value)}`.")

    return convert


def _database(value: Any) -> Database:
    if type(value) is Database:
        return value
    raise wrong_type("DATABASE", value)


def _selection(value: Any) -> Stream | TableSlice:
    if type(value) is TableSlice or (isinstance(value, Stream) and value.table is not None):
        return value
    raise wrong_type("SELECTION", value)


def _single(value: Any) -> SingleSelection:
    if type(value) is SingleSelection:
        return value
    raise wrong_type("SINGLE_SELECTION", value)


def _slice(value: Any) -> TableSlice:
    if type(value) is TableSlice:
        return value
    raise wrong_type("TABLE_SLICE", value)


def _function(value: Any) -> Func:
    if type(value) is Func:
        return value
    raise wrong_type("FUNCTION", value)


def _constant_function(value: Any) -> Func:
    if type(value) is Func:
        return value
    if type(value) not in PLAIN_TYPES and type(value) is not SingleSelection:
        raise wrong_type("FUNCTION", value)
    return constant_function(as_datum(value))


def as_field_function(value: Any) -> Func:
    """A function; a datum stands for the function that takes that field."""
    if type(value) is Func:
        return value
    if type(value) not in PLAIN_TYPES and type(value) is not SingleSelection:
        raise wrong_type("FUNCTION", value)
    return field_function(as_datum(value))


def _durability(value: Any) -> str:
    word = as_string(value)
    if word == "hard" or word == "soft":
        return word
    raise ReqlError(ErrorKind.LOGIC, f'Durability option `{word}` unrecognized (options are "hard" and "soft").')


_CONSTANT_SHAPE: shapes.Shape = (int(Term.FUNC), (), (shapes.CONSTANT, 0))


def constant_function(value: Any, effects: Effects = Effects.NONE) -> Func:
    """A function that gives `value` whatever it is called with. `effects` are those that making the value had."""
    code = _CONSTANT_CODE if effects is Effects.NONE else _constant_code(effects)
    return Func(code, [None, value])


def _constant_code(effects: Effects) -> FunctionCode:
    return FunctionCode(
        slots=(),
        body=operator.itemgetter(1),
        shape=_CONSTANT_SHAPE,
        variable_base=2,
        captures=frozenset(),
        effects=effects,
        fields=frozenset(),
        object_body=True,
        path=(),
        literals=True,  # the value may be a patch
    )


_CONSTANT_CODE = _constant_code(Effects.NONE)


def field_function(name: Any) -> Func:
    """A function that takes the field `name` of its argument."""
    return _function_of_row(Term.GET_FIELD, name)


def equality_function(value: Any) -> Func:
    """A function that says whether its argument equals `value`."""
    return _function_of_row(Term.EQ, value)


def _function_of_row(number: Term, value: Any) -> Func:
    body = [int(number), [[int(Term.VAR), [1]], literal_term(value)]]
    return Func.from_wire([int(Term.FUNC), [[int(Term.MAKE_ARRAY), [1]], body]])


VALUE = Kind("any", None)
DATUM = Kind("datum", as_datum)
STRING = Kind("string", as_string)
NUMBER = Kind("number", as_number)
INTEGER = Kind("integer", as_integer)
BOOLEAN = Kind("bool", as_boolean)
ARRAY = Kind("array", as_array)
OBJECT = Kind("object", as_object)

Value = Annotated[Any, VALUE]
"""Anything: a datum, a table, a stream, a function, ..."""
Datum = Annotated[Any, DATUM]
"""Any datum; a selection of one document stands for the document."""
Number = Annotated[Any, NUMBER]
Int32 = Annotated[int, Kind("32-bit integer", as_int32)]
Time = Annotated[dict[str, Any], Kind("time", _pseudotype("TIME"))]
Binary = Annotated[dict[str, Any], Kind("binary", _pseudotype("BINARY"))]
Geometry = Annotated[dict[str, Any], Kind("geometry", _pseudotype("GEOMETRY"))]
Sequence = Annotated[Any, Kind("sequence", as_sequence)]
"""An array as a list, everything else that can be gone through as a Stream."""
DatabaseValue = Annotated[Database, Kind("database", _database)]
Table = Annotated[TableSlice, Kind("table", expect_table)]
Slice = Annotated[TableSlice, Kind("table slice", _slice)]
Selection = Annotated[Any, Kind("selection", _selection)]
Document = Annotated[SingleSelection, Kind("single selection", _single)]
Function = Annotated[Func, Kind("function", _function)]
"""A function proper."""
ConstantOrFunction = Annotated[Func, Kind("function or datum", _constant_function)]
"""A function; a datum stands for the function that always gives it."""
FieldOrFunction = Annotated[Func, Kind("function or field name", as_field_function, "field")]
"""A function; a string stands for the function that takes that field."""
Durability = Annotated[Any, Kind("durability", _durability)]
"""The word "hard" or "soft"."""

Delayed = Annotated[Func, Kind("any", None, "delayed")]
"""What is evaluated only when it is needed, if at all: a function without parameters."""

KIND_OF_TYPE: dict[Any, Kind] = {
    str: STRING,
    bool: BOOLEAN,
    int: INTEGER,
    float: NUMBER,
    list: ARRAY,
    list[Any]: ARRAY,
    dict: OBJECT,
    dict[str, Any]: OBJECT,
    Any: DATUM,
}

__all__ = [
    "Binary",
    "Check",
    "ConstantOrFunction",
    "DatabaseValue",
    "Datum",
    "Delayed",
    "Document",
    "Durability",
    "FieldOrFunction",
    "Func",
    "Function",
    "Geometry",
    "Int32",
    "Kind",
    "Number",
    "Runtime",
    "Selection",
    "Sequence",
    "Slice",
    "Table",
    "Time",
    "Value",
    "as_array",
    "as_boolean",
    "as_field_function",
    "as_int32",
    "as_integer",
    "as_number",
    "as_object",
    "as_string",
    "constant_function",
    "equality_function",
    "field_function",
    "reql_error",
]
