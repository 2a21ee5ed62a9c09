from __future__ import annotations

from typing import Any

import pytest

from photondb.datum.errors import DatumError
from photondb.geo import geojson
from photondb.geo.geojson import coordinate_pair, line_positions, make_line, make_point, make_polygon, point_position
from photondb.geo.shapes import validate

RING = [[0, 0], [1, 0], [1, 1], [0, 0]]


def test_shapes_are_geojson_with_a_type() -> None:
    assert make_point((1.0, -2.5)) == {"$reql_type$": "GEOMETRY", "type": "Point", "coordinates": [1, -2.5]}
    assert type(make_point((1.0, 2))["coordinates"][0]) is int
    assert make_line([(0, 0), (1, 0)])["coordinates"] == [[0, 0], [1, 0]]


def test_polygon_closes_its_ring_once() -> None:
    assert make_polygon([(0, 0), (1, 0), (1, 1)])["coordinates"] == [RING]
    assert make_polygon([(0, 0), (1, 0), (1, 1), (0, 0)])["coordinates"] == [RING]


def test_positions_are_read_back() -> None:
    assert point_position(make_point((3, 4))) == (3, 4)
    assert line_positions(make_line([(3, 4), (5, 6)])) == [(3, 4), (5, 6)]
    assert coordinate_pair(make_point((3, 4))) == coordinate_pair([3, 4]) == (3, 4)


def refusal(value: Any) -> DatumError:
    with pytest.raises(DatumError) as caught:
        validate(value)
    return caught.value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "Expected type OBJECT but found NUMBER."),
        ({"type": "Point", "coordinates": 1}, "Expected type ARRAY but found NUMBER."),
        ({"type": 1, "coordinates": [0, 0]}, "Expected type STRING but found NUMBER."),
        ({"type": "Point", "coordinates": [[], 0]}, "Expected type NUMBER but found ARRAY."),
        ({"type": "Point", "coordinates": [0]}, "Too few coordinates.  Need at least longitude and latitude."),
        (
            {"type": "Point", "coordinates": [0, 0, 0]},
            "A third altitude coordinate in GeoJSON positions was found, but is not supported.",
        ),
        (
            {"type": "Point", "coordinates": [0, 0, 0, 0]},
            "Too many coordinates.  GeoJSON position should have no more than three coordinates, but got 4.",
        ),
        ({"type": "Point", "coordinates": [180.5, 0]}, "Longitude must be between -180 and 180.  Got 180.5."),
        ({"type": "Point", "coordinates": [0, -91]}, "Latitude must be between -90 and 90.  Got -91."),
        ({"type": "Feature", "coordinates": []}, "GeoJSON type `Feature` is not supported."),
        ({"type": "point", "coordinates": []}, "Unrecognized GeoJSON type `point`."),
        ({"type": "LineString", "coordinates": [[0, 0]]}, "GeoJSON LineString must have at least two positions."),
        (
            {"type": "LineString", "coordinates": [[0, 0], [0, 0]]},
            "Invalid LineString.  Are there antipodal or duplicate vertices?",
        ),
        (
            {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]},
            "GeoJSON LinearRing must have at least four positions.",
        ),
        (
            {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]},
            "First and last vertex of GeoJSON LinearRing must be identical.",
        ),
        (
            {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]},
            "Invalid LinearRing.  Are there antipodal or duplicate vertices? Is it self-intersecting?",
        ),
        (
            {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 0]], [[3, 1], [6, 1], [6, 3], [3, 1]]]},
            "Some edges in GeoJSON polygon could not be used.  Are they intersecting?",
        ),
        (
            {"type": "Point", "coordinates": [0, 0], "crs": {"type": "name"}},
            "Non-default coordinate reference systems are not supported in GeoJSON objects.  Make sure the `crs` field "
            "of the geometry is null or non-existent.",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(value: Any, text: str) -> None:
    error = refusal(value)
    assert (error.message, error.kind) == (text, "logic")


@pytest.mark.parametrize("name", ["type", "coordinates"])
def test_missing_fields_do_not_exist(name: str) -> None:
    value = {"type": "Point", "coordinates": [0, 0]}
    del value[name]
    error = refusal(value)
    assert error.message.startswith(f"No attribute `{name}` in object:\n")
    assert error.kind == "non_existence"


def test_null_where_a_value_should_be_does_not_exist() -> None:
    assert refusal({"type": "Point", "coordinates": [0, None]}).kind == "non_existence"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1], "Expected point coordinate pair.  Got 1 element array instead of a 2 element one."),
        ([1, 2, 3], "Expected point coordinate pair.  Got 3 element array instead of a 2 element one."),
        ("here", "Expected type ARRAY but found STRING."),
        (["x", 1], "Expected type NUMBER but found STRING."),
        (make_line([(0, 0), (1, 1)]), "Expected geometry of type `Point` but found `LineString`."),
    ],
)
def test_what_is_no_place(value: Any, text: str) -> None:
    with pytest.raises(DatumError) as caught:
        coordinate_pair(value)
    assert caught.value.message == text


def test_a_hole_is_added_to_a_polygon() -> None:
    outer, inner = make_polygon([(0, 0), (4, 0), (4, 4)]), make_polygon([(2, 1), (3, 1), (3, 2)])
    assert geojson.with_hole(outer, inner)["coordinates"] == [outer["coordinates"][0], inner["coordinates"][0]]
