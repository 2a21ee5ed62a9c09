"""S2's cells, by which geo indexes are ordered.

The earth is divided into six cells, each of them into four, and so on down to cells of a square centimetre. A cell is a
number of 64 bits; all cells within it have numbers from `range_min` to `range_max` of it, so that they lie together.

A shape is in an index under a few cells that cover it, large or small. A shape that meets what is looked for is found
under a cell that contains, or lies within, one of the cells that cover that: `search_ranges` are the numbers of these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import s2geometry as s2

from photondb.geo.shapes import Point, Polygon, Shape
from photondb.geo.sphere import Vector

INDEX_CELLS = 8
SEARCH_CELLS = 16
"""How many cells cover a shape in an index, and what is looked for, at most. More of them would fit more closely, but
take more place in the index, and more places of the index to look at. These are the numbers that RethinkDB uses."""

POINT_RADIUS = 1e-14
"""Radians around a point that its cells cover: more than the tolerance with which a point counts as on an edge, so
that one on the edge between two cells is found from either."""

LEEWAY = 1e-9
"""How much larger than asked for, in proportion, the area is that the cells of a disc cover."""

_FACE_BIT = 1 << 60
"""The lowest bit of the number of one of the six largest cells. The lowest bit that is set says how large a cell is."""

_ONLY, _ONE_OF_SEVERAL = b"\0", b"\1"


def _coverer(cells: int) -> s2.S2RegionCoverer:
    coverer = s2.S2RegionCoverer()
    coverer.set_max_cells(cells)
    return coverer


_INDEX_COVERER = _coverer(INDEX_CELLS)
_SEARCH_COVERER = _coverer(SEARCH_CELLS)


def index_cells(shape: Shape) -> list[int]:
    """The cells that a shape is indexed by."""
    return _covering(shape, _INDEX_COVERER)


def search_cells(shape: Shape) -> list[int]:
    """The cells that cover a shape that is looked for."""
    return _covering(shape, _SEARCH_COVERER)


def disc_cells(centre: Vector, radius: float) -> list[int]:
    """Cells that cover all points within an angle (radians) from a centre, with some leeway."""
    angle = s2.S1Angle.Radians(min(radius * (1 + LEEWAY) + POINT_RADIUS, math.pi))
    disc = s2.S2Cap(s2.S2Point_FromRaw(*centre), angle)
    return [cell.id() for cell in _SEARCH_COVERER.GetCovering(disc)]


def _covering(shape: Shape, coverer: s2.S2RegionCoverer) -> list[int]:
    if isinstance(shape, Polygon) and shape.empty:
        return []
    region = s2.S2Cap(shape.s2, s2.S1Angle.Radians(POINT_RADIUS)) if isinstance(shape, Point) else shape.s2
    return [cell.id() for cell in coverer.GetCovering(region)]


def search_ranges(cells: Iterable[int]) -> list[tuple[int, int]]:
    """The numbers of all cells that contain one of these cells or lie in one, as ranges, the end of each exclusive.

    They are in order and do not overlap, if none of the cells contains another.
    """
    ranges: set[tuple[int, int]] = set()
    for cell in cells:
        bit = cell & -cell
        ranges.add((cell - bit + 1, cell + bit))
        while bit < _FACE_BIT:
            bit <<= 2
            above = cell & -bit | bit
            ranges.add((above, above + 1))
    return sorted(ranges)


# --- keys in an index


def entry_keys(shapes: Iterable[Shape]) -> list[bytes]:
    """The keys that a document has in an index of these shapes: cells, and whether it has several of them."""
    cells = {cell for shape in shapes for cell in index_cells(shape)}
    mark = _ONLY if len(cells) == 1 else _ONE_OF_SEVERAL
    return [cell.to_bytes(8, "big") + mark for cell in sorted(cells)]


def key_ranges(cells: Iterable[int]) -> list[tuple[bytes, bytes]]:
    """Where the documents are in an index of which a shape may meet one of these cells: ranges of keys."""
    return [(low.to_bytes(8, "big"), high.to_bytes(8, "big")) for low, high in search_ranges(cells)]


def found_once(key: bytes, start: int) -> bool:
    """Whether the document of an entry has no other one. The entry's key begins at `start`."""
    return key[start + 8] == 0
