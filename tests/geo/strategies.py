"""Random geometry, with a liking for the places where things go wrong: poles, the date line, edges of cells, shared
corners."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from photondb.datum.errors import DatumError
from photondb.geo.geojson import Position, make_line, make_point, make_polygon
from photondb.geo.shapes import validate

longitudes = st.sampled_from([-180, -135, -90, -45, 0, 45, 90, 180]) | st.integers(-8, 8) | st.floats(-180, 180)
latitudes = st.sampled_from([-90, -45, 0, 45, 90]) | st.integers(-8, 8) | st.floats(-90, 90)
positions: st.SearchStrategy[Position] = st.tuples(longitudes, latitudes)

points = positions.map(make_point)


def _sound(geometry: dict[str, Any]) -> bool:
    try:
        validate(geometry)
    except DatumError:
        return False
    return True


lines = st.lists(positions, min_size=2, max_size=6).map(make_line).filter(_sound)


@st.composite
def _stars(draw: st.DrawFn) -> dict[str, Any]:
    """A polygon around a place, each corner of it in another direction."""
    longitude, latitude = draw(st.tuples(st.integers(-8, 8) | st.floats(-160, 160), st.integers(-8, 8)))
    corners = draw(st.integers(3, 8))
    size = draw(st.sampled_from([0.001, 0.1, 1, 2, 5]))
    radii = draw(st.lists(st.floats(0.2, 1), min_size=corners, max_size=corners))
    return make_polygon(
        [
            (
                longitude + size * radius * math.cos(2 * math.pi * number / corners),
                latitude + size * radius * math.sin(2 * math.pi * number / corners),
            )
            for number, radius in enumerate(radii)
        ]
    )


@st.composite
def _boxes(draw: st.DrawFn) -> dict[str, Any]:
    """A polygon with corners at whole degrees, so that it often shares corners and edges with others."""
    west, south = draw(st.integers(-8, 7)), draw(st.integers(-8, 7))
    east, north = draw(st.integers(west + 1, 8)), draw(st.integers(south + 1, 8))
    return make_polygon([(west, south), (east, south), (east, north), (west, north)])


polygons = _stars() | _boxes()
geometries = points | lines | polygons
