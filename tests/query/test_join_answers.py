"""Joins give the same pairs, in the same order, and fail in the same way, whichever side is read first, and with the
filters behind them on one side: generated joins of generated tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rethinkdb import r

from photondb.datum.order import equal
from photondb.reql import equality_join
from tests.examples import examples
from tests.query.test_optimizations import ask, fill
from tests.query.test_planner_answers import (
    INDEXES,
    SETTINGS,
    joined_tables,
    keyed_tables,
    matching_tables,
    places,
    sides,
    tables_of,
    whole_tables,
)
from tests.reql.test_fuzz import Target

TABLE, OTHER = r.table("t"), r.table("u")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    running = Target(tmp_path_factory.mktemp("joins") / "data", False, time_s=60)
    for table in ("t", "u"):
        ask(running, r.table_create(table))
        for name, (function, multi) in INDEXES.items():
            ask(running, r.table(table).index_create(name, function, multi=multi))
        ask(running, r.table(table).index_wait())
    yield running
    running.stop()


def same(target: Target, query: Any, **hints: str) -> bool:
    """A join has the same answer as without the planner. Says whether it can be made as the hints say."""
    query = query.coerce_to("array")  # so that it comes as one batch
    found = ask(target, query, array_limit=100_000, **hints)
    if found["t"] == 18 and "join_" in str(found["r"]):
        return False
    expected = ask(target, query, optimizations=False, array_limit=100_000)
    assert (found["t"], found.get("e"), found.get("b")) == (expected["t"], expected.get("e"), expected.get("b"))
    assert equal(found["r"], expected["r"]), (found, expected)
    return True


lefts: st.SearchStrategy[Callable[[Any], Any]] = st.sampled_from(
    [
        lambda t: t,
        lambda t: t,
        lambda t: t.filter({"a": 1}),
        lambda t: t.filter(lambda row: row["a"].default(0) != 2),
        lambda t: t.filter(lambda row: row["a"] + 1 > 1),
        lambda t: t.pluck("id", "a", "b"),
        lambda t: t.merge(lambda row: {"b": row["a"].default(0)}),
        lambda t: t.without("b"),
        lambda t: t.order_by("b"),
    ]
)
rights: st.SearchStrategy[Callable[[list[Any]], Any]] = st.sampled_from(
    [
        lambda rows: OTHER,
        lambda rows: OTHER.filter({"a": 1}),
        lambda rows: OTHER.map(lambda row: {"a": row["b"], "id": row["id"]}),
        lambda rows: r.expr(rows),
    ]
)
more: st.SearchStrategy[Callable[[Any, Any], Any] | None] = st.sampled_from(
    [None, None, lambda left, right: left["b"] == right["b"], lambda left, right: right["a"] + 1 > 1]
)


@settings(SETTINGS, max_examples=examples(150))
@given(joined_tables | keyed_tables, joined_tables | keyed_tables, lefts, rights, sides, sides, more)
def test_predicates(
    target: Target,
    rows: list[Any],
    others: list[Any],
    left: Callable[[Any], Any],
    right: Callable[[list[Any]], Any],
    one: Callable[[Any], Any],
    other: Callable[[Any], Any],
    more: Callable[[Any, Any], Any] | None,
) -> None:
    fill(target, rows, TABLE)
    fill(target, others, OTHER)

    def predicate(left: Any, right: Any) -> Any:
        equality = r.expr(one(left)) == other(right)
        return equality if more is None else equality & more(left, right)

    same(target, left(TABLE).inner_join(right(others), predicate), join_first="right")


keys_of_rows = st.sampled_from(
    ["a", "b", "id", lambda row: row["a"].default(1), lambda row: row["a"] + 1, lambda row: [row["a"], row["b"]]]
)


some_tables = (joined_tables | matching_tables).filter(lambda rows: "\\x00" not in repr(rows))
"""Without strings that can be no primary keys, which are only complained about where they are looked for."""


@settings(SETTINGS, max_examples=examples(120))
@given(some_tables, some_tables, lefts, keys_of_rows, places)
def test_equality_joins(
    target: Target,
    rows: list[Any],
    others: list[Any],
    left: Callable[[Any], Any],
    key: Any,
    place: dict[str, str],
) -> None:
    fill(target, rows, TABLE)
    fill(target, others, OTHER)
    same(target, left(TABLE).eq_join(key, OTHER, **place), join_first="right")


chains: st.SearchStrategy[Callable[[Any], Any]] = st.sampled_from(
    [
        lambda pairs: pairs.eq_join(lambda pair: pair["left"]["b"], OTHER),
        lambda pairs: pairs.filter({"left": {"a": 1}}).eq_join(lambda pair: pair["left"]["a"], OTHER, index="b"),
        lambda pairs: pairs.filter(r.row["left"]["a"] == 1).eq_join(r.row["left"]["b"], OTHER, index="b").zip(),
        lambda pairs: pairs.map({"b": r.row["left"]["a"].default(0)}).eq_join("b", OTHER, index="a"),
        lambda pairs: pairs.inner_join(OTHER, lambda pair, other: pair["left"]["b"].default(1) == other["id"]),
    ]
)


tables_of_keys = tables_of(0, 1, 1, 2, 2, [1, 1], [1, 2])
"""All that is in these can be a key, also in an array, where null cannot: others are only complained about where they
are looked for, and whether they are depends on which side is read first."""


@SETTINGS
@given(tables_of_keys, tables_of_keys, lefts, keys_of_rows, places, chains)
def test_chains(
    target: Target,
    rows: list[Any],
    others: list[Any],
    left: Callable[[Any], Any],
    key: Any,
    place: dict[str, str],
    chain: Callable[[Any], Any],
) -> None:
    fill(target, rows, TABLE)
    fill(target, others, OTHER)
    same(target, chain(left(TABLE).eq_join(key, OTHER, **place)), join_first="right")


asked: st.SearchStrategy[Any] = st.sampled_from(
    [
        {"left": {"a": 1}},
        {"right": {"b": 2}},
        {"left": {"a": 1}, "right": {"b": 1}},
        {"left": {"b": [1, 2]}},
        {"left": 1},
        r.row["left"]["a"] == 1,
        r.row["right"]["b"] > 1,
        (r.row["left"]["a"] >= 1) & (r.row["right"]["b"] == 2),
        (r.row["right"]["b"] + 1 > 1) & (r.row["left"]["a"] == 1),
        (r.row["left"]["a"] == 1) & (r.row["right"]["b"] + 1 > 1),
        (r.row["left"]["a"] == 1) | (r.row["right"]["b"] == 1),
        (r.row["left"]["a"] == 1) | (r.row["left"]["b"] == 2),
        r.row["left"]["a"] == r.row["right"]["a"],
        r.row["left"].has_fields("b"),
        r.row["left"] == r.row["right"],
        lambda pair: r.expr(1) <= pair["left"]["a"],
        lambda pair: ~(pair["right"]["a"] == 1),
    ]
)


@settings(SETTINGS, max_examples=examples(150))
@given(
    matching_tables,
    matching_tables,
    lefts,
    st.sampled_from(["a", "b", "id"]),
    places,
    asked,
    asked,
    st.sampled_from([{}, {"default": True}, {"default": r.error()}]),
    st.sampled_from([{}, {"join_first": "right"}, {"join_method": "hash"}]),
)
def test_filters_behind_joins(
    target: Target,
    rows: list[Any],
    others: list[Any],
    left: Callable[[Any], Any],
    key: Any,
    place: dict[str, str],
    predicate: Any,
    other: Any,
    options: dict[str, Any],
    hints: dict[str, str],
) -> None:
    fill(target, rows, TABLE)
    fill(target, others, OTHER)
    joined = left(TABLE).eq_join(key, OTHER, **place)
    same(target, joined.filter(predicate, **options).filter(other), **hints)


def test_they_can_be_made_from_the_right(target: Target) -> None:
    """So that the tests above are about that."""
    fill(target, [], TABLE, OTHER)
    joins = [
        TABLE.inner_join(OTHER, lambda left, right: left["a"] == right["b"]),
        TABLE.pluck("id", "a").inner_join([{"id": 1}], lambda left, right: left["id"] == right["id"]),
        TABLE.eq_join("a", OTHER),
        TABLE.filter({"b": 1}).eq_join("a", OTHER, index="tags").eq_join(r.row["left"]["b"], OTHER),
    ]
    for join in joins:
        assert same(target, join, join_first="right")


@settings(SETTINGS, max_examples=examples(40))
@given(whole_tables, whole_tables, st.integers(1, 4), st.sampled_from(["a", "id"]))
def test_limits(target: Target, rows: list[Any], others: list[Any], count: int, key: str) -> None:
    """A join of which few rows are wanted looks them up at first, and reads the right side when they are too few."""
    fill(target, rows, TABLE)
    fill(target, others, OTHER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(equality_join, "eq_join_by_hash", lambda runtime, left, *_: left > 4)
        patch.setattr(equality_join, "MIN_CHUNK_ROWS", 1)
        patch.setattr(equality_join, "LATER_ROWS", 3)
        same(target, TABLE.eq_join(key, OTHER).limit(count))
        same(target, TABLE.outer_join(OTHER, lambda left, right: left[key] == right["id"]).limit(count))
