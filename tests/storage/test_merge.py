from __future__ import annotations

from typing import Any

import pytest

from photondb.datum.errors import DatumError
from services.storage.merge import merge_document

LITERAL = "$reql_type$"
NOON = {"$reql_type$": "TIME", "epoch_time": 43200, "timezone": "+00:00"}
MIDNIGHT = {"$reql_type$": "TIME", "epoch_time": 0, "timezone": "+01:00"}
BYTES = {"$reql_type$": "BINARY", "data": "AQID"}
OTHER_BYTES = {"$reql_type$": "BINARY", "data": "BAUG"}


def literal(*value: Any) -> dict[str, Any]:
    return {"$reql_type$": "LITERAL", **({"value": value[0]} if value else {})}


@pytest.mark.parametrize(
    ("old", "patch", "expected"),
    [
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2}}}, {"a": {"b": {"c": 1, "d": 2}}}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": literal({"c": 2})}, {"a": {"c": 2}}),
        ({"a": {"b": 1}, "c": 1}, {"a": literal()}, {"c": 1}),
        ({"c": 1}, {"a": literal()}, {"c": 1}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": literal()}}, {"a": {"c": 2}}),
        ({}, {"a": {"b": literal(), "c": literal(1)}}, {"a": {"c": 1}}),
        ({}, {"a": [literal(), literal(2), {"b": literal()}]}, {"a": [2, {}]}),
        ({"a": MIDNIGHT}, {"a": NOON}, {"a": NOON}),
        ({"a": 1}, {"a": NOON}, {"a": NOON}),
        ({"a": BYTES}, {"a": OTHER_BYTES}, {"a": OTHER_BYTES}),
        ({"a": {"b": 1}}, {"a": BYTES}, {"a": BYTES}),
        ({"a": 1}, 5, 5),
        ({"a": 1}, "text", "text"),
    ],
)
def test_merge(old: dict[str, Any], patch: Any, expected: Any) -> None:
    before, given = repr(old), repr(patch)
    assert merge_document(old, patch) == expected
    assert (repr(old), repr(patch)) == (before, given), "neither must be changed"


@pytest.mark.parametrize(
    ("old", "patch", "message"),
    [
        ({"a": 1}, literal({"b": 1}), "Stray literal keyword found"),
        ({"a": 1}, NOON, "Cannot merge objects of type `PTYPE<TIME>`."),
        ({"a": {"b": 1}}, {"a": NOON}, ""),
        ({"a": NOON}, {"a": {"b": 1}}, ""),
    ],
)
def test_merges_that_make_no_sense(old: dict[str, Any], patch: Any, message: str) -> None:
    with pytest.raises(DatumError) as caught:
        merge_document(old, patch)
    assert message in caught.value.message
