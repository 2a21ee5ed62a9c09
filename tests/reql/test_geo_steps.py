"""The steps that storage does for queries on geo indexes."""

from __future__ import annotations

from typing import Any

import pytest

import photondb.reql.terms  # noqa: F401  # registers the terms
from photondb.datum.json import dumps, loads_stored
from photondb.geo.ellipsoid import WGS84
from photondb.geo.geojson import make_line, make_point, make_polygon, with_hole
from photondb.reql.function import Func
from photondb.reql.geo_steps import IntersectingStep, NearbyStep, indexed_shapes
from photondb.reql.index_values import IndexValues
from photondb.reql.pipeline import Pipeline
from photondb.reql.steps import Step, steps_from_wire, steps_to_wire
from photondb.reql.stored_functions import field_term

SQUARE = make_polygon([(0, 0), (4, 0), (4, 4), (0, 4)])
ROWS: list[dict[str, Any]] = [
    {"id": 1, "at": make_point((1, 1))},
    {"id": 2, "at": [make_point((1, 1)), make_point((2, 2)), make_point((9, 9)), "no shape"]},
    {"id": 3, "at": make_point((9, 9))},
    {"id": 4, "at": make_line([(-1, 1), (5, 1)]), "more": "x" * 10},
    {"id": 5, "at": {**make_point((1, 1)), "coordinates": [1]}},
    {"id": 6},
    {"id": 7, "at": with_hole(SQUARE, SQUARE)},
]


def values(multi: bool = False) -> IndexValues:
    return IndexValues(Func.from_wire(field_term("at")), multi)


def over_the_wire(step: Step) -> Step:
    (copy,) = steps_from_wire(loads_stored(dumps(steps_to_wire([step]))))
    assert type(copy) is type(step)
    return copy


def ids(rows: list[Any]) -> list[int]:
    return [row["id"] for row in rows]


def test_shapes_of_documents() -> None:
    assert [len(indexed_shapes(values(), row)) for row in ROWS] == [1, 0, 1, 1, 0, 0, 1]
    assert [len(indexed_shapes(values(multi=True), row)) for row in ROWS] == [1, 3, 1, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("multi", "once", "kept"),
    [(False, False, [1, 4]), (True, False, [1, 2, 2, 4]), (True, True, [1, 2, 4])],
)
def test_documents_that_intersect_are_kept(multi: bool, once: bool, kept: list[int]) -> None:
    for step in (
        IntersectingStep(values(multi), SQUARE, once),
        over_the_wire(IntersectingStep(values(multi), SQUARE, once)),
    ):
        assert isinstance(step, IntersectingStep)
        assert ids(step.apply(ROWS)) == kept
        assert [row["id"] for row in ROWS if step.selector()(row)] == sorted(set(kept))
        assert step.pushable


def test_documents_that_intersect_stay_as_they_were_read() -> None:
    """Only the field that is indexed is decoded, but all of the document leaves the pipeline."""
    raws = [dumps(row) for row in ROWS]
    pipeline = Pipeline([IntersectingStep(values(multi=True), SQUARE)])
    assert pipeline.needed == {"at"}
    chunk = pipeline.feed(raws)
    assert chunk is not None
    assert list(chunk.rows()) == [raws[0], raws[1], raws[1], raws[3]]


def test_a_limit_counts_documents_that_come_twice() -> None:
    pipeline = Pipeline([IntersectingStep(values(multi=True), SQUARE)], limit=2)
    chunk = pipeline.feed([dumps(row) for row in ROWS])
    assert chunk is not None
    assert ids(chunk.values()) == [1, 2]
    assert pipeline.done


def nearby(above_m: float, most_m: float, unit_m: float = 1.0, multi: bool = True) -> NearbyStep:
    return NearbyStep(values(multi), (1, 1), WGS84, unit_m, above_m, most_m)


def test_distances_of_documents() -> None:
    for step in (nearby(-1, 200_000), over_the_wire(nearby(-1, 200_000))):
        found = [(row["doc"]["id"], row["dist"]) for row in step.apply(ROWS)]
        assert [name for name, _ in found] == [1, 2, 2, 4]
        assert [dist for _, dist in found][:2] == [0, 0]
        assert found[2][1] == pytest.approx(156_876, abs=1)
        assert found[3][1] == pytest.approx(0, abs=300)  # the line is a great circle, a little north of the point


def test_a_ring_has_its_outer_edge_but_not_its_inner_one() -> None:
    (distance,) = (row["dist"] for row in nearby(1000, 200_000).apply(ROWS))
    assert len(nearby(1000, distance).apply(ROWS)) == 1
    assert nearby(distance, 200_000).apply(ROWS) == []
    (kilometres,) = (row["dist"] for row in nearby(1000, 200_000, unit_m=1000).apply(ROWS))
    assert kilometres == pytest.approx(distance / 1000)
