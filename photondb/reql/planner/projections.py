"""Projections: maps whose rows have fields of documents as they were, so that a filter behind one asks the document.

`pluck("a", "b").filter({"a": 1})` keeps rows of the same documents as `filter({"a": 1})` does. So an index finds them,
if the projection fails for no document: those that it would fail on must be seen.
"""

from __future__ import annotations

from photondb.reql import shape as shapes
from photondb.reql.function import Func
from photondb.reql.planner.expressions import ROW, Expression, expression_of, is_safe, resolved, value_of
from photondb.reql.shape import Shape
from photondb.reql.steps import MapStep
from photondb.reql.wire import Term


class Projection:
    """What a field of a row is of the document that it comes from: one of `fields`; the same where `others_stay`."""

    def __init__(self, fields: dict[str, Expression | None], others_stay: bool) -> None:
        self._fields = fields
        self._others_stay = others_stay

    def of(self, expression: Expression) -> Expression | None:
        """The expression of the document that gives what this one gives of the row; None if none does."""
        if expression[0] == "is":
            return expression
        if expression == ROW:
            return None
        if expression[0] == "field" and expression[1] == ROW:
            name = expression[2]
            assert isinstance(name, str)
            return self._fields.get(name, expression if self._others_stay else None)
        parts = [self.of(part) if type(part) is tuple else part for part in expression]
        return None if None in parts else tuple(parts)


def projection_of(step: MapStep) -> Projection | None:
    """The projection that a map is; None where it is something else, or may fail."""
    func = step.func
    if step.skip_missing or len(func.slots) != 1 or not func.pushable:
        return None
    _, (row,), body = func.code.shape
    if body[0] == shapes.OBJECT or body[0] == shapes.CONSTANT:
        fields = _fields_of_object(body, row, func)
        return None if fields is None else Projection(fields, others_stay=False)
    if body[0] not in (Term.PLUCK, Term.WITHOUT, Term.MERGE) or body[1][0] != (shapes.VAR, row):
        return None
    rest = body[1][1:]
    if body[0] == Term.MERGE:
        return _merge(rest, row, func)
    if not all(arg[0] == shapes.LITERAL for arg in rest):
        return None
    names = [arg[1] for arg in rest]
    if body[0] == Term.PLUCK:
        return Projection({name: ("field", ROW, name) for name in names}, others_stay=False)
    return Projection(dict.fromkeys(names), others_stay=True)


def _merge(patches: tuple[Shape, ...], row: int, func: Func) -> Projection | None:
    fields: dict[str, Expression | None] = {}
    for patch in patches:
        if patch[0] == Term.FUNC and len(patch[1]) == 1:
            found = _fields_of_object(patch[2], patch[1][0], func)
        else:
            found = _fields_of_object(patch, row, func)
        if found is None:
            return None
        fields.update(dict.fromkeys(found))  # what an object is merged with may be an object, too
    return Projection(fields, others_stay=True)


def _fields_of_object(shape: Shape, row: int, func: Func) -> dict[str, Expression | None] | None:
    """What each field of an object literal is of the row; None where it is no object literal, or may fail."""
    if shape[0] == shapes.CONSTANT:
        value = value_of(shape, func)
        return dict.fromkeys(value) if type(value) is dict and "$reql_type$" not in value else None
    if shape[0] != shapes.OBJECT or any(key == "$reql_type$" for key, _ in shape[1]):
        return None
    if not all(_always_gives(value, row) for _, value in shape[1]):
        return None
    found = [(key, expression_of(value, row)) for key, value in shape[1]]
    return {key: None if expression is None else resolved(expression, func) for key, expression in found}


def _always_gives(shape: Shape, row: int) -> bool:
    """Whether a shape gives a value for every document."""
    tag = shape[0]
    if tag in (shapes.CONSTANT, shapes.NOW, shapes.LITERAL, shapes.LITERAL_SCALAR) or shape == (shapes.VAR, row):
        return True
    if tag == Term.DEFAULT and len(shape[1]) == 2:
        return is_safe(shape[1][0], row) and _always_gives(shape[1][1], row)
    return tag == Term.HAS_FIELDS and is_safe(shape, row)
