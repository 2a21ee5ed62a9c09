"""The nearest point of a shape, and how far away it is."""

from __future__ import annotations

import s2geometry as s2

from photondb.geo.ellipsoid import Ellipsoid
from photondb.geo.errors import GeoError
from photondb.geo.shapes import Line, Point, Shape
from photondb.geo.sphere import Vector, position


def nearest(point: Point, shape: Shape) -> Vector:
    """The point of a shape that is nearest to a point, on the sphere. A polygon must not be empty."""
    if isinstance(shape, Point):
        return shape.vector
    found = shape.s2.Project(point.s2)
    raw: Vector = s2.S2Point_ToRaw(found[0] if isinstance(shape, Line) else found)
    return raw


def distance_m(point: Point, shape: Shape, ellipsoid: Ellipsoid) -> float:
    """The distance in metres on an ellipsoid from a point to the point of a shape that is nearest on the sphere.

    For shapes that are large compared with the earth, another point may be a little nearer on the ellipsoid.
    """
    if not isinstance(shape, Point | Line) and shape.empty:
        raise GeoError("There is no distance to an empty polygon.")
    found = nearest(point, shape)
    return 0.0 if found == point.vector else ellipsoid.distance_m(position(point.vector), position(found))
