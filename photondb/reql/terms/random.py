"""What another evaluation gives another value for: random numbers and UUIDs."""

from __future__ import annotations

import random as generator
import uuid as uuids
from math import isfinite
from typing import Any

from photondb.datum.text import exact_number_text
from photondb.datum.types import normalise_number
from photondb.reql.effects import Effects
from photondb.reql.errors import logic_error
from photondb.reql.parameters import Number
from photondb.reql.registry import term
from photondb.reql.wire import Term

NAMESPACE = uuids.UUID("91461c99-f89d-49d2-af96-d8e2e14e9b58")
"""What UUIDs by name are made from besides the name; RethinkDB's, so that the same names have the same UUIDs."""


@term(Term.RANDOM, effects=Effects.NONDETERMINISTIC)
def random(first: Number = None, second: Number = None, *, float: bool | None = None) -> Any:
    """A random number: from 0 up to 1, up to one bound, or from one bound up to another. With bounds it is an integer,
    unless `float` is true."""
    low, high = (0, first) if second is None else (first, second)
    if float is None:
        float = first is None
    if float:
        return normalise_number(_between(low, 1 if high is None else high))
    if high is None:
        raise logic_error("Generating a random integer requires one or two bounds.")
    low, high = _integer("Lower", low), _integer("Upper", high)
    if low >= high:
        raise logic_error(f"Lower bound ({low}) is not less than upper bound ({high}).")
    return generator.randrange(low, high)


def _between(low: int | float, high: int | float) -> int | float:
    """A number from `low` on, not quite up to `high`, which may be the smaller one."""
    share = generator.random()
    number = low + share * (high - low) if isfinite(high - low) else low * (1 - share) + high * share
    return low if (number >= high if high > low else number <= high) else number


def _integer(which: str, bound: int | float) -> int:
    if type(bound) is not int:
        raise logic_error(f"{which} bound ({exact_number_text(bound)}) could not be safely converted to an integer.")
    return bound


@term(Term.UUID, effects=lambda arguments: Effects.NONE if arguments else Effects.NONDETERMINISTIC)
def uuid(name: str | None = None) -> str:
    """A random UUID, or the one that always belongs to a name."""
    return str(uuids.uuid4() if name is None else uuids.uuid5(NAMESPACE, name))
