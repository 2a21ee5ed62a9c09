"""Comparison of any values, by the total order of all of them.

Filters live on comparisons of two plain values, so those have a closure of their own. Of more than two values each is
compared with the next one, and what comes after the first pair that decides is not evaluated.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from photondb.datum.order import compare, equal
from photondb.reql.callsite import Run
from photondb.reql.function import Frame
from photondb.reql.parameters import Datum
from photondb.reql.registry import FastPath, term
from photondb.reql.shape import Shape
from photondb.reql.wire import Term

_NUMBERS = frozenset({int, float})
_SCALARS = frozenset({int, float, str, bool})
"""The types whose values compare with one another as Python compares them."""


def _fast(holds: Callable[[Any, Any], bool], undecided: bool = True) -> FastPath:
    """Closures for a comparison that `holds` decides for two plain values. `undecided` is the answer for a pair after
    which the next one counts."""

    def fast(shape: Shape, args: list[Run], general: Callable[..., Any]) -> Run:
        if len(args) == 2:
            return _of_two(args[0], args[1], holds, general)
        return _of_many(args, undecided, general)

    return fast


def _of_two(left: Run, right: Run, holds: Callable[[Any, Any], bool], general: Callable[..., Any]) -> Run:
    def run(frame: Frame) -> Any:
        first, second = left(frame), right(frame)
        kind = type(first)
        if (kind is type(second) and kind in _SCALARS) or (kind in _NUMBERS and type(second) in _NUMBERS):
            return holds(first, second)
        return general(frame, first, second)

    return run


def _of_many(args: list[Run], undecided: bool, general: Callable[..., Any]) -> Run:
    first, *rest = args

    def run(frame: Frame) -> Any:
        left = first(frame)
        for arg in rest:
            right = arg(frame)
            if general(frame, left, right) is not undecided:
                return not undecided
            left = right
        return undecided

    return run


@term(Term.EQ, fast=_fast(operator.eq))
def eq(left: Datum, right: Datum, *rest: Datum) -> bool:
    """Whether all values are equal."""
    return all(equal(a, b) for a, b in pairwise((left, right, *rest)))


@term(Term.NE, fast=_fast(operator.ne, undecided=False))
def ne(left: Datum, right: Datum, *rest: Datum) -> bool:
    """Whether not all values are equal."""
    return not eq(left, right, *rest)


@term(Term.LT, fast=_fast(operator.lt))
def lt(left: Datum, right: Datum, *rest: Datum) -> bool:
    """Whether each value is less than the next one."""
    return all(compare(a, b) < 0 for a, b in pairwise((left, right, *rest)))


@term(Term.LE, fast=_fast(operator.le))
def le(left: Datum, right: Datum, *rest: Datum) -> bool:
    """Whether no value is greater than the next one."""
    return all(compare(a, b) <= 0 for a, b in pairwise((left, right, *rest)))


@term(Term.GT, fast=_fast(operator.gt))
def gt(left: Datum, right: Datum, *rest: Datum) -> bool:
    """Whether each value is greater than the next one."""
    return all(compare(a, b) > 0 for a, b in pairwise((left, right, *rest)))


@term(Term.GE, fast=_fast(operator.ge))
def ge(left: Datum, right: Datum, *rest: Datum) -> bool:
    """Whether no value is less than the next one."""
    return all(compare(a, b) >= 0 for a, b in pairwise((left, right, *rest)))
