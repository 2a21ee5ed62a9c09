"""Geometry: making shapes, GeoJSON, distances, and whether shapes meet."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import islice
from typing import Annotated, Any

from photondb.datum.types import REQL_TYPE, normalise_number
from photondb.datum.validation import validate as check_value
from photondb.geo import circle as circles
from photondb.geo import geojson as geo
from photondb.geo.ellipsoid import UNIT_SPHERE, WGS84, Ellipsoid, convert, unit_m
from photondb.geo.errors import GeoError
from photondb.geo.projection import distance_m
from photondb.geo.relations import includes as does_include
from photondb.geo.relations import intersects as do_intersect
from photondb.geo.shapes import Point, polygon_of, shape_of, validate
from photondb.reql.effects import Effects
from photondb.reql.errors import logic_error
from photondb.reql.parameters import Datum, Geometry, Kind, Number, Runtime, as_integer, as_number, as_string
from photondb.reql.registry import term
from photondb.reql.values import as_datum, check_array_size
from photondb.reql.wire import Term

MAX_VERTICES = 2**32 - 1
SMALL_SHAPE = 128
"""Shapes of so many positions are remembered; larger circles are computed with a look at the clock after each part of
so many positions."""

REMEMBERED_SHAPES = 16


def _ellipsoid(value: Any) -> Ellipsoid:
    value = as_datum(value)
    if type(value) is dict:
        radius = as_number(geo.field(value, "a"))
        flattening = as_number(geo.field(value, "f"))
        if radius <= 0:
            raise logic_error("The equator radius `a` must be positive.")
        if not 0 <= flattening < 1:
            raise logic_error("The flattening `f` must be in the range [0, 1).")
        return Ellipsoid(float(radius), float(flattening))
    name = as_string(value)
    if name == "WGS84":
        return WGS84
    if name == "unit_sphere":
        return UNIT_SPHERE
    raise logic_error(f'Unrecognized geo system "{name}" (valid options: "WGS84", "unit_sphere").')


def _place(value: Any) -> geo.Position:
    return geo.coordinate_pair(as_datum(value))


def _vertices(value: Any) -> int:
    count = as_integer(value)
    if not 0 <= count <= MAX_VERTICES:
        raise logic_error(f"Integer too large: {count}")
    if count == 0:
        raise logic_error("num_vertices must be positive.")
    return count


GeoSystem = Annotated[Any, Kind("geo system", _ellipsoid)]
"""What stands for the earth when distances are measured: the name of an ellipsoid, or its measures {"a", "f"}."""
Unit = Annotated[Any, Kind("unit", lambda value: unit_m(as_string(value)))]
"""A unit of distances: m, km, mi, nm or ft. The function is given its length in metres."""
Place = Annotated[Any, Kind("point", _place)]
"""A point, or an array of longitude and latitude."""
VertexCount = Annotated[Any, Kind("integer", _vertices)]


# --- making shapes


@term(Term.POINT)
def point(longitude: Number, latitude: Number) -> dict[str, Any]:
    """The point at a longitude and a latitude, in degrees."""
    return _checked(geo.make_point((longitude, latitude)))


@term(Term.LINE, effects=Effects.ROUNDED)
def line(first: Place, second: Place, *more: Place) -> dict[str, Any]:
    """The line through some points, which are points or arrays of longitude and latitude."""
    return _shape(geo.make_line, (first, second, *more))


@term(Term.POLYGON, effects=Effects.ROUNDED)
def polygon(first: Place, second: Place, third: Place, *more: Place) -> dict[str, Any]:
    """The polygon with these corners. The last one is joined to the first one."""
    return _shape(geo.make_polygon, (first, second, third, *more))


@term(Term.CIRCLE, effects=Effects.ROUNDED)
def circle(
    runtime: Runtime,
    centre: Place,
    radius: Number,
    *,
    num_vertices: VertexCount = 32,
    geo_system: GeoSystem = WGS84,
    unit: Unit = 1.0,
    fill: bool = True,
) -> dict[str, Any]:
    """The polygon, or with `fill=False` the line, that stands for a circle: points at a distance from its centre."""
    check_array_size(num_vertices + 1, runtime.array_limit)
    radius_m = convert(radius, unit, 1.0)
    if num_vertices <= SMALL_SHAPE:
        ring = _small_circle(centre, radius_m, num_vertices, geo_system)
    else:
        ring = _large_circle(runtime, centre, radius_m, num_vertices, geo_system)
    return _shape(geo.make_polygon, ring) if fill else _shape(geo.make_line, (*ring, ring[0]))


@term(Term.FILL, effects=Effects.ROUNDED)
def fill(outline: Geometry) -> dict[str, Any]:
    """The polygon inside a line, of which the last point is joined to the first one."""
    return _shape(geo.make_polygon, tuple(geo.line_positions(outline)))


@term(Term.POLYGON_SUB, effects=Effects.ROUNDED)
def polygon_sub(outer: Geometry, inner: Geometry) -> dict[str, Any]:
    """A polygon with another one, which lies within it, as a hole."""
    for position, shape in enumerate((outer, inner)):
        if shape["type"] != geo.POLYGON:
            raise logic_error(f"Expected a Polygon but found a {shape['type']}.").blame(position)
        if len(shape["coordinates"]) > 1:
            raise logic_error("Expected a Polygon with only an outer shell.  This one has holes.").blame(position)
    if not does_include(polygon_of(outer), shape_of(inner)):
        raise GeoError("The second argument to `polygon_sub` is not contained in the first one.")
    return _checked(geo.with_hole(outer, inner))


def _checked(geometry: dict[str, Any]) -> dict[str, Any]:
    validate(geometry)
    return geometry


def _shape(
    make: Callable[[tuple[geo.Position, ...]], dict[str, Any]], positions: tuple[geo.Position, ...]
) -> dict[str, Any]:
    """A shape of positions. A function that is called for every document often makes the same one for all of them."""
    return _small_shape(make, positions) if len(positions) <= SMALL_SHAPE else _checked(make(positions))


@functools.lru_cache(maxsize=REMEMBERED_SHAPES)
def _small_shape(
    make: Callable[[tuple[geo.Position, ...]], dict[str, Any]], positions: tuple[geo.Position, ...]
) -> dict[str, Any]:
    return _checked(make(positions))


@functools.lru_cache(maxsize=REMEMBERED_SHAPES)
def _small_circle(
    centre: geo.Position, radius_m: float, vertices: int, ellipsoid: Ellipsoid
) -> tuple[geo.Position, ...]:
    return tuple(circles.circle(centre, radius_m, vertices, ellipsoid))


def _large_circle(
    runtime: Runtime, centre: geo.Position, radius_m: float, vertices: int, ellipsoid: Ellipsoid
) -> tuple[geo.Position, ...]:
    positions = circles.circle(centre, radius_m, vertices, ellipsoid)
    ring: list[geo.Position] = []
    while part := list(islice(positions, SMALL_SHAPE)):
        runtime.checkpoint()
        ring += part
    return tuple(ring)


# --- GeoJSON


@term(Term.GEOJSON, effects=Effects.ROUNDED)
def geojson(value: Datum) -> dict[str, Any]:
    """The geometry that a GeoJSON object describes."""
    validate(value)
    if REQL_TYPE in value:
        raise logic_error("GeoJSON object already had a $reql_type$ field.")
    geometry = {REQL_TYPE: geo.TYPE, **{name: part for name, part in value.items() if name != "bbox"}}
    check_value(geometry)  # refuses fields that geometry does not have
    return geometry


@term(Term.TO_GEOJSON)
def to_geojson(geometry: Geometry) -> dict[str, Any]:
    """Geometry as a GeoJSON object."""
    return {name: part for name, part in geometry.items() if name != REQL_TYPE}


# --- comparing shapes


@term(Term.DISTANCE, effects=Effects.ROUNDED)
def distance(first: Geometry, second: Geometry, *, geo_system: GeoSystem = WGS84, unit: Unit = 1.0) -> Any:
    """How far a point is from some geometry."""
    if first["type"] != geo.POINT:
        first, second = second, first
        geo.expect_kind(first, geo.POINT)
    place = shape_of(first)
    assert isinstance(place, Point)
    return normalise_number(convert(distance_m(place, shape_of(second), geo_system), 1.0, unit))


@term(Term.INTERSECTS, effects=Effects.ROUNDED, over_sequences="filter", pseudotypes=("GEOMETRY",))
def intersects(first: Geometry, second: Geometry) -> bool:
    """Whether two shapes have something in common. Of a sequence of shapes, those that do are kept."""
    return do_intersect(shape_of(first), shape_of(second))


@term(Term.INCLUDES, effects=Effects.ROUNDED, over_sequences="filter", pseudotypes=("GEOMETRY",))
def includes(outer: Geometry, inner: Geometry) -> bool:
    """Whether a shape lies within a polygon. Of a sequence of polygons, those in which it does are kept."""
    return does_include(polygon_of(outer), shape_of(inner))
