from __future__ import annotations

import json

import pytest
from hypothesis import given

from photondb.datum.errors import DatumError
from photondb.datum.text import exact_number_text, print_compact, print_datum, truncated_print
from photondb.datum.types import MAXVAL, MINVAL
from tests.datum.values import floats, values


def test_values_are_printed_with_tabs_and_sorted_names() -> None:
    value = {"b": [1, {}, []], "a": {"x": None, "w": True}, "c": "é"}
    assert print_datum(value) == (
        '{\n\t"a":\t{\n\t\t"w":\ttrue,\n\t\t"x":\tnull\n\t},\n\t"b":\t[\n\t\t1,\n\t\t{},\n\t\t[]\n\t],\n\t"c":\t"é"\n}'
    )
    assert print_compact(value) == '{"a":{"w":true,"x":null},"b":[1,{},[]],"c":"é"}'


def test_strings_are_escaped_where_json_demands_it_only() -> None:
    assert print_datum('\0\x1f"\\/\b\f\n\r\t\x7f') == '"\\u0000\\u001F\\"\\\\/\\b\\f\\n\\r\\t\x7f"'


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (3, "3"),
        (-2.5, "-2.5"),
        (0.1, "0.1"),
        (-0.0, "-0.0"),
        (1375147296.681, "1375147296.681"),
        (9007199254740994.0, "9007199254740994.0"),
        (1e16, "10000000000000000.0"),
        (1.2345678901234568e20, "123456789012345680000.0"),
        (1e20, "100000000000000000000.0"),
        (1e21, "1e21"),
        (1.5e21, "1.5e21"),
        (1.7976931348623157e308, "1.7976931348623157e308"),
        (0.00001, "0.00001"),
        (0.0000015, "0.0000015"),
        (1.5e-7, "1.5e-7"),
        (5e-324, "5e-324"),
    ],
)
def test_numbers_are_printed_with_the_fewest_digits(number: float, text: str) -> None:
    assert print_datum(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (40007862.917250894, "40007862.917250897"),  # the greatest of four that read back
        (89011.26253835332, "89011.26253835332"),
        (110968.30443995494, "110968.30443995494"),
        (0.01393875509649327, "0.01393875509649327"),
        (1375147296.681, "1375147296.681"),
    ],
)
def test_long_numbers_end_as_rethinkdb_has_them_end(number: float, text: str) -> None:
    assert print_datum(number) == print_compact(number) == text


@given(floats)
def test_printed_floats_have_the_fewest_digits(number: float) -> None:
    digits = [
        text.lower().partition("e")[0].replace(".", "").strip("-0") for text in (print_datum(number), repr(number))
    ]
    assert len(digits[0]) == len(digits[1])


@given(floats)
def test_printed_floats_read_back(number: float) -> None:
    assert float(print_datum(number)) == number


@given(values)
def test_both_forms_are_json(value: object) -> None:
    assert json.loads(print_datum(value)) == value
    assert json.loads(print_compact(value)) == value


def test_long_values_are_cut_to_300_bytes() -> None:
    assert truncated_print("a" * 298) == '"' + "a" * 298 + '"'
    assert truncated_print("a" * 299) == '"' + "a" * 296 + "..."
    assert truncated_print("aé" * 100) == '"' + "aé" * 98 + "a" + "..."  # not half a character


@pytest.mark.parametrize(("extreme", "name"), [(MINVAL, "minval"), (MAXVAL, "maxval")])
def test_extremes_have_no_text(extreme: object, name: str) -> None:
    for value in (extreme, [extreme], {"a": extreme}):
        for text in (print_datum, print_compact):
            with pytest.raises(DatumError) as caught:
                text(value)
            assert caught.value.message == f"Cannot convert `r.{name}` to JSON."


def test_what_is_not_a_value_has_no_text() -> None:
    with pytest.raises(TypeError):
        print_datum(b"bytes")


def test_exact_numbers_have_20_digits() -> None:
    assert exact_number_text(1.1) == "1.1000000000000000888"
    assert exact_number_text(1.5) == "1.5"
    assert exact_number_text(2**53) == "9007199254740992"
