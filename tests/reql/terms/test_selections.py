"""Choosing documents of a table: `get`, `get_all`, `between`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rethinkdb import r

from photondb.reql.errors import CompileError, ErrorKind, ReqlError
from tests.examples import examples
from tests.reql.database import RunningDatabase

ROWS = [{"id": i, "even": i % 2 == 0, "third": i // 3, "tags": [f"t{i}", "all"]} for i in range(10)]
T = r.table("numbers")


@pytest.fixture(scope="module", autouse=True)
def _numbers(database: RunningDatabase) -> None:
    database.run(r.table_create("numbers"))
    database.run(T.insert(ROWS))
    database.run(T.index_create("third"))
    database.run(T.index_create("tags", multi=True))
    database.run(T.index_create("both", lambda row: [row["even"], row["third"]]))
    database.run(T.index_create("place", geo=True))
    database.run(T.index_wait())


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return sorted(row["id"] for row in rows)


def test_get_gives_a_document_or_null(database: RunningDatabase) -> None:
    assert database.run(T.get(3)) == ROWS[3]
    assert database.run(T.get(3)["third"]) == 1
    assert database.run(T.get("3")) is None
    assert database.run(T.get([3, True])) is None
    assert database.run(r.expr([1, 2]).map(lambda i: T.get(i)["id"])) == [1, 2]


@pytest.mark.parametrize(
    ("key", "kind", "message"),
    [
        (
            None,
            ErrorKind.NON_EXISTENCE,
            "Primary keys must be either a number, string, bool, pseudotype or array (got type NULL):\nnull",
        ),
        (
            {"a": 1},
            ErrorKind.LOGIC,
            "Primary keys must be either a number, string, bool, pseudotype or array (got type OBJECT):\n"
            '{\n\t"a":\t1\n}',
        ),
        ("a" * 128, ErrorKind.LOGIC, f'Primary key too long (max 127 characters): "{"a" * 128}"'),
    ],
)
def test_get_refuses_what_cannot_be_a_primary_key(
    database: RunningDatabase, key: Any, kind: ErrorKind, message: str
) -> None:
    with pytest.raises(ReqlError) as caught:
        database.run(T.get(key))
    assert (caught.value.kind, caught.value.message) == (kind, message)


def test_get_takes_a_table_and_one_key(database: RunningDatabase) -> None:
    with pytest.raises(CompileError, match="Expected 2 arguments but found 3"):
        database.run(T.get(1, 2))


def test_get_all_finds_documents_by_primary_key(database: RunningDatabase) -> None:
    assert ids(database.run(T.get_all(1, 5, 77))) == [1, 5]
    assert ids(database.run(T.get_all(1, index="id"))) == [1]
    assert ids(database.run(T.get_all(r.args([2, 3]), 4))) == [2, 3, 4]
    assert database.run(T.get_all()) == []
    assert database.run(T.get_all().type_of()) == "SELECTION<STREAM>"


def test_get_all_gives_a_document_as_often_as_its_key(database: RunningDatabase) -> None:
    assert ids(database.run(T.get_all(1, 1, 5, 1))) == [1, 1, 1, 5]
    assert ids(database.run(T.get_all(3, 3, index="third"))) == [9, 9]
    assert database.run(T.get_all("all", "t1", index="tags").count()) == 11


def test_get_all_finds_documents_by_an_index(database: RunningDatabase) -> None:
    assert ids(database.run(T.get_all(0, 1, index="third"))) == [0, 1, 2, 3, 4, 5]
    assert ids(database.run(T.get_all([True, 1], index="both"))) == [4]
    assert ids(database.run(T.get_all(1, index="third").filter({"even": True}))) == [4]
    assert database.run(T.get_all(r.minval, index="third")) == []


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        (T.get_all(None), ErrorKind.NON_EXISTENCE, "Keys cannot be NULL."),
        (T.get_all(1, index="no"), ErrorKind.OP_FAILED, "Index `no` was not found on table `test.numbers`."),
        (T.get_all(1, index=True), ErrorKind.LOGIC, "Expected type STRING but found BOOL."),
        (
            T.get_all(1, index="place"),
            ErrorKind.LOGIC,
            "Index `place` is a geospatial index.  Only get_nearest and get_intersecting can use a geospatial index.",
        ),
        (
            T.get_all({"$reql_type$": "GEOMETRY", "type": "Point", "coordinates": [0, 0]}),
            ErrorKind.LOGIC,
            "Cannot use a geospatial index with `get_all`. Use `get_intersecting` instead.",
        ),
    ],
)
def test_what_cannot_be_looked_up_is_refused(
    database: RunningDatabase, query: Any, kind: ErrorKind, message: str
) -> None:
    with pytest.raises(ReqlError) as caught:
        database.run(query)
    assert (caught.value.kind, caught.value.message) == (kind, message)


def test_between_has_bounds_that_are_open_or_closed(database: RunningDatabase) -> None:
    assert ids(database.run(T.between(2, 5))) == [2, 3, 4]
    assert ids(database.run(T.between(2, 5, left_bound="open"))) == [3, 4]
    assert ids(database.run(T.between(2, 5, right_bound="closed"))) == [2, 3, 4, 5]
    assert ids(database.run(T.between(2, 5, left_bound="open", right_bound="closed"))) == [3, 4, 5]
    assert database.run(T.between(5, 2)) == []
    assert database.run(T.between(5, 2).type_of()) == "TABLE_SLICE"
    assert ids(database.run(T.between(r.minval, 2))) == [0, 1]
    assert ids(database.run(T.between(8, r.maxval))) == [8, 9]
    assert database.run(T.between(r.minval, r.maxval).count()) == 10


def test_between_works_on_an_index(database: RunningDatabase) -> None:
    assert ids(database.run(T.between(1, 2, index="third"))) == [3, 4, 5]
    assert ids(database.run(T.between(1, 3, index="third", left_bound="open", right_bound="closed"))) == [6, 7, 8, 9]
    assert ids(database.run(T.between([True, 1], [True, r.maxval], index="both"))) == [4, 6, 8]
    assert database.run(T.between("all", "b", index="tags").count()) == 10


def test_between_goes_together_with_an_order(database: RunningDatabase) -> None:
    descending = T.order_by(index=r.desc("id")).between(2, 5)
    assert [row["id"] for row in database.run(descending)] == [4, 3, 2]
    ordered = T.between(1, 3, index="third").order_by(index=r.desc("third"))
    assert [row["third"] for row in database.run(ordered)] == [2, 2, 2, 1, 1, 1]
    assert ids(database.run(T.order_by(index="third").between(0, 1))) == [0, 1, 2]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            T.between(None, 2),
            "Cannot use `null` in BETWEEN, use `r.minval` or `r.maxval` to denote unboundedness.",
        ),
        (T.between(1, 2).between(3, 4), "Cannot perform multiple BETWEENs on the same table."),
        (
            T.order_by(index="third").between(1, 2, index="id"),
            "Cannot call BETWEEN on index `id` after ordering on index `third`.",
        ),
        (
            T.between(1, 2, index="third").order_by(index="id"),
            "Cannot order by index `id` after calling BETWEEN on index `third`.",
        ),
        (T.between(1, 2, left_bound="ajar"), 'Expected `open` or `closed` for optarg `left_bound` (got `"ajar"`).'),
        (T.between(1, 2, right_bound="ajar"), 'Expected `open` or `closed` for optarg `right_bound` (got `"ajar"`).'),
        (T.between(1, 2, index="no"), "Index `no` was not found on table `test.numbers`."),
        (
            T.between(1, 2, index="place"),
            "Index `place` is a geospatial index.  Only get_nearest and get_intersecting can use a geospatial index.",
        ),
        (
            T.between({}, 2),
            "Primary keys must be either a number, string, bool, pseudotype or array (got type OBJECT):\n{}",
        ),
        (r.expr([1, 2]).between(1, 2), "Expected type TABLE_SLICE but found DATUM:\n[\n\t1,\n\t2\n]"),
    ],
)
def test_what_is_no_range_is_refused(database: RunningDatabase, query: Any, message: str) -> None:
    with pytest.raises(ReqlError) as caught:
        database.run(query)
    assert caught.value.message == message


def test_an_index_that_is_not_there_is_missed_only_when_it_is_read(database: RunningDatabase) -> None:
    slice_ = T.between(1, 2, index="no")
    assert database.run(slice_.type_of()) == "TABLE_SLICE"
    for query in (slice_.count(), slice_.order_by("id"), slice_.delete()):
        with pytest.raises(ReqlError, match="Index `no` was not found"):
            database.run(query)


def test_the_old_between_took_null_for_no_bound(database: RunningDatabase) -> None:
    class BetweenDeprecated(type(T.between(1, 2))):  # type: ignore[misc]
        term_type = 36

    def old(*args: Any) -> Any:
        return BetweenDeprecated(T, *args)

    assert ids(database.run(old(None, 2))) == [0, 1]
    assert ids(database.run(old(8, None))) == [8, 9]
    assert database.run(old(None, None).count()) == 10


values: st.SearchStrategy[Any] = st.one_of(
    st.integers(-3, 12), st.floats(-3, 12), st.booleans(), st.text(max_size=2), st.just([])
)


@settings(max_examples=examples(40))
@given(values, values, st.sampled_from(["open", "closed"]), st.sampled_from(["open", "closed"]))
def test_between_gives_what_a_filter_gives(
    database: RunningDatabase, low: Any, high: Any, left: str, right: str
) -> None:
    third = r.row["third"]
    above = third > low if left == "open" else third >= low
    below = third < high if right == "open" else third <= high
    chosen = T.between(low, high, index="third", left_bound=left, right_bound=right)
    assert ids(database.run(chosen)) == ids(database.run(T.filter(above & below)))
