"""Filters give the same answers, and fail in the same way, whatever index they are answered by: generated filters over
generated documents, with each index that can answer them, as without any."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rethinkdb import r

from photondb.datum.order import equal
from photondb.reql import join_partners
from photondb.reql.planner import access, costs, distincts
from photondb.reql.planner.access import Choice
from photondb.reql.planner.joins import LookUp, Method, Way
from photondb.reql.terms import groups
from tests.examples import examples
from tests.query.test_optimizations import ask, fill
from tests.reql.test_fuzz import Target

TABLE = r.table("t")

INDEXES: dict[str, tuple[Any, bool]] = {
    "a": (r.row["a"], False),
    "b": (r.row["b"], False),
    "both": ([r.row["a"], r.row["b"]], False),
    "nested": (r.row["a"]["b"], False),
    "sum": (r.row["a"] + 1, False),
    "default": (r.row["a"].default(1), False),
    "tags": (r.row["b"], True),
    "deep": (r.row["a"]["b"], True),
    "three": ([r.row["b"], r.row["a"], r.row["a"]["b"]], False),
}

SETTINGS = settings(max_examples=examples(70), suppress_health_check=list(HealthCheck))

times = st.integers(0, 2).map(lambda day: r.epoch_time(day * 86400))
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.sampled_from([0.5, "", "a", "b\0"]), times, st.just(r.point(1, 2))
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
documents = st.dictionaries(st.sampled_from("ab"), values, max_size=2)
tables = st.lists(documents, max_size=10).map(lambda rows: [{**row, "id": 7 * n % 11} for n, row in enumerate(rows)])

expressions: st.SearchStrategy[Callable[[Any], Any]] = st.sampled_from(
    [
        lambda row: row["a"],
        lambda row: row["a"],
        lambda row: row.get_field("b"),
        lambda row: row["a"]["b"],
        lambda row: row["a"] + 1,
        lambda row: row["a"].default(1),
        lambda row: r.expr([row["a"], row["b"]]),
        lambda row: row["id"],
    ]
)
COMPARISONS = ("eq", "lt", "le", "gt", "ge", "ne")
constants = values | st.sampled_from([r.minval, r.maxval, r.expr(1) + 1, r.expr({"x": 1})["y"], r.expr("a") + 1])


def _comparison(name: str, expression: Callable[[Any], Any], value: Any, turned: bool) -> Callable[[Any], Any]:
    if turned:
        return lambda row: getattr(r.expr(value), name)(expression(row))
    return lambda row: getattr(r.expr(expression(row)), name)(value)


comparisons = st.builds(_comparison, st.sampled_from(COMPARISONS), expressions, constants, st.booleans())
atoms: st.SearchStrategy[Callable[[Any], Any]] = st.one_of(
    comparisons,
    comparisons,
    st.builds(
        lambda expression, low, high: lambda row: r.expr(low).lt(expression(row), high), expressions, scalars, scalars
    ),
    st.builds(
        lambda expression, found: lambda row: r.expr(found).contains(expression(row)),
        expressions,
        st.lists(values, max_size=3) | scalars,
    ),
    st.builds(
        lambda name, found: lambda row: row[name].contains(*found),
        st.sampled_from("ab"),
        st.lists(constants, min_size=1, max_size=2),
    ),
    st.builds(lambda value: lambda row: row["a"]["b"].contains(value), scalars),
    st.builds(lambda name: lambda row: row.has_fields(name), st.sampled_from("ab")),
    st.just(lambda row: row["b"]),
    st.just(lambda row: row["b"] + 1 > 2),
    st.just(lambda row: row["a"].type_of() == "ARRAY"),
)
predicates = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds(lambda left, right: lambda row: left(row) & right(row), inner, inner),
        st.builds(lambda left, right: lambda row: left(row) & right(row), inner, inner),
        st.builds(lambda left, right: lambda row: left(row) | right(row), inner, inner),
        st.builds(lambda one: lambda row: ~one(row), inner),
    ),
    max_leaves=4,
)
patterns = documents | st.fixed_dictionaries({"a": values, "b": scalars})
defaults = st.sampled_from([{}, {}, {}, {"default": False}, {"default": True}, {"default": r.error()}])


@pytest.fixture(scope="module", params=[False, True], ids=["storage", "stub"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    running = Target(tmp_path_factory.mktemp("planner") / "data", request.param, time_s=60)
    for table in ("t", "u"):
        ask(running, r.table_create(table))
        for name, (function, multi) in INDEXES.items():
            ask(running, r.table(table).index_create(name, function, multi=multi))
        ask(running, r.table(table).index_wait())
    yield running
    running.stop()


def check(target: Target, query: Callable[[dict[str, Any]], Any]) -> None:
    """A query by whatever index, which is `query` of the optional argument that names it."""
    expected = ask(target, query({}), optimizations=False, array_limit=100_000)
    for name in (*INDEXES, "id"):
        found = ask(target, query({"index": name}), array_limit=100_000)
        if found["t"] == 18 and "cannot answer this filter" in str(found["r"]):
            continue
        assert (found["t"], found.get("e"), found.get("b")) == (expected["t"], expected.get("e"), expected.get("b"))
        assert equal(found["r"], expected["r"]), (name, found, expected)


@SETTINGS
@given(tables, predicates, defaults)
def test_functions(target: Target, rows: list[Any], predicate: Callable[[Any], Any], options: dict[str, Any]) -> None:
    fill(target, rows, TABLE)
    check(target, lambda hint: TABLE.filter(_function(predicate), **options, **hint))


@SETTINGS
@given(tables, patterns, defaults)
def test_patterns(target: Target, rows: list[Any], pattern: Any, options: dict[str, Any]) -> None:
    fill(target, rows, TABLE)
    check(target, lambda hint: TABLE.filter(pattern, **options, **hint))


UPDATE = {"c": r.row["id"]}


@SETTINGS
@given(tables, st.lists(predicates, min_size=2, max_size=3), defaults, st.sampled_from(["", "desc", "count", "update"]))
def test_several_filters(
    target: Target, rows: list[Any], found: list[Callable[[Any], Any]], options: dict[str, Any], end: str
) -> None:
    fill(target, rows, TABLE)

    def query(hint: dict[str, Any]) -> Any:
        first, *others = found
        selection = TABLE.order_by(index=r.desc("id")) if end == "desc" else TABLE
        selection = selection.filter(_function(first), **hint)
        for other in others:
            selection = selection.filter(_function(other), **options)
        if end == "update":
            return selection.update(UPDATE, return_changes="always")
        return selection.count() if end == "count" else selection

    if end == "update":  # so that each of the queries finds the same documents
        ask(target, TABLE.update(UPDATE))
    check(target, query)


# --- several indexes together, the beginning of a compound one, and filters behind projections

projections: st.SearchStrategy[Callable[[Any], Any]] = st.sampled_from(
    [
        lambda rows: rows,
        lambda rows: rows,
        lambda rows: rows.pluck("a", "b"),
        lambda rows: rows.pluck("a", "id"),
        lambda rows: rows.pluck({"a": "b"}),
        lambda rows: rows.without("a"),
        lambda rows: rows.without("id"),
        lambda rows: rows.merge({"b": 1}),
        lambda rows: rows.merge({"c": {"b": 1}}),
        lambda rows: rows.merge(lambda row: {"c": row["a"].default(0)}),
        lambda rows: rows.merge(lambda row: {"c": row["a"]}),
        lambda rows: rows.merge({"a": {"b": r.literal(1)}}),
        lambda rows: rows.map(lambda row: {"a": row["b"].default(0), "b": row["a"].default(None)}),
        lambda rows: rows.map(lambda row: {"a": row["b"]}),
        lambda rows: rows.map({"a": 1}),
        lambda rows: rows.has_fields("a"),
        lambda rows: rows.has_fields("a", "b"),
        lambda rows: rows.with_fields("a", "b"),
        lambda rows: rows["a"],
    ]
)


def same(target: Target, query: Any, seed: int) -> None:
    """A sequence has the same rows by whatever way, which the seed chooses, as without the planner."""
    query = query.coerce_to("array")  # so that it comes as one batch

    def order(way: Choice) -> tuple[bool, int]:
        return way.is_whole_table, zlib.crc32(f"{seed} {way.by} {way.why}".encode())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(access, "_order", order)
        falling = itertools.count(0, -1)
        patch.setattr(costs, "of_several", lambda *_: next(falling))
        found = ask(target, query, array_limit=100_000)
    expected = ask(target, query, optimizations=False, array_limit=100_000)
    assert (found["t"], found.get("e"), found.get("b")) == (expected["t"], expected.get("e"), expected.get("b"))
    assert equal(found["r"], expected["r"]), (found, expected)


seeds = st.integers(0, 10**6)


@SETTINGS
@given(tables, projections, predicates, projections, predicates, seeds)
def test_whatever_indexes_are_used(
    target: Target,
    rows: list[Any],
    first: Callable[[Any], Any],
    predicate: Callable[[Any], Any],
    second: Callable[[Any], Any],
    other: Callable[[Any], Any],
    seed: int,
) -> None:
    fill(target, rows, TABLE)
    same(target, second(first(TABLE).filter(_function(predicate))).filter(_function(other)), seed)


def _simple(name: str, value: Any) -> Callable[[Any], Any]:
    return lambda row: row[name] == value


simple = st.builds(_simple, st.sampled_from(["a", "b", "id"]), st.integers(0, 2))
few_values = st.sampled_from([0, 1, 1, 2, 2, None, [1], {"b": 1}])
plain_tables = st.lists(st.dictionaries(st.sampled_from("ab"), few_values), max_size=12).map(
    lambda rows: [{**row, "id": 7 * n % 13} for n, row in enumerate(rows)]
)


@SETTINGS
@given(plain_tables, projections, st.lists(simple | atoms, min_size=1, max_size=3), st.booleans(), seeds)
def test_several_indexes(
    target: Target,
    rows: list[Any],
    project: Callable[[Any], Any],
    asked: list[Callable[[Any], Any]],
    every: bool,
    seed: int,
) -> None:
    """The same with values of which many are alike, so that the indexes lead to some of them."""
    fill(target, rows, TABLE)
    join = r.and_ if every else r.or_
    same(target, project(TABLE).filter(lambda row: join(*[one(row) for one in asked])), seed)


failing = st.sampled_from([lambda row: row["b"] + 1 > 1, lambda row: row["a"]["b"] == 1, lambda row: row["b"] == 1])


@SETTINGS
@given(plain_tables, failing, simple, simple, seeds)
def test_branches_that_may_fail(
    target: Target,
    rows: list[Any],
    fails: Callable[[Any], Any],
    one: Callable[[Any], Any],
    other: Callable[[Any], Any],
    seed: int,
) -> None:
    fill(target, rows, TABLE)
    same(target, TABLE.filter(lambda row: (fails(row) & one(row)) | other(row)), seed)
    same(target, TABLE.filter(lambda row: other(row) | (one(row) & fails(row))), seed)


@SETTINGS
@given(plain_tables, projections, simple, seeds)
def test_filters_behind_projections(
    target: Target, rows: list[Any], project: Callable[[Any], Any], asked: Callable[[Any], Any], seed: int
) -> None:
    fill(target, rows, TABLE)
    same(target, project(TABLE).filter(asked), seed)


def _function(predicate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda row: r.expr(predicate(row))


@pytest.mark.parametrize(
    ("name", "predicate"),
    [
        ("a", r.row["a"] == 1),
        ("b", r.row["b"] > 1),
        ("both", (r.row["a"] == 1) & (r.row["b"] == 1)),
        ("nested", r.row["a"]["b"] == 1),
        ("sum", r.row["a"] + 1 == 2),
        ("default", r.row["a"].default(1) == 1),
        ("tags", r.row["b"].contains(1)),
        ("deep", r.row["a"]["b"].contains(1)),
        ("id", r.row["id"] > 1),
    ],
)
def test_every_index_can_answer_some_filter(target: Target, name: str, predicate: Any) -> None:
    """So that the tests above are about all of them."""
    fill(target, [], TABLE)
    assert ask(target, TABLE.filter(predicate, index=name), array_limit=100_000)["t"] == 2


# --- joins

OTHER = r.table("u")

ids = st.sampled_from(
    [-1, 0.5, 2, True, False, "", "a", "ab", "b", r.epoch_time(0), r.binary(b"x"), [1], [1, 2], ["a"]]
)
keyed_tables = st.lists(st.tuples(ids, st.dictionaries(st.sampled_from("ab"), few_values)), max_size=8).map(
    lambda rows: list({repr(key): {**row, "id": key} for key, row in rows}.values())
)

sides: st.SearchStrategy[Callable[[Any], Any]] = st.sampled_from(
    [
        lambda row: row["a"],
        lambda row: row["b"],
        lambda row: row["id"],
        lambda row: row["id"],
        lambda row: row["a"].default(1),
        lambda row: row["a"]["b"],
        lambda row: r.expr([row["a"], row["b"]]),
    ]
)
more = st.sampled_from(
    [None, None, lambda left, right: left["b"] == right["b"], lambda left, right: right["a"] + 1 > 1]
)
lefts: st.SearchStrategy[Callable[[list[Any]], Any]] = st.sampled_from(
    [
        lambda rows: r.expr(rows),
        lambda rows: TABLE,
        lambda rows: TABLE.filter(lambda row: row["a"].default(0) != 2),
        lambda rows: TABLE.between(2, 9),
        lambda rows: TABLE.order_by(index="a"),
        lambda rows: TABLE.order_by("b"),
        lambda rows: TABLE.group("b"),
    ]
)
rights: st.SearchStrategy[Callable[[list[Any]], Any]] = st.sampled_from(
    [
        lambda rows: OTHER,
        lambda rows: OTHER,
        lambda rows: OTHER,
        lambda rows: OTHER.order_by(index=r.desc("id")),
        lambda rows: OTHER.filter({"a": 1}),
        lambda rows: r.expr(rows),
    ]
)
whole_tables = st.lists(st.fixed_dictionaries({"a": few_values, "b": few_values}), max_size=12).map(
    lambda rows: [{**row, "id": 7 * n % 13} for n, row in enumerate(rows)]
)
joined_tables = tables | plain_tables | whole_tables | whole_tables


@settings(SETTINGS, max_examples=examples(200))
@given(joined_tables, joined_tables, lefts, rights, sides, sides, more, st.booleans(), seeds)
def test_joins(
    target: Target,
    rows: list[Any],
    others: list[Any],
    left: Callable[[list[Any]], Any],
    right: Callable[[list[Any]], Any],
    one: Callable[[Any], Any],
    other: Callable[[Any], Any],
    more: Callable[[Any, Any], Any] | None,
    outer: bool,
    seed: int,
) -> None:
    fill(target, rows, TABLE)
    fill(target, others, OTHER)

    def predicate(left: Any, right: Any) -> Any:
        equality = r.expr(one(left)) == other(right)
        return equality if more is None else equality & more(left, right)

    def some_way(left: float, right: float, look_up: LookUp | None, in_order: bool, most_kept: int) -> list[Way]:
        found = [Way(Method.HASH, 0.0), Way(Method.PASSES, 0.0)]
        found += [] if look_up is None else [Way(Method.LOOK_UP, 0.0, look_up)] * 3
        found += [Way(Method.MERGE, 0.0)] * 3 if in_order else []
        return [found[seed % len(found)]]

    first, second = left(rows), right(others)
    query = first.outer_join(second, predicate) if outer else first.inner_join(second, predicate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(join_partners, "ways_of_join", some_way)
        patch.setattr(join_partners, "BATCH_ROWS", 3)
        alike(target, query)


@SETTINGS
@given(keyed_tables, keyed_tables, lefts, st.booleans())
def test_joins_by_primary_keys(
    target: Target, rows: list[Any], others: list[Any], left: Callable[[list[Any]], Any], outer: bool
) -> None:
    """Merged where the left side comes in that order, looked up where it does not."""
    fill(target, rows, TABLE)
    fill(target, others, OTHER)

    def one_of_both(left: float, right: float, look_up: LookUp | None, in_order: bool, most_kept: int) -> list[Way]:
        return [Way(Method.MERGE, 0.0) if in_order else Way(Method.LOOK_UP, 0.0, look_up)]

    join = left(rows).outer_join if outer else left(rows).inner_join
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(join_partners, "ways_of_join", one_of_both)
        alike(target, join(OTHER, lambda one, other: one["id"] == other["id"]))


def tables_of(*values: Any) -> st.SearchStrategy[list[Any]]:
    """Tables of a few documents, with these values."""
    rows = st.lists(st.dictionaries(st.sampled_from("ab"), st.sampled_from(values)), max_size=12)
    return rows.map(lambda rows: [{**row, "id": 7 * n % 13} for n, row in enumerate(rows)])


matching_tables = tables_of(0, 1, 1, 2, 2, None, [1, 1], [1, 2])
keys_of_rows = st.sampled_from(["a", "b", "b", "id", lambda row: row["a"].default(1), lambda row: [row["a"], row["b"]]])
places = st.sampled_from([{}, {"index": "a"}, {"index": "a"}, {"index": "both"}, {"index": "tags"}, {"index": "id"}])


@settings(SETTINGS, max_examples=examples(150))
@given(tables | matching_tables | matching_tables, matching_tables, lefts, keys_of_rows, places, st.booleans())
def test_equality_joins_by_a_hash_table(
    target: Target,
    rows: list[Any],
    others: list[Any],
    left: Callable[[list[Any]], Any],
    key: Any,
    place: dict[str, str],
    ordered: bool,
) -> None:
    fill(target, rows, TABLE)
    fill(target, others, OTHER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(join_partners, "hash_pays", lambda *_: True)
        alike(target, left(rows).eq_join(key, OTHER, ordered=ordered, **place))


def alike(target: Target, query: Any) -> None:
    """A query has the same answer without the planner."""
    expected, found = ask(target, query, optimizations=False), ask(target, query, array_limit=100_000)
    assert (found["t"], found.get("e"), found.get("b")) == (expected["t"], expected.get("e"), expected.get("b"))
    assert equal(found["r"], expected["r"]), (found, expected)


# --- different values, and groups

summaries: st.SearchStrategy[Callable[[Any], Any]] = st.sampled_from(
    [
        lambda t: t["a"].distinct(),
        lambda t: t.get_field("b").distinct(),
        lambda t: t.map(lambda row: row["a"]).distinct(),
        lambda t: t.map(r.row["b"]).distinct().count(),
        lambda t: t["a"].default(1).distinct(),
        lambda t: t.filter({"b": 1})["a"].distinct(),
        lambda t: t.group("b")["a"].distinct(),
        lambda t: t.distinct(index="a"),
        lambda t: t.group(index="a").count(),
        lambda t: t.group(index="a"),
        lambda t: t.group(index="b")["a"],
        lambda t: t.group(index="both").count(),
        lambda t: t.group(index="both").max("a"),
        lambda t: t.group(index="tags").count(),
        lambda t: t.group(index="tags", multi=True)["id"],
        lambda t: t.group(index="nested").sum("id"),
        lambda t: t.group(index="sum")["id"],
        lambda t: t.group("b", index="a").count(),
        lambda t: t.group(index="a", multi=True).count(),
        lambda t: t.group(index="a").map(lambda row: row["b"]).count(),
        lambda t: t.between(0, 2, index="a").group(index="a").count(),
    ]
)


@settings(SETTINGS, max_examples=examples(200))
@given(tables | plain_tables | whole_tables, summaries, st.booleans())
def test_different_values_and_groups(
    target: Target, rows: list[Any], summary: Callable[[Any], Any], sparse: bool
) -> None:
    fill(target, rows, TABLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distincts, "_jumps_pay", lambda *_: True)
        patch.setattr(groups, "_is_sparse", lambda *_: sparse)
        alike(target, summary(TABLE))
