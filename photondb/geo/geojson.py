"""Geometry values: GeoJSON objects that carry a `$reql_type$`. Positions are (longitude, latitude) in degrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from photondb.datum.errors import DatumError, type_error
from photondb.datum.text import print_datum
from photondb.datum.types import REQL_TYPE, normalise_number, type_name
from photondb.geo.errors import GeoError

Position = tuple[float, float]

TYPE = "GEOMETRY"
"""The pseudo type of geometry."""

POINT, LINE, POLYGON = "Point", "LineString", "Polygon"

_OTHER_TYPES = frozenset(
    {"MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection", "Feature", "FeatureCollection"}
)


def make_point(position: Position) -> dict[str, Any]:
    """The geometry of a point. Like the others it is not checked here."""
    return _geometry(POINT, _coordinates(position))


def make_line(positions: Sequence[Position]) -> dict[str, Any]:
    """The geometry of a line through some points."""
    return _geometry(LINE, [_coordinates(position) for position in positions])


def make_polygon(shell: Sequence[Position]) -> dict[str, Any]:
    """The geometry of a polygon inside a ring, which is closed if it is not yet."""
    ring = [_coordinates(position) for position in shell]
    if shell and shell[0] != shell[-1]:
        ring.append(ring[0])
    return _geometry(POLYGON, [ring])


def with_hole(polygon: dict[str, Any], hole: dict[str, Any]) -> dict[str, Any]:
    """A polygon with the shell of another one as its last hole."""
    return _geometry(POLYGON, [*polygon["coordinates"], hole["coordinates"][0]])


def _geometry(kind: str, coordinates: list[Any]) -> dict[str, Any]:
    return {REQL_TYPE: TYPE, "type": kind, "coordinates": coordinates}


def _coordinates(position: Position) -> list[Any]:
    return [normalise_number(position[0]), normalise_number(position[1])]


# --- taking GeoJSON apart


def kind_of(geojson: dict[str, Any]) -> str:
    """The type of a GeoJSON object. Raises for one that is no geometry, or of a type that is not supported."""
    kind = field(geojson, "type")
    if type(kind) is not str:
        raise _wrong_type("STRING", kind)
    if kind in (POINT, LINE, POLYGON):
        return kind
    field(geojson, "coordinates")
    if kind in _OTHER_TYPES:
        raise GeoError(f"GeoJSON type `{kind}` is not supported.")
    raise GeoError(f"Unrecognized GeoJSON type `{kind}`.")


def expect_kind(geojson: dict[str, Any], wanted: str) -> None:
    """Raise unless a geometry is of one type."""
    found = field(geojson, "type")
    if found != wanted:
        raise GeoError(f"Expected geometry of type `{wanted}` but found `{found}`.")


def point_position(geojson: dict[str, Any]) -> Position:
    """Where a point is. Raises for other geometry."""
    expect_kind(geojson, POINT)
    return position_of(field(geojson, "coordinates"))


def line_positions(geojson: dict[str, Any]) -> list[Position]:
    """The positions that a line goes through. Raises for other geometry."""
    expect_kind(geojson, LINE)
    return positions_of(field(geojson, "coordinates"))


def positions_of(coordinates: Any) -> list[Position]:
    """The positions in an array of them."""
    return [position_of(element) for element in array(coordinates)]


def position_of(coordinates: Any) -> Position:
    """The position that an array of coordinates is. Its range is not checked."""
    count = len(array(coordinates))
    if count < 2:
        raise GeoError("Too few coordinates.  Need at least longitude and latitude.")
    if count > 3:
        raise GeoError(
            f"Too many coordinates.  GeoJSON position should have no more than three coordinates, but got {count}."
        )
    if count == 3:
        raise GeoError("A third altitude coordinate in GeoJSON positions was found, but is not supported.")
    return number(coordinates[0]), number(coordinates[1])


def coordinate_pair(value: Any) -> Position:
    """The position that a term is given: a point, or an array of two numbers."""
    if type(value) is dict and value.get(REQL_TYPE) == TYPE:
        return point_position(value)
    count = len(array(value))
    if count != 2:
        raise GeoError(f"Expected point coordinate pair.  Got {count} element array instead of a 2 element one.")
    return number(value[0]), number(value[1])


def refuse_reference_system(geojson: dict[str, Any]) -> None:
    """Raise for an object that names a coordinate reference system, since there is only one here."""
    if geojson.get("crs") is not None:
        raise GeoError(
            "Non-default coordinate reference systems are not supported in GeoJSON objects.  Make sure the `crs` "
            "field of the geometry is null or non-existent."
        )


# --- values of the types that GeoJSON is made of, with the errors of other ones


def field(value: Any, name: str) -> Any:
    """A field of an object."""
    if type(value) is not dict:
        raise _wrong_type("OBJECT", value)
    if name not in value:
        raise DatumError(f"No attribute `{name}` in object:\n{print_datum(value)}", "non_existence")
    return value[name]


def array(value: Any) -> list[Any]:
    """A value that must be an array."""
    if type(value) is not list:
        raise _wrong_type("ARRAY", value)
    return value


def number(value: Any) -> float:
    """A value that must be a number."""
    if type(value) is not int and type(value) is not float:
        raise _wrong_type("NUMBER", value)
    return value


def _wrong_type(expected: str, value: Any) -> DatumError:
    return type_error(value, f"Expected type {expected} but found {type_name(value)}.")
