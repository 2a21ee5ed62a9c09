"""Geometry as values: points, lines, polygons, circles, GeoJSON, distances."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from rethinkdb import r

from photondb.reql.errors import CompileError, ErrorKind
from tests.geo.strategies import geometries
from tests.reql.evaluate import evaluate, failure

SQUARE = r.polygon([0, 0], [4, 0], [4, 4], [0, 4])
INNER = r.polygon([1, 1], [2, 1], [2, 2], [1, 2])
GAP = [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]], [[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]]


def geometry(kind: str, coordinates: Any) -> dict[str, Any]:
    return {"$reql_type$": "GEOMETRY", "type": kind, "coordinates": coordinates}


def text_of(query: Any) -> str:
    error = failure(query)
    assert error.kind == ErrorKind.LOGIC
    return error.message


# --- making shapes


def test_point() -> None:
    assert evaluate(r.point(1.5, -2)) == geometry("Point", [1.5, -2])
    assert evaluate(r.point(1, 2).type_of()) == "PTYPE<GEOMETRY>"
    assert text_of(r.point(0, 90.5)) == "Latitude must be between -90 and 90.  Got 90.5."
    assert text_of(r.point(-190, 0)) == "Longitude must be between -180 and 180.  Got -190."
    assert text_of(r.point("0", 0)) == "Expected type NUMBER but found STRING."


def test_line_of_points_and_pairs() -> None:
    assert evaluate(r.line([0, 0], r.point(1, 2), [3, 3])) == geometry("LineString", [[0, 0], [1, 2], [3, 3]])
    assert evaluate(r.line(r.args([[0, 0], [1, 1]]))) == geometry("LineString", [[0, 0], [1, 1]])
    assert text_of(r.line([0, 0], [0, 0])) == "Invalid LineString.  Are there antipodal or duplicate vertices?"
    assert text_of(r.line([0, 0], [1])) == (
        "Expected point coordinate pair.  Got 1 element array instead of a 2 element one."
    )
    assert text_of(r.line([0, 0], SQUARE)) == "Expected geometry of type `Point` but found `Polygon`."
    assert text_of(r.line([0, 0], 5)) == "Expected type ARRAY but found NUMBER."
    error = failure(r.line([0, 0]))
    assert isinstance(error, CompileError)
    assert error.message == "Expected 2 or more arguments but found 1."


def test_polygon_closes_its_ring() -> None:
    ring = [[0, 0], [1, 0], [1, 1], [0, 0]]
    assert evaluate(r.polygon([0, 0], [1, 0], [1, 1])) == geometry("Polygon", [ring])
    assert evaluate(r.polygon([0, 0], [1, 0], [1, 1], [0, 0])) == geometry("Polygon", [ring])
    assert text_of(r.polygon([0, 0], [1, 1], [1, 0], [0, 1])) == (
        "Invalid LinearRing.  Are there antipodal or duplicate vertices? Is it self-intersecting?"
    )
    assert failure(r.polygon([0, 0], [1, 0])).message == "Expected 3 or more arguments but found 2."


def test_circle() -> None:
    ring = evaluate(r.circle([10, 20], 1000))["coordinates"][0]
    assert len(ring) == 33
    assert ring[0] == ring[-1]
    for corner in ring:
        assert evaluate(r.distance(r.point(10, 20), r.point(*corner))) == pytest.approx(1000)
    assert evaluate(r.circle(r.point(10, 20), 1000)) == evaluate(r.circle([10, 20], 1000))


def test_circle_as_a_line() -> None:
    line = evaluate(r.circle([10, 20], 1000, fill=False, num_vertices=5))
    assert line["type"] == "LineString"
    assert len(line["coordinates"]) == 6
    assert line["coordinates"][0] == line["coordinates"][-1]
    filled = evaluate(r.circle([10, 20], 1000, num_vertices=5))
    assert filled == evaluate(r.expr(line).fill())


def test_circle_in_other_units_and_on_other_ellipsoids() -> None:
    corner = r.circle([0, 0], 1, unit="km").to_geojson()["coordinates"][0][0]
    assert evaluate(r.distance(r.point(0, 0), r.point(corner[0], corner[1]))) == pytest.approx(1000)
    degree = math.radians(1)
    for sphere in ("unit_sphere", {"a": 1, "f": 0}):
        ring = evaluate(r.circle([0, 0], degree, geo_system=sphere, num_vertices=4))["coordinates"][0]
        assert ring[0] == pytest.approx([0, -1])


def test_circles_that_there_are_not() -> None:
    assert text_of(r.circle([0, 0], -1)) == "Radius must be positive"
    assert text_of(r.circle([0, 0], 1.6, geo_system="unit_sphere")).startswith(
        "Radius must be smaller than a quarter of the circumference along the minor axis of the reference ellipsoid.  "
        "Got 1.6000000000000000888m"
    )
    assert text_of(r.circle([0, 0], 1, num_vertices=0)) == "num_vertices must be positive."
    assert text_of(r.circle([0, 0], 1, num_vertices=-1)) == "Integer too large: -1"
    assert text_of(r.circle([0, 0], 1, num_vertices=2)) == "GeoJSON LinearRing must have at least four positions."
    assert text_of(r.circle([0, 0, 0], 1)) == (
        "Expected point coordinate pair.  Got 3 element array instead of a 2 element one."
    )


def test_circle_is_not_larger_than_an_array_may_be() -> None:
    error = failure(r.circle([0, 0], 1, num_vertices=4_000_000_000))
    assert error.kind == ErrorKind.RESOURCE_LIMIT
    assert len(evaluate(r.circle([0, 0], 1, num_vertices=99), array_limit=100)["coordinates"][0]) == 100
    assert failure(r.circle([0, 0], 1, num_vertices=100), array_limit=100).kind == ErrorKind.RESOURCE_LIMIT


def test_fill() -> None:
    assert evaluate(r.line([0, 0], [1, 0], [1, 1]).fill()) == evaluate(r.polygon([0, 0], [1, 0], [1, 1]))
    assert text_of(SQUARE.fill()) == "Expected geometry of type `LineString` but found `Polygon`."
    assert text_of(r.expr({"a": 1}).fill()).startswith("Not a GEOMETRY pseudotype: `")


def test_polygon_sub() -> None:
    assert evaluate(SQUARE.polygon_sub(INNER)) == geometry("Polygon", GAP)
    assert text_of(INNER.polygon_sub(SQUARE)) == (
        "The second argument to `polygon_sub` is not contained in the first one."
    )
    hole_text = "Expected a Polygon with only an outer shell.  This one has holes."
    assert text_of(SQUARE.polygon_sub(INNER).polygon_sub(INNER)) == hole_text
    assert failure(SQUARE.polygon_sub(SQUARE.polygon_sub(INNER))).frames == (1,)
    assert text_of(SQUARE.polygon_sub(r.point(1, 1))) == "Expected a Polygon but found a Point."


# --- GeoJSON


def test_geojson_both_ways() -> None:
    value = {"type": "Polygon", "coordinates": GAP}
    assert evaluate(r.geojson(value)) == geometry("Polygon", GAP)
    assert evaluate(r.geojson(value).to_geojson()) == value


@given(geometries)
def test_geojson_round_trip(value: dict[str, Any]) -> None:
    shape = r.expr(r.geojson({"type": value["type"], "coordinates": value["coordinates"]}))
    assert evaluate(shape) == value
    assert evaluate(r.geojson(shape.to_geojson()).eq(shape)) is True


def test_geojson_keeps_an_empty_reference_system_and_drops_the_box() -> None:
    value = {"type": "Point", "coordinates": [1, 2], "crs": None}
    assert evaluate(r.geojson({**value, "bbox": [0, 0, 3, 3]})) == {"$reql_type$": "GEOMETRY", **value}


def test_geojson_that_is_none() -> None:
    assert text_of(r.geojson({"type": "Point", "coordinates": [1, 2], "name": "x"})) == (
        "Unrecognized field `name` found in geometry object."
    )
    assert text_of(r.geojson(r.point(1, 2))) == "GeoJSON object already had a $reql_type$ field."
    assert text_of(r.geojson({"type": "MultiPoint", "coordinates": []})) == (
        "GeoJSON type `MultiPoint` is not supported."
    )
    missing = failure(r.geojson({"type": "Point"}))
    assert missing.kind == ErrorKind.NON_EXISTENCE
    assert evaluate(r.geojson({"type": "Point"}).default("none")) == "none"


def test_geometry_that_was_not_checked_is_checked_when_it_is_used() -> None:
    """Values in documents need only look like geometry."""
    strange = r.expr({"$reql_type$": "GEOMETRY", "type": "Point", "coordinates": [1]})
    assert evaluate(strange.to_geojson()) == {"type": "Point", "coordinates": [1]}
    assert text_of(strange.intersects(SQUARE)) == "Too few coordinates.  Need at least longitude and latitude."


# --- distance


def test_distance_of_points_and_shapes() -> None:
    assert evaluate(r.distance(r.point(0, 0), r.point(0, 1))) == pytest.approx(110_574.3886)
    assert evaluate(r.point(5, 2).distance(SQUARE)) == evaluate(SQUARE.distance(r.point(5, 2)))
    assert evaluate(r.point(1, 1).distance(SQUARE)) == 0
    assert text_of(SQUARE.distance(SQUARE)) == "Expected geometry of type `Point` but found `Polygon`."
    assert text_of(SQUARE.distance(5)).startswith("Not a GEOMETRY pseudotype: `5`")


@pytest.mark.parametrize(("unit", "metres"), [("m", 1), ("km", 1000), ("mi", 1609.344), ("nm", 1852), ("ft", 0.3048)])
def test_distance_in_units(unit: str, metres: float) -> None:
    far = r.point(1, 1)
    assert evaluate(r.point(0, 0).distance(far, unit=unit)) == pytest.approx(
        evaluate(r.point(0, 0).distance(far)) / metres
    )


def test_options_of_distances() -> None:
    points = r.point(0, 0), r.point(0, 90)
    assert evaluate(r.distance(*points, geo_system="unit_sphere")) == pytest.approx(math.pi / 2)
    assert evaluate(r.distance(*points, geo_system={"a": 2, "f": 0})) == pytest.approx(math.pi)
    assert evaluate(r.distance(*points, geo_system="WGS84")) == evaluate(r.distance(*points))
    assert text_of(r.distance(*points, unit="cm")) == "Unrecognized distance unit `cm`."
    assert text_of(r.distance(*points, geo_system="mars")) == (
        'Unrecognized geo system "mars" (valid options: "WGS84", "unit_sphere").'
    )
    assert text_of(r.distance(*points, geo_system={"a": 0, "f": 0})) == "The equator radius `a` must be positive."
    assert text_of(r.distance(*points, geo_system={"a": 1, "f": 1})) == (
        "The flattening `f` must be in the range [0, 1)."
    )
    assert failure(r.distance(*points, geo_system={"a": 1})).kind == ErrorKind.NON_EXISTENCE
    assert failure(r.distance(*points, geo_system={"a": 0, "f": 0})).frames == ("geo_system",)


# --- comparing shapes


def test_intersects_and_includes() -> None:
    assert evaluate(SQUARE.intersects(r.line([-1, 1], [5, 2]))) is True
    assert evaluate(SQUARE.includes(r.line([-1, 1], [5, 2]))) is False
    assert evaluate(SQUARE.includes(INNER)) is True
    assert evaluate(INNER.includes(SQUARE)) is False
    assert evaluate(SQUARE.polygon_sub(INNER).intersects(r.point(1.5, 1.5))) is False
    assert text_of(r.point(0, 0).includes(SQUARE)) == "Expected geometry of type `Polygon` but found `Point`."
    assert text_of(SQUARE.intersects("x")).startswith('Not a GEOMETRY pseudotype: `"x"`')
    assert text_of(r.expr({"a": 1}).intersects(SQUARE)).startswith("Not a GEOMETRY pseudotype: `")


def test_sequences_are_filtered() -> None:
    points = r.expr([r.point(1, 1), r.point(9, 9), r.point(2, 2)])
    assert evaluate(points.intersects(SQUARE)) == evaluate(r.expr([r.point(1, 1), r.point(2, 2)]))
    assert evaluate(r.expr([SQUARE, INNER]).includes(r.point(3, 3)).count()) == 1
    assert evaluate(r.expr([SQUARE, INNER]).includes(r.point(8, 8))) == []


def test_grouped_data() -> None:
    places = r.expr([{"g": 1, "at": r.point(1, 1)}, {"g": 1, "at": r.point(9, 9)}, {"g": 2, "at": r.point(2, 2)}])
    assert evaluate(places.group("g")["at"].intersects(SQUARE).count()) == [[1, 1], [2, 1]]
    assert evaluate(places.group("g").nth(0)["at"].distance(r.point(1, 1)).gt(0)) == [[1, False], [2, True]]


def test_only_points_are_the_same_everywhere() -> None:
    """What is computed may be rounded otherwise on another machine, so indexes cannot rest on it."""
    from photondb.reql.effects import Effects
    from photondb.reql.registry import TERMS
    from photondb.reql.wire import Term

    rounded = {number for number, definition in TERMS.items() if definition.effects_of(2) & Effects.ROUNDED}
    assert Term.POINT not in rounded
    assert Term.TO_GEOJSON not in rounded
    assert {Term.LINE, Term.POLYGON, Term.CIRCLE, Term.GEOJSON, Term.DISTANCE, Term.INTERSECTS, Term.FILL} <= rounded
    assert not Effects.ROUNDED.lasting
    assert Effects.ROUNDED.pushable
