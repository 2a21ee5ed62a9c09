"""Building write statements, and what adds up of them."""

from __future__ import annotations

import json
import uuid
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from photondb.api.catalogue import TableInfo
from photondb.api.storage import WriteSummary
from photondb.datum.extreme import MINVAL
from photondb.reql.parameters import constant_function
from photondb.reql.write_statements import (
    WriteOptions,
    insert_write,
    key_problem,
    new_key,
    point_write,
    refusals,
    runs_between,
    with_generated_keys,
)
from photondb.reql.write_summary import add_failure, add_summary, has_effect, summary_datum, summary_json

TABLE = TableInfo(id=7, uuid="u", name="t", database="d")


def test_statements_hold_what_was_asked_for() -> None:
    options = WriteOptions("soft", "always", ignore_write_hook=True)
    write = insert_write(TABLE, [{"id": 1}], "replace", options)
    assert (write.table, write.kind, write.documents, write.conflict) == (7, "insert", [{"id": 1}], "replace")
    assert (write.durability, write.return_changes, write.ignore_write_hook) == ("soft", "always", True)
    patch = constant_function({"a": 1})
    write = point_write(TABLE, "update", [b"k"], patch)
    assert (write.kind, write.keys, write.function) == ("update", [b"k"], patch)
    assert (write.durability, write.return_changes, write.ignore_write_hook) == (None, False, False)


def test_keys_are_made_where_they_are_missing_and_nothing_is_changed() -> None:
    documents: list[Any] = [{"a": 1}, {"key": 2}, 3, {"$reql_type$": "TIME"}]
    complete, keys = with_generated_keys(documents, "key")
    assert documents == [{"a": 1}, {"key": 2}, 3, {"$reql_type$": "TIME"}]
    assert complete == [{"a": 1, "key": keys[0]}, *documents[1:]]
    assert len(keys) == 1


def test_made_keys_are_random_uuids() -> None:
    keys = [new_key() for _ in range(1000)]
    assert len(set(keys)) == 1000
    assert {uuid.UUID(key).version for key in keys} == {4}


def test_a_document_without_a_proper_key_is_told_apart() -> None:
    assert key_problem({"id": 1}, "id") is None
    assert key_problem({"a": 1}, "id") == 'Inserted object must have primary key `id`:\n{\n\t"a":\t1\n}'
    assert key_problem([], "id") == "Expected type OBJECT but found ARRAY."
    found = refusals([{"id": 1}, {"id": None}, {"id": 2, "a": [MINVAL]}, {"id": 3}], "id")
    assert [(position, refusal.early) for position, refusal in found.items()] == [(1, True), (2, False)]
    assert refusals([{"id": 1}], "id") == {}


@given(st.lists(st.integers(), max_size=20), st.sets(st.integers(0, 20)))
def test_runs_hold_all_documents_in_order(documents: list[int], refused: set[int]) -> None:
    seen: list[int] = []
    for position, run in runs_between(documents, refused):
        assert position == len(seen)
        assert (not run) == (position in refused)
        seen += run or documents[position : position + 1]
    assert seen == documents


def test_the_results_of_batches_are_added_up() -> None:
    total = WriteSummary()
    add_summary(total, WriteSummary(inserted=2, changes=[b'{"new_val":1,"old_val":null}']), 2)
    add_summary(total, WriteSummary(errors=1, first_error="first", changes=[b"{}", b"{}"], generated_keys=["k"]), 2)
    add_failure(total, "second", b'{"id":1}', return_changes=False)
    assert has_effect(total)
    assert summary_datum(total) == {
        "changes": [{"new_val": 1, "old_val": None}, {}],
        "deleted": 0,
        "errors": 2,
        "first_error": "first",
        "generated_keys": ["k"],
        "inserted": 2,
        "replaced": 0,
        "skipped": 0,
        "unchanged": 0,
        "warnings": ["Too many changes, array truncated to 2."],
    }


def test_a_failure_is_among_the_changes_only_when_all_are_wanted() -> None:
    for return_changes, changes in (
        (False, None),
        (True, []),
        ("always", [b'{"error":"no","new_val":null,"old_val":null}']),
    ):
        total = WriteSummary()
        add_failure(total, "no", None, return_changes)  # type: ignore[arg-type]
        assert total.changes == changes
        assert not has_effect(total)


def test_a_result_is_the_same_as_json_and_as_a_datum() -> None:
    summary = WriteSummary(
        deleted=1,
        first_error='say "hi"',
        changes=[b'{"new_val":null,"old_val":{"id":1}}'],
        warnings=("careful",),
        generated_keys=["a", "b"],
    )
    assert json.loads(summary_json(summary)) == summary_datum(summary)
