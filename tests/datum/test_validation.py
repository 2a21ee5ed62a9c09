from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.datum.errors import DatumError
from photondb.datum.json import NESTING_LIMIT, validate
from photondb.datum.types import MAXVAL
from tests.datum.test_json import denormalise, shape
from tests.datum.values import values


def message(value: Any, **options: Any) -> str:
    with pytest.raises(DatumError) as caught:
        validate(value, **options)
    return caught.value.message


@given(values)
def test_canonical_values_are_valid_and_stay_as_they_are(value: Any) -> None:
    before = copy.deepcopy(value)
    assert shape(validate(value)) == shape(before)


@given(values)
def test_numbers_are_normalised(value: Any) -> None:
    assert shape(validate(denormalise(value))) == shape(value)


@pytest.mark.parametrize("count", [1, 20])
def test_numbers_are_normalised_in_short_and_long_arrays(count: int) -> None:
    assert shape(validate([1.0, 0.5] * count)) == shape([1, 0.5] * count)
    assert shape(validate([1.0] * count)) == shape([1] * count)
    assert shape(validate([2**60] * count)) == shape([2.0**60] * count)


@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: [x], lambda x: [x] * 20, lambda x: {"a": x}, lambda x: [1, [x]]]
)
def test_scalars_are_checked_everywhere(wrap: Any) -> None:
    assert message(wrap(float("inf"))) == "Non-finite number: inf"
    assert message(wrap(float("nan"))) == "Non-finite number: nan"
    assert message(wrap(10**400)) == "Non-finite number: inf"
    assert message(wrap("é\ud800")) == (
        "String `é` (truncated) is not a UTF-8 string; surrogate code point at position 2."
    )
    assert message(wrap(MAXVAL)) == "Cannot convert `r.maxval` to JSON."
    assert message(wrap(b"bytes")) == "Cannot convert bytes to a value."
    assert message(wrap((1, 2))) == "Cannot convert tuple to a value."


def test_names_are_strings_in_utf_8() -> None:
    assert message({1: "a"}) == "Object keys must be strings."
    assert message({"a": [{"b": 1, None: 2}]}) == "Object keys must be strings."
    assert "is not a UTF-8 string" in message({"\udfff": 1})
    assert validate({"é": 1}) == {"é": 1}


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def test_values_may_not_be_nested_too_deeply() -> None:
    assert validate(nested(NESTING_LIMIT)) == nested(NESTING_LIMIT)
    with pytest.raises(DatumError) as caught:
        validate(nested(NESTING_LIMIT + 1))
    assert caught.value.kind == "resource"
    assert message(nested(4), nesting_limit=3) == "Value is nested too deeply (the limit is 3 levels)."
    endless: list[Any] = []
    endless.append(endless)
    assert "nested too deeply" in message(endless)


def test_pseudo_types_are_brought_into_canonical_form_where_they_are() -> None:
    value = {
        "times": [{"$reql_type$": "TIME", "epoch_time": 1.23456, "timezone": "Z"}],
        "binary": {"$reql_type$": "BINARY", "data": " AA E"},
    }
    assert validate(value) is value
    assert value == {
        "times": [{"$reql_type$": "TIME", "epoch_time": 1.235, "timezone": "+00:00"}],
        "binary": {"$reql_type$": "BINARY", "data": "AAE="},
    }


def test_unknown_pseudo_types_are_refused() -> None:
    assert message({"a": {"$reql_type$": "MYTYPE"}}) == "Unknown $reql_type$ `PTYPE<MYTYPE>`."
    assert message({"$reql_type$": ""}) == "Unknown $reql_type$ `PTYPE<>`."
    assert message({"$reql_type$": None}).startswith(
        "Error: Field `$reql_type$` must be a string (got `null` of type NULL):\n{"
    )


def test_literals_are_for_merging_only() -> None:
    literal = {"$reql_type$": "LITERAL", "value": {"a": 1.0}}
    assert validate({"a": literal}, literals=True) == {"a": {"$reql_type$": "LITERAL", "value": {"a": 1}}}
    assert validate({"$reql_type$": "LITERAL"}, literals=True) == {"$reql_type$": "LITERAL"}
    assert message(literal) == (
        "Stray literal keyword found: literal is only legal inside of the object passed to merge or update and "
        "cannot nest inside other literals."
    )
    illegal = {"$reql_type$": "LITERAL", "other": 1}
    assert message(illegal, literals=True) == "Invalid literal term with illegal key `other`."


@pytest.mark.parametrize(
    ("fields", "text", "kind"),
    [
        ({"type": "Point"}, "Field `coordinates` not found in geometry object.", "non_existence"),
        ({"coordinates": []}, "Field `type` not found in geometry object.", "non_existence"),
        ({"type": "Point", "coordinates": 5}, "Expected type ARRAY but found NUMBER.", "logic"),
        ({"type": "Point", "coordinates": None}, "Expected type ARRAY but found NULL.", "non_existence"),
        ({"type": [], "coordinates": []}, "Expected type STRING but found ARRAY.", "logic"),
        (
            {"type": "Point", "coordinates": [], "x": 1},
            "Unrecognized field `x` found in geometry object.",
            "logic",
        ),
    ],
)
def test_geometry_has_its_fields(fields: dict[str, Any], text: str, kind: str) -> None:
    with pytest.raises(DatumError) as caught:
        validate({"$reql_type$": "GEOMETRY", **fields})
    assert (caught.value.message, caught.value.kind) == (text, kind)


@given(values, st.sampled_from(["a", "b"]))
def test_what_is_inside_a_document_is_checked(value: Any, name: str) -> None:
    assert "Unknown $reql_type$" in message([{name: [value, {"$reql_type$": "NO"}]}])
