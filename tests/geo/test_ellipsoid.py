from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from photondb.geo.ellipsoid import UNIT_SPHERE, UNITS_M, WGS84, Ellipsoid, convert, unit_m
from photondb.geo.errors import GeoError
from photondb.geo.geojson import Position, make_line, make_point, make_polygon, with_hole
from photondb.geo.projection import distance_m, nearest
from photondb.geo.shapes import Line, Point, shape_of
from photondb.geo.sphere import angle, nearest_on_edge, position, vector
from tests.geo.strategies import geometries, latitudes, lines, longitudes, positions

ellipsoids = st.sampled_from([WGS84, UNIT_SPHERE, Ellipsoid(6e6, 0.1)])
CLOSE = 1e-9
"""Relative error that is allowed: far more than the methods have."""


def place(longitude: float, latitude: float) -> Point:
    shape = shape_of(make_point((longitude, latitude)))
    assert isinstance(shape, Point)
    return shape


def test_known_distances() -> None:
    """A quarter of a meridian is about ten thousand kilometres: by that the metre was once defined."""
    assert WGS84.distance_m((0, 0), (0, 90)) == pytest.approx(10_001_965.729)
    assert WGS84.distance_m((0, 0), (180, 0)) == pytest.approx(2 * 10_001_965.729)  # by way of a pole
    assert UNIT_SPHERE.distance_m((0, 0), (90, 0)) == pytest.approx(math.pi / 2)
    assert WGS84.distance_m((0, 0), (1, 0)) == pytest.approx(math.radians(1) * 6378137)


def test_digits_are_those_of_rethinkdb() -> None:
    """All of them: what it computed may be stored, and compared with what is computed here."""
    places = [position(vector(place)) for place in [(-122.423246, 37.779388), (-117.220406, 32.719464)]]
    assert WGS84.distance_m(places[0], places[1]) == 734125.249602186
    assert UNIT_SPHERE.distance_m((0, 0), position(vector((10, 10)))) == 0.24619691677893205
    south_west = WGS84.destination((0, 0), -60, 1)
    assert south_west == (-7.779638566553426e-06, 4.5218473852518965e-06)


@given(ellipsoids, positions, positions)
def test_distance_is_symmetric(ellipsoid: Ellipsoid, a: Position, b: Position) -> None:
    there, back = ellipsoid.distance_m(a, b), ellipsoid.distance_m(b, a)
    assert there == pytest.approx(back, rel=CLOSE, abs=CLOSE)
    assert there >= 0


@given(ellipsoids, positions, positions, positions)
def test_no_way_round_is_shorter(ellipsoid: Ellipsoid, a: Position, b: Position, c: Position) -> None:
    direct, around = ellipsoid.distance_m(a, c), ellipsoid.distance_m(a, b) + ellipsoid.distance_m(b, c)
    assert direct <= around + CLOSE * ellipsoid.equator_radius_m


@given(ellipsoids, positions, st.floats(-180, 180), st.floats(0, 1))
def test_destination_is_as_far_as_one_went(ellipsoid: Ellipsoid, start: Position, azimuth: float, share: float) -> None:
    distance = share * ellipsoid.pole_radius_m * math.pi / 2
    end = ellipsoid.destination(start, azimuth, distance)
    assert ellipsoid.distance_m(start, end) == pytest.approx(distance, rel=CLOSE, abs=CLOSE * ellipsoid.pole_radius_m)


@given(ellipsoids, positions, positions)
def test_distances_are_within_the_bounds_that_angles_give(ellipsoid: Ellipsoid, a: Position, b: Position) -> None:
    distance, apart = ellipsoid.distance_m(a, b), angle(vector(a), vector(b))
    slack = 1e-7 * ellipsoid.equator_radius_m
    assert ellipsoid.least_distance_m(apart) <= distance + slack
    assert distance <= ellipsoid.greatest_distance_m(apart) + slack
    assert apart <= ellipsoid.greatest_angle(distance) + 1e-7


@given(st.floats(-179.99, 180), st.floats(-89.99, 89.99))
def test_positions_survive_the_sphere(longitude: float, latitude: float) -> None:
    back = position(vector((longitude, latitude)))
    assert back[1] == pytest.approx(latitude, abs=1e-9)
    assert abs(back[0]) == pytest.approx(abs(longitude), abs=1e-9)


@given(longitudes, latitudes)
def test_vectors_have_length_one(longitude: float, latitude: float) -> None:
    assert math.hypot(*vector((longitude, latitude))) == pytest.approx(1, abs=1e-15)


# --- distances of shapes


def test_distance_to_a_line_is_that_to_its_nearest_point() -> None:
    line = shape_of(make_line([(0.1, 0), (1, 0)]))
    assert distance_m(place(0, 0), line, WGS84) == pytest.approx(WGS84.distance_m((0, 0), (0.1, 0)))
    assert distance_m(place(0.5, 0), line, WGS84) == 0
    assert distance_m(place(0.5, 1), line, WGS84) == pytest.approx(WGS84.distance_m((0.5, 0), (0.5, 1)))


def test_distance_to_a_polygon_is_nothing_inside_and_that_to_the_edge_outside() -> None:
    square = make_polygon([(0, 0), (4, 0), (4, 4), (0, 4)])
    holed = shape_of(with_hole(square, make_polygon([(1, 1), (3, 1), (3, 3), (1, 3)])))
    assert distance_m(place(0.5, 0.5), holed, WGS84) == 0
    assert distance_m(place(-1, 2), shape_of(square), WGS84) == pytest.approx(
        WGS84.distance_m((-1, 2), (0, 2)), rel=1e-3
    )
    assert distance_m(place(2, 1.5), holed, WGS84) == pytest.approx(WGS84.distance_m((2, 1), (2, 1.5)), rel=1e-3)


def test_nearest_point_of_an_edge_has_the_digits_of_rethinkdb() -> None:
    line = shape_of(make_line([(5, -1), (4, 2)]))
    triangle = shape_of(make_polygon([(5, -1), (4, 2), (10, 10)]))
    assert distance_m(place(0, 0), line, WGS84) == distance_m(place(0, 0), triangle, WGS84) == 492471.4990055255


@given(positions, lines)
def test_nearest_point_of_a_line_is_that_of_its_nearest_edge(centre: Position, line: dict) -> None:  # type: ignore[type-arg]
    point, shape = place(*centre), shape_of(line)
    assert isinstance(shape, Line)
    apart = angle(point.vector, nearest(point, shape))
    for start, end in pairwise(shape.vertices):
        assert apart <= angle(point.vector, nearest_on_edge(point.vector, start, end)) + 1e-9


@given(positions, positions, positions)
@example((45, -90), (0, 0), (49, 0))  # a pole is equally far from all of the equator
def test_nearest_point_of_an_edge_is_on_it(centre: Position, start: Position, end: Position) -> None:
    a, b = vector(start), vector(end)
    if 1e-9 < angle(a, b) < math.pi - 1e-6:
        found = nearest_on_edge(vector(centre), a, b)
        assert math.hypot(*found) == pytest.approx(1, abs=1e-12)
        assert angle(a, found) + angle(found, b) == pytest.approx(angle(a, b), abs=1e-6)


def test_there_is_no_distance_to_an_empty_polygon() -> None:
    square = make_polygon([(0, 0), (4, 0), (4, 4), (0, 4)])
    with pytest.raises(GeoError, match="empty polygon"):
        distance_m(place(0, 0), shape_of(with_hole(square, square)), WGS84)


@given(positions, geometries)
def test_no_corner_is_nearer_than_the_nearest_point(centre: Position, geometry: dict) -> None:  # type: ignore[type-arg]
    point = place(*centre)
    apart = angle(point.vector, nearest(point, shape_of(geometry)))
    coordinates = geometry["coordinates"]
    corners = {"Point": [coordinates], "LineString": coordinates, "Polygon": coordinates[0]}[geometry["type"]]
    for corner in corners:
        assert apart <= angle(point.vector, vector((corner[0], corner[1]))) + 1e-9


# --- units


@pytest.mark.parametrize("name", UNITS_M)
def test_units(name: str) -> None:
    assert convert(1, unit_m(name), 1) == UNITS_M[name]
    assert convert(convert(7, 1, unit_m(name)), unit_m(name), 1) == pytest.approx(7)


def test_unknown_unit() -> None:
    with pytest.raises(GeoError, match="Unrecognized distance unit `cm`"):
        unit_m("cm")


def test_ellipsoid_that_numbers_cannot_express() -> None:
    with pytest.raises(GeoError, match="no such ellipsoid"):
        Ellipsoid(5e-324, 0.9).distance_m((0, 0), (1, 1))
