"""Values that are larger than they look are refused by everybody who would have to go through them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from photondb.datum import size
from photondb.datum.errors import DatumError
from photondb.datum.json import dumps, dumps_computed, print_datum
from photondb.datum.keys import primary_key, secondary_key
from photondb.datum.merge import merge
from photondb.datum.order import compare, equal, sort_key
from photondb.datum.size import check_size
from tests.datum.values import values


def doubled(start: Any, times: int, container: type = list) -> Any:
    """A value of few parts that are repeated: twice as large with each level."""
    for _ in range(times):
        start = [start, start] if container is list else {"a": start, "b": start}
    return start


@given(values)
def test_ordinary_values_pass(value: Any) -> None:
    check_size(value)
    assert dumps_computed(value) == dumps(value)


def test_a_million_different_parts_pass() -> None:
    check_size([{"id": number, "tags": ["a", "b"], "inner": {"x": None}} for number in range(100_000)])


@pytest.mark.parametrize(
    "value",
    [
        doubled(1, 60),
        doubled("x", 200),
        doubled({}, 40, dict),
        doubled({"a": 1}, 100, dict),
        ["x" * 1_000_000] * 1000,
        [{"x" * 1_000_000: 1}] * 1000,
        {str(number): [["x" * 10_000] * 10_000] for number in range(100)},
        [[1] * 100_000] * 10_000,
        [[[1] * 1000] * 1000] * 100_000,
        "x" * (size.MAX_BYTES + 1),
    ],
)
def test_what_is_larger_than_it_looks_is_refused(value: Any) -> None:
    with pytest.raises(DatumError, match="Value over size limit") as caught:
        check_size(value)
    assert caught.value.kind == "resource"


def test_what_is_nested_too_deeply_is_refused() -> None:
    deep: Any = []
    for _ in range(size.NESTING_LIMIT - 1):
        deep = [deep]
    check_size(deep)
    for too_deep in ([deep], {"a": deep}, [1, [2, deep, deep]]):
        with pytest.raises(DatumError, match="nested too deeply"):
            check_size(too_deep)


@pytest.mark.parametrize(
    "go_through",
    [
        sort_key,
        lambda value: equal(value, doubled(1, 100)),
        lambda value: compare(value, doubled(2, 100)),
        print_datum,
        dumps_computed,
        primary_key,
        secondary_key,
    ],
)
def test_nobody_goes_through_what_is_too_large(go_through: Callable[[Any], Any]) -> None:
    with pytest.raises(DatumError, match="Value over size limit"):
        go_through(doubled(1, 100))


def test_objects_that_are_too_large_are_not_merged() -> None:
    with pytest.raises(DatumError, match="Value over size limit"):
        merge({"a": doubled(1, 100, dict)}, {"a": doubled(1, 100, dict)})


def test_a_part_that_both_sides_share_is_not_gone_through() -> None:
    shared = ["x" * 1000] * 1000
    assert equal([1, shared], [1, shared])
