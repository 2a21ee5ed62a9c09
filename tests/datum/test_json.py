from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from photondb.datum.errors import DatumError
from photondb.datum.json import dumps, loads, loads_stored
from photondb.datum.types import MINVAL, normalise_number
from tests.datum.values import values


def shape(value: Any) -> Any:
    """`value` with the type of each number, so that 1 is not 1.0."""
    if type(value) is dict:
        return {name: shape(field) for name, field in value.items()}
    if type(value) is list:
        return [shape(element) for element in value]
    return (type(value), value)


def denormalise(value: Any) -> Any:
    """`value` with floats for ints, as other people's JSON has them."""
    if type(value) is dict:
        return {name: denormalise(field) for name, field in value.items()}
    if type(value) is list:
        return [denormalise(element) for element in value]
    return float(value) if type(value) is int else value


@given(values)
def test_values_come_back_from_json(value: Any) -> None:
    raw = dumps(value)
    assert shape(loads(raw)) == shape(value)
    assert shape(loads_stored(raw)) == shape(value)
    assert json.loads(raw) == value


@given(values)
@example([0] * 10)
@example([*range(10), 2**53, 0.5, 1e20])
@example([0.5] * 10)
def test_numbers_are_normalised_wherever_they_are(value: Any) -> None:
    assert shape(loads(json.dumps(denormalise(value)))) == shape(value)


@given(st.lists(st.integers(-(2**70), 2**70), max_size=12))
def test_large_integers_become_floats(array: list[int]) -> None:
    raw = json.dumps(array).encode()
    assert shape(loads(raw)) == shape([normalise_number(float(number)) for number in array])


@pytest.mark.parametrize(
    ("raw", "value"), [(b"1.0", 1), (b"1e2", 100), (b"9007199254740993", 2**53), (b"1e16", 1e16), (b"true", True)]
)
def test_bare_numbers_are_normalised(raw: bytes, value: Any) -> None:
    assert shape(loads(raw)) == shape(value)


def test_negative_zero_survives() -> None:
    assert dumps(-0.0) == b"-0.0"
    assert math.copysign(1, loads(b"[-0.0]")[0]) == -1


@pytest.mark.parametrize("raw", [b"", b"{", b'"\xff"', b'"\\ud800"', b"NaN", b"1e400", b"[" * 2000])
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="line 1"):
        loads(raw)


def test_deep_values_are_read_and_written() -> None:
    value: Any = 1.5
    for _ in range(250):
        value = [value]
    assert dumps(value) == b"[" * 250 + b"1.5" + b"]" * 250
    for _ in range(1000):
        value = [value]
    with pytest.raises(DatumError, match="nested too deeply") as caught:
        dumps(value)
    assert caught.value.kind == "resource"
    read = loads(b"[" * 1000 + b"1.0" + b"]" * 1000)
    for _ in range(1000):
        (read,) = read
    assert shape(read) == shape(1)


def test_null_characters_and_lone_surrogates_are_written() -> None:
    assert dumps("\0") == b'"\\u0000"'
    assert dumps({"a\ud800": ["\udfff\U0001f600"]}) == '{"a\ufffd":["\ufffd\U0001f600"]}'.encode()


def test_extremes_are_not_written() -> None:
    with pytest.raises(DatumError, match=r"Cannot convert `r\.minval` to JSON\."):
        dumps({"a": [MINVAL]})
