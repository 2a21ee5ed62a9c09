"""Bitwise operations on integers, which must be within the 53 bits that a double holds exactly."""

from __future__ import annotations

import math
from typing import Annotated, Any

from photondb.datum.errors import DatumError
from photondb.datum.types import MAX_SAFE_INTEGER, normalise_number
from photondb.reql.errors import logic_error
from photondb.reql.parameters import Kind, as_integer
from photondb.reql.registry import term
from photondb.reql.wire import Term


def _bits(value: Any) -> int:
    integer = as_integer(value)
    if integer == MAX_SAFE_INTEGER:
        raise logic_error(f"Integer too large: {integer}")
    return integer


Bits = Annotated[int, Kind("53-bit integer", _bits)]


@term(Term.BIT_AND)
def bit_and(first: Bits, *rest: Bits) -> int:
    """The bits that are set in all numbers."""
    for bits in rest:
        first &= bits
    return first


@term(Term.BIT_OR)
def bit_or(first: Bits, *rest: Bits) -> int:
    """The bits that are set in any of the numbers."""
    for bits in rest:
        first |= bits
    return first


@term(Term.BIT_XOR)
def bit_xor(first: Bits, *rest: Bits) -> int:
    """The bits that are set in an odd number of the numbers."""
    for bits in rest:
        first ^= bits
    return first


@term(Term.BIT_NOT)
def bit_not(bits: Bits) -> int:
    """The number with all bits turned over."""
    return ~bits


@term(Term.BIT_SAL)
def bit_sal(bits: Bits, places: int) -> Any:
    """The bits moved to the left, so that the number doubles with each place. The result may be any double."""
    _check_places(places)
    try:
        return normalise_number(math.ldexp(bits, places))
    except OverflowError:
        raise DatumError(f"Non-finite number: {'inf' if bits > 0 else '-inf'}") from None


@term(Term.BIT_SAR)
def bit_sar(bits: Bits, places: int) -> int:
    """The bits moved to the right; the sign stays."""
    _check_places(places)
    return bits >> min(places, 63)


def _check_places(places: int) -> None:
    if places < 0:
        raise logic_error("Cannot bit-shift by a negative value")
