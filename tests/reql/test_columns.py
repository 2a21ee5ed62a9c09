"""Queries give the same over columns that are kept in memory as over documents, whatever the documents are and whatever
is written in between."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rethinkdb import r

from photondb.datum.order import sort_key
from photondb.reql.errors import ReqlError
from services.storage import columns
from services.storage import scan as scanning
from services.storage.columns import MIN_CHANGED
from tests.examples import examples
from tests.reql.database import RunningDatabase

Query = Callable[[Any], Any]

ROWS = 1500
FIELDS = ("number", "text", "mixed", "any")
PLAIN = [None, True, False, 0, 1, -1, 2.5, -2.5, 1e300, 2**53, -(2**53), "", "a", "b", "\u00e9", "z\0"]
ANY = [*PLAIN, -0.0, [], [1, "a"], {"x": 1}, r.epoch_time(1), r.binary(b"\0")]


def document(chance: random.Random) -> dict[str, Any]:
    """A document whose fields are of one type, of plain types and perhaps absent, or anything."""
    found: dict[str, Any] = {
        "number": chance.choice([chance.randint(-5, 5), chance.randint(-40, 40) / 8]),
        "text": chance.choice("abcdef") * chance.randint(0, 2),
    }
    if chance.random() < 0.9:
        found["mixed"] = chance.choice(PLAIN)
    if chance.random() < 0.9:
        found["any"] = chance.choice(ANY)
    return found


def wait_for_columns(database: RunningDatabase) -> None:
    """Ask until the fields are kept."""
    cache = database.storage._scanner.columns
    hits, rounds = cache.metrics.hits, 0
    while cache.metrics.hits == hits:
        database.run(r.table("t").filter(lambda row: row.has_fields(*FIELDS)).count())
        rounds += 1
        assert rounds < 2000, "the columns were never made"


@contextmanager
def without_column_cache(database: RunningDatabase) -> Iterator[None]:
    """Let documents be scanned, which is done in blocks of columns that are thrown away."""
    cache = database.storage._scanner.columns
    size, cache.max_bytes = cache.max_bytes, 0
    try:
        yield
    finally:
        cache.max_bytes = size


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDatabase]:
    chance = random.Random(1)
    with pytest.MonkeyPatch.context() as patch, RunningDatabase(tmp_path_factory.mktemp("columns") / "data") as running:
        patch.setattr(columns, "BLOCK_ROWS", 128)  # so that there are several of them
        running.clear()
        running.run(r.table_create("t"))
        rows = [{**document(chance), "id": number * 2} for number in range(ROWS)]
        running.run(r.table("t").insert(rows), durability="soft")
        yield running


constants = st.sampled_from([*PLAIN, "aa", "bb", "c", 3])
fields = st.sampled_from(FIELDS)
operands = st.recursive(
    constants.map(lambda value: lambda row: r.expr(value)) | fields.map(lambda name: lambda row: row[name]),
    lambda inner: st.one_of(
        st.builds(
            lambda operator, a, b: lambda row: getattr(a(row), operator)(b(row)),
            st.sampled_from(["add", "sub", "mul", "div", "eq", "ne", "lt", "le", "gt", "ge", "default"]),
            inner,
            inner,
        ),
        st.builds(
            lambda name, a, b: lambda row: getattr(r, name)(a(row), b(row)),
            st.sampled_from(["and_", "or_"]),
            inner,
            inner,
        ),
        inner.map(lambda a: lambda row: a(row).not_()),
        fields.map(lambda name: lambda row: row.has_fields(name)),
        st.builds(lambda a, b, c: lambda row: r.branch(a(row), b(row), c(row)), inner, inner, inner),
    ),
    max_leaves=5,
)
patterns = st.dictionaries(fields, constants, min_size=1, max_size=2)
filters: st.SearchStrategy[Query] = st.one_of(
    st.builds(lambda f, default: lambda s: s.filter(f, default=default), operands | patterns, st.booleans()),
    st.just(lambda s: s.between(400, 1801)),
    st.just(lambda s: s),
)
keys = fields | operands
endings: st.SearchStrategy[Query] = st.one_of(
    st.just(lambda s: s.count()),
    st.builds(lambda name, f: lambda s: getattr(s, name)(f), st.sampled_from(["sum", "avg", "min", "max"]), keys),
    st.builds(lambda name, f: lambda s: getattr(s.map(f), name)(), st.sampled_from(["sum", "avg", "count"]), operands),
    st.builds(lambda name: lambda s: s[name].distinct(), fields),
    st.builds(lambda f: lambda s: s.map(f).distinct(), operands),
    st.builds(
        lambda by, down, n: (
            lambda s: s.order_by(*[r.desc(f) if d else f for f, d in zip(by, down, strict=False)]).limit(n)
        ),
        st.lists(keys, min_size=1, max_size=2),
        st.tuples(st.booleans(), st.booleans()),
        st.integers(1, 8),
    ),
    st.builds(lambda f: lambda s: s.group(f).count(), keys),
    st.builds(lambda f, name, g: lambda s: getattr(s.group(f), name)(g), keys, st.sampled_from(["sum", "avg"]), keys),
)


def write(database: RunningDatabase, seed: int) -> None:
    """Insert, change and delete some documents."""
    chance = random.Random(seed)
    for _ in range(chance.randint(0, 3)):
        batch = [{**document(chance), "id": chance.randrange(-20, 2 * ROWS + 20)} for _ in range(chance.randint(1, 9))]
        database.run(r.table("t").insert(batch, conflict=chance.choice(["replace", "update"])), durability="soft")
        if chance.random() < 0.5:
            low = chance.randrange(2 * ROWS)
            database.run(r.table("t").between(low, low + 9).delete(), durability="soft")


def answer(database: RunningDatabase, query: Any, optimizations: bool) -> Any:
    try:
        return database.run(query, optimizations=optimizations)
    except ReqlError as error:
        return error.kind


@settings(max_examples=examples(40), suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 30), queries=st.lists(st.tuples(filters, endings), min_size=2, max_size=4))
def test_answers_are_those_of_documents(
    database: RunningDatabase, seed: int, queries: list[tuple[Query, Query]]
) -> None:
    """Also where a part of the blocks is still what it was when the query was asked before, and where all are."""
    wait_for_columns(database)
    for round in range(2):
        write(database, seed + round)
        for kept, ending in queries:
            query = ending(kept(r.table("t")))
            expected = answer(database, query, False)
            assert answer(database, query, True) == expected, str(query)
            assert answer(database, query, True) == expected, str(query)
            if not round:
                with without_column_cache(database):
                    assert answer(database, query, True) == expected, str(query)
    hits = database.storage._scanner.columns.metrics.hits
    plain = r.table("t").filter(r.row["number"] > 1).sum("number")
    assert database.run(plain) == database.run(plain, optimizations=False)
    assert database.storage._scanner.columns.metrics.hits == hits + 1, "the columns were not used"


@pytest.mark.parametrize("odd_at", [0, 3500, None])
def test_a_scan_that_meets_what_is_not_plain_goes_on_with_single_documents(tmp_path: Path, odd_at: int | None) -> None:
    """From whatever block on that is: to the same sums, also of fractions and of integers beyond 2**53."""
    rows: list[dict[str, Any]] = [
        {"id": n, "part": n / 7, "large": 2**51 + n, "key": f"k{n % 5}", "zero": 0} for n in range(4000)
    ]
    if odd_at is not None:
        rows[odd_at]["zero"] = -0.0
        rows[odd_at]["key"] = [1]
    with RunningDatabase(tmp_path / "data") as database, without_column_cache(database):
        database.clear()
        database.run(r.table_create("t"))
        database.run(r.table("t").insert(rows), durability="soft")
        t = r.table("t")
        for query in (
            t.filter(r.row["zero"] == 0).sum("part"),
            t.filter(r.row["zero"] == 0).sum("large"),
            t.map(r.row["part"] + r.row["zero"]).sum(),
            t.group("key").sum("part"),
            t.group("key").sum("large"),
            t.group("key").count(),
            t["key"].distinct(),
            t.filter(r.row["key"] < "k3").avg("large"),
            t.filter(r.row["zero"].div(r.row["id"].sub(3999)).eq(0)).count(),
        ):
            assert answer(database, query, True) == answer(database, query, False), str(query)


def test_a_string_of_the_query_that_comes_up_in_later_documents_is_one_value(
    database: RunningDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one in the blocks before and another one behind: a sum of fractions depends on the order."""
    monkeypatch.setattr(scanning, "AGGREGATED_BLOCK_ROWS", 300)
    database.run(r.table("t").between(ROWS, 2 * ROWS).update({"text": "late"}), durability="soft")
    named = r.table("t").group(r.branch(r.row["number"] > 0, "late", r.row["text"]))
    query = named.sum(r.row["number"] / 7 + r.row["id"] / 11)
    with without_column_cache(database):
        assert database.run(query) == database.run(query, optimizations=False)


def test_a_long_expression_is_left_to_what_can_be_interrupted(database: RunningDatabase) -> None:
    wait_for_columns(database)
    metrics = database.storage._scanner.columns.metrics

    def any_of(count: int) -> Any:
        return r.table("t").filter(r.or_(*(r.row["number"] == number for number in range(count)))).count()

    for count, hits in ((20, 1), (300, 0)):
        before = metrics.hits
        assert database.run(any_of(count)) == database.run(any_of(count), optimizations=False)
        assert metrics.hits - before == hits


def test_functions_within_functions_are_evaluated_for_single_documents(database: RunningDatabase) -> None:
    wait_for_columns(database)
    total = r.table("t").sum(lambda row: r.expr([1, 2]).map(lambda factor: row["number"].default(0) * factor).count())
    assert database.run(total) == database.run(total, optimizations=False)


@pytest.mark.parametrize("compare", [r.lt, r.eq, r.gt])
def test_a_constant_that_stands_for_all_documents_is_compared(database: RunningDatabase, compare: Any) -> None:
    """`or` of a string, which is true, is that string for all documents, whatever a column has."""
    wait_for_columns(database)
    query = r.table("t").map(lambda row: compare("x", r.or_("x", row["number"]))).distinct()
    assert answer(database, query, True) == answer(database, query, False)


def test_a_field_of_all_documents_is_read_from_columns(database: RunningDatabase) -> None:
    wait_for_columns(database)
    metrics = database.storage._scanner.columns.metrics
    for query in (r.table("t")["number"].distinct(), r.table("t")["number"].sum(), r.table("t")["text"].count()):
        before = metrics.hits
        assert database.run(query) == database.run(query, optimizations=False)
        assert metrics.hits == before + 1, query


def test_the_past_is_not_read_from_columns(database: RunningDatabase) -> None:
    wait_for_columns(database)
    count = r.table("t").filter(r.row["number"] == 77).count()
    database.run(r.table("t").config().update({"history": "1d"}))
    moment = database.run(r.now())
    assert database.run(count) == 0
    database.run(r.table("t").insert([{"id": f"x{n}", "number": 77, "text": ""} for n in range(3)]), durability="soft")
    assert database.run(count) == 3
    assert database.run(count, as_of=r.epoch_time(moment["epoch_time"])) == 0


def test_columns_that_cannot_follow_are_made_anew(database: RunningDatabase) -> None:
    wait_for_columns(database)
    assert database.storage._scanner.columns.size > 0
    for start in range(10_000, 10_000 + MIN_CHANGED + 500, 500):
        rows = [{"id": start + n, "number": 5, "text": "new", "mixed": 1, "any": 1} for n in range(500)]
        database.run(r.table("t").insert(rows), durability="soft")
    count = r.table("t").filter(r.row["text"] == "new").count()
    assert database.run(count) == database.run(count, optimizations=False) > MIN_CHANGED
    wait_for_columns(database)
    assert database.run(count) == database.run(count, optimizations=False)
    database.run(r.table("t").filter(r.row["text"] == "new").delete(), durability="soft")
    assert database.run(count) == 0


def test_a_dropped_table_takes_its_columns_along(tmp_path: Path) -> None:
    with RunningDatabase(tmp_path / "data") as database:
        database.clear()
        database.run(r.table_create("t"))
        everything = dict.fromkeys(FIELDS, 1)
        database.run(r.table("t").insert([{"id": n, **everything} for n in range(1200)]), durability="soft")
        wait_for_columns(database)
        database.run(r.table_drop("t"))
        assert database.storage._scanner.columns.size == 0
        database.run(r.table_create("t"))
        assert database.run(r.table("t").filter(r.row["number"] == 1).count()) == 0
    with RunningDatabase(tmp_path / "data") as database:
        database.run(r.table("t").insert([{"id": n, **everything} for n in range(1200)]), durability="soft")
        wait_for_columns(database)
        assert database.run(r.table("t").sum("number")) == 1200


def test_groups_of_an_index_on_a_field(tmp_path: Path) -> None:
    """Documents without a value that can be a key belong to none."""
    chance = random.Random(2)
    t = r.table("t")
    with RunningDatabase(tmp_path / "data") as database:
        database.clear()
        database.run(r.table_create("t"))
        for name in FIELDS:
            database.run(t.index_create(name))
        database.run(t.index_wait())
        rows = [{**document(chance), "id": n} for n in range(ROWS)]
        kept = [row for row in rows if str(row.get("any")) != "-0.0"]  # which has a group of its own beside that of 0
        database.run(t.insert(kept), durability="soft")
        wait_for_columns(database)
        for name in FIELDS:
            listed = [row for row in database.run(t) if _can_be_key(row.get(name))]
            for query, count in (
                (t.group(index=name).count(), lambda rows: len(rows)),
                (t.group(index=name).sum("number"), lambda rows: sum(row["number"] for row in rows)),
                (t.group(index=name)["id"], lambda rows: [row["id"] for row in rows]),
            ):
                groups: dict[Any, list[Any]] = {}
                for row in listed:
                    groups.setdefault(sort_key(row[name]), []).append(row)
                expected = [count(groups[key]) for key in sorted(groups)]
                found = [database.run(query.ungroup()["reduction"], optimizations=on) for on in (True, False)]
                assert found == [expected, expected], (name, str(query))


def _can_be_key(value: Any) -> bool:
    return value is not None and not (type(value) is dict and "$reql_type$" not in value)
