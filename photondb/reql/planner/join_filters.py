"""What filters behind a join ask of one of its sides alone, as filters of that side.

`left.eq_join("f", right).filter(r.row["left"]["a"] == 1)` has the same pairs when only left rows with that `a` are
joined. The filter stays where it is, too: what is found here only leaves out rows early. So a part may be taken that
cannot fail on any row, as long as none before it could: a row that is left out is not seen by those any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from photondb.reql import shape as shapes
from photondb.reql.function import Func, literal_term
from photondb.reql.planner.conditions import conjuncts, drops_missing, never_fails
from photondb.reql.planner.expressions import ROW, is_safe, uses, value_of
from photondb.reql.planner.projections import Projection, projection_of
from photondb.reql.shape import Shape
from photondb.reql.steps import FilterStep, MapStep, Step
from photondb.reql.wire import Term

SIDES = ("left", "right")
LEFT_OF_PAIR = Projection({"left": ROW}, others_stay=False)
"""What the fields of a pair are of its left row."""


class SideFilters(NamedTuple):
    """Filters of the rows of each side."""

    left: tuple[FilterStep, ...]
    right: tuple[FilterStep, ...]


class _Found(NamedTuple):
    """A part of a filter that is about one side, 0 or 1, and what makes a function of that side's row of it."""

    side: int
    make: Callable[[Func], Func]


def side_filters(steps: Sequence[Step]) -> SideFilters:
    """What the filters that steps behind a join begin with ask of the rows of a side, which must be objects."""
    found: tuple[list[FilterStep], list[FilterStep]] = ([], [])
    for step in steps:
        if type(step) is not FilterStep or not step.func.pushable or not drops_missing(step):
            break
        func = step.func
        parts, complete = _of_pattern(func) if func.code.object_body else _of_function(func)
        for part in parts:
            found[part.side].append(FilterStep(part.make(func)))
        if not complete:
            break
    return SideFilters(tuple(found[0]), tuple(found[1]))


def keeps_objects(steps: Sequence[Step]) -> bool:
    """Whether the rows that steps make of documents are objects, too, and none fails on a document."""
    return all(_keeps_objects(step) for step in steps)


def _keeps_objects(step: Step) -> bool:
    if type(step) is FilterStep:
        return never_fails(step)
    return type(step) is MapStep and projection_of(step) is not None


def _of_function(func: Func) -> tuple[Sequence[_Found], bool]:
    """The parts of a filter that are about one side, up to one that may fail, and whether there is none such. It is
    kept with the function's code, so that it is found out once for each compiled query."""
    code = func.code
    if code.sides is None:
        parts: list[_Found] = []
        complete = len(code.slots) == 1
        for shape in conjuncts(code.shape[2]) if complete else ():
            found = _about_one_side(shape, func)
            if found is None:
                complete = False
                break
            parts.append(found)
        code.sides = parts, complete
    return code.sides  # type: ignore[no-any-return]


def _about_one_side(shape: Shape, func: Func) -> _Found | None:
    (row,) = func.code.shape[1]
    for side, name in enumerate(SIDES):
        of_side = _with_row(shape, row, name)
        if of_side is not None and is_safe(of_side, row):
            return _Found(side, _function_with(of_side, row, func))
    return None


def _of_pattern(func: Func) -> tuple[Sequence[_Found], bool]:
    """The same of a pattern of constants, which are others each time. It cannot fail."""
    body = func.code.shape[2]
    pattern = value_of(body, func) if body[0] == shapes.CONSTANT else None
    if type(pattern) is not dict or "$reql_type$" in pattern:
        return (), False
    found = []
    for side, name in enumerate(SIDES):
        part = pattern.get(name)
        if type(part) is dict and "$reql_type$" not in part:
            found.append(_Found(side, _matching(part)))
    return found, True


def _matching(pattern: dict[str, Any]) -> Callable[[Func], Func]:
    return lambda _: Func.from_wire([int(Term.FUNC), [[int(Term.MAKE_ARRAY), []], literal_term(pattern)]])


def _with_row(shape: Shape, row: int, name: str) -> Shape | None:
    """A shape with the field `name` of the row replaced by the row itself; None where it looks at anything else."""
    tag = shape[0]
    if tag == shapes.VAR:
        return None if shape[1] == row else shape
    if tag == Term.FUNC or (tag < 0 and tag != shapes.OBJECT):
        return None if uses(shape, row) else shape
    if tag in (Term.BRACKET, Term.GET_FIELD) and shape[1] == ((shapes.VAR, row), (shapes.LITERAL, name)):
        return (shapes.VAR, row)
    if tag == shapes.OBJECT or shape[2]:
        return None
    args = [_with_row(arg, row, name) for arg in shape[1]]
    return None if None in args else (tag, tuple(args), ())


def _function_with(body: Shape, row: int, func: Func) -> Callable[[Func], Func]:
    """What makes a function of the same variable with another body, and other variables as they are in a frame."""
    from photondb.reql.compiler import Compiler

    base = func.code.variable_base
    compiler = Compiler(base - 1, len(func.frame) - base)
    run = compiler.function((int(Term.FUNC), (row,), body), func.code.path).run
    size = compiler.frame_size

    def make(func: Func) -> Func:
        frame = func.frame[:]
        frame.extend([None] * (size - len(frame)))
        made: Func = run(frame)
        return made

    return make
