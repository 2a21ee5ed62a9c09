from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.datum.errors import DatumError
from photondb.geo import shapes
from photondb.geo.geojson import make_point, make_polygon
from photondb.geo.relations import includes, intersects
from photondb.geo.shapes import CACHED_SHAPES, Line, Polygon, shape_of, validate
from tests.geo.strategies import geometries, positions

SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]


def polygon(*rings: Any) -> Polygon:
    shape = shape_of({"type": "Polygon", "coordinates": list(rings)})
    assert isinstance(shape, Polygon)
    return shape


def has(shape: Polygon, longitude: float, latitude: float) -> bool:
    return intersects(shape, shape_of(make_point((longitude, latitude))))


def test_direction_of_a_ring_does_not_matter() -> None:
    assert has(polygon(SQUARE), 1, 1)
    assert has(polygon(SQUARE[::-1]), 1, 1)
    assert not has(polygon(SQUARE[::-1]), 5, 5)


def test_hole_in_either_direction() -> None:
    hole = [[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]
    for ring in (hole, hole[::-1]):
        assert not has(polygon(SQUARE, ring), 1.5, 1.5)
        assert has(polygon(SQUARE, ring), 3, 3)


def test_hole_that_shares_an_edge_is_a_notch() -> None:
    notched = polygon(SQUARE, [[0, 0], [4, 0], [2, 2], [0, 0]])
    assert notched.size == 5
    assert not has(notched, 2, 1)
    assert has(notched, 2, 3)


def test_polygon_that_is_cut_out_of_itself_is_empty() -> None:
    nothing = polygon(SQUARE, SQUARE)
    assert nothing.empty
    assert not has(nothing, 1, 1)
    assert polygon().empty


def squares(count: int, *, apart: bool) -> list[Any]:
    """A ring and that many square holes in rows, which share edges unless they are apart."""
    side = math.ceil(math.sqrt(count))
    width = 80 / side
    shown = width * 0.9 if apart else width
    corners = [(-40 + place % side * width, -40 + place // side * width) for place in range(count)]
    holes = [[[x, y], [x + shown, y], [x + shown, y + shown], [x, y + shown], [x, y]] for x, y in corners]
    return [[[-45, -45], [45, -45], [45, 45], [-45, 45], [-45, -45]], *holes]


def test_many_holes_that_share_edges_are_cut_out_together() -> None:
    assert polygon(*squares(16, apart=True)).s2.num_loops() == 17
    joined = polygon(*squares(16, apart=False))
    assert joined.s2.num_loops() == 2
    assert not has(joined, 0.1, 0.1)
    assert has(joined, 42, 42)


def comb(teeth: int, start: float = 0, end: float = 4) -> list[Any]:
    """A ring with that many long narrow teeth from a latitude to another."""
    width = 5 / teeth
    points = [[start / 100, start - 1]]
    for number in range(teeth):
        x = number * width + start / 100
        points += [[x, start], [x + width * 0.2, end], [x + width * 0.4, start]]
    return [*points, [5 + start / 100, start - 1], points[0]]


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ({"type": "Polygon", "coordinates": [SQUARE] * 1001}, "1,001 rings, more than the limit of 1,000"),
        ({"type": "Polygon", "coordinates": [[[0, 0]] * 100_001]}, "100,001 vertices, more than the limit of 100,000"),
        ({"type": "LineString", "coordinates": [[0, 0]] * 100_001}, "100,001 vertices, more than the limit of 100,000"),
        ({"type": "Polygon", "coordinates": [comb(2000)]}, "too many long edges near each other"),
    ],
)
def test_what_would_take_seconds_is_refused(geometry: dict[str, Any], message: str) -> None:
    with pytest.raises(DatumError, match=message) as caught:
        validate(geometry)
    assert caught.value.kind == "resource"


def test_a_detailed_outline_is_not_refused() -> None:
    steps = [step * math.tau / 90_000 for step in range(90_000)]
    ring = [[math.cos(angle) * (5 + math.sin(angle * 900)), 5 * math.sin(angle)] for angle in steps]
    assert polygon([*ring, ring[0]]).size == 90_000


def test_shapes_that_would_take_seconds_to_compare_are_refused() -> None:
    one, other = polygon(comb(700, 0, 4)), polygon(comb(700, 0.1, 3.9))
    assert intersects(one, other)
    line = shape_of({"type": "LineString", "coordinates": comb(5000, 0.1, 3.9)[1:-2]})
    with pytest.raises(DatumError, match="too many long edges near each other to be compared"):
        intersects(one, line)
    with pytest.raises(DatumError, match="too many long edges near each other to be compared"):
        includes(one, line)


def test_a_hole_outside_is_one_more_shell() -> None:
    """As in RethinkDB, which has a polygon sort out by itself which ring is in which."""
    both = polygon(SQUARE, [[10, 10], [11, 10], [11, 11], [10, 10]])
    assert has(both, 1, 1)
    assert has(both, 10.7, 10.3)


def test_the_date_line_is_one_line() -> None:
    across = polygon([[170, -5], [-170, -5], [-170, 5], [170, 5], [170, -5]])
    assert has(across, 180, 0)
    assert has(across, -180, 0)
    assert not has(across, 0, 0)


def test_pieces_of_a_line_are_the_line() -> None:
    line = shape_of({"type": "LineString", "coordinates": [[number, 0] for number in range(8)]})
    assert isinstance(line, Line)
    pieces = line.pieces(3)
    assert [len(piece.vertices) for piece in pieces] == [4, 4, 2]
    assert pieces[0].vertices[-1] is pieces[1].vertices[0]
    assert line.pieces(7) == [line]


def test_shapes_of_the_same_value_are_made_once() -> None:
    value = make_polygon([(0, 0), (4, 0), (4, 4)])
    assert shape_of(value) is shape_of(value)
    others = [make_polygon([(0, 0), (4, 0), (4, number)]) for number in range(1, CACHED_SHAPES + 1)]
    first = shape_of(value)
    for other in others:
        shape_of(other)
    assert shape_of(value) is not first


def test_shapes_that_are_kept_have_a_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "CACHED_VERTICES", 10)
    values = [make_polygon([(0, 0), (4, 0), (4, number)]) for number in range(1, 5)]
    made = [shape_of(value) for value in values]
    assert [shape_of(value) is shape for value, shape in zip(values[1:], made[1:], strict=True)] == [True] * 3
    assert shape_of(values[0]) is not made[0]
    huge = make_polygon([(0, 0), (4, 0), *((4 - number / 100, number) for number in range(1, 80))])
    shape = shape_of(huge)
    assert shape_of(huge) is shape
    assert shape_of(values[3]) is not made[3]


coordinates = st.recursive(
    st.integers(-200, 200) | st.floats(-200, 200) | st.none() | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=20,
)
rings = st.lists(positions, min_size=3, max_size=7).map(lambda ring: [list(corner) for corner in [*ring, ring[0]]])


@given(st.sampled_from(["Point", "LineString", "Polygon", "MultiPoint"]), coordinates)
def test_no_coordinates_do_harm(kind: str, given_coordinates: Any) -> None:
    with suppress(DatumError):
        validate({"type": kind, "coordinates": given_coordinates})


@given(st.lists(rings, min_size=1, max_size=3), geometries)
def test_no_rings_do_harm(given_rings: list[Any], other: Any) -> None:
    """Whatever passes for a polygon can be compared with anything."""
    value = {"type": "Polygon", "coordinates": given_rings}
    try:
        validate(value)
    except DatumError:
        return
    assert intersects(shape_of(value), shape_of(other)) == intersects(shape_of(other), shape_of(value))
