"""Recognises filters that only rows with one value in a field can pass, so that these rows' feeds can be looked up."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from photondb.datum.types import REQL_TYPE
from photondb.reql.steps import FilterStep, Step
from photondb.reql.wire import Term

_SCALARS = frozenset({str, int, float, bool, type(None)})

Equality = tuple[str, Hashable]
"""A field, and the `value_key` of what it must be."""

NO_KEY = object()


def value_key(value: Any) -> Hashable:
    """What is equal for equal values of a field; `NO_KEY` for those that are not looked up."""
    kind = type(value)
    if kind is bool:
        return (value,)  # for Python, True is 1
    return value if kind in _SCALARS else NO_KEY


def required_equality(steps: Sequence[Step]) -> Equality | None:
    """What a row must have to pass the filters that `steps` begin with; None where nothing that simple is known."""
    for step in steps:
        if not isinstance(step, FilterStep):
            return None
        found = _of_filter(step)
        if found is not None:
            return found
    return None


def _of_filter(step: FilterStep) -> Equality | None:
    if step.default is not False:
        return None  # rows without the field may pass, too
    (_, parameters), body = step.func.to_wire()[1]
    if type(body) is dict:
        return _of_pattern(body)
    return _of_condition(body, parameters[0]) if parameters else None


def _of_pattern(pattern: dict[str, Any]) -> Equality | None:
    """`filter({"field": value, ...})`."""
    if REQL_TYPE in pattern:
        return None
    for field, value in pattern.items():
        key = value_key(value)
        if key is not NO_KEY:
            return field, key
    return None


def _of_condition(condition: Any, row: int) -> Equality | None:
    """`row["field"] == value`, or several conditions of which one is that. A condition that fails leaves the row out
    as a false one does, so that their order does not matter."""
    if type(condition) is not list or len(condition) != 2:
        return None
    term, arguments = condition
    if term == Term.AND:
        return next(filter(None, (_of_condition(argument, row) for argument in arguments)), None)
    if term != Term.EQ or len(arguments) != 2:
        return None
    for one, other in (arguments, reversed(arguments)):
        key = value_key(other)
        if key is not NO_KEY and type(one) is list and len(one) == 2 and one[0] in (Term.BRACKET, Term.GET_FIELD):
            subject, field = one[1]
            if subject == [int(Term.VAR), [row]] and type(field) is str:
                return field, key
    return None
