from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r

from photondb.reql.errors import ErrorKind
from tests.reql.evaluate import evaluate, failure

bits = st.integers(-(2**53), 2**53 - 1)


@given(st.lists(bits, min_size=1, max_size=4))
def test_bits_are_combined(numbers: list[int]) -> None:
    first, *rest = numbers
    both, either, odd = first, first, first
    for number in rest:
        both, either, odd = both & number, either | number, odd ^ number
    assert evaluate(r.bit_and(*numbers)) == both
    assert evaluate(r.bit_or(*numbers)) == either
    assert evaluate(r.bit_xor(*numbers)) == odd
    assert evaluate(r.expr(first).bit_not()) == ~first


@given(bits, st.integers(0, 80))
def test_bits_are_shifted(number: int, places: int) -> None:
    assert evaluate(r.expr(number).bit_sal(places)) == float(number << places)
    assert evaluate(r.expr(number).bit_sar(places)) == number >> places


@pytest.mark.parametrize(
    ("query", "message", "frames"),
    [
        (r.expr(2**53).bit_and(0), "Integer too large: 9007199254740992", (0,)),
        (r.expr(2**53 + 2).bit_or(0), "Number not an integer (>2^53): 9007199254740994", (0,)),
        (r.expr(-(2**53) - 2).bit_or(0), "Number not an integer (<-2^53): -9007199254740994", (0,)),
        (r.expr(1.5).bit_not(), "Number not an integer: 1.5", (0,)),
        (r.expr(1).bit_xor("a"), "Expected type NUMBER but found STRING.", (1,)),
        (r.expr(1).bit_sal(-1), "Cannot bit-shift by a negative value", ()),
        (r.expr(1).bit_sar(-1), "Cannot bit-shift by a negative value", ()),
        (r.expr(-1).bit_sal(5000), "Non-finite number: -inf", ()),
    ],
)
def test_what_has_no_bits_is_refused(query: Any, message: str, frames: tuple[int, ...]) -> None:
    error = failure(query)
    assert (error.kind, error.message, error.frames) == (ErrorKind.LOGIC, message, frames)


def test_zero_stays_zero_however_far_it_is_shifted() -> None:
    assert evaluate(r.expr(0).bit_sal(10**9)) == 0
