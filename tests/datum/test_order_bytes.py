from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings

from photondb.datum.errors import DatumError
from photondb.datum.order import sort_key
from photondb.datum.order_bytes import LACKING, descending, order_bytes
from tests.datum.test_order import ASCENDING
from tests.datum.values import bounds, values

anything = values | bounds


def test_every_type_in_its_place() -> None:
    keys = [LACKING, *map(order_bytes, ASCENDING)]
    assert all(left < right for left, right in pairwise(keys))


@settings(deadline=None)
@given(anything, anything)
def test_bytes_compare_as_the_values_do(left: Any, right: Any) -> None:
    ours, theirs = order_bytes(left), order_bytes(right)
    assert (ours < theirs) == (sort_key(left) < sort_key(right))
    assert (ours == theirs) == (sort_key(left) == sort_key(right))
    assert (descending(ours) < descending(theirs)) == (ours > theirs)


@settings(deadline=None)
@given(anything, anything)
def test_none_is_the_beginning_of_another(left: Any, right: Any) -> None:
    ours, theirs = order_bytes(left), order_bytes(right)
    assert ours == theirs or not (ours.startswith(theirs) or theirs.startswith(ours))


@pytest.mark.parametrize(("value", "same"), [(-0.0, 0), ([-0.0], [0]), ({"a": -0.0}, {"a": 0})])
def test_negative_zero_is_zero(value: Any, same: Any) -> None:
    assert order_bytes(value) == order_bytes(same)


def test_lone_surrogates_have_their_place() -> None:
    assert order_bytes("\ud7ff") < order_bytes("\ud800") < order_bytes("\udfff") < order_bytes("\ue000")
    assert order_bytes({"\ud800": 1}) < order_bytes({"\ue000": 1})


def test_what_has_no_order() -> None:
    with pytest.raises(DatumError, match="Incomparable type PTYPE<LITERAL>"):
        order_bytes({"$reql_type$": "LITERAL"})
