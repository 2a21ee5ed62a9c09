from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.datum.json_syntax import flaw


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" \n", "The document is empty."),
        ("1 2", "The document root must not be followed by other values."),
        ("01", "The document root must not be followed by other values."),
        ("nul", "Invalid value."),
        ("-", "Invalid value."),
        ("+1", "Invalid value."),
        ("[1,]", "Invalid value."),
        ("1.", "Miss fraction part in number."),
        ("1e+", "Miss exponent in number."),
        ("-1e309", "Number too big to be stored in double."),
        ("[1 2]", "Missing a comma or ']' after an array element."),
        ("{a: 1}", "Missing a name for object member."),
        ('{"a": 1,}', "Missing a name for object member."),
        ('{"a" 1}', "Missing a colon after a name of object member."),
        ('{"a": 1 "b": 2}', "Missing a comma or '}' after an object member."),
        ('"a', "Missing a closing quotation mark in string."),
        ('"\\', "Invalid escape character in string."),
        ('"\\x"', "Invalid escape character in string."),
        ('"\t"', "Invalid escape character in string."),
        ('"\\u12g4"', "Incorrect hex digit after \\u escape in string."),
        ('"\\ud800x"', "The surrogate pair in string is invalid."),
        ('"\\ud800\\u0041"', "The surrogate pair in string is invalid."),
        ('{"a": [true, false, null, -1.5e-3, "\\ud83d\\ude00\\n\\/"], "b": {}, "c": []}', None),
    ],
)
def test_the_first_flaw_is_named(text: str, expected: str | None) -> None:
    assert flaw(text) == expected


def test_what_is_nested_too_deeply_is_told_apart() -> None:
    with pytest.raises(RecursionError):
        flaw("[" * 100_000)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values, st.data())
def test_there_is_a_flaw_exactly_where_a_parser_finds_one(value: object, data: st.DataObject) -> None:
    text = json.dumps(value)
    assert flaw(text) is None
    cut = data.draw(st.integers(0, len(text)))
    damaged = text[:cut] + data.draw(st.sampled_from(["", ",", "}", "]", '"', "\\", "x", "1"])) + text[cut + 1 :]
    try:
        json.loads(damaged, parse_constant=int)
    except ValueError:
        assert flaw(damaged) is not None
    else:  # Python takes what is too big for infinity, and half of a surrogate pair
        too_much = ("Number too big to be stored in double.", "The surrogate pair in string is invalid.")
        assert flaw(damaged) in (None, *too_much)
