"""Filters by geometry give the same answers, and fail in the same way, by a geo index as without one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rethinkdb import r

from photondb.datum.order import equal
from photondb.reql.planner import costs
from tests.examples import examples
from tests.query.test_optimizations import ask, fill
from tests.reql.test_fuzz import Target

TABLE = r.table("t")
SETTINGS = settings(max_examples=examples(80), suppress_health_check=list(HealthCheck))

positions = st.tuples(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, 10.0]), st.sampled_from([-2.0, 0.0, 0.5, 1.0, 3.0]))


def _box(corner: tuple[float, float], size: float) -> Any:
    west, south = corner
    return r.polygon([west, south], [west + size, south], [west + size, south + size], [west, south + size])


points = positions.map(lambda position: r.point(*position))
shapes = st.one_of(
    points,
    points,
    st.builds(_box, positions, st.sampled_from([0.1, 1.0, 5.0])),
    st.builds(lambda start, length: r.line(list(start), [start[0] + length, start[1] + 1]), positions, st.just(2.0)),
)
no_shapes = st.sampled_from([None, 1, "x", {"x": 1}, [], [r.point(0, 0)]])
places = st.one_of(*[shapes] * 12, no_shapes)
documents = st.fixed_dictionaries({"n": st.integers(0, 1)}, optional={"place": places})
tables = st.lists(documents, max_size=8).map(lambda rows: [{**row, "id": 7 * n % 11} for n, row in enumerate(rows)])

predicates = st.one_of(
    shapes.map(lambda shape: lambda row: row["place"].intersects(shape)),
    shapes.map(lambda shape: lambda row: r.expr(shape).intersects(row["place"])),
    st.builds(_box, positions, st.sampled_from([1.0, 5.0])).map(lambda box: lambda row: box.includes(row["place"])),
    shapes.map(lambda shape: lambda row: row["place"].includes(shape)),
    shapes.map(lambda shape: lambda row: r.expr([shape]).intersects(row["place"])),
    no_shapes.map(lambda value: lambda row: row["place"].intersects(value)),
)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    running = Target(tmp_path_factory.mktemp("geo") / "data", False, time_s=60)
    ask(running, r.table_create("t"))
    ask(running, TABLE.index_create("place", geo=True))
    ask(running, TABLE.index_create("places", r.row["place"], geo=True, multi=True))
    ask(running, TABLE.index_wait())
    yield running
    running.stop()


def same(target: Target, query: Any, expected: Any) -> bool:
    found = ask(target, query, array_limit=100_000)
    if found["t"] == 18 and "cannot answer" in str(found["r"]):
        return False
    expected = ask(target, expected, optimizations=False, array_limit=100_000)
    assert (found["t"], found.get("e"), found.get("b")) == (expected["t"], expected.get("e"), expected.get("b"))
    assert equal(found["r"], expected["r"]), (found, expected)
    return True


@SETTINGS
@given(tables, predicates, st.sampled_from([{}, {"default": True}]), st.booleans())
def test_filters_by_geometry(
    target: Target, rows: list[Any], predicate: Any, options: dict[str, Any], more: bool
) -> None:
    fill(target, rows, TABLE)

    def filtered(**hint: str) -> Any:
        def function(row: Any) -> Any:
            return predicate(row) & (row["n"] == 1) if more else predicate(row)

        return TABLE.filter(function, **options, **hint)

    same(target, filtered(index="place"), filtered())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "of_index", lambda *_: 0.0)
        patch.setattr(costs, "GEOMETRY", 0.0)
        same(target, filtered(), filtered())


def test_the_index_is_used(target: Target) -> None:
    """So that the test above is about it."""
    box = _box((0.0, 0.0), 1.0)
    rows = [{"id": n, "place": r.point(n % 40, n % 30)} for n in range(600)] + [{"id": -1}]
    fill(target, rows, TABLE)
    for predicate in (r.row["place"].intersects(box), box.intersects(r.row["place"]), box.includes(r.row["place"])):
        query = TABLE.filter(predicate, index="place")
        plan = ask(target, query, explain=True)["r"]
        assert plan["input"]["by"] == "index place"
        assert same(target, query, TABLE.filter(predicate))
        assert ask(target, query.count())["r"] > 0
    fill(target, [*rows, {"id": -2, "place": "nowhere"}], TABLE)
    assert "Cannot perform intersects" in str(ask(target, TABLE.filter(r.row["place"].intersects(box)).count())["r"])
    for predicate in (r.row["place"].includes(box), r.row["n"] == 1):
        assert not same(target, TABLE.filter(predicate, index="place"), TABLE.filter(predicate))
    assert not same(target, TABLE.filter(r.row["place"].intersects(box), index="places"), None)
    assert ask(target, TABLE.get_intersecting(box, index="place").count())["r"] > 0
