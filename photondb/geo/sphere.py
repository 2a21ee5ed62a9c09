"""Positions as points of the unit sphere, and what else of spherical trigonometry is needed beside S2."""

from __future__ import annotations

import math

from photondb.datum.text import exact_number_text
from photondb.geo.errors import GeoError
from photondb.geo.geojson import Position

Vector = tuple[float, float, float]
"""A point of the unit sphere."""

TOLERANCE = 2e-15
"""Radians (13 nanometres on earth) within which a point counts as being on a line, on the edge of a polygon, or where
another point is. It is about what positions lose when they become points of the sphere."""

_RADIANS = math.pi / 180
_DEGREES = 180 / math.pi


def vector(position: Position) -> Vector:
    """The point of the sphere at a position. Raises GeoError where there is no such position."""
    longitude, latitude = position
    if not -180 <= longitude <= 180:
        raise GeoError(f"Longitude must be between -180 and 180.  Got {exact_number_text(longitude)}.")
    if not -90 <= latitude <= 90:
        raise GeoError(f"Latitude must be between -90 and 90.  Got {exact_number_text(latitude)}.")
    phi = latitude * _RADIANS
    theta = -math.pi if longitude == 180 else longitude * _RADIANS  # both are the same meridian
    from_axis = math.cos(phi)
    return math.cos(theta) * from_axis, math.sin(theta) * from_axis, math.sin(phi)


def position(point: Vector) -> Position:
    """The position of a point of the sphere."""
    x, y, z = point
    return math.atan2(y, x) * _DEGREES, math.atan2(z, math.sqrt(x * x + y * y)) * _DEGREES


LEAST_FOOT = 1e-10
"""A point that is nearer than this (radians) to a pole of a great circle is equally far from all of it, as far as its
coordinates can tell: where its foot on the circle is would be a matter of rounding."""


def nearest_on_edge(point: Vector, start: Vector, end: Vector) -> Vector:
    """The point of an edge, the shorter way between two points along a great circle, that is nearest to a point."""
    normal = _cross(_sum(end, start), _difference(end, start))  # more exact than start x end where they are near
    square = _dot(normal, normal)
    if square > 0:  # else the edge is so short that its ends are one
        share = _dot(point, normal) / square
        foot = _difference(point, (share * normal[0], share * normal[1], share * normal[2]))
        known = _dot(foot, foot) > LEAST_FOOT * LEAST_FOOT
        if known and _dot(_cross(foot, normal), start) > 0 and _dot(_cross(normal, foot), end) > 0:
            scale = 1 / math.sqrt(_dot(foot, foot))
            return foot[0] * scale, foot[1] * scale, foot[2] * scale
    return start if math.dist(point, start) <= math.dist(point, end) else end


def _sum(a: Vector, b: Vector) -> Vector:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def _difference(a: Vector, b: Vector) -> Vector:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Vector, b: Vector) -> Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def angle(a: Vector, b: Vector) -> float:
    """The angle between two points, in radians; exact for small angles."""
    return 2 * math.asin(min(1.0, math.dist(a, b) / 2))
