"""`order_by`, with fields, functions and indexes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r

from photondb.reql.errors import CompileError, ErrorKind, ReqlError
from tests.reql.database import RunningDatabase
from tests.reql.evaluate import evaluate, failure

PEOPLE: list[dict[str, Any]] = [
    {"name": "eve", "age": 30},
    {"name": "ann", "age": 30},
    {"name": "bob"},
    {"name": "cid", "age": 20},
    {"name": "dee", "age": None},
]


def names(query: Any, **options: Any) -> str:
    """The initials of people, in order."""
    return "".join(row["name"][0] for row in evaluate(query, **options))


@pytest.mark.parametrize("make", [lambda rows: r.expr(rows), lambda rows: r.expr(rows).union(r.range(0))])
@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["name"], "abcde"),
        ([r.desc("name")], "edcba"),
        ([r.asc("name")], "abcde"),
        (["age"], "bdcea"),
        ([r.desc("age")], "eacdb"),
        (["age", "name"], "bdcae"),
        ([r.desc("age"), "name"], "aecdb"),
        (["age", r.desc("name")], "bdcea"),
        ([r.desc("age"), r.desc("name")], "eacdb"),
        ([lambda row: row["age"] % 7, "name"], "bdaec"),
        ([r.desc(lambda row: row["name"])], "edcba"),
        ([r.row["name"]], "abcde"),
        ([lambda: 1], "eabcd"),
    ],
)
def test_order_by(make: Any, order: list[Any], expected: str) -> None:
    assert names(make(PEOPLE).order_by(*order)) == expected
    assert names(make(PEOPLE).order_by(*order).limit(3)) == expected[:3]
    assert names(make(PEOPLE).order_by(*order).skip(1).limit(2)) == expected[1:3]
    assert (
        names(make(PEOPLE).order_by(*order).filter(lambda row: row["name"] != "cid").limit(3))
        == (expected.replace("c", "")[:3])
    )


numbers = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["", "a", "b"]))
rows = st.lists(st.fixed_dictionaries({"n": st.integers(0, 10**6)}, optional={"a": numbers, "b": numbers}), max_size=40)
parts = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.booleans()), min_size=1, max_size=2)


@given(rows, parts, st.integers(0, 10))
def test_the_first_rows_are_those_of_the_whole_order(documents: list[Any], by: list[Any], count: int) -> None:
    order = [r.desc(field) if descending else r.asc(field) for field, descending in by]
    whole = evaluate(r.expr(documents).order_by(*order))
    assert evaluate(r.expr(documents).union(r.range(0)).order_by(*order).limit(count)) == whole[:count]
    assert evaluate(r.expr(documents).union(r.range(0)).order_by(*order)) == whole


@given(rows, st.sampled_from(["a", "b"]))
def test_an_order_is_the_order_of_values_with_what_lacks_the_field_first(documents: list[Any], field: str) -> None:
    ordered = evaluate(r.expr(documents).order_by(field))
    missing = [row for row in documents if field not in row]
    assert ordered[: len(missing)] == missing
    pairs = list(zip(ordered[len(missing) :], ordered[len(missing) + 1 :], strict=False))
    assert evaluate(r.expr(pairs).map(lambda pair: pair[0][field] <= pair[1][field])) == [True] * len(pairs)


def test_a_sorted_stream_is_an_array() -> None:
    stream = r.range(5).map(lambda n: {"n": 4 - n}).order_by("n")
    assert evaluate(stream.type_of()) == "ARRAY"
    assert evaluate(stream.append(1).count()) == 6
    assert evaluate(stream.nth(-2)) == {"n": 3}
    assert evaluate(stream[-2:]) == [{"n": 3}, {"n": 4}]
    assert evaluate(stream["n"]) == [0, 1, 2, 3, 4]
    assert evaluate(stream["n"].add([9])) == [0, 1, 2, 3, 4, 9]
    assert evaluate(r.do(stream, lambda rows: [rows, rows]).nth(1).nth(0)) == {"n": 0}
    assert evaluate({"rows": stream.limit(1)}) == {"rows": [{"n": 0}]}


def test_groups_are_sorted_one_by_one() -> None:
    groups = (
        r.expr(PEOPLE).group(lambda row: row["age"].default(0)).order_by(r.desc("name")).map(lambda row: row["name"])
    )
    assert evaluate(groups) == [[0, ["dee", "bob"]], [20, ["cid"]], [30, ["eve", "ann"]]]


@pytest.mark.parametrize(
    ("query", "message", "frames"),
    [
        (r.expr([1]).order_by(), "Must specify something to order by.", ()),
        (r.expr([{"a": 1}, {"a": 2}]).order_by([1]), "Expected type STRING but found ARRAY.", (1,)),
        (r.expr(1).order_by("a"), "Cannot convert NUMBER to SEQUENCE", ()),
        (
            r.expr([1]).order_by(index="a"),
            "Indexed order_by can only be performed on a TABLE or TABLE_SLICE. Make sure order_by comes before any "
            "transformations (such as map) or filters.",
            (),
        ),
        (
            r.expr([1, 2]).order_by(lambda row: r.random()),
            "Sorting by a non-deterministic function is not supported.",
            (),
        ),
        (r.expr([1]).order_by(r.args(["a"])), "r.args is not supported in an order_by or union command yet.", ()),
    ],
)
def test_what_cannot_be_ordered(query: Any, message: str, frames: tuple[int, ...]) -> None:
    error = failure(query)
    assert (error.kind, error.message, error.frames) == (ErrorKind.LOGIC, message, frames)


@pytest.mark.parametrize("query", [r.desc("a"), r.expr([1]).map(lambda row: r.desc(row)), r.expr([r.desc("a")])])
def test_a_direction_stands_only_within_an_order(query: Any) -> None:
    error = failure(query)
    assert isinstance(error, CompileError)
    assert error.message == "DESC may only be used as an argument to ORDER_BY or UNION."


def test_sorting_stays_within_the_array_limit() -> None:
    assert failure(r.range(5).order_by(r.row), array_limit=4).kind == ErrorKind.RESOURCE_LIMIT
    assert evaluate(r.range(9).order_by(r.desc(r.row)).limit(2), array_limit=4) == [8, 7]
    assert evaluate(r.range(9).order_by(r.row).filter(r.row > 6), array_limit=4) == [7, 8]
    assert evaluate(r.range(9).order_by(r.row).skip(2).map(r.row + 1).limit(2), array_limit=4) == [3, 4]


# --- tables

ROWS = [{"id": i, "a": i % 4, "b": (i * 7) % 10, "tags": [i % 3, "t"]} for i in range(60)]
T = r.table("things")


@pytest.fixture(scope="module", autouse=True)
def _things(database: RunningDatabase) -> None:
    database.run(r.table_create("things"))
    database.run(T.insert([*ROWS, {"id": 99, "b": 99}]))
    database.run(T.index_create("a"))
    database.run(T.index_create("tags", multi=True))
    database.run(T.index_wait())


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in rows]


def by_index(key: Any, *, reverse: bool = False) -> list[int]:
    return ids(sorted(ROWS, key=key, reverse=reverse))


def test_an_index_orders_the_documents_that_are_in_it(database: RunningDatabase) -> None:
    assert ids(database.run(T.order_by(index="id"))) == [*range(60), 99]
    assert ids(database.run(T.order_by(index=r.desc("id")).limit(3))) == [99, 59, 58]
    assert ids(database.run(T.order_by(index="a"))) == by_index(lambda row: (row["a"], row["id"]))
    assert ids(database.run(T.order_by(index=r.desc("a")))) == by_index(lambda r: (r["a"], r["id"]), reverse=True)
    assert ids(database.run(T.between(1, 3, index="a").order_by(index="a").limit(2))) == [1, 5]
    assert ids(database.run(T.order_by(index=r.desc("a")).between(1, 3, index="a").limit(2))) == [58, 54]


def test_an_index_may_come_before_other_things_to_order_by(database: RunningDatabase) -> None:
    expected = by_index(lambda row: (row["a"], -row["b"], row["id"]))
    query = T.order_by(r.desc("b"), "id", index="a")
    assert ids(database.run(query)) == expected
    assert ids(database.run(query.limit(7))) == expected[:7]
    assert ids(database.run(query.skip(14).limit(4))) == expected[14:18]
    assert ids(database.run(query.filter({"b": 3}))) == [i for i in expected if ROWS[i]["b"] == 3]
    assert database.run(query.count()) == 60
    assert database.run(query.type_of()) == "SELECTION<STREAM>"
    descending = by_index(lambda row: (-row["a"], row["b"], row["id"]))
    assert ids(database.run(T.order_by("b", "id", index=r.desc("a")))) == descending
    assert ids(database.run(T.order_by("b", index="id").limit(3))) == [0, 1, 2]


def test_a_multi_index_has_a_document_at_each_of_its_values(database: RunningDatabase) -> None:
    places = sorted(((0 if type(tag) is int else 1, tag), -row["id"], row["id"]) for row in ROWS for tag in row["tags"])
    assert ids(database.run(T.order_by(r.desc("id"), index="tags"))) == [place[2] for place in places]
    assert ids(database.run(T.order_by(r.desc("id"), index=r.desc("tags")).limit(3))) == [59, 58, 57]
    ranged = T.between(1, 2, index="tags", right_bound="closed").order_by(r.desc("id"), index="tags")
    assert ids(database.run(ranged)) == [
        *[i for i in reversed(range(60)) if i % 3 == 1],
        *[i for i in reversed(range(60)) if i % 3 == 2],
    ]


def test_a_selection_stays_one_when_sorted(database: RunningDatabase) -> None:
    assert database.run(T.order_by("b").type_of()) == "SELECTION<ARRAY>"
    assert database.run(T.order_by(index="a").type_of()) == "TABLE_SLICE"
    assert ids(database.run(T.order_by("b", "id").limit(4))) == [0, 10, 20, 30]
    assert ids(database.run(T.order_by(r.desc("b"), "id").limit(3))) == [99, 7, 17]
    assert database.run(T.order_by("b", "id").limit(2).update({"first": True}))["replaced"] == 2
    assert sorted(ids(database.run(T.filter({"first": True})))) == [0, 10]
    assert database.run(T.order_by("b", "id").nth(1).update({"first": True}))["unchanged"] == 1
    assert ids(database.run(T.order_by("id").filter({"a": 2}).limit(2))) == [2, 6]
    assert database.run(T.order_by("id").map(lambda row: row["id"]).limit(2).append(5)) == [0, 1, 5]
    assert ids(database.run(T.order_by("missing", "id").limit(2))) == [0, 1]
    with pytest.raises(ReqlError, match="Expected type DATUM but found SELECTION"):
        database.run(T.order_by("id") + 1)


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        (
            T.order_by(index="a").order_by(index="a"),
            ErrorKind.LOGIC,
            "Cannot perform multiple indexed ORDER_BYs on the same table.",
        ),
        (
            T.between(1, 2, index="a").order_by(index="id"),
            ErrorKind.LOGIC,
            "Cannot order by index `id` after calling BETWEEN on index `a`.",
        ),
        (T.order_by(index="nix"), ErrorKind.OP_FAILED, "Index `nix` was not found on table `test.things`."),
        (T.order_by(index=1), ErrorKind.LOGIC, "Expected type STRING but found NUMBER."),
        (T.order_by(), ErrorKind.LOGIC, "Must specify something to order by."),
    ],
)
def test_what_tables_cannot_be_ordered_by(database: RunningDatabase, query: Any, kind: ErrorKind, message: str) -> None:
    with pytest.raises(ReqlError) as caught:
        database.run(query)
    assert (caught.value.kind, caught.value.message) == (kind, message)
