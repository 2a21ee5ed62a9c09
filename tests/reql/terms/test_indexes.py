"""Secondary indexes: `index_create`, `index_drop`, `index_rename`, `index_list`, `index_status`, `index_wait`."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from rethinkdb import r

from photondb.api.catalogue import IndexInfo
from photondb.reql.errors import ErrorKind, ReqlError
from services.storage import catalog
from tests.reql.database import RunningDatabase

T = r.table("t")


@pytest.fixture(autouse=True)
def _empty(database: RunningDatabase) -> None:
    database.clear()
    database.run(r.table_create("t"))
    database.run(T.insert([{"id": 1, "a": 1, "b": [1, 2]}, {"id": 2, "a": 2, "b": [2, 3]}, {"id": 3}]))


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in rows]


def test_an_index_is_on_the_field_of_its_name(database: RunningDatabase) -> None:
    assert database.run(T.index_create("a")) == {"created": 1}
    (status,) = database.run(T.index_wait("a"))
    assert status.pop("function")["$reql_type$"] == "BINARY"
    assert status == {
        "geo": False,
        "index": "a",
        "multi": False,
        "outdated": False,
        "query": "indexCreate('a', function(var1) { return var1(\"a\"); })",
        "ready": True,
    }
    assert ids(database.run(T.get_all(2, index="a"))) == [2]
    assert ids(database.run(T.order_by(index="a"))) == [1, 2]


def test_an_index_of_an_earlier_version_is_outdated(database: RunningDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    def earlier(*fields: Any, **options: Any) -> IndexInfo:
        return IndexInfo(*fields, **{**options, "complete": False, "lists_lacking": False})

    with monkeypatch.context() as patch:
        patch.setattr(catalog, "IndexInfo", earlier)
        database.run(T.index_create("a"))
        database.run(T.index_create("place", geo=True))
        database.run(T.index_create("places", multi=True, geo=True))  # which lists no others today
    database.run(T.index_create("b", r.row["a"]))
    database.run(T.index_create("tags", multi=True))
    status = {index["index"]: index["outdated"] for index in database.run(T.index_wait())}
    assert status == {"a": True, "b": False, "place": True, "places": False, "tags": False}
    database.run(T.index_rename("b", "a", overwrite=True))
    assert not database.run(T.index_status("a"))[0]["outdated"]


def test_an_index_may_be_on_what_a_function_gives(database: RunningDatabase) -> None:
    database.run(T.index_create("twice", lambda row: row["a"] * 2))
    database.run(T.index_create("pair", [r.row["a"], r.row["id"]]))
    database.run(T.index_create("b", multi=True))
    states = database.run(T.index_wait())
    assert [state["index"] for state in states] == ["b", "pair", "twice"]
    assert [state["multi"] for state in states] == [True, False, False]
    assert states[0]["query"] == "indexCreate('b', function(var1) { return var1(\"b\"); }, {multi: true})"
    assert states[1]["query"] == ('indexCreate(\'pair\', function(var1) { return r.expr([var1("a"), var1("id")]); })')
    assert ids(database.run(T.get_all(4, index="twice"))) == [2]
    assert ids(database.run(T.get_all([1, 1], index="pair"))) == [1]
    assert sorted(ids(database.run(T.get_all(2, index="b")))) == [1, 2]


def test_an_index_keeps_up_with_writes(database: RunningDatabase) -> None:
    database.run(T.index_create("a"))
    database.run(T.index_wait())
    database.run(T.get(3).update({"a": 9}))
    database.run(T.get(1).update({"a": r.literal()}))
    database.run(T.get(2).delete())
    database.run(T.insert({"id": 4, "a": 9}))
    assert sorted(ids(database.run(T.between(r.minval, r.maxval, index="a")))) == [3, 4]


def test_an_index_is_made_of_the_binary_of_another(database: RunningDatabase) -> None:
    database.run(T.index_create("b", lambda row: row["b"].map(lambda n: n + 10), multi=True))
    binary = T.index_status("b").nth(0)["function"]
    assert database.run(T.index_create("copy", binary)) == {"created": 1}
    assert database.run(T.index_create("single", binary, multi=False)) == {"created": 1}
    states = database.run(T.index_wait("copy", "single"))
    assert [state["multi"] for state in states] == [True, False]
    assert ids(database.run(T.get_all(13, index="copy"))) == [2]
    assert ids(database.run(T.get_all([12, 13], index="single"))) == [2]


def test_indexes_are_listed_renamed_and_dropped(database: RunningDatabase) -> None:
    assert database.run(T.index_list()) == []
    for name in ("b", "a"):
        database.run(T.index_create(name, r.row["a"]))
    assert database.run(T.index_list()) == ["a", "b"]
    assert database.run(T.index_rename("a", "c")) == {"renamed": 1}
    assert database.run(T.index_rename("c", "c")) == {"renamed": 0}
    assert database.run(T.index_rename("c", "b", overwrite=True)) == {"renamed": 1}
    assert database.run(T.index_list()) == ["b"]
    database.run(T.index_wait())
    assert ids(database.run(T.get_all(1, index="b"))) == [1]
    assert database.run(T.index_drop("b")) == {"dropped": 1}
    assert database.run(T.index_list()) == []


def test_the_progress_of_an_index_is_shown_until_it_is_ready(database: RunningDatabase) -> None:
    database.run(T.insert(r.range(10, 5000).map(lambda i: {"id": i, "a": i})))
    database.run(T.index_create("a"))
    (status,) = database.run(T.index_status("a"))
    assert not status["ready"]
    assert 0 <= status["progress"] < 1
    with pytest.raises(ReqlError) as caught:
        database.run(T.get_all(1, index="a"))
    assert caught.value.message == ("Index `a` on table `test.t` was accessed before its construction was finished.")
    (status,) = database.run(T.index_wait("a"))
    assert status["ready"]
    assert "progress" not in status


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        (T.index_create("id"), ErrorKind.LOGIC, "Index name conflict: `id` is the name of the primary key."),
        (T.index_rename("id", "x"), ErrorKind.LOGIC, "Index name conflict: `id` is the name of the primary key."),
        (T.index_rename("a", "id"), ErrorKind.LOGIC, "Index name conflict: `id` is the name of the primary key."),
        (T.index_create("a"), ErrorKind.OP_FAILED, "Index `a` already exists on table `test.t`."),
        (T.index_drop("x"), ErrorKind.OP_FAILED, "Index `x` does not exist on table `test.t`."),
        (
            T.index_rename("x", "y"),
            ErrorKind.OP_FAILED,
            "Index `x` does not exist or index `y` already exists on table `test.t`.",
        ),
        (
            T.index_rename("x", "y", overwrite=True),
            ErrorKind.OP_FAILED,
            "Index `x` does not exist on table `test.t`.",
        ),
        (T.index_status("a", "x"), ErrorKind.OP_FAILED, "Index `x` was not found on table `test.t`."),
        (T.index_wait("x"), ErrorKind.OP_FAILED, "Index `x` was not found on table `test.t`."),
        (T.index_create(1), ErrorKind.LOGIC, "Expected type STRING but found NUMBER."),
        (T.index_create("x", "a"), ErrorKind.LOGIC, 'Expected type FUNCTION but found DATUM:\n"a"'),
        (
            T.index_create("x", lambda row: r.now()),
            ErrorKind.LOGIC,
            "Could not prove function deterministic.  Index functions must be deterministic.",
        ),
        (
            T.index_create("x", lambda row: T.get(row["a"])["b"]),
            ErrorKind.LOGIC,
            "Could not prove function deterministic.  Index functions must be deterministic.",
        ),
        (
            T.index_create("x", r.binary(b"nonsense")),
            ErrorKind.LOGIC,
            "Cannot create an sindex except from a reql_index_function returned from `index_status` in the field "
            "`function`.",
        ),
        (
            r.db("rethinkdb").table("users").index_create("x"),
            ErrorKind.OP_FAILED,
            "Database `rethinkdb` is special; you can't create secondary indexes on the tables in it.",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(database: RunningDatabase, query: Any, kind: ErrorKind, message: str) -> None:
    database.run(T.index_create("a"))
    with pytest.raises(ReqlError) as caught:
        database.run(query)
    assert (caught.value.kind, caught.value.message) == (kind, message)
    assert database.run(T.index_list()) == ["a"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"function":[69],"multi":false,"geo":false}'])
def test_a_binary_that_holds_no_index_is_refused(database: RunningDatabase, content: bytes) -> None:
    data = base64.b64encode(b"$reql_index_function$" + content).decode()
    binary = {"$reql_type$": "BINARY", "data": data}
    with pytest.raises(ReqlError, match="could not be interpreted as a reql_index_function"):
        database.run(T.index_create("x", binary))
    assert database.run(T.index_list()) == []


def test_values_that_a_function_captured_are_kept_with_it(database: RunningDatabase) -> None:
    database.run(r.expr({"by": 5}).do(lambda it: T.index_create("x", lambda row: row["a"] + it["by"])))
    database.run(T.index_wait("x"))
    assert ids(database.run(T.get_all(7, index="x"))) == [2]


def test_system_tables_have_no_indexes(database: RunningDatabase) -> None:
    table = r.db("rethinkdb").table("users")
    assert database.run(table.index_list()) == []
    assert database.run(table.index_status()) == []
    with pytest.raises(ReqlError, match="Index `a` was not found on table `rethinkdb"):
        database.run(table.get_all(1, index="a"))


def test_a_document_with_a_key_that_is_too_long_is_told(database: RunningDatabase) -> None:
    database.run(T.insert({"id": 4, "a": "x" * 40_000}))
    database.run(T.index_create("a"))
    with pytest.raises(ReqlError, match=r"^Index `a` on table `test.t` cannot be built: Index key too long:") as caught:
        database.run(T.index_wait())
    assert caught.value.kind is ErrorKind.OP_FAILED
    (status,) = database.run(T.index_status())
    assert (status["ready"], "primary key 4 " in status["problem"]) == (False, True)
    written = database.run(T.insert([{"id": 5, "a": "x" * 40_000}, {"id": 6, "a": 6}]))
    assert (written["errors"], written["inserted"]) == (1, 1)
    assert written["first_error"].startswith("Index key too long: the document with the primary key 5 ")


def test_a_covering_index(database: RunningDatabase) -> None:
    database.run(T.index_create("a", include=["b"]))
    database.run(T.index_create("all", r.row["a"], include="*"))
    some, whole = database.run(T.index_wait("a", "all"))
    assert (some["include"], whole["include"]) == (["a", "b", "id"], "*")
    assert some["query"].endswith(', {include: ["a","b","id"]})')
    assert database.run(T.get_all(2, index="a").pluck("a", "b")) == [{"a": 2, "b": [2, 3]}]
    assert database.run(T.between(1, 3, index="a")["b"].nth(1)) == [2, 3]
    assert ids(database.run(T.order_by(index="all"))) == [1, 2]
    database.run(T.get(2).update({"b": "new", "c": 1}))
    assert database.run(T.get_all(2, index="a")["b"]) == ["new"]
    assert database.run(T.get_all(2, index="all")) == [{"id": 2, "a": 2, "b": "new", "c": 1}]
    database.run(T.index_create("copy", some["function"]))
    (copy,) = database.run(T.index_wait("copy"))
    assert copy["include"] == ["a", "b", "id"]
    database.run(T.index_create("plain", r.row["b"], include=False))
    (plain,) = database.run(T.index_wait("plain"))
    assert "include" not in plain


@pytest.mark.parametrize("include", [[], "b", [1], {"b": True}, 7])
def test_what_cannot_be_included(database: RunningDatabase, include: Any) -> None:
    with pytest.raises(ReqlError, match="`include` must be a list of names of top-level fields"):
        database.run(T.index_create("a", include=include))
