from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import Any

import s2geometry as s2
from hypothesis import given, settings
from hypothesis import strategies as st

from photondb.geo import cells
from photondb.geo.ellipsoid import UNIT_SPHERE, WGS84, Ellipsoid
from photondb.geo.geojson import Position, make_line, make_point, make_polygon, with_hole
from photondb.geo.projection import distance_m
from photondb.geo.relations import intersects
from photondb.geo.shapes import Point, Shape, shape_of
from photondb.geo.sphere import vector
from tests.examples import examples
from tests.geo.strategies import geometries, points, positions


def found(shape: Shape, searched: list[int]) -> bool:
    """Whether an index that has a shape shows it where cells are searched."""
    ranges = cells.search_ranges(searched)
    starts = [low for low, _ in ranges]
    for cell in cells.index_cells(shape):
        place = bisect_right(starts, cell) - 1
        if place >= 0 and cell < ranges[place][1]:
            return True
    return False


@settings(max_examples=examples(300))
@given(geometries, geometries)
def test_what_intersects_is_found(a: dict[str, Any], b: dict[str, Any]) -> None:
    if intersects(shape_of(a), shape_of(b)):
        assert found(shape_of(a), cells.search_cells(shape_of(b)))


@given(points)
def test_a_point_is_found_by_itself(point: dict[str, Any]) -> None:
    assert found(shape_of(point), cells.search_cells(shape_of(point)))


def test_what_is_far_away_is_not_found() -> None:
    square = shape_of(make_polygon([(0, 0), (1, 0), (1, 1), (0, 1)]))
    for place in [(40, 40), (-100, 0), (0, -80)]:
        assert not found(shape_of(make_point(place)), cells.search_cells(square))


def test_point_where_four_cells_meet_is_found_from_each_of_them() -> None:
    assert len(cells.index_cells(shape_of(make_point((0, 0))))) == 4
    assert len(cells.index_cells(shape_of(make_point((0, 10))))) == 2
    assert len(cells.index_cells(shape_of(make_point((3.3, 10.7))))) == 1


def test_few_cells_cover_a_shape() -> None:
    line = shape_of(make_line([(0, 0), (90, 1), (170, 60)]))
    assert 1 < len(cells.index_cells(line)) <= cells.INDEX_CELLS
    assert len(cells.search_cells(line)) <= cells.SEARCH_CELLS


def test_nothing_covers_an_empty_polygon() -> None:
    square = make_polygon([(0, 0), (1, 0), (1, 1), (0, 1)])
    assert cells.index_cells(shape_of(with_hole(square, square))) == []


@given(positions, st.integers(0, 30))
def test_ranges_are_what_is_in_a_cell_and_what_it_is_in(position: Position, level: int) -> None:
    point = shape_of(make_point(position))
    assert isinstance(point, Point)
    cell = s2.S2CellId(point.s2).parent(level) if level < 30 else s2.S2CellId(point.s2)
    ranges = cells.search_ranges([cell.id()])
    assert (cell.range_min().id(), cell.range_max().id() + 1) in ranges
    above = {(cell.parent(up).id(), cell.parent(up).id() + 1) for up in range(level)}
    assert above == set(ranges) - {(cell.range_min().id(), cell.range_max().id() + 1)}


@given(geometries)
def test_ranges_are_in_order_and_apart(geometry: dict[str, Any]) -> None:
    ranges = cells.search_ranges(cells.search_cells(shape_of(geometry)))
    for (low, high), (next_low, _) in pairwise(ranges):
        assert low < high <= next_low


@settings(max_examples=examples(300))
@given(st.sampled_from([WGS84, UNIT_SPHERE, Ellipsoid(6e6, 0.1)]), positions, geometries)
def test_what_is_in_a_disc_is_found(ellipsoid: Ellipsoid, centre: Position, geometry: dict[str, Any]) -> None:
    """A shape is found by the disc that its nearest point is just in."""
    shape, middle = shape_of(geometry), shape_of(make_point(centre))
    assert isinstance(middle, Point)
    distance = distance_m(middle, shape, ellipsoid)
    assert found(shape, cells.disc_cells(vector(centre), ellipsoid.greatest_angle(distance)))


def test_keys_say_whether_a_document_has_several() -> None:
    point, line = shape_of(make_point((3.3, 10.7))), shape_of(make_line([(0, 0), (10, 10)]))
    (key,) = cells.entry_keys([point])
    assert cells.found_once(b"prefix" + key + b"primary", len(b"prefix"))
    keys = cells.entry_keys([point, line, point])
    assert len(keys) == len(set(keys)) > 2
    assert not any(cells.found_once(key, 0) for key in keys)
    assert cells.entry_keys([]) == []


@given(geometries)
def test_keys_are_in_the_ranges_that_a_search_for_the_same_reads(geometry: dict[str, Any]) -> None:
    shape = shape_of(geometry)
    ranges = cells.key_ranges(cells.search_cells(shape))
    keys = cells.entry_keys([shape])
    assert any(low <= key < high for key in keys for low, high in ranges)
