from __future__ import annotations

import copy
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.datum.binary import make_binary
from photondb.datum.errors import DatumError
from photondb.datum.time import make_time
from photondb.datum.types import (
    MAXVAL,
    MINVAL,
    has_canonical_numbers,
    is_pseudotype,
    normalise_number,
    reql_type,
    truthy,
    type_name,
)
from tests.datum.values import values


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "NULL"),
        (True, "BOOL"),
        (1, "NUMBER"),
        (1.5, "NUMBER"),
        ("", "STRING"),
        ([], "ARRAY"),
        ({}, "OBJECT"),
        (make_time(0, "Z"), "PTYPE<TIME>"),
        (make_binary(b""), "PTYPE<BINARY>"),
        ({"$reql_type$": "GEOMETRY", "type": "Point", "coordinates": [0, 0]}, "PTYPE<GEOMETRY>"),
        (MINVAL, "MINVAL"),
        (MAXVAL, "MAXVAL"),
    ],
)
def test_every_type_has_its_name(value: object, name: str) -> None:
    assert type_name(value) == name


def test_pseudo_types_are_told_from_plain_objects() -> None:
    assert is_pseudotype(make_time(0, "Z"))
    assert reql_type(make_time(0, "Z")) == "TIME"
    plain: object
    for plain in ({"a": 1}, [], None, "TIME"):
        assert not is_pseudotype(plain)
        assert reql_type(plain) is None


def test_a_pseudo_type_must_be_named_by_a_string() -> None:
    with pytest.raises(DatumError) as caught:
        reql_type({"$reql_type$": 5})
    assert caught.value.message == (
        'Error: Field `$reql_type$` must be a string (got `5` of type NUMBER):\n{\n\t"$reql_type$":\t5\n}'
    )


@pytest.mark.parametrize(
    ("number", "canonical"),
    [
        (1, 1),
        (1.0, 1),
        (-3.0, -3),
        (0.5, 0.5),
        (2**53, 2**53),
        (2.0**53, 2**53),
        (-(2.0**53), -(2**53)),
        (2**53 + 2, 2.0**53 + 2),
        (2**53 + 1, 2**53),
        (2**53 + 3, 2.0**53 + 4),
        (1e300, 1e300),
        (0.0, 0),
    ],
)
def test_integral_numbers_are_ints_up_to_two_to_the_53(number: float, canonical: float) -> None:
    normalised = normalise_number(number)
    assert (normalised, type(normalised)) == (canonical, type(canonical))


def test_negative_zero_stays_a_float() -> None:
    zero = normalise_number(-0.0)
    assert type(zero) is float
    assert math.copysign(1, zero) == -1


@pytest.mark.parametrize(
    ("number", "text"),
    [(math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "nan"), (10**400, "inf"), (-(10**400), "-inf")],
)
def test_numbers_must_be_finite(number: float, text: str) -> None:
    with pytest.raises(DatumError) as caught:
        normalise_number(number)
    assert caught.value.message == f"Non-finite number: {text}"
    assert caught.value.kind == "logic"


@given(st.lists(st.integers() | st.floats()))
def test_arrays_called_canonical_are(array: list[float]) -> None:
    if has_canonical_numbers(array, set(map(type, array))):
        normalised = [normalise_number(number) for number in array]
        assert [(type(number), number) for number in normalised] == [(type(number), number) for number in array]


@pytest.mark.parametrize("array", [[1, 2, 3], [0.5, -1e-300, 2.25]])
def test_plain_arrays_of_numbers_are_called_canonical(array: list[float]) -> None:
    assert has_canonical_numbers(array, set(map(type, array)))


@given(values)
def test_only_null_and_false_are_not_true(value: object) -> None:
    assert truthy(value) == (type_name(value) not in ("NULL", "BOOL") or value is True)


def test_there_is_one_of_each_extreme() -> None:
    for extreme in (MINVAL, MAXVAL):
        assert copy.deepcopy(extreme) is extreme
        assert pickle.loads(pickle.dumps(extreme)) is extreme
    assert repr(MINVAL) == "MINVAL"
