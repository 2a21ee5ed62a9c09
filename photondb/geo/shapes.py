"""Shapes: geometry values as S2 sees them, on the sphere.

S2 (Google's `s2geometry`) ends the process or never returns when some of its functions are given what they do not
expect, so every shape is checked here, once, where it is made; other modules are given shapes only.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import s2geometry as s2

from photondb.datum.errors import DatumError
from photondb.geo import geojson
from photondb.geo.crowding import FEW_EDGES, Crowd
from photondb.geo.errors import GeoError
from photondb.geo.geojson import LINE, POINT
from photondb.geo.sphere import Vector, vector

CACHED_SHAPES = 64
CACHED_VERTICES = 100_000
"""How many shapes are kept, and how many vertices they have together, at most; but the last one is always kept."""

MAX_VERTICES = 100_000
MAX_RINGS = 1_000
MAX_NEAR_EDGES = 5_000_000
"""What a shape may have: so much that S2 takes a fraction of a second for it, in which the process does nothing else.
`MAX_NEAR_EDGES` is how many pairs of edges may be near each other, also when two shapes are compared."""


class Point:
    """A point."""

    __slots__ = ("s2", "vector")

    def __init__(self, place: Vector) -> None:
        self.vector = place
        self.s2 = s2.S2Point_FromRaw(*place)


class Line:
    """A line through two or more points. `crowd` is where its edges are, if there are many."""

    __slots__ = ("crowd", "s2", "size", "vertices")

    def __init__(self, vertices: list[Vector], crowd: Crowd | None = None) -> None:
        self.vertices = vertices
        self.size = len(vertices)
        self.crowd = crowd
        self.s2 = s2.S2Polyline()
        self.s2.InitFromS2Points(_s2_points(vertices))

    def pieces(self, edges: int) -> list[Line]:
        """The line in pieces of at most so many edges."""
        if self.size <= edges + 1:
            return [self]
        return [Line(self.vertices[start : start + edges + 1]) for start in range(0, self.size - 1, edges)]


class Polygon:
    """What is inside a ring and outside of the rings that are its holes. It may be empty: all of it may be cut out.
    `crowd` is where its edges are, if there are many."""

    __slots__ = ("_outline", "crowd", "s2", "size")

    def __init__(self, polygon: Any, crowd: Crowd | None = None) -> None:
        self.s2 = polygon
        self.crowd = crowd
        self.size: int = polygon.num_vertices()
        self._outline: list[Line] | None = None

    @property
    def outline(self) -> list[Line]:
        """Its rings as lines."""
        if self._outline is None:
            loops = [self.s2.loop(number) for number in range(self.s2.num_loops())]
            self._outline = [
                Line([s2.S2Point_ToRaw(loop.vertex(number)) for number in range(loop.num_vertices() + 1)])
                for loop in loops
            ]
        return self._outline

    @property
    def empty(self) -> bool:
        return self.size == 0


Shape = Point | Line | Polygon


class _ShapeCache:
    """The shapes of the last geometry values, by identity: a query compares the same value with many documents.

    A value is kept with its shape, so that nothing else gets its identity. Values are never changed.
    """

    def __init__(self) -> None:
        self._shapes: OrderedDict[int, tuple[dict[str, Any], Line | Polygon]] = OrderedDict()
        self._vertices = 0

    def find(self, geometry: dict[str, Any]) -> Line | Polygon | None:
        found = self._shapes.get(id(geometry))
        if found is None:
            return None
        self._shapes.move_to_end(id(geometry))
        return found[1]

    def keep(self, geometry: dict[str, Any], shape: Line | Polygon) -> None:
        self._shapes[id(geometry)] = geometry, shape
        self._vertices += shape.size
        while len(self._shapes) > CACHED_SHAPES or (self._vertices > CACHED_VERTICES and len(self._shapes) > 1):
            _, (_, dropped) = self._shapes.popitem(last=False)
            self._vertices -= dropped.size


_shapes = _ShapeCache()


def shape_of(geometry: dict[str, Any]) -> Shape:
    """The shape of a geometry value (or a GeoJSON object). Raises DatumError where it makes no sense."""
    found = _shapes.find(geometry)
    if found is not None:
        return found
    shape = _make(geometry)
    if not isinstance(shape, Point):  # which is made faster than it is found
        _shapes.keep(geometry, shape)
    return shape


def polygon_of(geometry: dict[str, Any]) -> Polygon:
    """The shape of a geometry value that must be a polygon."""
    geojson.expect_kind(geometry, geojson.POLYGON)
    shape = shape_of(geometry)
    assert isinstance(shape, Polygon)
    return shape


def validate(value: Any) -> None:
    """Raise unless a GeoJSON object is geometry that makes sense."""
    if type(value) is dict:
        geojson.refuse_reference_system(value)
    shape_of(value)


def _make(geometry: dict[str, Any]) -> Shape:
    kind = geojson.kind_of(geometry)
    coordinates = geojson.field(geometry, "coordinates")
    if kind == POINT:
        return Point(vector(geojson.position_of(coordinates)))
    if kind == LINE:
        return _line(coordinates)
    return _polygon(coordinates)


def _s2_points(vertices: list[Vector]) -> list[Any]:
    return [s2.S2Point_FromRaw(*vertex) for vertex in vertices]


def _line(coordinates: Any) -> Line:
    if len(geojson.array(coordinates)) < 2:
        raise GeoError("GeoJSON LineString must have at least two positions.")
    _check_size(len(coordinates))
    vertices = [vector(position) for position in geojson.positions_of(coordinates)]
    line = Line(vertices, Crowd([vertices]) if len(vertices) > FEW_EDGES else None)
    if not line.s2.IsValid():
        raise GeoError("Invalid LineString.  Are there antipodal or duplicate vertices?")
    return line


def _polygon(coordinates: Any) -> Polygon:
    """The first ring without the others. Rings may touch, and share edges, but not cross."""
    if len(geojson.array(coordinates)) > MAX_RINGS:
        raise _too_much(f"{len(coordinates):,} rings", f"{MAX_RINGS:,}")
    _check_size(sum(len(geojson.array(ring)) for ring in coordinates))
    rings = [_ring(ring) for ring in coordinates]
    crowd = None
    if sum(map(len, rings)) > FEW_EDGES:
        crowd = Crowd(rings)
        if crowd.pairs() > MAX_NEAR_EDGES:
            raise DatumError(
                "The geometry has too many long edges near each other. Simplify it, or divide it into several.",
                "resource",
            )
    loops = [_loop(ring) for ring in rings]
    if len(loops) == 1:
        return Polygon(s2.S2Polygon(loops[0]), crowd)
    polygon = s2.S2Polygon()
    polygon.InitNested(loops)
    if not polygon.IsValid():
        polygon = _cut_out(loops)
    return Polygon(polygon, crowd)


def _check_size(vertices: int) -> None:
    if vertices > MAX_VERTICES:
        raise _too_much(f"{vertices:,} vertices", f"{MAX_VERTICES:,}")


def _too_much(what: str, limit: str) -> DatumError:
    return DatumError(
        f"The geometry has {what}, more than the limit of {limit}. Simplify it, or divide it into several.", "resource"
    )


def _ring(coordinates: Any) -> list[Vector]:
    """The vertices of a ring, of which the last is the first."""
    if len(coordinates) < 4:
        raise GeoError("GeoJSON LinearRing must have at least four positions.")
    vertices = [vector(position) for position in geojson.positions_of(coordinates)]
    if vertices[0] != vertices[-1]:
        raise GeoError("First and last vertex of GeoJSON LinearRing must be identical.")
    return vertices


def _loop(vertices: list[Vector]) -> Any:
    loop = s2.S2Loop(_s2_points(vertices[:-1]))
    if not loop.IsValid():
        raise GeoError("Invalid LinearRing.  Are there antipodal or duplicate vertices? Is it self-intersecting?")
    loop.Normalize()  # the inside is what is smaller than the outside, whatever the direction of the ring
    return loop


def _cut_out(loops: list[Any]) -> Any:
    """The polygon of a shell and holes that share edges with it or with each other."""
    shell, *holes = [s2.S2Polygon(loop) for loop in loops]
    bounds = [hole.GetRectBound() for hole in holes]
    for number, hole in enumerate(holes):
        if not shell.Contains(hole) or any(
            bounds[number].Intersects(bounds[other]) and hole.Intersects(holes[other]) for other in range(number)
        ):
            raise GeoError("Some edges in GeoJSON polygon could not be used.  Are they intersecting?")
    return _difference(shell, holes)


def _difference(shell: Any, holes: list[Any]) -> Any:
    result = s2.S2Polygon()
    operation = s2.S2BooleanOperation(s2.S2BooleanOperation.OpType_DIFFERENCE, s2.S2PolygonLayer(result))
    operation.Build(_index([shell]), _index(holes))
    return result


def _index(polygons: list[Any]) -> Any:
    index = s2.MutableS2ShapeIndex()
    for polygon in polygons:
        index.Add(polygon.Clone())  # which belongs to the index from then on
    return index
