"""Searching geo indexes: `get_intersecting` and `get_nearest`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import KeyRange
from photondb.geo import cells
from photondb.geo.ellipsoid import WGS84, convert
from photondb.geo.search import NearestSearch
from photondb.geo.shapes import shape_of
from photondb.geo.sphere import vector
from photondb.reql.effects import Effects
from photondb.reql.errors import logic_error
from photondb.reql.geo_steps import IntersectingStep, NearbyStep
from photondb.reql.index_values import IndexValues
from photondb.reql.ordering import Ordering
from photondb.reql.parameters import Geometry, Number, Runtime, Table, field_function
from photondb.reql.registry import term
from photondb.reql.scan_source import ScanSource
from photondb.reql.stream import Stream
from photondb.reql.terms.geometry import GeoSystem, Place, Unit
from photondb.reql.values import check_array_size
from photondb.reql.wire import Term

DEFAULT_MAX_DISTANCE_M = 100_000.0
DEFAULT_MAX_RESULTS = 100


@term(Term.GET_INTERSECTING, effects=Effects.ROUNDED | Effects.READS)
def get_intersecting(runtime: Runtime, table: Table, geometry: Geometry, *, index: str | None = None) -> Stream:
    """The documents with something in a geo index that intersects some geometry. From a multi index, a document comes
    as often as it has such shapes."""
    chosen = _geo_index(runtime, table.info, index, "get_intersecting")
    step = IntersectingStep(IndexValues.of_index(chosen), geometry)
    source = ScanSource(table.info, chosen, _ranges(cells.search_cells(shape_of(geometry))))
    return Stream(source, table.info, steps=(step,))


@term(Term.GET_NEAREST, effects=Effects.ROUNDED | Effects.READS)
def get_nearest(
    runtime: Runtime,
    table: Table,
    centre: Place,
    *,
    index: str | None = None,
    max_results: int = DEFAULT_MAX_RESULTS,
    max_dist: Number | None = None,
    geo_system: GeoSystem = WGS84,
    unit: Unit = 1.0,
) -> list[Any]:
    """The documents that are nearest to a point by a geo index, as {"dist", "doc"}, the nearest first: at most
    `max_results`, within `max_dist`. Distances are in `unit`, but the default of `max_dist` is 100,000 metres."""
    chosen = _geo_index(runtime, table.info, index, "get_nearest")
    if max_dist is not None and max_dist <= 0:
        raise logic_error("max_dist must be positive.").blame("max_dist")
    if max_results <= 0:
        raise logic_error("max_results must be positive.").blame("max_results")
    values = IndexValues.of_index(chosen)
    place = vector(centre)
    by_distance = Ordering([(field_function("dist"), False)])
    max_distance_m = DEFAULT_MAX_DISTANCE_M if max_dist is None else convert(max_dist, unit, 1.0)
    search = NearestSearch(max_results, max_distance_m, geo_system)
    results: list[Any] = []
    while True:
        # The discs within the ring are read again: there are fewer documents in them than are asked for.
        disc = cells.disc_cells(place, geo_system.greatest_angle(search.most_m))
        source = ScanSource(table.info, chosen, _ranges(disc))
        step = NearbyStep(values, centre, geo_system, unit, search.above_m, search.most_m)
        ring = Stream(source, steps=(step,)).sorted_by(by_distance, runtime).sliced(0, search.wanted).to_list(runtime)
        results += ring
        check_array_size(len(results), runtime.array_limit)
        if not search.grow(len(ring)):
            return results


def _geo_index(runtime: Runtime, info: TableInfo, name: str | None, wanted_by: str) -> IndexInfo:
    if name is None:
        raise logic_error(f"{wanted_by} requires an index argument.")
    index = runtime.find_index(info, name)
    if index is None:
        raise logic_error(f"{wanted_by} cannot use the primary index.")
    if not index.geo:
        raise logic_error(
            f"Index `{name}` is not a geospatial index.  {wanted_by} can only be used with a geospatial index."
        )
    return index


def _ranges(found: Iterable[int]) -> list[KeyRange]:
    return [KeyRange(low, high) for low, high in cells.key_ranges(found)]
