"""How many edges lie near each other, which is what makes S2 slow.

S2 finds the edges near an edge by dividing the sphere into cells, but not into cells that are smaller than the edges.
So thousands of long edges side by side, as those of a comb, are all compared with each other, which takes seconds in
which the process does nothing else. Here edges are counted in cells of about their own length before S2 sees them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from photondb.geo.sphere import Vector

FEW_EDGES = 1000
"""Shapes with no more than so many edges are never slow."""

MAX_LEVEL = 30
"""The smallest cells have a side of six millimetres."""

NEAR_LEVELS = 3
"""Edges of two shapes are compared where the ones are at most so many times twice as long as the others."""

_Integers = npt.NDArray[np.int64]


class Crowd:
    """The edges of a shape, counted by length and place."""

    def __init__(self, rings: Sequence[Sequence[Vector]]) -> None:
        """`rings` are lines from vertex to vertex."""
        starts = np.concatenate([np.array(ring[:-1]) for ring in rings])
        ends = np.concatenate([np.array(ring[1:]) for ring in rings])
        lengths = np.linalg.norm(ends - starts, axis=1)
        levels = np.clip(np.floor(-np.log2(np.maximum(lengths, 1e-12))), 0, MAX_LEVEL).astype(np.int64)
        middles = (starts + ends) / 2 + 1  # so that no coordinate is negative
        self._levels: dict[int, tuple[_Integers, _Integers]] = {}
        """By level, at which cells have a side of 2^-level radii: the cells, and how many edges are in each."""
        for level in np.unique(levels):
            cells = np.floor(middles[levels == level] * 2.0**level).astype(np.int64)
            self._levels[int(level)] = _counted(cells, np.ones(len(cells), np.int64))

    def pairs(self) -> int:
        """How many pairs of edges there are near each other, about."""
        return sum(int(np.square(counts).sum()) for _, counts in self._levels.values())

    def pairs_with(self, other: Crowd) -> int:
        """How many pairs of an edge of this one and a near edge of the other one there are, about."""
        pairs = 0
        for level, counted in self._levels.items():
            for other_level, other_counted in other._levels.items():
                if abs(level - other_level) <= NEAR_LEVELS:
                    common = min(level, other_level)
                    pairs += _common(_coarser(counted, level - common), _coarser(other_counted, other_level - common))
        return pairs


def _numbers(cells: _Integers) -> _Integers:
    """A number for each cell (x, y, z); that two cells have the same one is too rare to matter."""
    return (cells[:, 0] * 0x9E3779B1 + cells[:, 1]) * 0x85EBCA77 + cells[:, 2]  # may overflow, and may wrap


def _counted(cells: _Integers, counts: _Integers) -> tuple[_Integers, _Integers]:
    """Each cell once, with its counts added up."""
    _, first, place = np.unique(_numbers(cells), return_index=True, return_inverse=True)
    return cells[first], np.bincount(place, counts).astype(np.int64)


def _coarser(counted: tuple[_Integers, _Integers], levels: int) -> tuple[_Integers, _Integers]:
    cells, counts = counted
    return counted if levels == 0 else _counted(cells >> levels, counts)


def _common(a: tuple[_Integers, _Integers], b: tuple[_Integers, _Integers]) -> int:
    _, places, other_places = np.intersect1d(_numbers(a[0]), _numbers(b[0]), return_indices=True)
    return int((a[1][places] * b[1][other_places]).sum())
