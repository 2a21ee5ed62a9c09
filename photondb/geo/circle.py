"""Circles, which are polygons or lines through points at the same distance from a centre."""

from __future__ import annotations

import math
from collections.abc import Iterator

from photondb.datum.text import exact_number_text
from photondb.geo.ellipsoid import Ellipsoid
from photondb.geo.errors import RadiusError
from photondb.geo.geojson import Position


def check_radius(radius_m: float, ellipsoid: Ellipsoid) -> None:
    """Raise RadiusError where there is no circle of that radius: one must not reach a quarter around the earth."""
    if radius_m <= 0:
        raise RadiusError("Radius must be positive")
    limit_m = 0.5 * math.pi * min(ellipsoid.equator_radius_m, ellipsoid.pole_radius_m)
    if radius_m >= limit_m:
        raise RadiusError(
            "Radius must be smaller than a quarter of the circumference along the minor axis of the reference "
            f"ellipsoid.  Got {exact_number_text(radius_m)}m, but must be smaller than {exact_number_text(limit_m)}m."
        )


def circle(centre: Position, radius_m: float, vertices: int, ellipsoid: Ellipsoid) -> Iterator[Position]:
    """The positions on a circle, in even directions from its centre, beginning in the south and going west.

    The first one is not there again at the end. Raises RadiusError.
    """
    check_radius(radius_m, ellipsoid)
    for number in range(vertices):
        yield ellipsoid.destination(centre, -180 + 360 / vertices * number, radius_m)
