"""Writing documents: `insert`, `update`, `replace`, `delete`, `sync`, `for_each`."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rethinkdb import r

from photondb.reql.errors import CompileError, ErrorKind, ReqlError
from tests.examples import examples
from tests.reql.database import RunningDatabase

T = r.table("t")
NOTHING = {"deleted": 0, "errors": 0, "inserted": 0, "replaced": 0, "skipped": 0, "unchanged": 0}
NOT_ATOMIC = "Could not prove argument deterministic.  Maybe you want to use the non_atomic flag?"


@pytest.fixture(scope="module", autouse=True)
def _table(database: RunningDatabase) -> None:
    database.run(r.table_create("t"))


@pytest.fixture(autouse=True)
def _empty(_table: None, database: RunningDatabase) -> None:
    database.run(T.delete())


def rows(database: RunningDatabase) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = database.run(T.order_by("id"))
    return found


def duplicate(old: str, new: str) -> str:
    return f"Duplicate primary key `id`:\n{old}\n{new}"


# --- insert


def test_insert_adds_a_document_or_an_array_or_a_stream(database: RunningDatabase) -> None:
    assert database.run(T.insert({"id": 1})) == {**NOTHING, "inserted": 1}
    assert database.run(T.insert([{"id": 2}, {"id": 3}])) == {**NOTHING, "inserted": 2}
    assert database.run(T.insert([])) == NOTHING
    copies = T.map(lambda row: row.merge({"id": row["id"] + 10}))
    assert database.run(T.insert(copies)) == {**NOTHING, "inserted": 3}
    assert database.run(T.insert(T.get(1).merge({"id": 20}))) == {**NOTHING, "inserted": 1}
    assert [row["id"] for row in rows(database)] == [1, 2, 3, 11, 12, 13, 20]


def test_insert_reads_its_own_table_as_it_was(database: RunningDatabase) -> None:
    database.run(T.insert(r.range(0, 1500).map(lambda i: {"id": i})))
    copies = T.map(lambda row: {"id": row["id"] + 0.5})
    assert database.run(T.insert(copies)) == {**NOTHING, "inserted": 1500}
    assert database.run(T.count()) == 3000


def test_insert_makes_the_keys_that_are_missing(database: RunningDatabase) -> None:
    result = database.run(T.insert([{"a": 1}, {"id": 1}, {"a": 2}]))
    keys = result.pop("generated_keys")
    assert result == {**NOTHING, "inserted": 3}
    assert len(set(keys)) == 2
    assert all(uuid.UUID(key).version == 4 for key in keys)
    assert database.run(T.get(keys[1])) == {"a": 2, "id": keys[1]}


def test_so_many_generated_keys_are_told_as_an_array_may_hold(database: RunningDatabase) -> None:
    result = database.run(T.insert(r.range(0, 3).map(lambda i: {"i": i})), array_limit=2)
    assert len(result["generated_keys"]) == 2
    assert result["inserted"] == 3
    assert result["warnings"] == ["Too many generated keys (3), array truncated to 2."]


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (7, "Expected type OBJECT but found NUMBER."),
        (
            {"id": None},
            "Primary keys must be either a number, string, bool, pseudotype or array (got type NULL):\nnull",
        ),
        ({"id": "a" * 128}, f'Primary key too long (max 127 characters): "{"a" * 128}"'),
        ({"id": 5, "a": r.minval}, "`r.minval` and `r.maxval` cannot be written to disk."),
        ({"id": 5, "a": [{"b": r.maxval}]}, "`r.minval` and `r.maxval` cannot be written to disk."),
        ({"id": 1, "b": 2}, duplicate('{\n\t"id":\t1\n}', '{\n\t"b":\t2,\n\t"id":\t1\n}')),
    ],
)
def test_a_document_that_is_refused_is_counted_and_stops_no_other(
    database: RunningDatabase, document: Any, error: str
) -> None:
    database.run(T.insert({"id": 1}))
    result = database.run(T.insert([{"id": 2}, document, {"id": 3}]))
    assert result == {**NOTHING, "inserted": 2, "errors": 1, "first_error": error}
    assert [row["id"] for row in rows(database)] == [1, 2, 3]


def test_the_first_error_is_one_that_shows_before_anything_is_written(database: RunningDatabase) -> None:
    database.run(T.insert({"id": 1}))
    result = database.run(T.insert(r.expr([{"id": 1}, {"id": None}]).map(lambda row: row)))
    assert result["errors"] == 2
    assert result["first_error"].startswith("Primary keys must be")


def test_insert_returns_changes_in_the_order_of_the_documents(database: RunningDatabase) -> None:
    database.run(T.insert({"id": 1}))
    documents = [{"id": 3}, {"id": None}, {"id": 1, "a": 1}, {"id": 2}]
    changes = database.run(T.insert(documents, return_changes="always"))["changes"]
    assert [(change["old_val"], change["new_val"], "error" in change) for change in changes] == [
        (None, {"id": 3}, False),
        (None, None, True),
        ({"id": 1}, {"id": 1}, True),
        (None, {"id": 2}, False),
    ]
    changes = database.run(T.insert([{"id": 4}, {"id": 1}], return_changes=True))["changes"]
    assert changes == [{"new_val": {"id": 4}, "old_val": None}]
    assert "changes" not in database.run(T.insert({"id": 5}))


def test_changes_are_cut_at_the_array_limit(database: RunningDatabase) -> None:
    documents = r.range(0, 3).map(lambda i: {"id": i})
    result = database.run(T.insert(documents, return_changes=True), array_limit=2)
    assert [change["new_val"]["id"] for change in result["changes"]] == [0, 1]
    assert result["warnings"] == ["Too many changes, array truncated to 2."]


@pytest.mark.parametrize(
    ("conflict", "counted", "left"),
    [
        ("error", {"errors": 1}, {"id": 1, "a": 1, "b": 1}),
        ("ignore", {"skipped": 1}, {"id": 1, "a": 1, "b": 1}),
        ("replace", {"replaced": 1}, {"id": 1, "a": 2}),
        ("update", {"replaced": 1}, {"id": 1, "a": 2, "b": 1}),
        (lambda key, old, new: old.merge({"key": key, "new": new["a"]}), {"replaced": 1}, None),
        (lambda key, old, new: old, {"unchanged": 1}, {"id": 1, "a": 1, "b": 1}),
    ],
)
def test_a_conflict_is_resolved_as_asked(
    database: RunningDatabase, conflict: Any, counted: dict[str, int], left: dict[str, Any] | None
) -> None:
    database.run(T.insert({"id": 1, "a": 1, "b": 1}))
    result = database.run(T.insert({"id": 1, "a": 2}, conflict=conflict))
    result.pop("first_error", None)
    assert result == {**NOTHING, **counted}
    assert rows(database) == [left or {"id": 1, "a": 1, "b": 1, "key": "id", "new": 2}]


def test_conflicts_are_ignored_one_by_one(database: RunningDatabase) -> None:
    database.run(T.insert({"id": 1, "a": "old"}))
    fresh = [{"id": 1, "a": "new"}, {"id": 2, "a": "first"}, {"id": 2, "a": "second"}]
    result = database.run(T.insert(fresh, conflict="ignore", return_changes="always"))
    old, first = {"id": 1, "a": "old"}, {"id": 2, "a": "first"}
    changes = [
        {"new_val": old, "old_val": old},
        {"new_val": first, "old_val": None},
        {"new_val": first, "old_val": first},
    ]
    assert result == {**NOTHING, "inserted": 1, "skipped": 2, "changes": changes}
    assert rows(database) == [old, first]
    users = r.db("rethinkdb").table("users")
    again = {"id": "admin", "password": "another"}
    assert database.run(users.insert(again, conflict="ignore")) == {**NOTHING, "skipped": 1}


def test_a_conflict_may_delete_the_document(database: RunningDatabase) -> None:
    database.run(T.insert({"id": 1}))
    assert database.run(T.insert({"id": 1}, conflict=lambda key, old, new: None)) == {**NOTHING, "deleted": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"conflict": "shrug"},
            'Conflict option `shrug` unrecognized (options are "error", "replace" and "update").',
        ),
        (
            {"conflict": lambda key, old: old},
            "The conflict function passed to `insert` should expect 3 arguments.",
        ),
        (
            {"conflict": lambda key, old, new: T.get(1)},
            "The conflict function passed to `insert` must be deterministic.",
        ),
        (
            {"durability": "firm"},
            'Durability option `firm` unrecognized (options are "hard" and "soft").',
        ),
        (
            {"return_changes": "sometimes"},
            "Invalid return_changes value `sometimes` (options are `true`, `false`, and `'always'`.)",
        ),
        (
            {"return_vals": True},
            "Error: encountered obsolete optarg `return_vals`.  Use `return_changes` instead.",
        ),
    ],
)
def test_options_are_checked(database: RunningDatabase, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ReqlError) as caught:
        database.run(T.insert({"id": 1}, **options))
    assert (caught.value.kind, caught.value.message) == (ErrorKind.LOGIC, message)
    assert rows(database) == []


def test_what_is_no_sequence_of_documents_is_refused(database: RunningDatabase) -> None:
    with pytest.raises(ReqlError, match="Cannot convert NUMBER to SEQUENCE"):
        database.run(T.insert(1))


def test_only_into_a_table_can_be_inserted(database: RunningDatabase) -> None:
    insert = type(T.insert({}))  # drivers offer it on tables only
    with pytest.raises(ReqlError, match="Expected type TABLE but found SELECTION"):
        database.run(insert(T.filter({"a": 1}), {}))


@pytest.mark.parametrize("durability", ["hard", "soft"])
def test_durability_is_an_option_of_terms_and_of_queries(database: RunningDatabase, durability: str) -> None:
    assert database.run(T.insert({"id": 1}, durability=durability)) == {**NOTHING, "inserted": 1}
    assert database.run(T.insert({"id": 2}), durability=durability) == {**NOTHING, "inserted": 1}
    assert database.run(T.get(1).delete(durability=durability)) == {**NOTHING, "deleted": 1}


def test_documents_with_times_and_binaries_are_kept(database: RunningDatabase) -> None:
    document = {"id": r.epoch_time(1), "b": r.binary(b"\x00\x01"), "a": [r.now()]}
    assert database.run(T.insert(document)) == {**NOTHING, "inserted": 1}
    assert database.run(T.get(r.epoch_time(1))["b"]) == {"$reql_type$": "BINARY", "data": "AAE="}
    assert database.run(T.insert(r.now()))["first_error"].startswith("Inserted object must have primary key `id`:")


# --- update, replace, delete


def test_update_merges_an_object_or_what_a_function_gives(database: RunningDatabase) -> None:
    database.run(T.insert([{"id": 1, "a": {"x": 1}}, {"id": 2}]))
    assert database.run(T.get(1).update({"a": {"y": 2}})) == {**NOTHING, "replaced": 1}
    assert database.run(T.get(2).update(lambda row: {"double": row["id"] * 2})) == {**NOTHING, "replaced": 1}
    assert database.run(T.update({"all": True})) == {**NOTHING, "replaced": 2}
    assert database.run(T.filter({"id": 2}).update({"double": r.row["double"] + 1})) == {**NOTHING, "replaced": 1}
    assert rows(database) == [
        {"id": 1, "a": {"x": 1, "y": 2}, "all": True},
        {"id": 2, "double": 5, "all": True},
    ]


def test_update_counts_what_it_does_not_change(database: RunningDatabase) -> None:
    database.run(T.insert({"id": 1, "a": 1}))
    assert database.run(T.get(1).update({"a": 1})) == {**NOTHING, "unchanged": 1}
    assert database.run(T.get(1).update(None)) == {**NOTHING, "unchanged": 1}
    assert database.run(T.get(2).update({"a": 1})) == {**NOTHING, "skipped": 1}


def test_update_takes_literals(database: RunningDatabase) -> None:
    database.run(T.insert({"id": 1, "a": {"x": 1}, "b": 2}))
    assert database.run(T.get(1).update({"a": r.literal({"y": 2}), "b": r.literal()})) == {**NOTHING, "replaced": 1}
    assert rows(database) == [{"id": 1, "a": {"y": 2}}]


def test_an_error_of_the_function_is_counted_for_each_document(database: RunningDatabase) -> None:
    database.run(T.insert([{"id": 1}, {"id": 2, "a": 1}]))
    assert database.run(T.update(lambda row: {"b": row["a"]})) == {
        **NOTHING,
        "errors": 1,
        "first_error": 'No attribute `a` in object:\n{\n\t"id":\t1\n}',
        "replaced": 1,
    }
    assert database.run(T.get(1).update({"a": r.error("no")}, return_changes=True)) == {
        **NOTHING,
        "errors": 1,
        "first_error": "no",
        "changes": [],
    }
    assert database.run(T.get(1).update(r.error("no"), return_changes="always"))["changes"] == [
        {"error": "no", "new_val": {"id": 1}, "old_val": {"id": 1}}
    ]
    assert database.run(T.get(1).update(lambda a, b: {}))["first_error"] == (
        "Expected function with 1 argument but found function with 2 arguments."
    )


def test_replace_puts_an_object_in_place_of_a_document(database: RunningDatabase) -> None:
    database.run(T.insert({"id": 1, "a": 1}))
    assert database.run(T.get(1).replace({"id": 1, "b": 2})) == {**NOTHING, "replaced": 1}
    assert database.run(T.get(1).replace(r.row.without("b"))) == {**NOTHING, "replaced": 1}
    assert database.run(T.get(1).replace(lambda row: row)) == {**NOTHING, "unchanged": 1}
    assert database.run(T.get(2).replace({"id": 2})) == {**NOTHING, "inserted": 1}
    assert database.run(T.get(3).replace(None)) == {**NOTHING, "skipped": 1}
    assert database.run(T.replace(lambda row: None)) == {**NOTHING, "deleted": 2}


@pytest.mark.parametrize(
    ("replacement", "error"),
    [
        ({"a": 1}, 'Inserted object must have primary key `id`:\n{\n\t"a":\t1\n}'),
        (
            {"id": 2},
            'Primary key `id` cannot be changed (`{\n\t"id":\t1\n}` -> `{\n\t"id":\t2\n}`).',
        ),
        (5, "Inserted value must be an OBJECT (got NUMBER):\n5"),
    ],
)
def test_replace_keeps_the_primary_key(database: RunningDatabase, replacement: Any, error: str) -> None:
    database.run(T.insert({"id": 1}))
    result = database.run(T.get(1).replace(replacement))
    assert result == {**NOTHING, "errors": 1, "first_error": error}
    assert rows(database) == [{"id": 1}]


def test_replace_evaluates_an_object_before_it_looks_at_documents(database: RunningDatabase) -> None:
    with pytest.raises(ReqlError) as caught:
        database.run(T.get(1).replace(r.error("no")))
    assert (caught.value.kind, caught.value.message) == (ErrorKind.USER, "no")


def test_delete_takes_documents_away(database: RunningDatabase) -> None:
    database.run(T.insert(r.range(0, 10).map(lambda i: {"id": i})))
    assert database.run(T.get(1).delete()) == {**NOTHING, "deleted": 1}
    assert database.run(T.get(1).delete()) == {**NOTHING, "skipped": 1}
    assert database.run(T.get_all(2, 3).delete(return_changes=True))["changes"] == [
        {"new_val": None, "old_val": {"id": 2}},
        {"new_val": None, "old_val": {"id": 3}},
    ]
    assert database.run(T.between(4, 6).delete()) == {**NOTHING, "deleted": 2}
    assert database.run(T.order_by("id").limit(2).delete()) == {**NOTHING, "deleted": 2}
    assert database.run(T.nth(0).delete()) == {**NOTHING, "deleted": 1}
    assert database.run(T.filter(False).delete(return_changes=True)) == NOTHING
    assert database.run(T.delete()) == {**NOTHING, "deleted": 2}


def test_what_is_no_selection_cannot_be_written(database: RunningDatabase) -> None:
    for query, found in (
        (r.expr([1]).delete(), "DATUM:\n[\n\t1\n]"),
        (T.map(lambda row: row).delete(), "SEQUENCE:\nVALUE SEQUENCE"),
        (r.expr([1]).update({}), "DATUM:\n[\n\t1\n]"),
        (r.expr(1).replace({}), "DATUM:\n1"),
    ):
        with pytest.raises(ReqlError) as caught:
            database.run(query)
        assert caught.value.message == f"Expected type SELECTION but found {found}"


def test_writes_return_changes(database: RunningDatabase) -> None:
    database.run(T.insert([{"id": 1}, {"id": 2, "a": 1}]))
    update = T.order_by(index="id").update({"a": 1}, return_changes=True)
    assert database.run(update)["changes"] == [{"new_val": {"a": 1, "id": 1}, "old_val": {"id": 1}}]
    always = T.order_by(index="id").update({"a": 1}, return_changes="always")
    assert [change["new_val"]["id"] for change in database.run(always)["changes"]] == [1, 2]
    assert database.run(T.get(9).update({}, return_changes="always"))["changes"] == [{"new_val": None, "old_val": None}]


def test_long_selections_are_written_in_batches(database: RunningDatabase) -> None:
    database.run(T.insert(r.range(0, 2500).map(lambda i: {"id": i, "n": 0})))
    assert database.run(T.update({"n": r.row["n"] + 1})) == {**NOTHING, "replaced": 2500}
    assert database.run(T.filter({"n": 1}).count()) == 2500
    changes = database.run(T.delete(return_changes=True))["changes"]
    assert len(changes) == 2500


def test_an_update_that_moves_documents_along_its_index_meets_each_once(database: RunningDatabase) -> None:
    database.run(T.insert(r.range(0, 1200).map(lambda i: {"id": i, "n": i})))
    database.run(T.index_create("n"))
    database.run(T.index_wait("n"))
    moved = T.between(0, r.maxval, index="n").update({"n": r.row["n"] + 1000})
    assert database.run(moved) == {**NOTHING, "replaced": 1200}
    assert database.run(T.max("n")["n"]) == 2199
    database.run(T.index_drop("n"))


@pytest.mark.parametrize(
    "write",
    [
        lambda selection, **options: selection.update({"x": r.random()}, **options),
        lambda selection, **options: selection.update(lambda row: {"x": r.random()}, **options),
        lambda selection, **options: selection.update({"x": T.count()}, **options),
        lambda selection, **options: selection.replace(lambda row: row.merge({"x": T.count()}), **options),
    ],
)
def test_what_is_not_deterministic_must_be_allowed(database: RunningDatabase, write: Any) -> None:
    database.run(T.insert([{"id": 1}, {"id": 2}]))
    for selection in (T.get(1), T, T.filter({"id": 1})):
        with pytest.raises(ReqlError) as caught:
            database.run(write(selection))
        assert (caught.value.kind, caught.value.message) == (ErrorKind.LOGIC, NOT_ATOMIC)
    assert database.run(write(T.get(1), non_atomic=True))["replaced"] == 1
    assert database.run(write(T, non_atomic=True))["replaced"] >= 1
    assert database.run(T.filter(lambda row: row.has_fields("x")).count()) == 2


def test_a_random_value_is_another_one_for_each_document(database: RunningDatabase) -> None:
    database.run(T.insert(r.range(0, 50).map(lambda i: {"id": i})))
    database.run(T.update({"x": r.random()}, non_atomic=True))
    assert database.run(T["x"].distinct().count()) == 50


def test_the_time_of_the_query_is_deterministic(database: RunningDatabase) -> None:
    database.run(T.insert([{"id": 1}, {"id": 2}]))
    assert database.run(T.update({"at": r.now()})) == {**NOTHING, "replaced": 2}
    assert database.run(T["at"].distinct().count()) == 1


def test_errors_of_writes_that_are_not_atomic_are_counted_in_order(database: RunningDatabase) -> None:
    database.run(T.insert([{"id": 1}, {"id": 2, "a": 1}, {"id": 3}]))
    update = T.order_by(index="id").update(
        lambda row: {"n": T.count(), "b": row["a"]}, non_atomic=True, return_changes="always"
    )
    result = database.run(update)
    changes = result.pop("changes")
    assert result == {
        **NOTHING,
        "errors": 2,
        "first_error": 'No attribute `a` in object:\n{\n\t"id":\t1\n}',
        "replaced": 1,
    }
    assert [("error" in change, change["old_val"]["id"]) for change in changes] == [(True, 1), (False, 2), (True, 3)]
    assert database.run(T.get(7).update({"n": T.count()}, non_atomic=True)) == {**NOTHING, "skipped": 1}


def test_options_and_arguments_of_writes_are_checked(database: RunningDatabase) -> None:
    with pytest.raises(CompileError, match="Unrecognized optional argument `colour`"):
        database.run(T.get(1).update({}, colour="red"))
    with pytest.raises(CompileError, match="Expected 2 arguments but found 3"):
        database.run(T.get(1).replace({}, "more"))
    with pytest.raises(ReqlError, match="Durability option `firm` unrecognized"):
        database.run(T.skip(50).delete(durability="firm"))
    with pytest.raises(ReqlError, match="Expected type STRING but found NUMBER"):
        database.run(T.get(1).update({}, durability=1))


def test_values_of_the_query_are_captured(database: RunningDatabase) -> None:
    database.run(T.insert([{"id": 1}, {"id": 2}]))
    query = r.expr([1, 2]).for_each(lambda i: T.get(i).update(lambda row: {"n": row["id"] * 10 + i}))
    assert database.run(query) == {**NOTHING, "replaced": 2}
    assert [row["n"] for row in rows(database)] == [11, 22]


# --- sync and for_each


def test_sync_takes_a_table(database: RunningDatabase) -> None:
    assert database.run(T.sync()) == {"synced": 1}
    assert database.run(T.sync(), durability="soft") == {"synced": 1}
    sync = type(T.sync())
    with pytest.raises(ReqlError, match="Expected type TABLE but found TABLE_SLICE"):
        database.run(sync(T.between(1, 2)))


def test_for_each_adds_up_what_writes_did(database: RunningDatabase) -> None:
    assert database.run(r.range(0, 3).for_each(lambda i: T.insert({"id": i}))) == {**NOTHING, "inserted": 3}
    both = T.for_each(lambda row: [T.get(row["id"]).delete(), T.insert({"id": row["id"] + 10})])
    assert database.run(both) == {**NOTHING, "deleted": 3, "inserted": 3}
    assert database.run(r.expr([]).for_each(lambda i: T.insert({"id": i}))) == {}
    result = database.run(r.expr([1, 1]).for_each(lambda i: T.insert({"id": i}, return_changes="always")))
    assert (result["inserted"], result["errors"], len(result["changes"])) == (1, 1, 2)
    assert result["first_error"].startswith("Duplicate primary key")


def test_for_each_keeps_the_array_limit(database: RunningDatabase) -> None:
    query = r.range(0, 5).for_each(lambda i: T.insert({"id": i}, return_changes=True))
    result = database.run(query, array_limit=3)
    assert (result["inserted"], len(result["changes"])) == (5, 3)
    assert result["warnings"] == ["Too many changes, array truncated to 3."]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (r.expr([1]).for_each(lambda i: i), "  Expected type ARRAY but found NUMBER."),
        (r.expr([1]).for_each(lambda i: None), "  Expected type ARRAY but found NULL."),
        (r.expr([1]).for_each(lambda i: [i]), "  Expected type OBJECT but found NUMBER."),
        (r.expr([1]).for_each(lambda i: T), ""),
        (
            r.expr([{"a": 1}, {"a": "x"}]).for_each(lambda row: row),
            '  Cannot merge statistics `1` (type NUMBER) and `"x"` (type STRING).',
        ),
    ],
)
def test_for_each_wants_the_results_of_writes(database: RunningDatabase, query: Any, message: str) -> None:
    with pytest.raises(ReqlError) as caught:
        database.run(query)
    assert caught.value.message == "FOR_EACH expects one or more basic write queries." + message


# --- laws

keys = st.integers(0, 5)
documents = st.fixed_dictionaries({"id": keys}, optional={"a": st.integers(0, 2), "b": st.lists(st.booleans())})
writes = st.one_of(
    st.tuples(st.just("insert"), documents, st.sampled_from(["error", "replace", "update"])),
    st.tuples(st.just("update"), documents, st.just("")),
    st.tuples(st.just("replace"), documents, st.just("")),
    st.tuples(st.just("delete"), documents, st.just("")),
)


@settings(max_examples=examples(40))
@given(st.lists(writes, max_size=12))
def test_a_table_behaves_as_a_dictionary(database: RunningDatabase, statements: list[Any]) -> None:
    database.run(T.delete())
    model: dict[int, dict[str, Any]] = {}
    new: dict[str, Any] | None
    for kind, document, conflict in statements:
        key, old = document["id"], model.get(document["id"])
        if kind == "insert":
            result = database.run(T.insert(document, conflict=conflict))
            if old is not None and conflict == "error":
                expected, new = "errors", old
            else:
                new = {**(old or {}), **document} if conflict == "update" else document
                expected = "inserted" if old is None else "unchanged" if new == old else "replaced"
        elif kind == "update":
            result = database.run(T.get(key).update(document))
            new = None if old is None else {**old, **document}
            expected = "skipped" if old is None else "unchanged" if new == old else "replaced"
        elif kind == "replace":
            result = database.run(T.get(key).replace(document))
            new = document
            expected = "inserted" if old is None else "unchanged" if new == old else "replaced"
        else:
            result = database.run(T.get(key).delete())
            new, expected = None, "skipped" if old is None else "deleted"
        result.pop("first_error", None)
        assert result == {**NOTHING, expected: 1}
        if new is None:
            model.pop(key, None)
        else:
            model[key] = new
    assert rows(database) == [model[key] for key in sorted(model)]
