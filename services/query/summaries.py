"""What a query is, without any of its values: for traces, which leave the machine and are kept elsewhere.

A shape has no constants to begin with. Strings that stay in shapes are names of tables and fields, but may also be
values (`r.expr("secret").coerce_to(...)`, `auth` of `r.http`), so only those in places of names are shown.
"""

from __future__ import annotations

import re
from typing import Any

from photondb.reql import shape as shapes
from photondb.reql.javascript_text import query_text
from photondb.reql.shape import Shape
from photondb.reql.wire import Term
from photondb.telemetry.operations import RUN
from photondb.telemetry.span_encoding import Attribute, encode_attributes

_VALUE = "?"

_NAMES_THINGS = frozenset({Term.DB, Term.TABLE, Term.ASC, Term.DESC})
"""Terms whose first argument is a name; where other terms have names, their first argument is what has these."""

_PLAIN_OPTIONS = frozenset(
    {"index", "durability", "conflict", "left_bound", "right_bound", "return_changes", "multi", "read_mode", "squash"}
)


class QuerySummary:
    """A query's text with `?` for every value, what it does and on what table (the first one that it names)."""

    __slots__ = ("_descriptions", "collection", "name", "namespace", "operation", "text")

    def __init__(self, shape: Shape) -> None:
        self.operation = Term(shape[0]).name.lower() if shape[0] > 0 else "expr"
        self.namespace, self.collection = _first_table(shape) or ("", "")
        self.name = f"{self.operation} {self.collection}" if self.collection else self.operation
        self.text = _in_a_line(query_text(_without_values(shape))).replace(f'"{_VALUE}"', _VALUE)
        self._descriptions: dict[str, bytes] = {}

    def description(self, default_database: str) -> bytes:
        """The name of the span of such a query and its attributes, by OpenTelemetry's conventions for databases."""
        description = self._descriptions.get(default_database)
        if description is None:
            attributes: dict[str, Attribute] = {"db.operation.name": self.operation, "db.query.text": self.text}
            if self.collection:
                attributes["db.namespace"] = self.namespace or default_database
                attributes["db.collection.name"] = self.collection
            description = RUN.described(self.name, encode_attributes(attributes))
            self._descriptions[default_database] = description
        return description


def _in_a_line(text: str) -> str:
    return re.sub(r"\n\s*", " ", re.sub(r"\n\s*(?=\.)", "", text))


def _first_table(shape: Shape) -> tuple[str, str] | None:
    """(database, table) of the first table that a query names; the database is empty where none is named."""
    waiting = [shape]
    while waiting:
        tag, *rest = waiting.pop()
        if tag == Term.TABLE:
            names = [arg for arg in rest[0] if arg[0] == shapes.LITERAL]
            databases = [arg[1][0][1] for arg in rest[0] if arg[0] == Term.DB and arg[1][0][0] == shapes.LITERAL]
            return (databases[0] if databases else "", names[-1][1]) if names else None
        if tag == shapes.OBJECT:
            waiting += [value for _, value in reversed(rest[0])]
        elif tag == Term.FUNC:
            waiting.append(rest[1])
        elif tag > 0:
            waiting += [*(value for _, value in rest[1]), *reversed(rest[0])]
    return None


def _without_values(shape: Shape, is_name: bool = False) -> Any:
    """The wire term of a shape, with `_VALUE` for what is not a name."""
    tag = shape[0]
    if tag == shapes.LITERAL:
        return shape[1] if is_name else _VALUE
    if tag in (shapes.CONSTANT, shapes.LITERAL_SCALAR):
        return _VALUE
    if tag == shapes.OBJECT:
        return {key: _without_values(value) for key, value in shape[1]}
    if tag == shapes.VAR:
        return [int(Term.VAR), [shape[1] + 1]]
    if tag == shapes.NOW:
        return [int(Term.NOW), []]
    if tag == Term.FUNC:
        names = [number + 1 for number in shape[1]]
        return [tag, [[int(Term.MAKE_ARRAY), names], _without_values(shape[2])]]
    args = [_without_values(arg, position > 0 or tag in _NAMES_THINGS) for position, arg in enumerate(shape[1])]
    options = {name: _option(name, value) for name, value in shape[2]}
    return [tag, args, options] if options else [tag, args]


def _option(name: str, value: Shape) -> Any:
    if name not in _PLAIN_OPTIONS:
        return _VALUE
    return value[2] if value[0] == shapes.LITERAL_SCALAR else _without_values(value, True)
