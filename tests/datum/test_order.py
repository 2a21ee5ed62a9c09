from __future__ import annotations

import copy
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given

from photondb.datum.binary import binary_bytes, make_binary
from photondb.datum.errors import DatumError
from photondb.datum.order import compare, equal, sort_key
from photondb.datum.time import make_time
from photondb.datum.types import MAXVAL, MINVAL, type_name
from tests.datum.values import bounds, values

anything = values | bounds

ASCENDING = [
    MINVAL,
    [],
    [MINVAL],
    [[]],
    [False],
    [1],
    [1, 2],
    [1, "a"],
    [2],
    False,
    True,
    None,
    -1e300,
    -1.5,
    -1,
    0,
    0.5,
    1,
    1.5,
    2**53,
    1e300,
    {},
    {"$reql_type$": "GEOMETRY", "coordinates": [0, 0], "type": "Point"},
    {"$reql_type$": "GEOMETRY", "coordinates": [0, 1], "type": "Point"},
    {"a": 0},
    {"a": 0, "b": 0},
    {"a": 1},
    {"b": 0},
    make_binary(b""),
    make_binary(b"\0"),
    make_binary(b"\0\x01"),
    make_binary(b"\x01"),
    make_binary(b"\x70"),
    make_binary(b"\xfe"),
    make_time(-1.5, "+00:00"),
    make_time(0, "-07:00"),
    make_time(1, "+14:00"),
    "",
    "\0",
    "a",
    "a\0",
    "aa",
    "b",
    "é",
    "\uffff",
    "\U00010000",
    MAXVAL,
]


def reference(left: Any, right: Any) -> int:
    """The order as the documentation tells it, without a thought for speed."""
    rank, other = order_name(left), order_name(right)
    if rank != other:
        return -1 if rank < other else 1
    if rank == "ARRAY":
        for one, another in zip(left, right, strict=False):
            if result := reference(one, another):
                return result
        return sign(len(left), len(right))
    if rank == "OBJECT":
        for (name, one), (other_name, another) in zip(sorted(left.items()), sorted(right.items()), strict=False):
            if result := sign(name.encode(), other_name.encode()) or reference(one, another):
                return result
        return sign(len(left), len(right))
    if rank == "PTYPE<TIME>":
        return sign(left["epoch_time"], right["epoch_time"])
    if rank == "PTYPE<BINARY>":
        return sign(binary_bytes(left), binary_bytes(right))
    if rank == "STRING":
        return sign(left.encode(), right.encode())
    if rank in ("BOOL", "NUMBER"):
        return sign(left, right)
    return 0


def order_name(value: Any) -> str:
    name = type_name(value)
    return {"MINVAL": "", "MAXVAL": "~", "PTYPE<GEOMETRY>": "OBJECT"}.get(name, name)


def sign(left: Any, right: Any) -> int:
    return bool(left > right) - bool(left < right)


def test_the_order_across_types() -> None:
    for lower, higher in pairwise(ASCENDING):
        assert compare(lower, higher) == -1, (lower, higher)
        assert compare(higher, lower) == 1, (lower, higher)
        assert not equal(lower, higher)
    shuffled = random.Random(1).sample(ASCENDING, len(ASCENDING))
    assert sorted(shuffled, key=sort_key) == ASCENDING


@given(anything, anything)
def test_compare_is_the_order(left: Any, right: Any) -> None:
    expected = reference(left, right)
    assert compare(left, right) == expected
    assert compare(right, left) == -expected
    assert equal(left, right) == (expected == 0)


@given(anything, anything, anything)
def test_the_order_is_transitive(first: Any, second: Any, third: Any) -> None:
    low, middle, high = sorted((first, second, third), key=sort_key)
    assert compare(low, middle) <= 0
    assert compare(middle, high) <= 0
    assert compare(low, high) <= 0


@given(anything, anything)
def test_sort_keys_agree(left: Any, right: Any) -> None:
    assert sign(sort_key(left), sort_key(right)) == compare(left, right)
    assert (sort_key(left) == sort_key(right)) == equal(left, right)
    if equal(left, right):
        assert hash(sort_key(left)) == hash(sort_key(right))


@given(values)
def test_a_value_equals_itself(value: Any) -> None:
    same = copy.deepcopy(value)
    assert equal(value, same)
    assert equal([value], [same])
    assert compare(value, same) == 0
    assert hash(sort_key(value)) == hash(sort_key(same))


def test_true_is_not_one() -> None:
    assert not equal(True, 1)
    assert not equal([False], [0])
    assert not equal({"a": True}, {"a": 1})
    assert len({sort_key(True), sort_key(1), sort_key([True]), sort_key([1])}) == 4


def test_zero_has_no_sign() -> None:
    assert equal(-0.0, 0)
    assert sort_key(-0.0) == sort_key(0)


def test_times_are_equal_in_all_zones() -> None:
    here, there = make_time(1375147296.681, "-07:00"), make_time(1375147296.681, "+05:30")
    assert equal(here, there)
    assert equal({"at": [here]}, {"at": [there]})
    assert len({sort_key(here), sort_key(there)}) == 1


def test_pseudo_types_without_an_order_are_refused() -> None:
    literal = {"$reql_type$": "LITERAL", "value": 1}
    for refused in (sort_key, lambda value: compare(value, dict(value)), lambda value: equal(value, dict(value))):
        with pytest.raises(DatumError) as caught:
            refused(literal)
        assert caught.value.message == "Incomparable type PTYPE<LITERAL>."
