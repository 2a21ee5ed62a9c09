"""Arithmetic: on numbers, and where it has a sense on times, strings and arrays."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from photondb.datum.time import add_duration, difference
from photondb.datum.types import MAX_SAFE_INTEGER, normalise_number
from photondb.reql.callsite import Run
from photondb.reql.errors import logic_error
from photondb.reql.function import Frame
from photondb.reql.parameters import Datum, Number, Runtime, as_integer, as_number
from photondb.reql.registry import FastPath, term
from photondb.reql.shape import Shape
from photondb.reql.values import check_array_size, check_string_size, take_turns, wrong_datum
from photondb.reql.wire import Term

_NUMBERS = frozenset({int, float})


def _fast(operate: Callable[[Any, Any], Any]) -> FastPath:
    """The closure for an operation on two numbers; everything unusual is left to the general call."""

    def fast(shape: Shape, args: list[Run], general: Callable[..., Any]) -> Run | None:
        if len(args) != 2:
            return None
        left, right = args
        divides = operate is operator.truediv

        def run(frame: Frame) -> Any:
            first, second = left(frame), right(frame)
            if type(first) in _NUMBERS and type(second) in _NUMBERS and (second or not divides):
                result = operate(first, second)
                if -MAX_SAFE_INTEGER <= result <= MAX_SAFE_INTEGER:
                    if type(result) is int or result % 1:
                        return result
                    if result:  # zero may be a negative one
                        return int(result)
            return general(frame, first, second)

        return run

    return fast


@term(Term.ADD, fast=_fast(operator.add))
def add(runtime: Runtime, first: Datum, *rest: Datum) -> Any:
    """The sum of numbers, a time so many seconds later, or strings or arrays joined together."""
    total = first
    for value in rest:
        total = _add(runtime, total, value)
    return total


@term(Term.SUB, fast=_fast(operator.sub))
def sub(first: Datum, *rest: Datum) -> Any:
    """The difference of numbers, a time so many seconds earlier, or the seconds between two times."""
    total = first
    for value in rest:
        if _is_time(total):
            total = difference(total, value) if _is_time(value) else add_duration(total, -as_number(value))
        else:
            total = normalise_number(as_number(total) - as_number(value))
    return total


@term(Term.MUL, fast=_fast(operator.mul))
def mul(runtime: Runtime, first: Datum, *rest: Datum) -> Any:
    """The product of numbers, or an array repeated."""
    total = first
    for value in rest:
        if type(total) is list or type(value) is list:
            array, times = (total, value) if type(total) is list else (value, total)
            total = _repeat(runtime, array, times)
        else:
            total = normalise_number(as_number(total) * as_number(value))
    return total


@term(Term.DIV, fast=_fast(operator.truediv))
def div(first: Datum, *rest: Datum) -> Any:
    """The first number divided by all others."""
    total = first
    for value in rest:
        total = as_number(total)
        if as_number(value) == 0:
            raise logic_error("Cannot divide by zero.")
        total = normalise_number(total / value)
    return total


@term(Term.MOD)
def mod(dividend: int, divisor: int) -> int:
    """The remainder of a division of integers; it has the sign of the dividend."""
    if divisor == 0:
        raise logic_error("Cannot take a number modulo 0.")
    remainder = abs(dividend) % abs(divisor)
    return remainder if dividend >= 0 else -remainder


@term(Term.FLOOR)
def floor(number: Number) -> Any:
    """The greatest integer that is not greater than the number."""
    return normalise_number(math.floor(number))


@term(Term.CEIL)
def ceil(number: Number) -> Any:
    """The least integer that is not less than the number."""
    return normalise_number(math.ceil(number))


@term(Term.ROUND)
def round_(number: Number) -> Any:
    """The nearest integer; of two that are equally near, the one farther from zero."""
    whole = math.trunc(number)
    if abs(number - whole) >= 0.5:
        whole += 1 if number > 0 else -1
    return normalise_number(whole)


def _add(runtime: Runtime, left: Any, right: Any) -> Any:
    if _is_time(left):
        return add_duration(left, as_number(right))
    if _is_time(right):
        return add_duration(right, as_number(left))
    if type(left) is str:
        if type(right) is not str:
            raise wrong_datum("STRING", right)
        size = len(left) + len(right)
        check_string_size(size)
        take_turns(runtime, size)
        return left + right
    if type(left) is list:
        if type(right) is not list:
            raise wrong_datum("ARRAY", right)
        check_array_size(len(left) + len(right), runtime.array_limit)
        return left + right
    return normalise_number(as_number(left) + as_number(right))


def _repeat(runtime: Runtime, array: list[Any], times: Any) -> list[Any]:
    count = as_integer(times)
    if count < 0:
        raise logic_error("Cannot multiply an ARRAY by a negative number.")
    check_array_size(len(array) * count, runtime.array_limit)
    return array * count


def _is_time(value: Any) -> bool:
    return type(value) is dict and value.get("$reql_type$") == "TIME"
