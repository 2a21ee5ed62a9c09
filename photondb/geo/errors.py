"""What is raised when geometry makes no sense."""

from __future__ import annotations

from photondb.datum.errors import DatumError


class GeoError(DatumError):
    """A shape that is none, or an operation that is not defined for it. The message is RethinkDB's where it has one."""


class RadiusError(GeoError):
    """A radius for which there is no circle."""
