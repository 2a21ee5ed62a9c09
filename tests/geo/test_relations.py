from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.datum.errors import DatumError
from photondb.geo import relations
from photondb.geo.geojson import make_line, make_point, make_polygon, with_hole
from photondb.geo.relations import includes, intersects
from photondb.geo.shapes import polygon_of, shape_of
from tests.geo.strategies import geometries, lines, points, polygons

SQUARE = make_polygon([(1, 1), (2, 1), (2, 2), (1, 2)])
FRAME = with_hole(SQUARE, make_polygon([(1.1, 1.1), (1.9, 1.1), (1.9, 1.9), (1.1, 1.9)]))


def meet(a: dict[str, Any], b: dict[str, Any]) -> bool:
    there = intersects(shape_of(a), shape_of(b))
    assert there == intersects(shape_of(b), shape_of(a))
    return there


def within(inner: dict[str, Any], outer: dict[str, Any]) -> bool:
    return includes(polygon_of(outer), shape_of(inner))


@pytest.mark.parametrize(
    ("place", "in_square", "in_frame"),
    [
        ((1.05, 1.05), True, True),
        ((1.5, 1.5), True, False),
        ((2.5, 2.5), False, False),
        ((2, 2), True, True),  # a corner
        ((2, 1.5), True, True),  # on an edge
        (
            (1.5, 1.9),
            True,
            False,
        ),  # the edge is not where latitude is the same: it is a great circle, and north of that
        ((1.1, 1.9), True, True),  # a corner of the hole
    ],
)
def test_points_and_polygons(place: tuple[float, float], in_square: bool, in_frame: bool) -> None:
    assert meet(make_point(place), SQUARE) == within(make_point(place), SQUARE) == in_square
    assert meet(make_point(place), FRAME) == within(make_point(place), FRAME) == in_frame


@pytest.mark.parametrize(
    ("start", "end", "meets", "is_within"),
    [
        ((1.2, 1.2), (1.8, 1.8), True, True),
        ((1.5, 1.5), (2, 2), True, True),
        ((1.5, 1.5), (3, 3), True, False),
        ((0, 1.5), (3, 1.5), True, False),
        ((2, 1), (2, 2), True, True),  # an edge
        ((2, 2), (3, 3), False, False),  # touches a corner
        ((2, 1.5), (3, 3), False, False),  # touches an edge
        ((3, 3), (4, 4), False, False),
    ],
)
def test_lines_and_polygons(start: Any, end: Any, meets: bool, is_within: bool) -> None:
    line = make_line([start, end])
    assert meet(line, SQUARE) == meets
    assert within(line, SQUARE) == is_within


@pytest.mark.parametrize(
    ("corners", "meets", "is_within"),
    [
        ([(1, 1), (2, 1), (2, 2), (1, 2)], True, True),
        ([(1.2, 1.2), (1.8, 1.2), (1.8, 1.8), (1.2, 1.8)], True, True),
        ([(1.5, 1.5), (2.5, 1.5), (2.5, 2.5), (1.5, 2.5)], True, False),
        ([(0, 0), (3, 0), (3, 3), (0, 3)], True, False),
        ([(2, 1), (3, 1), (3, 2), (2, 2)], False, False),  # shares an edge
        ([(2, 2), (3, 2), (3, 3), (2, 3)], False, False),  # shares a corner
        ([(4, 4), (5, 4), (5, 5), (4, 5)], False, False),
    ],
)
def test_polygons_and_polygons(corners: Any, meets: bool, is_within: bool) -> None:
    polygon = make_polygon(corners)
    assert meet(polygon, SQUARE) == meets
    assert within(polygon, SQUARE) == is_within


def test_what_is_in_a_hole_is_not_in_the_polygon() -> None:
    inside = make_polygon([(1.2, 1.2), (1.8, 1.2), (1.8, 1.8), (1.2, 1.8)])
    assert not meet(inside, FRAME)
    assert not within(inside, FRAME)
    assert not within(make_line([(1.05, 1.5), (1.95, 1.5)]), FRAME)
    assert within(make_line([(1.05, 1.05), (1.95, 1.05)]), FRAME)
    assert not meet(make_line([(1.2, 1.2), (1.8, 1.8)]), FRAME)
    assert meet(make_line([(1.5, 1.5), (1.95, 1.5)]), FRAME)


def test_lines_and_lines() -> None:
    line = make_line([(0, 0), (2, 2), (4, 0)])
    assert meet(line, make_line([(0, 2), (2, 0)]))
    assert meet(line, make_line([(4, 0), (5, 5)]))  # at their ends
    assert not meet(line, make_line([(0, 3), (4, 3)]))


def test_points_on_lines() -> None:
    """The equator and meridians are great circles, so that these are on the line as far as numbers are exact."""
    assert meet(make_point((1.5, 0)), make_line([(1, 0), (2, 0)]))
    assert meet(make_point((1, 1.8)), make_line([(1, 1), (1, 2)]))
    assert meet(make_point((1, 1)), make_line([(1, 1), (5, 7)]))
    assert not meet(make_point((1.5, 0.000001)), make_line([(1, 0), (2, 0)]))


def test_equal_points_meet_wherever_they_are() -> None:
    assert meet(make_point((0.1 + 0.2, 5)), make_point((0.3, 5)))
    assert meet(make_point((180, 10)), make_point((-180, 10)))
    assert meet(make_point((10, 90)), make_point((-70, 90)))
    assert not meet(make_point((0, 0)), make_point((0, 0.0000001)))


def test_an_empty_polygon_meets_nothing() -> None:
    nothing = with_hole(SQUARE, SQUARE)
    for other in (SQUARE, nothing, make_point((1.5, 1.5)), make_line([(0, 0), (3, 3)])):
        assert not meet(nothing, other)
        assert not within(other, nothing)
    assert not within(nothing, SQUARE)


def zigzag(corners: int, west: float, east: float, south: float) -> dict[str, Any]:
    """A line that goes from west to east and back over and over, a little further north each time."""
    return make_line([((west, east)[number % 2], south + number * 0.0001) for number in range(corners)])


def test_long_lines_are_compared_in_pieces() -> None:
    line = zigzag(500, 0, 1, 0)
    assert meet(line, zigzag(490, 1.5, 0.5, 0))
    assert not meet(line, zigzag(490, 0.5, 1.5, 0))
    assert meet(line, make_line([(0.5, 5), (0.6, 0.04)]))
    assert not meet(line, zigzag(490, 1.1, 2, 0))
    assert not meet(line, zigzag(490, 0, 1, 0.06))


def test_lines_that_are_too_long_to_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every edge of one is near all edges of the other, but none meet."""
    monkeypatch.setattr(relations, "MAX_COMPARED_EDGES", 50_000)
    line, other = zigzag(500, 0, 1, 0), zigzag(490, 0.5, 1.5, 0)
    assert not meet(line, make_line([(0.5, 1 + number * 0.001) for number in range(500)]))
    with pytest.raises(DatumError, match="too many edges") as caught:
        meet(line, other)
    assert caught.value.kind == "resource"


def test_a_line_in_pieces_crosses_a_polygon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relations, "PIECE_CROSSINGS", 8)
    line = make_line([(number / 10, 1.5) for number in range(31)])
    assert meet(line, SQUARE)
    assert not within(line, SQUARE)
    assert within(make_line([(1 + number / 20, 1.5) for number in range(20)]), SQUARE)
    assert not meet(make_line([(number / 10, 2.5) for number in range(31)]), SQUARE)


# --- laws


@given(geometries, geometries)
def test_intersection_is_symmetric(a: dict[str, Any], b: dict[str, Any]) -> None:
    meet(a, b)


@given(points | lines)
def test_everything_with_an_end_intersects_itself(geometry: dict[str, Any]) -> None:
    assert meet(geometry, geometry)


@given(polygons)
def test_a_polygon_includes_itself_and_its_corners(polygon: dict[str, Any]) -> None:
    assert meet(polygon, polygon)
    assert within(polygon, polygon)
    for corner in polygon["coordinates"][0]:
        assert within(make_point((corner[0], corner[1])), polygon)


@given(polygons, geometries)
def test_what_is_included_intersects(polygon: dict[str, Any], geometry: dict[str, Any]) -> None:
    if within(geometry, polygon) and geometry["type"] != "LineString":  # a line along an edge is in it, but touches it
        assert meet(geometry, polygon)


@given(polygons, st.data())
def test_points_of_a_polygon_are_where_an_including_polygon_is(polygon: dict[str, Any], data: st.DataObject) -> None:
    other = data.draw(polygons)
    if within(other, polygon):
        for corner in other["coordinates"][0]:
            assert meet(make_point((corner[0], corner[1])), polygon)


@given(lines, geometries)
def test_a_line_meets_what_its_points_meet_unless_it_only_touches(line: dict[str, Any], other: dict[str, Any]) -> None:
    if other["type"] == "Point" and any(meet(make_point((at[0], at[1])), other) for at in line["coordinates"]):
        assert meet(line, other)
