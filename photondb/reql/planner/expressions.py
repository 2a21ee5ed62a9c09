"""Expressions of a row, written in one way, so that what a filter looks at can be compared with what an index is on.

An expression is a nested tuple: `ROW`, a field of an expression, a value, or a term and its arguments.
`r.row["a"]`, `row.get_field("a")` and the index on the field `a` have the same one: ("field", ROW, "a").
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from photondb.datum.errors import DatumError
from photondb.datum.order import sort_key
from photondb.datum.text import print_datum
from photondb.reql import shape as shapes
from photondb.reql.function import Func
from photondb.reql.shape import Shape
from photondb.reql.wire import Term

Expression = tuple[Hashable, ...]

ROW: Expression = ("row",)

_FIELD_TERMS = frozenset({Term.BRACKET, Term.GET_FIELD})

_SAFE_TERMS = frozenset(
    {Term.EQ, Term.NE, Term.LT, Term.LE, Term.GT, Term.GE, Term.AND, Term.OR, Term.NOT, Term.MAKE_ARRAY, Term.DEFAULT}
)
"""Terms that fail only where their arguments do."""


def expression_of(shape: Shape, row: int) -> Expression | None:
    """The expression that a shape is, of the variable `row`; None for one with functions in it. Values that are known
    only when the query runs stand in it as ("value", shape)."""
    tag = shape[0]
    if tag == shapes.VAR:
        return ROW if shape[1] == row else ("value", shape)
    if tag in (shapes.CONSTANT, shapes.NOW):
        return ("value", shape)
    if tag == shapes.LITERAL:
        return ("is", sort_key(shape[1]))
    if tag == shapes.LITERAL_SCALAR:
        return ("is", sort_key(shape[2]))
    if tag < 0 or tag == Term.FUNC or shape[2]:
        return None
    if tag in _FIELD_TERMS and shape[1][1][0] == shapes.LITERAL:
        subject = expression_of(shape[1][0], row)
        return None if subject is None else ("field", subject, shape[1][1][1])
    parts = [expression_of(arg, row) for arg in shape[1]]
    return None if None in parts else ("call", tag, *parts)


def resolved(expression: Expression, func: Func) -> Expression | None:
    """The expression with the values that it has in this run of the query; None where one cannot be compared."""
    if expression[0] == "value":
        try:
            return ("is", sort_key(value_of(expression[1], func)))  # type: ignore[arg-type]
        except (DatumError, KeyError):  # a table, a function
            return None
    if not _has_values(expression):
        return expression
    parts = [resolved(part, func) if type(part) is tuple and part[:1] != ("is",) else part for part in expression]
    return None if None in parts else tuple(parts)


def _has_values(expression: Hashable) -> bool:
    return type(expression) is tuple and (expression[:1] == ("value",) or any(map(_has_values, expression)))


def value_of(shape: Shape, func: Func) -> Any:
    """The value of a constant or of a captured variable of a function."""
    if shape[0] == shapes.VAR:
        return func.frame[func.code.variable_base + shape[1]]
    return func.frame[1 + shape[1]]


def indexed_expression(func: Func) -> Expression | None:
    """The expression that an index is on, from its function."""
    expression = expression_of(func.code.shape[2], func.code.shape[1][0])
    return None if expression is None else resolved(expression, func)


def elements_of(expression: Expression) -> tuple[Expression, ...]:
    """The parts of the expression of a compound index, or the expression itself."""
    if expression[:2] == ("call", Term.MAKE_ARRAY):
        return expression[2:]  # type: ignore[return-value]
    return (expression,)


def is_field(expression: Expression) -> bool:
    """Whether an expression is a field of the row, however deep."""
    while expression[0] == "field":
        expression = expression[1]  # type: ignore[assignment]
    return expression == ROW


def uses(shape: Shape, row: int) -> bool:
    """Whether a shape has the variable `row` in it."""
    tag = shape[0]
    if tag == shapes.VAR:
        return bool(shape[1] == row)
    if tag == shapes.OBJECT:
        return any(uses(value, row) for _, value in shape[1])
    if tag < 0:
        return False
    if tag == Term.FUNC:
        return uses(shape[2], row)
    return any(uses(arg, row) for arg in shape[1]) or any(uses(value, row) for _, value in shape[2])


def is_safe(shape: Shape, row: int) -> bool:
    """Whether evaluating a shape, for whatever document, gives a value or the error that something is missing, and can
    fail in no other way."""
    tag = shape[0]
    if tag == shapes.VAR:
        return bool(shape[1] == row)
    if tag in (shapes.CONSTANT, shapes.NOW, shapes.LITERAL, shapes.LITERAL_SCALAR):
        return True
    if tag == Term.HAS_FIELDS:  # it may be marked as what is done to each row of a sequence
        return shape[1][0] == (shapes.VAR, row) and all(arg[0] == shapes.LITERAL for arg in shape[1][1:])
    if tag < 0 or tag == Term.FUNC or shape[2]:
        return False
    if tag in _FIELD_TERMS:
        return shape[1][0] == (shapes.VAR, row) and all(arg[0] == shapes.LITERAL for arg in shape[1][1:])
    return tag in _SAFE_TERMS and all(is_safe(arg, row) for arg in shape[1])


def text_of(expression: Expression) -> str:
    """The expression as people write it."""
    kind = expression[0]
    if expression == ROW:
        return "row"
    if kind == "field":
        return f"{text_of(expression[1])}[{print_datum(expression[2])}]"  # type: ignore[arg-type]
    if kind == "call":
        name = Term(expression[1]).name.lower()  # type: ignore[arg-type]
        parts = ", ".join(map(text_of, expression[2:]))  # type: ignore[arg-type]
        return f"[{parts}]" if expression[1] == Term.MAKE_ARRAY else f"{name}({parts})"
    return "value"
