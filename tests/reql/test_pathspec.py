from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.datum.binary import make_binary
from photondb.reql.errors import ReqlError
from photondb.reql.pathspec import drop, has, paths_of, pick

DOCUMENT = {"a": 1, "b": None, "c": {"d": 2, "e": {"f": 3}}, "g": [{"h": 1, "i": 2}, {"i": 3}], "j": [{"h": 1}, 5]}


@pytest.mark.parametrize(
    ("paths", "picked", "dropped"),
    [
        (["a", "b", "x"], {"a": 1, "b": None}, ["c", "g", "j"]),
        ([["a", ["b"]]], {"a": 1, "b": None}, ["c", "g", "j"]),
        ([{"a": True, "b": True}], {"a": 1, "b": None}, ["c", "g", "j"]),
        ([], {}, ["a", "b", "c", "g", "j"]),
        ([{}], {}, ["a", "b", "c", "g", "j"]),
    ],
)
def test_fields_are_named_in_many_ways(paths: list[Any], picked: dict[str, Any], dropped: list[str]) -> None:
    assert pick(DOCUMENT, paths_of(paths)) == picked
    assert drop(DOCUMENT, paths_of(paths)) == {name: DOCUMENT[name] for name in dropped}


@pytest.mark.parametrize(
    ("path", "picked", "dropped"),
    [
        ({"c": "d"}, {"c": {"d": 2}}, {"c": {"e": {"f": 3}}}),
        ({"c": {"d": True}}, {"c": {"d": 2}}, {"c": {"e": {"f": 3}}}),
        ({"c": ["d", {"e": "f"}]}, {"c": {"d": 2, "e": {"f": 3}}}, {"c": {"e": {}}}),
        ({"c": {"e": {"x": True}}}, {"c": {"e": {}}}, {"c": {"d": 2, "e": {"f": 3}}}),
        ({"g": "i"}, {"g": [{"i": 2}, {"i": 3}]}, {"g": [{"h": 1}, {}]}),
        ({"a": "x"}, {}, {}),
        ({"j": "h"}, {}, {}),
        ({"x": "y"}, {}, {}),
    ],
)
def test_paths_lead_into_objects_and_arrays(path: Any, picked: dict[str, Any], dropped: dict[str, Any]) -> None:
    assert pick(DOCUMENT, paths_of([path])) == picked
    assert drop(DOCUMENT, paths_of([path])) == {**DOCUMENT, **dropped}


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("a", True),
        ("b", False),
        ("x", False),
        ({"c": "d"}, True),
        ({"c": {"e": "f"}}, True),
        ({"c": "x"}, False),
        ({"a": "x"}, False),
        ({"a": {}}, True),
        ({"g": "h"}, False),
        ({"x": {}}, False),
    ],
)
def test_has_looks_for_what_is_not_null(path: Any, there: bool) -> None:
    assert has(DOCUMENT, paths_of([path])) is there
    assert has(DOCUMENT, paths_of(["a", path])) is there


@pytest.mark.parametrize("path", [1, None, True, {"a": 1}, ["a", False], make_binary(b"x")])
def test_other_values_are_no_paths(path: Any) -> None:
    with pytest.raises(ReqlError, match=r"^Invalid path argument `"):
        paths_of([path])


def test_binaries_have_no_fields() -> None:
    document = {"a": make_binary(b"x")}
    paths = paths_of([{"a": "data"}])
    assert pick(document, paths) == {}
    assert drop(document, paths) == document
    assert not has(document, paths)


names = st.sampled_from(["a", "b", "c"])
documents = st.recursive(
    st.dictionaries(names, st.integers() | st.none()),
    lambda inner: st.dictionaries(names, inner | st.integers() | st.lists(inner, max_size=2)),
    max_leaves=6,
)
paths = st.recursive(names, lambda inner: st.dictionaries(names, inner | st.just(True), min_size=1, max_size=2))


@given(documents, st.lists(paths, max_size=3))
def test_picking_and_dropping_are_opposites(document: dict[str, Any], specifications: list[Any]) -> None:
    taken = paths_of(specifications)
    picked, dropped = pick(document, taken), drop(document, taken)
    assert pick(picked, taken) == picked
    assert drop(dropped, taken) == dropped
    if all(type(path) is str for path in taken):
        assert {**picked, **dropped} == document
        assert not picked.keys() & dropped.keys()
    fields = [name for each in specifications for name in ([each] if type(each) is str else each)]
    if has(document, taken) and len(set(fields)) == len(fields):
        assert has(picked, taken)


def test_of_two_specifications_for_the_inside_of_a_field_the_later_one_picks() -> None:
    """As RethinkDB has it."""
    document = {"a": {"b": 1, "c": 2, "d": 3}, "e": 4}
    assert pick(document, paths_of([{"a": "b"}, {"a": "c"}])) == {"a": {"c": 2}}
    assert drop(document, paths_of([{"a": "b"}, {"a": "c"}])) == {"a": {"d": 3}, "e": 4}
    assert has(document, paths_of([{"a": "b"}, {"a": "c"}]))
