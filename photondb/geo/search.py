"""The search for what is nearest to a place: a disc that grows until enough is found, looked at ring by ring.

How it grows is RethinkDB's way, so that it ends where RethinkDB's does when it becomes too large.
"""

from __future__ import annotations

import math

from photondb.geo.circle import check_radius
from photondb.geo.ellipsoid import Ellipsoid
from photondb.geo.errors import GeoError, RadiusError

FIRST_RADIUS = 10 / 6378137
"""The radius of the first disc, as a share of the radius of the equator: ten metres on earth."""

GROWTH = 2.0
"""By how much the radius grows after a ring in which there was nothing."""

GOAL = 100
"""How many results the next ring should have, by the density of those in the last one."""

OCTAGON = 8
"""RethinkDB looks for what is in an octagon around the disc, which must not become too large."""

MARGIN = 1.01


class NearestSearch:
    """A search for up to `max_results` shapes, at most `max_distance_m` metres away.

    The ring to look at is what is further away than `above_m` (which is negative at first, for what is at the place
    itself) and not further than `most_m`.
    """

    __slots__ = ("_ellipsoid", "_max_distance_m", "_max_results", "above_m", "found", "most_m")

    def __init__(self, max_results: int, max_distance_m: float, ellipsoid: Ellipsoid) -> None:
        self._ellipsoid = ellipsoid
        self._max_results = max_results
        self._max_distance_m = max_distance_m
        self.found = 0
        self.above_m = -1.0
        self.most_m = min(max_distance_m, FIRST_RADIUS * ellipsoid.equator_radius_m)
        self._check()

    @property
    def wanted(self) -> int:
        """How many results there may still be."""
        return self._max_results - self.found

    def grow(self, found: int) -> bool:
        """Go on to the next ring after so many results in this one; False when the search is over.

        Raises GeoError where the ring would be too large.
        """
        self.found += found
        inner_m = max(self.above_m, 0.0)
        area = math.pi * (self.most_m * self.most_m - inner_m * inner_m)
        density = found / area if area > 0 else 0.0
        self.above_m = self.most_m
        if self.wanted <= 0 or self.most_m >= self._max_distance_m:
            return False
        if density > 0:
            self.most_m = math.sqrt(max(GOAL, self.wanted) / math.pi / density + self.most_m * self.most_m)
        else:
            self.most_m *= GROWTH
        self.most_m = min(self.most_m, self._max_distance_m)
        self._check()
        return True

    def _check(self) -> None:
        around_m = self.most_m * MARGIN / math.cos(math.pi / OCTAGON)
        try:
            check_radius(around_m * (self._ellipsoid.equator_radius_m / self._ellipsoid.pole_radius_m), self._ellipsoid)
        except RadiusError as error:
            raise GeoError(
                "The distance has become too large for continuing the indexed nearest traversal.  Consider specifying "
                f"a smaller `max_dist` parameter.  ({error.message})"
            ) from None
