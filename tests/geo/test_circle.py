from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.geo.circle import circle
from photondb.geo.ellipsoid import UNIT_SPHERE, WGS84
from photondb.geo.errors import RadiusError
from photondb.geo.geojson import Position
from tests.geo.strategies import positions


@given(positions, st.floats(1, 9_900_000), st.integers(1, 12))
def test_vertices_are_at_the_radius(centre: Position, radius: float, vertices: int) -> None:
    ring = list(circle(centre, radius, vertices, WGS84))
    assert len(ring) == vertices
    for vertex in ring:
        assert WGS84.distance_m(centre, vertex) == pytest.approx(radius)


def test_directions() -> None:
    """The first vertex is in the south, the next ones are in the west, north and east."""
    degree = math.radians(1)
    ring = list(circle((0, 0), degree, 4, UNIT_SPHERE))
    for vertex, expected in zip(ring, [(0, -1), (-1, 0), (0, 1), (1, 0)], strict=True):
        assert vertex == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("radius", [0, -1])
def test_radius_must_be_positive(radius: float) -> None:
    with pytest.raises(RadiusError, match="Radius must be positive"):
        list(circle((0, 0), radius, 4, WGS84))


def test_radius_must_not_be_too_large() -> None:
    text = (
        "Radius must be smaller than a quarter of the circumference along the minor axis of the reference ellipsoid.  "
        "Got 2m, but must be smaller than 1.570796326794896558m."
    )
    with pytest.raises(RadiusError) as caught:
        list(circle((0, 0), 2, 4, UNIT_SPHERE))
    assert caught.value.message == text
