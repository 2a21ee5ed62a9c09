"""Shortcuts change nothing: generated queries give the same with the run option `optimizations=False` as without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rethinkdb import r

from photondb.api.context import INTERNAL
from photondb.datum.order import equal, sort_key
from photondb.reql.errors import ReqlError
from photondb.reql.shape import Shaper
from services.query.options import read_options
from services.query.plans import Plan
from tests.examples import examples
from tests.query.conftest import Client
from tests.reql import test_push_down_queries as generated
from tests.reql.evaluate import wire_term
from tests.reql.test_fuzz import Target

Change = Callable[[Any], Any]

PLAIN, SHADOW = r.table("plain"), r.table("shadow")
"""A table that queries are asked about, and one that is written to without any shortcut."""

SETTINGS = settings(max_examples=examples(120), suppress_health_check=list(HealthCheck))

DURABILITY = {"durability": "soft"}


@pytest.fixture(scope="module", params=[False, True], ids=["storage", "stub"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    running = Target(tmp_path_factory.mktemp("optimizations") / "data", request.param, time_s=60)
    for name in ("plain", "shadow"):
        ask(running, r.table_create(name))
        ask(running, r.table(name).index_create("a"))
        ask(running, r.table(name).index_create("both", [r.row["a"], r.row["b"]]))
        ask(running, r.table(name).index_create("left", multi=True))
        ask(running, r.table(name).index_wait())
    yield running
    running.stop()


def ask(target: Target, query: Any, array_limit: int | None = 1000, **options: Any) -> dict[str, Any]:
    """The response to a query. With a limit of arrays it is no point read, short read, nor pure query."""
    limit = {} if array_limit is None else {"array_limit": array_limit}
    response = target.ask_for_all(1, wire_term(query), {**limit, **DURABILITY, **options})
    result = response["r"]
    if response["t"] in (1, 18):
        (result,) = result
    if type(result) is dict and result.get("$reql_type$") == "GROUPED_DATA":
        result = result["data"]
    return {**response, "r": result}


def fill(target: Target, rows: list[Any], *tables: Any) -> None:
    for table in tables:
        ask(target, table.delete())
        if rows:
            assert ask(target, table.insert(rows))["r"]["inserted"] == len(rows)


keys = st.integers(-1, 12) | st.sampled_from(["a", 1.5, None, [1], {"a": 1}])

row_steps: st.SearchStrategy[Change] = st.one_of(
    generated.fields.map(lambda name: lambda row: row[name]),
    generated.fields.map(lambda name: lambda row: row.get_field(name)),
    generated.paths.map(lambda names: lambda row: row.pluck(*names)),
    generated.paths.map(lambda names: lambda row: row.without(*names)),
    generated.paths.map(lambda names: lambda row: row.has_fields(*names)),
    generated.values.map(lambda value: lambda row: row.default(value)),
    generated.documents.map(lambda patch: lambda row: row.merge(patch)),
    st.just(lambda row: row.merge({"a": r.literal({"b": 1}), "b": r.literal()})),
    st.just(lambda row: row.merge(lambda old: {"c": old["a"]})),
    st.just(lambda row: row.keys()),
    st.just(lambda row: row["a"]["b"]),
    st.just(lambda row: row.pluck("id", "a")),
)
sources: st.SearchStrategy[Any] = st.one_of(
    st.just(PLAIN),
    st.lists(st.integers(-1, 12), max_size=4).map(lambda ids: PLAIN.get_all(*ids)),
    st.lists(generated.scalars, min_size=1, max_size=3).map(lambda found: PLAIN.get_all(*found, index="a")),
    st.lists(generated.scalars, min_size=1, max_size=3).map(lambda found: PLAIN.get_all(*found, index="left")),
    st.builds(lambda low, high: PLAIN.between(low, high, index="a"), generated.scalars, generated.scalars),
    st.builds(lambda low: PLAIN.between(low, r.maxval), st.integers(-1, 12)),
    st.sampled_from(["id", "a", "both", r.desc("id"), r.desc("a")]).map(lambda index: PLAIN.order_by(index=index)),
)


@SETTINGS
@given(generated.tables, sources, st.lists(generated.steps, max_size=3), generated.ends)
def test_sequences(target: Target, rows: list[Any], source: Any, middle: list[Change], end: list[Change]) -> None:
    fill(target, rows, PLAIN)
    compare(target, generated.pipeline(source, [*middle, *end]))


@SETTINGS
@given(
    generated.tables, keys, st.lists(row_steps, max_size=3), st.sampled_from([{}, {"profile": True}, {"db": "test"}])
)
def test_documents(target: Target, rows: list[Any], key: Any, steps: list[Change], options: dict[str, Any]) -> None:
    fill(target, rows, PLAIN)
    compare(target, generated.pipeline(PLAIN.get(key), steps), array_limit=None, **options)


def test_errors_of_inner_terms_show_the_whole_document(target: Target) -> None:
    fill(target, [{"id": 0, "b": 1}], PLAIN)
    for query in (PLAIN.get(0)["a"].pluck("a"), PLAIN.get(0)["b"].pluck("a"), PLAIN.get(0).pluck("b")["a"]):
        compare(target, query, array_limit=None)


@SETTINGS
@given(generated.documents, st.lists(row_steps, max_size=3))
def test_a_constant_document(target: Target, document: Any, steps: list[Change]) -> None:
    compare(target, generated.pipeline(r.expr(document), steps), array_limit=None)


@SETTINGS
@given(generated.tables, st.lists(generated.steps, max_size=3), generated.ends)
def test_constant_documents(target: Target, rows: list[Any], middle: list[Change], end: list[Change]) -> None:
    compare(target, generated.pipeline(r.expr(rows), [*middle, *end]), array_limit=None)


@SETTINGS
@given(generated.tables, sources.filter(lambda source: source is not PLAIN), st.integers(-1, 8) | st.none())
def test_short_reads(target: Target, rows: list[Any], source: Any, limit: int | None) -> None:
    fill(target, rows, PLAIN)
    compare(target, source if limit is None else source.limit(limit), array_limit=None)


@pytest.mark.parametrize("size", [10, 10_000])
def test_short_reads_that_turn_out_to_be_long(target: Target, size: int) -> None:
    """More rows than a short read has, or more bytes than a batch: they come in batches as ever."""
    fill(target, [{"id": number, "a": 1, "text": "x" * size} for number in range(150)], PLAIN)
    for source in (PLAIN.get_all(1, index="a"), PLAIN.between(0, 200), PLAIN.get_all(*range(150))):
        for query in (source, source.limit(50), source.limit(100), source.limit(101)):
            compare(target, query, array_limit=None)
            compare(target, query, array_limit=None, max_batch_rows=20)


@pytest.mark.parametrize(
    "query",
    [
        r.table("t").get_all(1, 2),
        r.table("t").get_all("x", index="a").limit(5),
        r.db("test").table("t").between(1, r.maxval).limit(3),
        r.table("t").between(1, 5, index="a", left_bound="open"),
    ],
)
def test_short_reads_are_recognised(query: Any) -> None:
    assert plan_of(query).short_read is not None
    assert plan_of(query.pluck("a")).short_read is None
    assert plan_of(query, optimizations=False).short_read is None


def test_a_short_read_of_a_table_that_is_gone_fails_as_ever(target: Target) -> None:
    for query in (r.table("gone").get_all(1), r.table("gone").between(1, 2).limit(3)):
        ask(target, r.table_create("gone"))
        for _ in range(2):
            assert ask(target, query)["r"] == []
        ask(target, r.table_drop("gone"))
        response = ask(target, query)
        assert response["r"] == "Table `test.gone` does not exist."
        compare(target, query)


@pytest.mark.parametrize(
    ("query", "raw"),
    [
        (lambda row: row.pluck("a", "b"), True),
        (lambda row: row["a"], True),
        (lambda row: row.merge({"a": [1]}), True),
        (lambda row: row.pluck({"a": ["b"]}), False),
        (lambda row: row.without("a"), False),
        (lambda row: row.merge({"a": r.row["b"]}), False),
        (lambda row: row["a"]["b"], False),
    ],
)
def test_results_are_made_from_the_json_of_documents(query: Any, raw: bool) -> None:
    read = plan_of(query(r.table("t").get(1))).read
    assert (read is not None and read.raw is not None) is raw


@pytest.mark.parametrize("name", ["", 'q"uote', "back\\slash", "é☂", "a.b", "\n", "field0", "$reql_type$"])
def test_fields_may_have_any_names(target: Target, name: str) -> None:
    for value in (1, "text", [{"a": None}], {"b": {name: 1}} if name != "$reql_type$" else 2):
        fill(target, [{"id": 1, "x": 2} if name == "$reql_type$" else {"id": 1, name: value, "x": 2}], PLAIN)
        row = PLAIN.get(1)
        for query in (row.pluck(name), row.pluck("x", name, "nothing"), row[name], row.merge({name: value})):
            compare(target, query)
        compare(target, row.merge({"new": value}))
        compare(target, row.merge({"new": value, "x": value}))


def compare(target: Target, query: Any, array_limit: int | None = 1000, **options: Any) -> None:
    options["array_limit"] = array_limit
    if array_limit is None:
        ask(target, query, **options)  # so that there is a plan, which is what shortcuts are taken for
    found = ask(target, query, **options)
    expected = ask(target, query, optimizations=False, **options)
    if expected["t"] == 18:
        if (found.get("e"), found["r"], found.get("b")) != (expected["e"], expected["r"], expected["b"]):
            lazy = generated.LAZY if found["t"] != 18 else generated.UNORDERED
            assert any(name in str(query) for name in lazy), (found, expected)
        return
    assert found["t"] == expected["t"], (found, expected)
    assert equal(_in_order(query, found["r"]), _in_order(query, expected["r"])), (found, expected)


def _in_order(query: Any, result: Any) -> Any:
    """Equal rows of an index stand in the order of their primary keys, but no order was asked for."""
    unordered = type(result) is list and "order_by" not in str(query)
    return sorted(result, key=sort_key) if unordered else result


writes: st.SearchStrategy[Change] = st.one_of(
    st.builds(lambda key, patch: lambda t: t.get(key).update(patch), keys, generated.documents),
    st.builds(lambda key, patch: lambda t: t.get(key).update(lambda row: patch(row)), keys, generated.functions),
    st.builds(lambda key, new: lambda t: t.get(key).replace(new), keys, generated.documents),
    st.builds(
        lambda key, new: lambda t: t.get(key).replace({**new, "id": key}), st.integers(0, 6), generated.documents
    ),
    st.builds(lambda key: lambda t: t.get(key).replace(lambda row: row.without("a")), keys),
    st.builds(lambda key: lambda t: t.get(key).update({"a": r.literal(), "left": {"a": r.literal({})}}), keys),
    st.builds(lambda key: lambda t: t.get(key).delete(), keys),
    st.builds(lambda key: lambda t: t.get(key).delete(durability="soft"), keys),
    st.builds(lambda key, new: lambda t: t.insert({**new, "id": key}), keys, generated.documents),
    st.lists(st.builds(lambda key, new: {**new, "id": key}, keys, generated.documents), max_size=3).map(
        lambda documents: lambda t: t.insert(documents)
    ),
    st.builds(
        lambda key, new, conflict: lambda t: t.insert({**new, "id": key}, conflict=conflict),
        keys,
        generated.documents,
        st.sampled_from(["error", "replace", "update"]),
    ),
    st.builds(lambda key: lambda t: t.get(key).update({"a": 1}, return_changes="always"), keys),
    st.builds(lambda change: lambda t: t.insert(change), generated.scalars | st.just({"id": r.maxval})),
)


@SETTINGS
@given(generated.tables, st.lists(writes, min_size=1, max_size=4))
def test_writes(target: Target, rows: list[Any], changes: list[Change]) -> None:
    fill(target, rows, PLAIN, SHADOW)
    for change in changes:
        found = ask(target, change(PLAIN))
        expected = ask(target, change(SHADOW), optimizations=False)
        assert {**found, "b": None} == {**expected, "b": None}
        assert found.get("b") == expected.get("b"), (found, expected)
    for read in (lambda t: t.order_by("id"), lambda t: t.order_by(index="a"), lambda t: t.order_by(index="left")):
        assert equal(ask(target, read(PLAIN))["r"], ask(target, read(SHADOW))["r"])


def plan_of(query: Any, **options: Any) -> Plan:
    shaper = Shaper(None)
    return Plan(shaper.shape(wire_term(query)), len(shaper.constants), 0, read_options(options).plan_names)


@pytest.mark.parametrize("query", [r.table("t").get(1), r.table("t").get(1).update({"a": 2})])
def test_without_optimizations_there_is_no_fast_path(query: Any) -> None:
    fast, plain = plan_of(query), plan_of(query, optimizations=False)
    assert fast.read or fast.write
    assert plain.read is None
    assert plain.write is None


async def test_storage_is_told(client: Client) -> None:
    runtime = client.query.runtime(INTERNAL, read_options({"optimizations": False}))
    assert runtime.context.optimizations is False
    assert client.query.runtime(INTERNAL, read_options({})).context.optimizations is True


def test_the_option_is_a_boolean() -> None:
    with pytest.raises(ReqlError, match="must be a boolean"):
        read_options({"optimizations": "off"})
