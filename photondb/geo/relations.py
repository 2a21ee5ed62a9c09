"""Whether shapes meet, and whether one is inside another.

Shapes are closed: a point on the edge of a polygon is in it. But a polygon that another polygon or a line only touches,
without sharing a stretch, meets neither, as in RethinkDB.
"""

from __future__ import annotations

import math

import s2geometry as s2

from photondb.datum.errors import DatumError
from photondb.geo.shapes import MAX_NEAR_EDGES, Line, Point, Polygon, Shape
from photondb.geo.sphere import TOLERANCE

PIECE_CROSSINGS = 100_000
"""A line and a polygon that may cross more often than that are compared piece by piece: S2 makes all pieces that lie
inside before it gives any."""

PIECE_EDGES = 100
MAX_COMPARED_EDGES = 200_000_000
"""S2 compares all edges of two lines, so the ones that are far from each other are left out before. How many pairs of
edges may be left: it takes about a second to compare them."""


def intersects(a: Shape, b: Shape) -> bool:
    """Whether two shapes have a point in common."""
    if isinstance(a, Point):
        return _is_at(a, b)
    if isinstance(b, Point):
        return _is_at(b, a)
    if isinstance(a, Line):
        return _lines_meet(a, b) if isinstance(b, Line) else _goes_through(a, b)
    if isinstance(b, Line):
        return _goes_through(b, a)
    _check_crowds(a, b)
    return not a.empty and not b.empty and bool(a.s2.Intersects(b.s2))


def includes(polygon: Polygon, shape: Shape) -> bool:
    """Whether all of a shape is in a polygon."""
    if isinstance(shape, Point):
        return _is_at(shape, polygon)
    if polygon.empty:
        return False
    _check_crowds(polygon, shape)
    if isinstance(shape, Polygon):
        return not shape.empty and bool(polygon.s2.Contains(shape.s2))
    return all(polygon.s2.Contains(piece.s2) for piece in _manageable(shape, polygon))


def _is_at(point: Point, shape: Shape) -> bool:
    if isinstance(shape, Point):
        return math.dist(point.vector, shape.vector) <= TOLERANCE
    if isinstance(shape, Line):
        found, _ = shape.s2.Project(point.s2)
    elif not shape.empty:
        found = shape.s2.Project(point.s2)
    else:
        return False
    return math.dist(point.vector, s2.S2Point_ToRaw(found)) <= TOLERANCE


def _check_crowds(a: Line | Polygon, b: Line | Polygon) -> None:
    """Raise where so many edges of two shapes are near each other that S2 would take seconds to compare them."""
    if a.crowd is not None and b.crowd is not None and a.crowd.pairs_with(b.crowd) > MAX_NEAR_EDGES:
        raise DatumError("The shapes have too many long edges near each other to be compared.", "resource")


def _goes_through(line: Line, polygon: Polygon) -> bool:
    _check_crowds(line, polygon)
    if polygon.empty or not polygon.s2.Intersects(line.s2):
        return False
    return any(polygon.s2.IntersectWithPolyline(piece.s2) for piece in _manageable(line, polygon))


def _manageable(line: Line, polygon: Polygon) -> list[Line]:
    return line.pieces(max(1, PIECE_CROSSINGS // polygon.size))


def _lines_meet(a: Line, b: Line) -> bool:
    if a.size * b.size <= PIECE_EDGES * PIECE_EDGES:
        return bool(a.s2.Intersects(b.s2))
    others = [(piece, piece.s2.GetRectBound()) for piece in b.pieces(PIECE_EDGES)]
    compared = 0
    for piece in a.pieces(PIECE_EDGES):
        bound = piece.s2.GetRectBound()
        for other, other_bound in others:
            if bound.Intersects(other_bound):
                compared += piece.size * other.size
                if compared > MAX_COMPARED_EDGES:
                    raise DatumError("The lines have too many edges near each other to be compared.", "resource")
                if piece.s2.Intersects(other.s2):
                    return True
    return False
