"""Queries whose value follows from what is written in them: arithmetic, comparisons, strings, arrays and objects.

    r.expr(17) + 1
    r.branch(r.expr("b") > "a", r.expr({"x": 1})["x"], None)

They read nothing and wait for nothing, so that they need neither an evaluation, which can be suspended, nor a job that
others can see and end. What is not a plain value at once is left to the evaluator, which begins anew: a value that
takes a while, because long arrays are gone through, a sequence, or an error, which has its place in the query told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from photondb.datum.errors import DatumError
from photondb.reql.effects import Effects
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.function import Frame
from photondb.reql.function_runtime import FunctionRuntime
from photondb.reql.values import PLAIN_TYPES, check_array_size
from services.query import responses

if TYPE_CHECKING:
    from services.query.plans import Plan

MAX_ELEMENTS = 1_000
"""How many elements of arrays a query goes through here at most."""


def is_pure(effects: Effects) -> bool:
    """Whether a query with these effects has the same value wherever it is evaluated, and has it after a while."""
    return not effects & ~Effects.NOW


class TakesLong(Exception):
    """The query goes through more elements than it may here."""


class _BriefRuntime(FunctionRuntime):
    """What pure queries run in, one after the other."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        super().__init__()
        self.left = 0

    def checkpoint(self, elements: int = 1) -> None:
        self.left -= elements
        if self.left < 0:
            raise TakesLong


_runtime = _BriefRuntime()


def pure_response(plan: Plan, constants: list[Any]) -> bytes | None:
    """The response to a query whose plan is `pure`; None where the evaluator is needed.

    Where the next query of its kind will need it, too, the plan is not `pure` any more."""
    frame: Frame = [_runtime, *constants]
    if plan.frame_size > len(frame):
        frame.extend([None] * (plan.frame_size - len(frame)))
    _runtime.left = MAX_ELEMENTS
    try:
        value = plan.run(frame)
        kind = type(value)
        if kind is int:
            return b'{"t":1,"r":[%d]}' % value
        if kind in PLAIN_TYPES:
            if kind is list:
                check_array_size(len(value), _runtime.array_limit)
            return responses.atom(value)
    except (ReqlError, DatumError) as error:
        if isinstance(error, DatumError) or error.kind is not ErrorKind.RESOURCE_LIMIT:
            return None
    except Exception:  # TakesLong, or what the evaluator will meet, too, and report
        pass
    plan.pure = False
    return None
