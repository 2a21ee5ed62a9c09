"""Geo indexes: `get_intersecting` and `get_nearest`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rethinkdb import r

from photondb.reql.errors import ErrorKind, ReqlError
from tests.examples import examples
from tests.geo.strategies import geometries, points, polygons, positions
from tests.reql.database import RunningDatabase

T = r.table("places")
ROWS = [
    {"id": "town", "at": r.point(10, 10), "stops": [r.point(0, 0), r.point(1, 0), r.point(2, 0)]},
    {"id": "field", "at": r.polygon([0, 0], [0, 1], [1, 1], [1, 0])},
    {"id": "road", "at": r.line([0.000002, -1], [-0.000001, 1]), "stops": r.point(0, 0)},
    {"id": "nowhere", "at": "somewhere", "stops": ["there", r.point(50, 50)]},
    {"id": "none"},
]


@pytest.fixture(scope="module", autouse=True)
def _places(database: RunningDatabase) -> None:
    for name in ("places", "random"):
        database.run(r.table_create(name))
        database.run(r.table(name).index_create("at", geo=True))
        database.run(r.table(name).index_create("stops", geo=True, multi=True))
    database.run(T.index_create("name"))
    database.run(r.table("random").index_wait())
    database.run(T.index_wait())
    database.run(T.insert(ROWS))


def ids(rows: list[dict[str, Any]]) -> list[Any]:
    return sorted(row["id"] for row in rows)


def failure(database: RunningDatabase, query: Any) -> ReqlError:
    with pytest.raises(ReqlError) as caught:
        database.run(query)
    return caught.value


# --- get_intersecting


@pytest.mark.parametrize(
    ("geometry", "found"),
    [
        (r.point(0, 0), ["field"]),
        (r.point(10, 10), ["town"]),
        (r.point(20, 20), []),
        (r.polygon([0, 0], [1, 0], [1, 1], [0, 1]), ["field", "road"]),
        (r.line([0, 0], [10, 10]), ["field", "road", "town"]),
        (r.circle([10, 10], 1, unit="km"), ["town"]),
    ],
)
def test_documents_that_intersect(database: RunningDatabase, geometry: Any, found: list[str]) -> None:
    query = T.get_intersecting(geometry, index="at")
    assert ids(database.run(query)) == found
    assert database.run(query.count()) == len(found)


def test_a_multi_index_gives_a_document_for_each_shape(database: RunningDatabase) -> None:
    assert ids(database.run(T.get_intersecting(r.point(1, 0), index="stops"))) == ["town"]
    assert ids(database.run(T.get_intersecting(r.point(0, 0), index="stops"))) == ["road", "town"]
    assert ids(database.run(T.get_intersecting(r.point(50, 50), index="stops"))) == ["nowhere"]
    box = r.polygon([-1, -1], [5, -1], [5, 1], [-1, 1])
    query = T.get_intersecting(box, index="stops")
    assert ids(database.run(query)) == ["road", "town", "town", "town"]
    assert database.run(query.count()) == 4
    assert len(database.run(query.limit(3))) == 3


def test_what_is_found_is_a_selection(database: RunningDatabase) -> None:
    query = T.get_intersecting(r.point(0.5, 0.5), index="at")
    assert database.run(query.type_of()) == "SELECTION<STREAM>"
    assert database.run(query.filter(True).type_of()) == "SELECTION<STREAM>"
    assert database.run(query.update({"seen": True}))["replaced"] == 1
    assert database.run(query["seen"]) == [True]
    assert database.run(query.filter({"seen": True}).pluck("id")) == [{"id": "field"}]
    assert database.run(query.replace(lambda row: row.without("seen")))["replaced"] == 1


def test_steps_and_aggregates_follow(database: RunningDatabase) -> None:
    query = T.get_intersecting(r.line([0, 0], [10, 10]), index="at")
    assert database.run(query.map(lambda row: row["id"].upcase()).order_by(r.row)) == ["FIELD", "ROAD", "TOWN"]
    kinds = query.group(lambda row: row["at"].to_geojson()["type"]).count().ungroup()["group"]
    assert database.run(kinds) == ["LineString", "Point", "Polygon"]
    assert database.run(query.order_by("id").limit(1)["id"]) == ["field"]


def test_the_index_must_be_a_geo_index(database: RunningDatabase) -> None:
    for name, query in [
        ("get_intersecting", lambda **options: T.get_intersecting(r.point(0, 0), **options).count()),
        ("get_nearest", lambda **options: T.get_nearest(r.point(0, 0), **options)),
    ]:
        assert failure(database, query()).message == f"{name} requires an index argument."
        assert failure(database, query(index="id")).message == f"{name} cannot use the primary index."
        assert failure(database, query(index="name")).message == (
            f"Index `name` is not a geospatial index.  {name} can only be used with a geospatial index."
        )
        missing = failure(database, query(index="missing"))
        assert missing.kind == ErrorKind.OP_FAILED
        assert missing.message == "Index `missing` was not found on table `test.places`."


def test_a_geo_index_is_for_nothing_else(database: RunningDatabase) -> None:
    for query in (T.get_all(1, index="at"), T.between(1, 2, index="at"), T.order_by(index="at")):
        assert failure(database, query.count()).message == (
            "Index `at` is a geospatial index.  Only get_nearest and get_intersecting can use a geospatial index."
        )


def test_an_index_cannot_rest_on_rounded_geometry(database: RunningDatabase) -> None:
    error = failure(database, T.index_create("lines", lambda row: r.line(row["a"], row["b"]), geo=True))
    assert error.message == "Could not prove function deterministic.  Index functions must be deterministic."
    database.run(T.index_create("made", lambda row: r.point(row["x"], row["y"]), geo=True))
    database.run(T.index_wait("made"))
    database.run(T.insert({"id": "made", "x": 77, "y": 7}))
    assert ids(database.run(T.get_intersecting(r.point(77, 7), index="made"))) == ["made"]
    database.run(T.get("made").delete())
    assert database.run(T.get_intersecting(r.point(77, 7), index="made")) == []


# --- get_nearest


def nearest(database: RunningDatabase, centre: Any, **options: Any) -> list[tuple[Any, float]]:
    return [(row["doc"]["id"], row["dist"]) for row in database.run(T.get_nearest(centre, index="at", **options))]


def test_nearest_documents_in_order(database: RunningDatabase) -> None:
    found = nearest(database, r.point(-0.0001, -0.0001))
    assert [name for name, _ in found] == ["road", "field"]
    assert found[0][1] < found[1][1]
    assert database.run(T.get_nearest([0, 0], index="at").type_of()) == "ARRAY"


def test_what_is_at_the_place_has_no_distance(database: RunningDatabase) -> None:
    assert nearest(database, [10, 10], max_dist=1) == [("town", 0)]
    assert ("field", 0) in nearest(database, [0.5, 0.5])


def test_nearest_within_a_distance(database: RunningDatabase) -> None:
    assert [name for name, _ in nearest(database, [10, 10.1])] == ["town"]
    assert nearest(database, [10, 10.1], max_dist=11_000) == []
    ((_, metres),) = nearest(database, [10, 10.1], max_dist=12_000)
    assert metres == pytest.approx(11_060, abs=10)
    ((_, kilometres),) = nearest(database, [10, 10.1], max_dist=12, unit="km")
    assert kilometres == pytest.approx(metres / 1000)
    assert nearest(database, [10, 10.1], max_dist=11, unit="km") == []


def test_no_more_than_the_wanted_number(database: RunningDatabase) -> None:
    assert [name for name, _ in nearest(database, [0, 0], max_dist=2_000_000)] == ["field", "road", "town"]
    assert [name for name, _ in nearest(database, [0, 0], max_dist=2_000_000, max_results=2)] == ["field", "road"]


def test_nearest_on_another_ellipsoid(database: RunningDatabase) -> None:
    found = nearest(database, [0, 0], max_dist=0.5, geo_system="unit_sphere")
    assert [name for name, _ in found] == ["field", "road", "town"]
    assert found[2][1] == pytest.approx(0.2462, abs=0.0001)
    doubled = nearest(database, [0, 0], max_dist=1, geo_system={"a": 2, "f": 0})
    assert doubled[2][1] == pytest.approx(2 * found[2][1])


def test_options_that_make_no_sense(database: RunningDatabase) -> None:
    assert failure(database, T.get_nearest([0, 0], index="at", max_dist=0)).message == "max_dist must be positive."
    error = failure(database, T.get_nearest([0, 0], index="at", max_results=0))
    assert error.message == "max_results must be positive."
    assert error.frames == ("max_results",)
    assert failure(database, T.get_nearest([0], index="at")).message.startswith("Expected point coordinate pair.")
    assert failure(database, T.get_nearest([0, 100], index="at")).message == (
        "Latitude must be between -90 and 90.  Got 100."
    )
    too_far = failure(database, T.get_nearest([0, 0], index="at", max_dist=10_000_000))
    assert too_far.message.startswith("The distance has become too large for continuing the indexed nearest traversal.")


def test_nearest_is_bounded_by_the_array_limit(database: RunningDatabase) -> None:
    query = T.get_nearest([0, 0], index="at", max_dist=2_000_000)
    with pytest.raises(ReqlError) as caught:
        database.run(query, array_limit=2)
    assert caught.value.kind == ErrorKind.RESOURCE_LIMIT


# --- the index and a scan give the same

RANDOM = r.table("random")
documents = st.lists(
    st.fixed_dictionaries({"at": geometries, "stops": st.lists(points | polygons, max_size=3)}), min_size=1, max_size=12
)


def _stops_that_meet(geometry: dict[str, Any]) -> Any:
    return lambda row: row["stops"].intersects(geometry).map(lambda _: row)


@settings(max_examples=examples(40))
@given(documents, st.lists(geometries, min_size=1, max_size=4), positions, st.sampled_from([1e3, 3e5, 5e6]))
def test_an_index_gives_what_a_scan_of_the_table_gives(
    database: RunningDatabase, rows: list[dict[str, Any]], queries: list[Any], centre: Any, max_dist: float
) -> None:
    database.run(RANDOM.delete())
    database.run(RANDOM.insert([{"id": number, **row} for number, row in enumerate(rows)]))
    for geometry in queries:
        by_index = database.run(RANDOM.get_intersecting(geometry, index="at"))
        assert ids(by_index) == ids(database.run(RANDOM.filter(r.row["at"].intersects(geometry))))
        by_index = database.run(RANDOM.get_intersecting(geometry, index="stops"))
        assert ids(by_index) == ids(database.run(RANDOM.concat_map(_stops_that_meet(geometry))))
    point = r.point(*centre)
    by_index = database.run(RANDOM.get_nearest(point, index="at", max_dist=max_dist, max_results=5))
    by_scan = database.run(
        RANDOM.map(lambda row: {"dist": row["at"].distance(point), "doc": row})
        .filter(r.row["dist"] <= max_dist)
        .order_by("dist")
        .limit(5)
    )
    assert [row["dist"] for row in by_index] == [row["dist"] for row in by_scan]
    if len({row["dist"] for row in by_scan}) == len(by_scan) < 5:
        assert by_index == by_scan


def test_many_points_by_index_and_by_scan(database: RunningDatabase) -> None:
    """More than one chunk, so that the search goes on where it was."""
    database.run(RANDOM.delete())
    grid = [{"id": number, "at": r.point(number % 60 * 0.1, number // 60 * 0.1)} for number in range(3600)]
    database.run(RANDOM.insert(grid))
    box = r.polygon([0.95, 0.95], [4.05, 0.95], [4.05, 4.05], [0.95, 4.05])
    found = ids(database.run(RANDOM.get_intersecting(box, index="at")))
    assert found == ids(database.run(RANDOM.filter(r.row["at"].intersects(box))))
    assert len(found) == len(set(found)) == 31 * 31
    nearest_rows = database.run(RANDOM.get_nearest([3, 3], index="at", max_results=1000, max_dist=1_000_000))
    assert len(nearest_rows) == 1000
    distances = [row["dist"] for row in nearest_rows]
    assert distances == sorted(distances)
    assert len({row["doc"]["id"] for row in nearest_rows}) == 1000
    all_rows = database.run(RANDOM.map(lambda row: row["at"].distance(r.point(3, 3))).order_by(r.row).limit(1000))
    assert distances == all_rows
