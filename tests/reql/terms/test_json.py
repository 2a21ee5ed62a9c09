from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from rethinkdb import r

from photondb.reql.errors import ErrorKind
from tests.datum.values import values
from tests.reql.evaluate import evaluate, failure
from tests.reql.terms.test_comparison import literal

TO_JSON_STRING = 172


def test_json_is_read() -> None:
    assert evaluate(r.json(' {"a": [1, 2.5, 1e2, -0.5, null, true, "\\u00e9"]} ')) == {
        "a": [1, 2.5, 100, -0.5, None, True, "é"]
    }
    assert evaluate(r.json("12345678901234567890")) == 12345678901234567168.0
    assert evaluate(r.json('{"$reql_type$": "BINARY", "data": "YQ"}').coerce_to("string")) == "a"


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("", "The document is empty."),
        ("[1,2", "Missing a comma or ']' after an array element."),
        ("[1] 2", "The document root must not be followed by other values."),
        ("NaN", "Invalid value."),
        ("-Infinity", "Invalid value."),
        ("1e999", "Number too big to be stored in double."),
    ],
)
def test_what_is_wrong_with_a_text_is_said(text: str, flaw: str) -> None:
    error = failure(r.json(text))
    assert (error.kind, error.message) == (ErrorKind.LOGIC, f'Failed to parse "{text}" as JSON: {flaw}')


def test_long_texts_are_not_quoted_whole() -> None:
    assert failure(r.json("x" * 41)).message == f'Failed to parse "{"x" * 37}..." as JSON: Invalid value.'


def test_values_that_cannot_be_are_refused() -> None:
    assert failure(r.json('{"a": 1, "b": 2, "a": 3}')).message == 'Duplicate key "a" in JSON.'
    assert failure(r.json("1\0")).message == "Encountered unescaped null byte in JSON string."
    assert failure(r.json('{"$reql_type$": "X"}')).message == "Unknown $reql_type$ `PTYPE<X>`."
    assert failure(r.json("[" * 100_000)).kind == ErrorKind.RESOURCE_LIMIT
    assert failure(r.json("[" * 300 + "]" * 300)).kind == ErrorKind.RESOURCE_LIMIT
    assert failure(r.json('{"a": [[1, 2, 3, 4, 5, 6]]}'), array_limit=5).kind == ErrorKind.RESOURCE_LIMIT


def test_literals_may_come_from_json_where_they_are_merged() -> None:
    patch = r.json('{"a": {"$reql_type$": "LITERAL", "value": {"c": 2}}}')
    assert evaluate(r.expr({"a": {"b": 1}}).merge(patch)) == {"a": {"c": 2}}


def test_json_is_written_compactly_and_in_order() -> None:
    assert evaluate(r.expr({"b": [1, 2.5, None], "a": "\n"}).to_json_string()) == '{"a":"\\n","b":[1,2.5,null]}'
    assert failure(r.expr([r.maxval]).to_json_string()).message == "Cannot convert `r.maxval` to JSON."


@given(values)
def test_json_text_reads_back_as_the_value(value: Any) -> None:
    text = evaluate([TO_JSON_STRING, [literal(value)]])
    assert evaluate(r.json(text)) == value == json.loads(text)
