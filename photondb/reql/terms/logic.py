"""Negation. `and` and `or`, which may leave arguments unevaluated, are in `control`."""

from __future__ import annotations

from photondb.reql.registry import term
from photondb.reql.wire import Term


@term(Term.NOT)
def not_(value: bool) -> bool:
    """True for false and null, false for everything else."""
    return not value
