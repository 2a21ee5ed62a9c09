from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given

from photondb.datum.binary import make_binary
from photondb.datum.errors import DatumError
from photondb.datum.merge import merge
from photondb.datum.order import equal
from photondb.datum.time import make_time
from tests.datum.values import values

TIME = make_time(1_000_000_000, "+00:00")
REMOVE = {"$reql_type$": "LITERAL"}


def literal(value: Any) -> dict[str, Any]:
    return {"$reql_type$": "LITERAL", "value": value}


@pytest.mark.parametrize(
    ("old", "patch", "merged"),
    [
        ({"a": 1, "b": 2}, {"b": 3, "c": 4}, {"a": 1, "b": 3, "c": 4}),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
        ({"a": {"x": 1}}, {"a": 5}, {"a": 5}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, "text", "text"),
        (1, {"a": 2}, {"a": 2}),
        ({"a": {"x": 1}}, {"a": literal({"y": 2})}, {"a": {"y": 2}}),
        ({"a": {"x": 1}, "b": 2}, {"a": REMOVE}, {"b": 2}),
        ({}, {"a": REMOVE}, {}),
        ({"a": 1}, {"a": {"b": {"c": literal(2), "d": REMOVE}}}, {"a": {"b": {"c": 2}}}),
        (1, {"a": {"b": literal(2), "c": REMOVE}}, {"a": {"b": 2}}),
        ({"a": {"b": 1}}, {"a": make_binary(b"x")}, {"a": make_binary(b"x")}),
        ({"a": make_binary(b"x")}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": TIME}, {"a": {"timezone": "+02:00"}}, {"a": {**TIME, "timezone": "+02:00"}}),
        ({"a": TIME}, {"a": make_time(5, "-01:00")}, {"a": make_time(5, "-01:00")}),
    ],
)
def test_a_patch_is_merged_field_by_field(old: Any, patch: Any, merged: Any) -> None:
    before = copy.deepcopy((old, patch))
    assert merge(old, patch) == merged
    assert (old, patch) == before


@pytest.mark.parametrize(
    ("old", "patch", "message"),
    [
        ({"a": 1}, TIME, "Cannot merge objects of type `PTYPE<TIME>`."),
        ({"a": 1}, literal(2), "Stray literal keyword found"),
        ({"a": TIME}, {"a": {"x": 1}}, "Invalid time object constructed (unrecognized field `x`)"),
        ({"a": {"x": 1}}, {"a": TIME}, "Invalid time object constructed (unrecognized field `x`)"),
    ],
)
def test_pseudo_types_are_not_broken_by_a_merge(old: Any, patch: Any, message: str) -> None:
    with pytest.raises(DatumError) as caught:
        merge(old, patch)
    assert caught.value.message.startswith(message)


@given(values, values)
def test_a_literal_replaces_whatever_it_is_merged_into(old: Any, value: Any) -> None:
    assert equal(merge({"field": old}, {"field": literal(value)}), {"field": value})
