"""What goes through an index value by value agrees with a model of the index."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rethinkdb import r

from photondb.datum.order import SortKey, sort_key
from tests.examples import examples
from tests.reql.database import RunningDatabase

T = r.table("entries")

scalars = st.one_of(st.integers(-2, 2), st.booleans(), st.sampled_from(["", "a", "b"]), st.none())
documents = st.lists(
    st.fixed_dictionaries({"v": scalars | st.lists(scalars, max_size=3), "n": st.integers(0, 3)}), max_size=12
).map(lambda rows: [{"id": i, **row} for i, row in enumerate(rows)])
bounds = st.none() | st.tuples(st.integers(-2, 2), st.sampled_from([2, "a", "b"]))


@pytest.fixture(scope="module", autouse=True)
def _entries(database: RunningDatabase) -> None:
    database.run(r.table_create("entries"))
    database.run(T.index_create("one", r.row["v"]))
    database.run(T.index_create("many", r.row["v"], multi=True))
    database.run(T.index_wait())


def indexable(value: Any) -> bool:
    return value is not None and not (type(value) is list and not all(map(indexable, value)))


def entries(rows: list[Any], index: str, limits: tuple[Any, Any] | None) -> list[tuple[SortKey, Any, Any]]:
    """(order, value, document) of the entries of an index."""
    found = []
    for row in rows:
        values = row["v"] if index == "many" and type(row["v"]) is list else [row["v"]]
        for value in filter(indexable, values):
            if limits is None or sort_key(limits[0]) <= sort_key(value) < sort_key(limits[1]):
                found.append((sort_key(value), value, row))
    return sorted(found, key=lambda entry: (entry[0], entry[2]["id"]))


@settings(max_examples=examples(40))
@given(documents, st.sampled_from(["one", "many"]), bounds, st.booleans(), st.integers(0, 8))
def test_an_index_is_gone_through_in_order(
    database: RunningDatabase,
    rows: list[Any],
    index: str,
    limits: tuple[Any, Any] | None,
    descending: bool,
    count: int,
) -> None:
    database.run(T.delete(), durability="soft")
    database.run(T.insert(rows), durability="soft")
    part = T if limits is None else T.between(*limits, index=index)
    direction = r.desc(index) if descending else index
    model = entries(rows, index, limits)

    values = list({key: value for key, value, _ in model}.values())
    expected = values[::-1] if descending else values
    distinct = part.order_by(index=direction).distinct(index=index)
    assert database.run(distinct) == expected
    assert database.run(distinct.limit(count)) == expected[:count]

    ordered = sorted(model, key=lambda entry: entry[2]["n"], reverse=True)
    ordered.sort(key=lambda entry: entry[0], reverse=descending)
    query = part.order_by(r.desc("n"), index=direction)
    places = [(row["n"], row["v"]) for row in database.run(query)]
    assert sorted(map(repr, places)) == sorted(repr((row["n"], row["v"])) for _, _, row in ordered)
    assert [n for n, _ in places] == [row["n"] for _, _, row in ordered]
    assert [row["n"] for row in database.run(query.limit(count))] == [n for n, _ in places][:count]

    if limits is None:
        groups = database.run(T.group(index=index).count())["data"]
        assert groups == [[value, sum(key == sort_key(value) for key, _, _ in model)] for value in values]
    joined = database.run(r.expr([{"k": value} for value in values]).eq_join("k", T, index=index, ordered=True))
    whole = entries(rows, index, None)
    assert [pair["right"]["id"] for pair in joined] == [
        row["id"] for value in values for key, _, row in whole if key == sort_key(value)
    ]
