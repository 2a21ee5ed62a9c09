from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.geo.ellipsoid import UNIT_SPHERE, WGS84, Ellipsoid
from photondb.geo.errors import GeoError
from photondb.geo.search import NearestSearch


def test_the_first_disc_has_ten_metres() -> None:
    search = NearestSearch(100, 100_000, WGS84)
    assert search.above_m < 0
    assert search.most_m == pytest.approx(10)
    assert NearestSearch(100, 3, WGS84).most_m == 3


def test_rings_follow_each_other_up_to_the_greatest_distance() -> None:
    search = NearestSearch(100, 100_000, WGS84)
    rings = [(search.above_m, search.most_m)]
    while search.grow(0):
        rings.append((search.above_m, search.most_m))
    assert rings[-1][1] == 100_000
    for (_, outer), (inner, next_outer) in pairwise(rings):
        assert outer == inner < next_outer <= 2 * inner


def test_it_ends_when_enough_is_found() -> None:
    search = NearestSearch(5, 100_000, WGS84)
    assert search.grow(3)
    assert search.wanted == 2
    assert not search.grow(2)


def test_growth_follows_the_density() -> None:
    """One result in ten metres lets expect a hundred more in ten times the radius."""
    search = NearestSearch(101, 100_000, WGS84)
    assert search.grow(1)
    assert search.most_m == pytest.approx(10 * math.sqrt(101))
    dense = NearestSearch(10_000, 100_000, WGS84)
    assert dense.grow(5000)
    assert dense.most_m == pytest.approx(10 * math.sqrt(2))


def test_a_disc_that_is_too_large() -> None:
    search = NearestSearch(100, 2, UNIT_SPHERE)
    with pytest.raises(GeoError) as caught:
        _grow_to_the_end(search)
    assert search.above_m < 2
    assert caught.value.message.startswith(
        "The distance has become too large for continuing the indexed nearest traversal.  Consider specifying a "
        "smaller `max_dist` parameter.  (Radius must be smaller than a quarter of the circumference"
    )


def _grow_to_the_end(search: NearestSearch) -> None:
    while search.grow(0):
        pass


@given(
    st.integers(1, 1000),
    st.floats(1e-300, 1e300),
    st.floats(1e-300, 1e300),
    st.floats(0, 0.999),
    st.lists(st.integers(0, 1000), max_size=30),
)
def test_it_always_grows_or_ends(
    wanted: int, distance: float, radius: float, flattening: float, results: list[int]
) -> None:
    try:
        search = NearestSearch(wanted, distance, Ellipsoid(radius, flattening))
        for found in results:
            before = search.most_m
            if not search.grow(min(found, search.wanted)):
                assert search.wanted == 0 or before >= distance
                return
            assert search.above_m == before <= search.most_m <= distance
    except GeoError:
        pass
