from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from rethinkdb import r

from photondb.datum.binary import make_binary
from photondb.reql.errors import ErrorKind
from tests.datum.values import numbers
from tests.reql.evaluate import evaluate, failure

table = r.db("test").table("table")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "NULL"),
        (True, "BOOL"),
        (1.5, "NUMBER"),
        ("a", "STRING"),
        ([1], "ARRAY"),
        ({"a": 1}, "OBJECT"),
        (r.now(), "PTYPE<TIME>"),
        (r.binary(b"a"), "PTYPE<BINARY>"),
        (r.minval, "MINVAL"),
        (r.maxval, "MAXVAL"),
        (r.db("test"), "DB"),
        (table, "TABLE"),
        (table.between(1, 2), "TABLE_SLICE"),
        (table.filter({"a": 1}), "SELECTION<STREAM>"),
        (table.order_by("a"), "SELECTION<ARRAY>"),
        (table.get(1), "SELECTION<OBJECT>"),
        (table.map(lambda row: row["a"]), "STREAM"),
        (table.group("a"), "GROUPED_STREAM"),
        (r.expr([{"a": 1}]).group("a").count(), "GROUPED_DATA"),
        (lambda x: x, "FUNCTION"),
    ],
)
def test_every_value_has_a_type(value: Any, name: str) -> None:
    assert evaluate(r.type_of(value)) == name


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.expr(1.5).coerce_to("string"), "1.5"),
        (r.expr({"b": 1, "a": [None]}).coerce_to("STRING"), '{"a":[null],"b":1}'),
        (r.expr("a").coerce_to("string"), "a"),
        (r.expr(" -12.5e1").coerce_to("number"), -125),
        (r.expr("0x10").coerce_to("number"), 16),
        (r.expr(".5").coerce_to("number"), 0.5),
        (r.expr(0).coerce_to("bool"), True),
        (r.expr(None).coerce_to("bool"), False),
        (r.expr(False).coerce_to("bool"), False),
        (table.coerce_to("bool"), True),
        (r.expr({"b": 1, "a": 2}).coerce_to("array"), [["a", 2], ["b", 1]]),
        (r.expr([["a", 1], ["b", 2]]).coerce_to("object"), {"a": 1, "b": 2}),
        (r.range(3).coerce_to("array"), [0, 1, 2]),
        (r.range(2).map(lambda n: [n.coerce_to("string"), n]).coerce_to("object"), {"0": 0, "1": 1}),
        (r.binary(b"caf\xc3\xa9").coerce_to("string"), "café"),
        (r.expr("é").coerce_to("binary"), make_binary("é".encode())),
        (r.expr([1]).coerce_to("stream").type_of(), "ARRAY"),
        (r.now().coerce_to("array").count(), 3),
    ],
)
def test_values_become_values_of_other_types(query: Any, value: Any) -> None:
    assert evaluate(query) == value


@pytest.mark.parametrize(
    ("query", "kind", "message", "frames"),
    [
        (r.expr(1).coerce_to("list"), ErrorKind.LOGIC, "Unknown Type: LIST", ()),
        (r.expr(1).coerce_to("array"), ErrorKind.LOGIC, "Cannot coerce NUMBER to ARRAY.", (0,)),
        (r.expr(None).coerce_to("number"), ErrorKind.NON_EXISTENCE, "Cannot coerce NULL to NUMBER.", (0,)),
        (r.now().coerce_to("number"), ErrorKind.LOGIC, "Cannot coerce OBJECT to NUMBER.", (0,)),
        (table.coerce_to("string"), ErrorKind.LOGIC, "Cannot coerce TABLE to STRING.", (0,)),
        (r.db("test").coerce_to("array"), ErrorKind.LOGIC, "Cannot coerce DB to ARRAY.", (0,)),
        (r.expr("1x").coerce_to("number"), ErrorKind.LOGIC, "Could not coerce `1x` to NUMBER.", ()),
        (r.expr("1_0").coerce_to("number"), ErrorKind.LOGIC, "Could not coerce `1_0` to NUMBER.", ()),
        (r.expr("-inf").coerce_to("number"), ErrorKind.LOGIC, "Non-finite number: -inf", ()),
        (r.expr([[1, 2, 3]]).coerce_to("object"), ErrorKind.LOGIC, "Expected array of size 2, but got size 3.", ()),
        (r.expr([[1, 2]]).coerce_to("object"), ErrorKind.LOGIC, "Expected type STRING but found NUMBER.", ()),
        (r.minval.coerce_to("string"), ErrorKind.LOGIC, "Cannot convert `r.minval` to JSON.", ()),
        (
            r.expr([["a", 1], ["a", 2]]).coerce_to("object"),
            ErrorKind.LOGIC,
            'Duplicate key "a" in coerced object.  (got 1 and 2 as values)',
            (),
        ),
    ],
)
def test_what_cannot_be_coerced_is_refused(query: Any, kind: ErrorKind, message: str, frames: tuple[int, ...]) -> None:
    error = failure(query)
    assert (error.kind, error.message, error.frames) == (kind, message, frames)


@pytest.mark.parametrize(
    ("data", "flaw"),
    [
        (b"ok\xff", "Invalid initial byte seen at position 2"),
        (b"\xc3", "Expected continuation byte, saw end of string at position 1"),
        (b"\xe2\x82x", "Expected continuation byte, saw something else at position 2"),
        (b"\xc0\x80", "Overlong encoding seen at position 1"),
        (b"\xf4\x90\x80\x80", "Non-Unicode character encoded (beyond U+10FFFF) at position 3"),
        (b"\xed\xa0\x80", "surrogate code point at position 2"),
    ],
)
def test_bytes_that_are_no_text_are_described(data: bytes, flaw: str) -> None:
    assert failure(r.binary(data).coerce_to("string")).message.endswith(f"is not a UTF-8 string; {flaw}.")


def test_arrays_made_by_coercion_are_limited() -> None:
    assert failure(r.range(5).coerce_to("array"), array_limit=4).kind == ErrorKind.RESOURCE_LIMIT


def test_each_group_is_coerced() -> None:
    grouped = r.expr([1, 2, 3]).group(lambda n: n % 2).sum()
    assert evaluate(grouped.coerce_to("string")) == [[0, "2"], [1, "4"]]


@given(numbers)
def test_numbers_survive_as_text(number: float) -> None:
    assert evaluate(r.expr(number).coerce_to("string").coerce_to("number")) == number
