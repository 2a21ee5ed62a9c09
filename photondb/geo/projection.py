"""The nearest point of a shape, and how far away it is."""

from __future__ import annotations

import math

from photondb.geo.ellipsoid import Ellipsoid
from photondb.geo.errors import GeoError
from photondb.geo.shapes import Line, Point, Shape
from photondb.geo.sphere import Vector, nearest_on_edge, position


def nearest(point: Point, shape: Shape) -> Vector:
    """The point of a shape that is nearest to a point, on the sphere. Raises GeoError for an empty polygon."""
    if isinstance(shape, Point):
        return shape.vector
    if isinstance(shape, Line):
        return _nearest_on_line(point, shape)
    if shape.empty:
        raise GeoError("There is no distance to an empty polygon.")
    if shape.s2.Contains(point.s2):
        return point.vector
    candidates = [_nearest_on_line(point, ring) for ring in shape.outline]
    return min(candidates, key=lambda found: math.dist(found, point.vector))


def _nearest_on_line(point: Point, line: Line) -> Vector:
    """S2 finds the edge, but the point on it is RethinkDB's to the last digit."""
    _, after = line.s2.Project(point.s2)
    end = min(after, line.size - 1)
    return nearest_on_edge(point.vector, line.vertices[end - 1], line.vertices[end])


def distance_m(point: Point, shape: Shape, ellipsoid: Ellipsoid) -> float:
    """The distance in metres on an ellipsoid from a point to the point of a shape that is nearest on the sphere.

    For shapes that are large compared with the earth, another point may be a little nearer on the ellipsoid.
    """
    found = nearest(point, shape)
    return 0.0 if found == point.vector else ellipsoid.distance_m(position(point.vector), position(found))
