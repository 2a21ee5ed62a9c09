"""The least and the greatest value of all, which bound ranges."""

from __future__ import annotations

from photondb.datum.extreme import MAXVAL, MINVAL, Extreme
from photondb.reql.registry import term
from photondb.reql.wire import Term


@term(Term.MINVAL)
def minval() -> Extreme:
    """Less than every other value."""
    return MINVAL


@term(Term.MAXVAL)
def maxval() -> Extreme:
    """Greater than every other value."""
    return MAXVAL
