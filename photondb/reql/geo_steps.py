"""What a query on a geo index does with the documents that it finds there: the cells of the index only come close."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from photondb.datum.errors import DatumError
from photondb.datum.types import normalise_number, reql_type
from photondb.geo.ellipsoid import Ellipsoid, convert
from photondb.geo.geojson import TYPE, Position
from photondb.geo.projection import distance_m, nearest
from photondb.geo.relations import intersects
from photondb.geo.shapes import Point, Polygon, Shape, shape_of
from photondb.geo.sphere import angle, vector
from photondb.reql.index_values import IndexValues
from photondb.reql.steps import ConcatMapStep, Fields, FilterStep

ROUNDING = 1e-9
"""How much, in proportion, distances of different origin may differ for want of digits: much more than they do."""


def indexed_shapes(values: IndexValues, document: Any) -> list[Shape]:
    """The shapes that a document is indexed by. What is no geometry, or none that makes sense, is left out."""
    found = []
    for element in values.elements(document):
        try:
            if reql_type(element) == TYPE:
                found.append(shape_of(element))
        except DatumError:
            continue
    return found


class IntersectingStep(FilterStep):
    """Keep the documents that are indexed by what intersects some geometry: each as often as it has such shapes, or
    just once."""

    __slots__ = ("geometry", "once", "shape", "values")

    def __init__(self, values: IndexValues, geometry: dict[str, Any], once: bool = False) -> None:
        super().__init__(values.func)
        self.values = values
        self.geometry = geometry
        self.once = once
        self.shape = shape_of(geometry)

    @property
    def fields(self) -> Fields | None:
        """The fields of a row that the step needs to see."""
        return self.values.func.fields

    def selector(self) -> Callable[[Any], bool]:
        """A function that says whether to keep a row."""
        return lambda row: self._matches(row) > 0

    def apply(self, rows: Sequence[Any]) -> list[Any]:
        return [row for row in rows for _ in range(self._matches(row))]

    def select(self, raws: Sequence[bytes], rows: Sequence[Any]) -> tuple[list[bytes], list[Any]]:
        """The rows to keep, as they were read and as values."""
        pairs = [(raw, row) for raw, row in zip(raws, rows, strict=True) for _ in range(self._matches(row))]
        return [raw for raw, _ in pairs], [row for _, row in pairs]

    def _matches(self, row: Any) -> int:
        found = (intersects(self.shape, shape) for shape in indexed_shapes(self.values, row))
        return any(found) if self.once else sum(found)

    def to_wire(self) -> dict[str, Any]:
        return {"intersecting": self.values.to_wire(), "geometry": self.geometry, "once": self.once}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> IntersectingStep:
        return cls(IndexValues.from_wire(wire["intersecting"]), wire["geometry"], wire["once"])


class NearbyStep(ConcatMapStep):
    """Replace each document by {"dist", "doc"} objects: one for each shape that it is indexed by and that is further
    than `above_m` from a centre, or not nearer if that is negative, but not further than `most_m`."""

    __slots__ = ("above_m", "centre", "ellipsoid", "most_m", "position", "unit_m", "values")

    fields: Fields | None = None  # the whole document is part of the result

    def __init__(
        self,
        values: IndexValues,
        position: Position,
        ellipsoid: Ellipsoid,
        unit_m: float,
        above_m: float,
        most_m: float,
    ) -> None:
        super().__init__(values.func)
        self.values = values
        self.position = position
        self.centre = Point(vector(position))
        self.ellipsoid = ellipsoid
        self.unit_m = unit_m
        self.above_m = above_m
        self.most_m = most_m

    def apply(self, rows: Sequence[Any]) -> list[Any]:
        return [
            {"dist": normalise_number(convert(distance, 1.0, self.unit_m)), "doc": row}
            for row in rows
            for shape in indexed_shapes(self.values, row)
            if (distance := self._distance_m(shape)) is not None
        ]

    def _distance_m(self, shape: Shape) -> float | None:
        """How far away a shape is, in metres; None where it does not count."""
        if isinstance(shape, Polygon) and shape.empty:
            return None
        apart = angle(self.centre.vector, nearest(self.centre, shape))
        least_m, greatest_m = self.ellipsoid.least_distance_m(apart), self.ellipsoid.greatest_distance_m(apart)
        if least_m > self.most_m * (1 + ROUNDING) or greatest_m < self.above_m * (1 - ROUNDING):
            return None
        distance = distance_m(self.centre, shape, self.ellipsoid)
        return distance if self.above_m < distance <= self.most_m else None

    def to_wire(self) -> dict[str, Any]:
        return {
            "nearby": self.values.to_wire(),
            "position": list(self.position),
            "ellipsoid": list(self.ellipsoid),
            "unit_m": self.unit_m,
            "above_m": self.above_m,
            "most_m": self.most_m,
        }

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> NearbyStep:
        longitude, latitude = wire["position"]
        return cls(
            IndexValues.from_wire(wire["nearby"]),
            (longitude, latitude),
            Ellipsoid(*wire["ellipsoid"]),
            wire["unit_m"],
            wire["above_m"],
            wire["most_m"],
        )
