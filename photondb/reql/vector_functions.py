"""Functions of a row as expressions over columns.

Functions are taken from their shapes, with their constants and captured values. What is not plain raises `Unsuited`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from photondb.reql import shape as shapes
from photondb.reql import vector_expressions as expressions
from photondb.reql.function import Func
from photondb.reql.shape import Shape
from photondb.reql.vector_expressions import Expression
from photondb.reql.vectors import Unsuited
from photondb.reql.wire import Term

_COMPARISONS: dict[int, Callable[[Any, Any], Any]] = {
    Term.EQ: operator.eq,
    Term.NE: operator.ne,
    Term.LT: operator.lt,
    Term.LE: operator.le,
    Term.GT: operator.gt,
    Term.GE: operator.ge,
}
_ARITHMETIC: dict[int, Callable[[Any, Any], Any]] = {
    Term.ADD: operator.add,
    Term.SUB: operator.sub,
    Term.MUL: operator.mul,
    Term.DIV: operator.truediv,
}
MAX_TERMS = 200
"""A block of rows is evaluated in one go: longer expressions are left to the evaluator of single rows, which can be
interrupted."""


class FunctionTranslator:
    """Makes expressions of functions, and notes what they are made of."""

    __slots__ = ("fields", "parts", "terms")

    def __init__(self) -> None:
        self.fields: set[str] = set()
        """The fields of a row that the expressions look at."""
        self.terms = 0
        """How many terms are evaluated for each block of rows."""
        self.parts: list[Hashable] = []
        """All that was translated, every term before its arguments: two translators with equal parts have made the
        same expressions."""

    def predicate(self, func: Func) -> Expression:
        """The function of a filter, which may be a pattern. Raises Unsuited."""
        if not func.code.object_body:
            return self.function(func)
        body = func.code.shape[2]
        if body[0] == shapes.OBJECT:
            pattern = [(name, shape, None) for name, shape in body[1]]
        else:
            value = func.body(func.frame)
            if type(value) is not dict:
                return self._constant(value)
            pattern = [(name, None, wanted) for name, wanted in value.items()]
        if not pattern or any(name == "$reql_type$" for name, _, _ in pattern):
            raise Unsuited
        self.parts += ("pattern", len(pattern))
        return expressions.first_deciding(
            False,
            [
                expressions.comparison(
                    operator.eq,
                    self._field(name),
                    self._constant(wanted) if shape is None else self._expression(shape, func),
                )
                for name, shape, wanted in pattern
            ],
        )

    def function(self, func: Func) -> Expression:
        """A function of one argument, the row. Raises Unsuited."""
        if len(func.slots) != 1 or not func.pushable or func.code.object_body:
            raise Unsuited
        if func.code.simple_field is not None:
            return self._field(func.code.simple_field)
        return self._expression(func.code.shape[2], func)

    def _field(self, name: str) -> Expression:
        self.fields.add(name)
        self.parts += (Term.GET_FIELD, name)
        return expressions.field(name)

    def _constant(self, value: Any) -> Expression:
        found = expressions.constant(value)
        self.parts += ("constant", type(value) is bool, value)  # true is not 1, but 1.0 is
        return found

    def _expression(self, shape: Shape, func: Func) -> Expression:
        tag = shape[0]
        if tag == shapes.CONSTANT:
            return self._constant(func.frame[1 + shape[1]])
        if tag == shapes.LITERAL:
            return self._constant(shape[1])
        if tag == shapes.LITERAL_SCALAR:
            return self._constant(shape[2])
        if tag == shapes.VAR and func.code.variable_base + shape[1] not in func.slots:
            return self._constant(func.frame[func.code.variable_base + shape[1]])
        if tag < 0 or tag == Term.FUNC or any(name != shapes.NO_RECURSE for name, _ in shape[2]):
            raise Unsuited  # that a row is no sequence need not be said
        return self._term(tag, shape[1], func)

    def _term(self, tag: int, args: Sequence[Shape], func: Func) -> Expression:
        self.terms += 1
        if self.terms > MAX_TERMS:
            raise Unsuited
        if tag in (Term.BRACKET, Term.GET_FIELD, Term.HAS_FIELDS):
            if not self._is_row(args[0], func) or not all(arg[0] == shapes.LITERAL for arg in args[1:]):
                raise Unsuited
            names = [arg[1] for arg in args[1:]]
            if tag == Term.HAS_FIELDS:
                self.fields.update(names)
                self.parts += (tag, *names, None)
                return expressions.having(names)
            if len(names) != 1:
                raise Unsuited
            return self._field(names[0])
        if any(arg[0] == Term.ARGS for arg in args):
            raise Unsuited
        self.parts += (tag, len(args))
        parts = [self._expression(arg, func) for arg in args]
        if tag in (Term.AND, Term.OR) and parts:
            return expressions.first_deciding(tag == Term.OR, parts)
        if tag == Term.NOT and len(parts) == 1:
            return expressions.negation(parts[0])
        if tag == Term.BRANCH and len(parts) == 3:
            return expressions.choice(parts[0], parts[1], parts[2])
        if len(parts) == 2:
            if tag in _COMPARISONS:
                return expressions.comparison(_COMPARISONS[tag], parts[0], parts[1])
            if tag in _ARITHMETIC:
                return expressions.arithmetic(_ARITHMETIC[tag], parts[0], parts[1])
            if tag == Term.DEFAULT:
                return expressions.defaulting(parts[0], parts[1])
        raise Unsuited

    @staticmethod
    def _is_row(shape: Shape, func: Func) -> bool:
        return bool(shape[0] == shapes.VAR and func.code.variable_base + shape[1] == func.slots[0])
