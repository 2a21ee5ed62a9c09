"""Distances on an ellipsoid of revolution, by GeographicLib.

RethinkDB has a GeographicLib of 2013, in C. Later ones round otherwise in the last digits, so that a distance would not
equal the one that RethinkDB computed and that is stored somewhere. Release 1.43 of the Python library has the formulas
of that time, and all that it takes to get the same digits is C's way to compute the length of a vector.
"""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace
from typing import NamedTuple

from geographiclib import geodesic, geodesicline, geomath
from geographiclib.geodesic import Geodesic

from photondb.geo.errors import GeoError
from photondb.geo.geojson import Position


def _length(x: float, y: float) -> float:
    return math.sqrt(x * x + y * y) or math.hypot(x, y)  # the squares of very small numbers are zero


for _module in (geodesic, geodesicline, geomath):
    _module.math = SimpleNamespace(**{**vars(math), "hypot": _length})

UNITS_M = {"m": 1.0, "km": 1000.0, "mi": 1609.344, "nm": 1852.0, "ft": 0.3048}
"""The units of distances, in metres."""


class Ellipsoid(NamedTuple):
    """An ellipsoid that stands for the earth: its radius at the equator in metres, and its flattening (0 to below 1:
    the poles are nearer to the centre than the equator)."""

    equator_radius_m: float
    flattening: float

    @property
    def pole_radius_m(self) -> float:
        """The distance of the poles from the centre."""
        return (1 - self.flattening) * self.equator_radius_m

    def distance_m(self, start: Position, end: Position) -> float:
        """The length of the shortest way between two positions, in metres."""
        found = _geodesic(self).Inverse(start[1], start[0], end[1], end[0], Geodesic.DISTANCE)
        return float(found["s12"])

    def destination(self, start: Position, azimuth: float, distance_m: float) -> Position:
        """Where one arrives, starting in a direction (degrees clockwise from north), after a distance."""
        found = _geodesic(self).Direct(start[1], start[0], azimuth, distance_m, Geodesic.LATITUDE | Geodesic.LONGITUDE)
        return float(found["lon2"]), float(found["lat2"])

    def least_distance_m(self, angle: float) -> float:
        """What positions are apart at least that are an angle (in radians) apart on the sphere.

        Along a meridian a degree of latitude is shortest at the equator, and no way is shorter for its angle.
        """
        return angle * self.equator_radius_m * (1 - self.flattening) ** 2

    def greatest_distance_m(self, angle: float) -> float:
        """What positions are apart at most that are an angle (in radians) apart on the sphere: a degree is longest
        at the poles."""
        return angle * self.equator_radius_m / (1 - self.flattening)

    def greatest_angle(self, distance_m: float) -> float:
        """The angle on the sphere between positions that are a distance apart, at most."""
        radian_m = self.least_distance_m(1)
        return min(math.pi, distance_m / radian_m) if radian_m > 0 else math.pi


WGS84 = Ellipsoid(6378137.0, 1 / 298.257223563)
"""The earth, by the World Geodetic System of 1984."""

UNIT_SPHERE = Ellipsoid(1.0, 0.0)


@functools.lru_cache(maxsize=16)
def _geodesic(ellipsoid: Ellipsoid) -> Geodesic:
    try:
        return Geodesic(ellipsoid.equator_radius_m, ellipsoid.flattening)
    except ValueError as error:
        raise GeoError(f"There is no such ellipsoid: {error}.") from None


def unit_m(name: str) -> float:
    """The length in metres of the unit of that name."""
    metres = UNITS_M.get(name)
    if metres is None:
        raise GeoError(f"Unrecognized distance unit `{name}`.")
    return metres


def convert(distance: float, from_unit_m: float, to_unit_m: float) -> float:
    """A distance in another unit."""
    return distance * (from_unit_m / to_unit_m)
