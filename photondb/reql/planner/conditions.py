"""What filters ask of a document, one condition for each part of their conjunction.

A filter that has a condition on what an index is on need not look at documents outside the condition's key set,
provided that nothing else shows whether it looked: no part before the condition may fail on such a document. Parts that
may fail are not `safe` (arithmetic on what may be a string, a field of what may be no object). The analysis of a
function is kept with its code, so that it is done once for each compiled query; values are filled in when it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from photondb.datum.errors import DatumError
from photondb.datum.types import reql_type
from photondb.reql import shape as shapes
from photondb.reql.errors import ReqlError
from photondb.reql.function import Func
from photondb.reql.planner.condition_keys import (
    Value,
    among,
    combined,
    comparing,
    computed_with,
    including,
    meeting,
)
from photondb.reql.planner.expressions import (
    ROW,
    Expression,
    expression_of,
    is_safe,
    resolved,
    text_of,
    uses,
    value_of,
)
from photondb.reql.planner.key_sets import (
    PRESENT,
    KeySet,
    NotComparable,
    equal_to,
)
from photondb.reql.planner.projections import Projection, projection_of
from photondb.reql.shape import Shape
from photondb.reql.steps import FilterStep, MapStep, Step
from photondb.reql.wire import Term

_COMPARISONS = frozenset({Term.EQ, Term.NE, Term.LT, Term.LE, Term.GT, Term.GE})
_GEOMETRY = frozenset({Term.INTERSECTS, Term.INCLUDES})
_TURNED = {Term.EQ: Term.EQ, Term.NE: Term.NE, Term.LT: Term.GT, Term.LE: Term.GE, Term.GT: Term.LT, Term.GE: Term.LE}
_SIGNS = {Term.EQ: "==", Term.NE: "!=", Term.LT: "<", Term.LE: "<=", Term.GT: ">", Term.GE: ">="}


class Condition(NamedTuple):
    """A condition in one run of a query: the values of `expression` that may fulfil it. With `elements` it is about the
    elements of an array. On a document outside of them an unsafe one is false, unless `expression` itself fails."""

    expression: Expression
    keys: KeySet
    elements: bool
    safe: bool
    text: str
    geo: bool = False
    """Whether the keys are those of cells in a geo index."""


class Alternatives(NamedTuple):
    """A part of a filter that holds only where all conditions of one of the branches do."""

    branches: tuple[tuple[Condition, ...], ...]


class Asked(NamedTuple):
    """What filters ask of a document: all of it must hold."""

    conditions: list[Condition]
    alternatives: list[Alternatives]


class Part(NamedTuple):
    """A part of a filter's conjunction: on what expression it is (None: it helps no index by itself), how to find its
    keys; of an `or` about different expressions the parts of each of its branches."""

    expression: Expression | None
    keys: Callable[[Func], KeySet] | None
    elements: bool
    safe: bool
    text: str
    branches: tuple[tuple[Part, ...], ...] = ()
    geo: bool = False


_NO_HELP = "no condition on one expression"


def conditions_of(steps: Sequence[Step]) -> list[Condition]:
    """The conditions of the filters that steps begin with, as far as an index may be used for them."""
    return asked_of(steps).conditions


def asked_of(steps: Sequence[Step]) -> Asked:
    """What the filters ask that steps begin with, as far as indexes may be used for it. There may be projections
    between them."""
    asked = Asked([], [])
    projections: list[Projection] = []
    for step in steps:
        if type(step) is MapStep:
            projection = projection_of(step)
            if projection is None:
                break
            projections.append(projection)
            continue
        if type(step) is not FilterStep or not step.func.pushable or not drops_missing(step):
            break
        for part in parts_of(step.func):
            try:
                _add(asked, part, step.func, projections)
            except (ReqlError, DatumError):  # the filter fails, too, if it gets there
                return asked
            if not part.safe:
                return asked
    return asked


def _add(asked: Asked, part: Part, func: Func, projections: Sequence[Projection]) -> None:
    """Add what a part asks. Raises the error that it fails with for every document."""
    if not part.branches:
        condition = _condition(part, func, projections)
        if condition is not None:
            asked.conditions.append(condition)
        return
    branches = []
    for branch in part.branches:
        found = [_condition(one, func, projections) for one in branch]
        branches.append(tuple(condition for condition in found if condition is not None))
    if all(branches):
        asked.alternatives.append(Alternatives(tuple(branches)))


def _condition(part: Part, func: Func, projections: Sequence[Projection]) -> Condition | None:
    if part.expression is None or part.keys is None:
        return None
    try:
        keys = part.keys(func)  # raises what the part fails with, also where it is of no use otherwise
    except NotComparable:
        return None
    expression = resolved(part.expression, func)
    for projection in reversed(projections):
        expression = None if expression is None else projection.of(expression)
    return None if expression is None else Condition(expression, keys, part.elements, part.safe, part.text, part.geo)


def drops_missing(step: FilterStep) -> bool:
    """Whether the filter leaves out documents that lack what it looks at."""
    if isinstance(step.default, bool):
        return not step.default
    return step.default.code.shape[1:] == ((), (shapes.LITERAL_SCALAR, "bool", False))


def never_fails(step: FilterStep) -> bool:
    """Whether the filter keeps or leaves out every document, whatever is in it."""
    func = step.func
    if not isinstance(step.default, bool) or not func.pushable:
        return False
    if func.code.object_body:
        return bool(func.code.shape[2][0] == shapes.CONSTANT)
    return len(func.slots) == 1 and is_safe(func.code.shape[2], func.code.shape[1][0])


def parts_of(func: Func) -> Sequence[Part]:
    """The parts of a filter's conjunction, in the order in which they are evaluated."""
    code = func.code
    if code.object_body:
        return _of_pattern(func)
    if code.parts is None:
        code.parts = tuple(_analysed(func)) if len(code.slots) == 1 else (Part(None, None, False, False, _NO_HELP),)
    return code.parts  # type: ignore[no-any-return]


# --- patterns


def _of_pattern(func: Func) -> list[Part]:
    body = func.code.shape[2]
    if body[0] != shapes.CONSTANT:
        return [Part(None, None, False, False, _NO_HELP)]
    pattern = value_of(body, func)
    if type(pattern) is not dict:
        return []
    return list(_of_fields(pattern, ROW))


def _of_fields(pattern: dict[str, Any], subject: Expression) -> Iterator[Part]:
    if "$reql_type$" in pattern:
        return
    for name, wanted in pattern.items():
        expression = ("field", subject, name)
        if type(wanted) is dict and reql_type(wanted) is None:
            yield from _of_fields(wanted, expression)
        elif not (type(wanted) is dict and wanted.get("$reql_type$") == "LITERAL"):
            keys = partial(_equal_to, wanted)
            yield Part(expression, keys, False, True, f"{text_of(expression)} == value")


def _equal_to(wanted: Any, _: Func) -> KeySet:
    return equal_to(wanted)


# --- functions


def _analysed(func: Func) -> Iterator[Part]:
    _, (row,), body = func.code.shape
    for shape in conjuncts(body):
        yield _Analysis(func, row).part(shape)


def conjuncts(shape: Shape, term: int = Term.AND) -> Iterator[Shape]:
    """The parts of `and`, or of another term, however it is nested. `has_fields` of several fields is a conjunction."""
    if shape[0] == term and shape[1] and not shape[2]:
        for arg in shape[1]:
            yield from conjuncts(arg, term)
    elif term == Term.AND and shape[0] == Term.HAS_FIELDS:
        subject, *names = shape[1]
        yield from ((shape[0], (subject, name), shape[2]) for name in names)
    else:
        yield shape


class _Analysis:
    """Finds what a boolean expression of the variable `row` says about another expression."""

    def __init__(self, func: Func, row: int) -> None:
        self.func = func
        self.row = row

    def part(self, shape: Shape) -> Part:
        safe = is_safe(shape, self.row)
        if shape[0] == Term.CONTAINS:
            found = self._of_contains(shape)
        else:
            found = self._of_geometry(shape) if shape[0] in _GEOMETRY else self._alternatives(shape)
        if found is None and shape[0] == Term.HAS_FIELDS and safe and len(shape[1]) == 2:
            expression = ("field", ROW, shape[1][1][1])
            return Part(expression, lambda _: PRESENT, False, True, f"{text_of(expression)} is there")
        if found is None:
            return Part(None, None, False, safe, _NO_HELP, self._branches(shape))
        return found

    def _branches(self, shape: Shape) -> tuple[tuple[Part, ...], ...]:
        """The branches of an `or`, if each of them has a condition. Where a branch fails on a document, that must be
        among those which its condition leads to: so one of several parts must be safe."""
        if shape[0] != Term.OR or not shape[1] or shape[2]:
            return ()
        branches = []
        for branch in conjuncts(shape, Term.OR):
            parts = tuple(map(self.part, conjuncts(branch)))
            helpful = tuple(part for part in parts if part.keys is not None)
            if not helpful or (len(parts) > 1 and not all(part.safe for part in parts)):
                return ()
            branches.append(helpful)
        return tuple(branches)

    def _alternatives(self, shape: Shape) -> Part | None:
        """A comparison of one expression with values, or `or` and `and` of such."""
        if shape[0] in (Term.OR, Term.AND) and shape[1] and not shape[2]:
            parts = [self.part(arg) for arg in shape[1]]
            first = parts[0]
            if any(
                part.keys is None or part.elements or part.geo or part.expression != first.expression for part in parts
            ):
                return None
            word = " or " if shape[0] == Term.OR else " and "
            text = word.join(part.text for part in parts)
            safe = all(part.safe for part in parts)
            makers = [part.keys for part in parts if part.keys is not None]
            combine = KeySet.__or__ if shape[0] == Term.OR else KeySet.__and__
            return Part(first.expression, combined(makers, combine), False, safe, text)
        if shape[0] in _COMPARISONS and len(shape[1]) >= 2 and not shape[2]:
            return self._comparison(shape)
        return None

    def _comparison(self, shape: Shape) -> Part | None:
        """A comparison of two values, or of more, each with the next one."""
        sides = [uses(arg, self.row) for arg in shape[1]]
        if sum(sides) != 1 or (shape[0] == Term.NE and len(sides) > 2):  # of more it says that not all are equal
            return None
        place = sides.index(True)
        subject = shape[1][place]
        expression = expression_of(subject, self.row)
        if expression is None:
            return None
        tests: list[tuple[int, Value]] = []
        if place > 0:
            tests.append((_TURNED[shape[0]], self._value(shape[1][place - 1])))
        if place + 1 < len(shape[1]):
            tests.append((shape[0], self._value(shape[1][place + 1])))
        text = " and ".join(f"{text_of(expression)} {_SIGNS[Term(operator)]} value" for operator, _ in tests)
        makers = [comparing(operator, value) for operator, value in tests]
        return Part(expression, combined(makers, KeySet.__and__), False, is_safe(subject, self.row), text)

    def _of_contains(self, shape: Shape) -> Part | None:
        """`values.contains(expression)` or `expression.contains(value, ...)`."""
        if len(shape[1]) < 2 or shape[2] or any(arg[0] == Term.FUNC for arg in shape[1]):
            return None
        sequence, *required = shape[1]
        if not uses(sequence, self.row):
            expression = expression_of(required[0], self.row) if len(required) == 1 else None
            if expression is None or not uses(required[0], self.row):
                return None
            safe = is_safe(required[0], self.row)
            return Part(expression, among(self._value(sequence)), False, safe, f"{text_of(expression)} in values")
        expression = expression_of(sequence, self.row)
        if expression is None or any(uses(arg, self.row) for arg in required):
            return None
        values = [self._value(arg) for arg in required]
        return Part(expression, including(values), True, False, f"{text_of(expression)} contains value")

    def _of_geometry(self, shape: Shape) -> Part | None:
        """`expression.intersects(geometry)`, or the other way round, and `geometry.includes(expression)`: what it may
        hold for meets the geometry. Anything but geometry fails, or is a sequence, and must be seen."""
        if len(shape[1]) != 2 or shape[2]:
            return None
        sides = [uses(arg, self.row) for arg in shape[1]]
        if sum(sides) != 1 or (shape[0] == Term.INCLUDES and sides[0]):
            return None
        place = sides.index(True)
        expression = expression_of(shape[1][place], self.row)
        if expression is None:
            return None
        text = f"{text_of(expression)} " + ("meets geometry" if shape[0] == Term.INTERSECTS else "lies in geometry")
        return Part(expression, meeting(self._value(shape[1][1 - place])), False, False, text, geo=True)

    def _value(self, shape: Shape) -> Value:
        """What gives the value of a shape without the row."""
        if shape[0] in (shapes.LITERAL, shapes.LITERAL_SCALAR):
            constant = shape[-1]
            return lambda _: constant
        if shape[0] in (shapes.CONSTANT, shapes.NOW):
            return lambda func: value_of(shape, func)
        return computed_with(shape, self.func)
