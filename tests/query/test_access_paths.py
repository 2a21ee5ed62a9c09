"""Whatever way a query takes to its rows and its answer, these are the same: by covering indexes as by plain ones, with
what is pushed down to scans of geo indexes, from the result cache, and by plans that were made for other constants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rethinkdb import r

from photondb.datum.order import equal
from services.query.plans import PlanCache
from tests.examples import examples
from tests.geo.strategies import geometries
from tests.query.test_optimizations import ask
from tests.reql import test_push_down_queries as generated
from tests.reql.test_fuzz import Target

Change = Callable[[Any], Any]

TABLE = r.table("t")

INDEXES = {"plain": {}, "few": {"include": ["b", "left"]}, "whole": {"include": "*"}}
"""Indexes on the same, by what their entries carry of the documents."""

SETTINGS = settings(max_examples=examples(80), suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    running = Target(tmp_path_factory.mktemp("access-paths") / "data", False, time_s=60)
    ask(running, r.table_create("t"))
    for name, options in INDEXES.items():
        ask(running, TABLE.index_create(name, r.row["a"], **options))
        ask(running, TABLE.index_create(f"{name} elements", r.row["left"], multi=True, **options))
    ask(running, TABLE.index_create("at", geo=True))
    ask(running, TABLE.index_create("places", geo=True, multi=True))
    ask(running, TABLE.index_wait())
    yield running
    running.stop()


def fill(target: Target, rows: list[Any]) -> None:
    ask(target, TABLE.delete())
    for row in rows:
        assert ask(target, TABLE.insert(row))["r"]["inserted"] == 1


def check_same(found: dict[str, Any], expected: dict[str, Any], query: Any) -> None:
    """See that two responses are the same; of what need not look at all rows only one may fail."""
    if expected["t"] == 18 or found["t"] == 18:
        if (found["t"], found.get("e"), found["r"]) != (expected["t"], expected.get("e"), expected["r"]):
            lazy = generated.LAZY if found["t"] != expected["t"] else generated.UNORDERED
            assert any(name in str(query) for name in lazy), (found, expected)
        return
    assert found["t"] == expected["t"]
    assert equal(found["r"], expected["r"]), (str(query), found, expected)


reads: st.SearchStrategy[Callable[[str], Any]] = st.one_of(
    st.lists(generated.scalars, min_size=1, max_size=3).map(
        lambda values: lambda index: TABLE.get_all(*values, index=index)
    ),
    st.builds(
        lambda low, high: lambda index: TABLE.between(low, high, index=index), generated.scalars, generated.scalars
    ),
    st.just(lambda index: TABLE.between(r.minval, r.maxval, index=index)),
    st.just(lambda index: TABLE.order_by(index=index)),
    st.just(lambda index: TABLE.order_by(index=r.desc(index))),
    st.just(lambda index: TABLE.group(index=index)),
)


@SETTINGS
@given(
    generated.tables,
    reads,
    st.sampled_from(["", " elements"]),
    st.lists(generated.steps, max_size=3),
    generated.ends,
)
def test_covering_indexes(
    target: Target, rows: list[Any], read: Callable[[str], Any], kind: str, middle: list[Change], end: list[Change]
) -> None:
    fill(target, rows)
    changes = [*middle, *end]
    if "group" in str(read("")):
        changes = changes[:1]
    expected = ask(target, generated.pipeline(read("plain" + kind), changes), optimizations=False)
    for name in INDEXES:
        query = generated.pipeline(read(name + kind), changes)
        found = ask(target, query)
        if found["t"] == 18:  # it may name the index
            found["r"] = found["r"].replace(f"`{name}", "`plain")
        check_same(found, expected, query)


located = st.one_of(geometries, st.lists(geometries, max_size=3), generated.scalars)
places = st.lists(
    st.builds(lambda row, at, places: {**row, "at": at, "places": places}, generated.documents, located, located),
    max_size=8,
).map(lambda rows: [{**row, "id": number} for number, row in enumerate(rows)])


@SETTINGS
@given(
    places,
    geometries,
    st.sampled_from(["at", "places"]),
    st.lists(generated.steps, max_size=2),
    generated.ends,
)
def test_geo_indexes(
    target: Target, rows: list[Any], shape: Any, index: str, middle: list[Change], end: list[Change]
) -> None:
    fill(target, rows)
    changes = [*middle, *end]
    for source in (
        TABLE.get_intersecting(shape, index=index),
        TABLE.get_nearest(r.point(1, 2), index=index, max_dist=5_000_000, max_results=5)["doc"],
    ):
        query = generated.pipeline(source, changes)
        check_same(ask(target, query), ask(target, query, optimizations=False), query)


writes: st.SearchStrategy[Any] = st.one_of(
    st.just(None),
    st.builds(
        lambda key, new: TABLE.insert({**new, "id": key}, conflict="replace"), st.integers(0, 12), generated.documents
    ),
    st.builds(lambda key: TABLE.get(key).delete(), st.integers(0, 12)),
    st.builds(lambda key, patch: TABLE.get(key).update(patch), st.integers(0, 12), generated.documents),
    st.sampled_from([{"b": 1}, {"a": r.literal()}]).map(lambda patch: TABLE.filter({"a": 1}).update(patch)),
)


@SETTINGS
@given(
    generated.tables,
    st.lists(st.tuples(st.lists(generated.steps, max_size=2), generated.ends), min_size=1, max_size=3),
    st.lists(writes, min_size=1, max_size=3),
)
def test_cached_answers(
    target: Target, rows: list[Any], queries: list[tuple[list[Change], list[Change]]], changes: list[Any]
) -> None:
    """Before and after each write, also of another query's answer and of one that is asked for twice."""
    fill(target, rows)
    asked = [generated.pipeline(TABLE, [*middle, *end]) for middle, end in queries]
    for change in [None, *changes]:
        if change is not None:
            ask(target, change)
        for query in (*asked, *asked):
            check_same(ask(target, query, cache=True), ask(target, query, optimizations=False), query)


constants = st.one_of(
    generated.values, st.integers(-1, 12), st.sampled_from([2**53, -0.0, 1e300, r.epoch_time(1), r.minval])
)
templates: st.SearchStrategy[Callable[[Any], Any]] = st.sampled_from(
    [
        lambda value: TABLE.get(value),
        lambda value: TABLE.get(value)["a"].default(value),
        lambda value: TABLE.get_all(value),
        lambda value: TABLE.get_all(value, index="plain").limit(3),
        lambda value: TABLE.between(value, r.maxval, index="few"),
        lambda value: TABLE.filter({"a": value}).count(),
        lambda value: TABLE.filter(lambda row: row["a"] == value),
        lambda value: TABLE.filter(r.row["b"] > value, default=True),
        lambda value: TABLE.filter(r.row["a"].default(value) != value).order_by("id"),
        lambda value: TABLE.map(lambda row: row["a"].default(value)),
        lambda value: TABLE.map(lambda row: row.merge({"new": value})),
        lambda value: TABLE.group(lambda row: row["a"].default(value)).count(),
        lambda value: TABLE.sum(lambda row: row["b"].add(value)),
        lambda value: TABLE.order_by(lambda row: r.branch(row["id"] == value, 0, 1)).limit(3),
        lambda value: TABLE.limit(value),
        lambda value: TABLE.has_fields(value),
        lambda value: r.expr([value, {"a": value}]),
        lambda value: r.expr(value).do(lambda x: [x, x]),
        lambda value: TABLE.get(1).update({"a": value}, return_changes="always")["errors"],
    ]
)


@SETTINGS
@given(generated.tables, templates, st.lists(constants, min_size=2, max_size=4))
def test_plans_made_for_other_constants(
    target: Target, rows: list[Any], template: Callable[[Any], Any], values: list[Any]
) -> None:
    """Each query with the plan that the one before it has left, and with one of its own."""
    answers = []
    for own in (False, True):
        fill(target, rows)
        for value in values:
            if own:
                target.query.plans = PlanCache()
            answers.append(ask(target, template(value), array_limit=None))
    for value, shared, alone in zip(values, answers, answers[len(values) :], strict=False):
        assert (shared["t"], shared.get("e"), shared.get("b")) == (alone["t"], alone.get("e"), alone.get("b")), value
        assert equal(shared["r"], alone["r"]), (value, shared, alone)


@pytest.mark.parametrize("value", [r.minval, r.maxval, [r.minval], {"b": r.maxval}])
def test_a_pattern_that_no_document_can_fulfil(target: Target, value: Any) -> None:
    """It is no error, although there is an index on the field."""
    fill(target, [{"id": number, "a": number} for number in range(5)])
    query = TABLE.filter({"a": value})
    check_same(ask(target, query), ask(target, query, optimizations=False), query)
    assert ask(target, query)["r"] == []


def test_that_these_ways_are_taken(target: Target) -> None:
    """Lest everything is compared with itself."""
    fill(target, [{"id": number, "a": number % 3, "b": number} for number in range(40)])
    plans, results = target.query.plans, target.query.results
    before = plans.hits, results.hits
    for number in range(3):
        ask(target, TABLE.get_all(number, index="plain")["b"].sum())
    assert plans.hits >= before[0] + 2
    for _ in range(3):
        ask(target, TABLE.filter({"a": 1}).count(), cache=True)
    assert results.hits == before[1] + 2
    info = target.storage_service._tables[max(target.storage_service._tables)]
    by_name = {index.info.name: index for index in info.indexes}
    needed = frozenset({"b"})
    assert [by_name[name].covers(needed) for name in INDEXES] == [False, True, True]
