"""Writes ReQL with the official driver, for what storage is given in wire form."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rethinkdb import r
from rethinkdb.ast import Func as DriverFunc
from rethinkdb.ast import ReQLEncoder

import photondb.reql.terms  # noqa: F401  # all terms of the language
from photondb.reql.function import Func


def term(function: Callable[..., Any]) -> list[Any]:
    """The FUNC term of a lambda as one would give it to the driver."""
    wire: list[Any] = json.loads(ReQLEncoder().encode(DriverFunc(function)))
    return wire


def func(function: Callable[..., Any]) -> Func:
    """The same, compiled, as the argument of an update is: `r.literal` may stand in what it gives."""
    return Func.from_wire([*term(function), {"frames": [1], "literals": True}])


def constant(value: Any) -> Func:
    """The function that gives `value` whatever it is given: what `update({...})` is made of."""
    return func(lambda _: r.expr(value))
