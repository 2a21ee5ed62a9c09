from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.datum.binary import make_binary
from photondb.datum.errors import DatumError
from photondb.datum.keys import (
    HIGHEST,
    LOWEST,
    after_prefix,
    decode_key,
    encode_key,
    end_of_key,
    key_range,
    primary_key,
    secondary_key,
    split_entry,
)
from photondb.datum.order import compare, equal, sort_key
from photondb.datum.time import make_time
from photondb.datum.types import MAXVAL, MINVAL
from tests.datum import values as a
from tests.datum.test_order import ASCENDING, sign

GEOMETRY = {"$reql_type$": "GEOMETRY", "type": "Point", "coordinates": [0, 0]}
BOUND = st.sampled_from(["open", "closed"])


def message(function: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(DatumError) as caught:
        function(*arguments, **options)
    return caught.value.message


def test_keys_are_in_order_across_types() -> None:
    encoded = [
        encode_key(value) for value in ASCENDING if value is not None and (type(value) is not dict or is_key(value))
    ]
    assert len(encoded) > 30
    for lower, higher in pairwise(encoded):
        assert lower < higher


def is_key(value: dict[str, Any]) -> bool:
    return value.get("$reql_type$") in ("TIME", "BINARY")


@given(a.bounds, a.bounds)
def test_keys_compare_as_their_values(left: Any, right: Any) -> None:
    assert sign(encode_key(left), encode_key(right)) == compare(left, right)


@given(a.numbers, a.numbers)
def test_numbers_compare_as_their_keys(left: float, right: float) -> None:
    assert sign(encode_key(left), encode_key(right)) == sign(left, right)


@given(a.strings, a.strings)
def test_strings_compare_as_their_keys(left: str, right: str) -> None:
    assert sign(encode_key(left), encode_key(right)) == sign(left.encode(), right.encode())


@given(a.bounds)
def test_keys_come_back_as_values(value: Any) -> None:
    key = encode_key(value)
    assert equal(decode_key(key), value)
    assert LOWEST <= key < HIGHEST


@given(st.lists(a.bounds, max_size=5))
def test_concatenated_keys_can_be_told_apart(parts: list[Any]) -> None:
    keys = b"".join(map(encode_key, parts))
    start = 0
    for part in parts:
        end = end_of_key(keys, start)
        assert keys[start:end] == encode_key(part)
        start = end
    assert start == len(keys)


@given(a.keys, a.keys, a.keys, a.keys)
def test_entries_come_in_the_order_of_value_and_primary_key(
    value: Any, id: Any, other_value: Any, other_id: Any
) -> None:
    entry = encode_key(value) + encode_key(id)
    other = encode_key(other_value) + encode_key(other_id)
    assert sign(entry, other) == sign((sort_key(value), sort_key(id)), (sort_key(other_value), sort_key(other_id)))
    assert split_entry(entry) == (encode_key(value), encode_key(id))


@given(st.binary(max_size=4) | st.binary(max_size=2).map(lambda start: start + b"\xff\xff"), st.binary(max_size=3))
def test_nothing_with_a_prefix_is_after_it(prefix: bytes, rest: bytes) -> None:
    after = after_prefix(prefix)
    if prefix.rstrip(b"\xff"):
        assert prefix + rest < after
        assert after[:-1] == prefix[: len(after) - 1]
        assert after[-1] == prefix[len(after) - 1] + 1
    else:
        assert after == HIGHEST


@given(st.lists(a.keys, max_size=8), a.bounds, a.bounds, BOUND, BOUND)
def test_ranges_hold_just_what_is_between(
    stored: list[Any], left: Any, right: Any, left_bound: str, right_bound: str
) -> None:
    low, high = key_range(left, right, left_bound, right_bound, secondary=True)
    assert low <= high
    for value in [*stored, left, right]:
        above = compare(left, value) < (1 if left_bound == "closed" else 0)
        below = compare(value, right) < (1 if right_bound == "closed" else 0)
        key = encode_key(value)
        for entry in (key, key + encode_key(""), key + encode_key("zzz"), key + encode_key([])):
            assert (low <= entry < high) == (above and below)


def test_ranges_of_primary_keys() -> None:
    keys = {value: primary_key(value) for value in (1, 2, 3, "a", "ab", "b")}

    def between(*bounds: Any) -> list[Any]:
        low, high = key_range(*bounds)
        return [value for value, key in keys.items() if low <= key < high]

    assert between(1, 3) == [1, 2]
    assert between(1, 3, "open", "closed") == [2, 3]
    assert between("a", "b") == ["a", "ab"]
    assert between("a", "b", "open") == ["ab"]
    assert between(MINVAL, MAXVAL) == [1, 2, 3, "a", "ab", "b"]
    assert between(2, MAXVAL, "open") == [3, "a", "ab", "b"]
    assert between(3, 1) == []
    assert between(2, 2) == []
    assert between(2, 2, "closed", "closed") == [2]


def test_ranges_over_the_second_part_of_a_compound_index() -> None:
    low, high = key_range(["x", MINVAL], ["x", MAXVAL], secondary=True)
    assert [low <= encode_key(key) < high for key in (["w", 9], ["x"], ["x", 1], ["x", "z", 3], ["y"])] == [
        False,
        False,
        True,
        True,
        False,
    ]


@given(a.keys)
def test_indexed_values_have_their_plain_key(value: Any) -> None:
    assert secondary_key(value) == encode_key(value)


@given(a.keys)
def test_primary_keys_are_plain_keys(value: Any) -> None:
    try:
        key = primary_key(value)
    except DatumError as error:
        assert error.message.startswith(("Primary key too long", "String "))  # noqa: PT017 - either may be drawn
    else:
        assert key == encode_key(value)


@pytest.mark.parametrize("value", ["x" * 127, "é" * 63 + "x", ["x" * 124], [1.5, "a", True], make_time(1.5, "Z")])
def test_primary_keys_up_to_the_limit(value: Any) -> None:
    assert primary_key(value) == encode_key(value)


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("x" * 128, '"' + "x" * 128 + '"'),
        ("é" * 64, '"' + "é" * 64 + '"'),
        (["x" * 126], '[\n\t"' + "x" * 126 + '"\n]'),
        ([1] * 7, "[\n\t" + ",\n\t".join("1" * 7) + "\n]"),
    ],
)
def test_primary_keys_beyond_the_limit(value: Any, printed: str) -> None:
    assert message(primary_key, value) == f"Primary key too long (max 127 characters): {printed}"


def test_the_limit_counts_as_rethinkdb_does() -> None:
    # "A", and per number "N", 16 hexadecimal digits, "#", the decimal digits, and a separator.
    assert primary_key([1] * 6)  # 1 + 6 * 20 = 121
    assert primary_key([1] * 5 + [12345678])  # 128
    assert message(primary_key, [1] * 5 + [123456789]).startswith("Primary key too long")  # 129
    # 0 and 1 are escaped in "PBINARY:".
    assert primary_key(make_binary(b"\x02" * 120))
    assert message(primary_key, make_binary(b"\x02" * 121)).startswith("Primary key too long")
    assert primary_key(make_binary(b"\x01" * 60))
    assert message(primary_key, make_binary(b"\x01" * 61)).startswith("Primary key too long")


def test_primary_keys_have_no_null_characters() -> None:
    expected = 'String "a\\x00\\xc3\\xa9\\"" (truncated) contains NULL byte at offset 1 in index key.'
    assert message(primary_key, 'a\0é"') == expected
    assert message(primary_key, [["ok"], 'a\0é"']) == expected
    long = 'String "xxxxxxxxxxxxxxxxxxxx" (truncated) contains NULL byte at offset 30 in index key.'
    assert message(primary_key, "x" * 30 + "\0") == long


@pytest.mark.parametrize(("value", "kind", "name"), [(None, "non_existence", "NULL"), ({"a": 1}, "logic", "OBJECT")])
def test_what_cannot_be_a_key(value: Any, kind: str, name: str) -> None:
    printed = "null" if value is None else '{\n\t"a":\t1\n}'
    assert message(primary_key, value) == (
        f"Primary keys must be either a number, string, bool, pseudotype or array (got type {name}):\n{printed}"
    )
    assert message(secondary_key, value) == (
        f"Secondary keys must be a number, string, bool, pseudotype, or array (got type {name}):\n{printed}"
    )
    assert message(key_range, value, 1) == message(primary_key, value)
    assert message(key_range, 1, value, secondary=True) == (
        f"Secondary keys must be a number, string, bool, pseudotype, or array (got {printed} of type {name})."
    )
    in_array = (
        f"Array keys can only contain numbers, strings, bools,  pseudotypes, or arrays (got {printed} of type {name})."
    )
    for function in (primary_key, secondary_key, encode_key):
        assert message(function, [1, [value]]) == in_array
        with pytest.raises(DatumError) as caught:
            function(value)
        assert caught.value.kind == kind


def test_geometry_and_other_pseudo_types_cannot_be_keys() -> None:
    for function in (primary_key, secondary_key, encode_key):
        assert message(function, GEOMETRY) == (
            "Cannot use a geometry value as a key value in a primary or non-geospatial secondary index."
        )
        assert message(function, [{"$reql_type$": "LITERAL"}]) == (
            "Cannot use pseudotype PTYPE<LITERAL> as a primary or secondary key value ."
        )


def test_extremes_are_bounds_and_not_indexed_values() -> None:
    ascending = [MINVAL, [], [MINVAL], [1], [1, MINVAL], [1, 2], [1, MAXVAL], [MAXVAL], "z", MAXVAL]
    assert sorted(map(encode_key, ascending)) == list(map(encode_key, ascending))
    assert message(secondary_key, [1, [MAXVAL]]) == "Cannot use `r.minval` or `r.maxval` in an index key."
    assert message(secondary_key, MINVAL) == "Cannot convert `r.minval` to JSON."


@given(st.binary(max_size=12))
def test_other_bytes_are_not_keys(raw: bytes) -> None:
    try:
        value = decode_key(raw)
    except ValueError:
        return
    assert equal(decode_key(encode_key(value)), value)


@pytest.mark.parametrize("raw", [b"", b"x", b"S", b"Sabc", b"A", b"AB", b"N1234567", b"BB", b"N12345678B"])
def test_incomplete_and_overlong_keys_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="key"):
        decode_key(raw)
