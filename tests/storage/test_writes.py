from __future__ import annotations

from typing import Any

import orjson
import pytest
from rethinkdb import r

from photondb.api.catalogue import AlterTable, CreateIndex, DropTable
from photondb.api.context import INTERNAL
from photondb.api.storage import TableGone, Write, WriteSummary
from photondb.datum.keys import primary_key
from photondb.datum.types import MAXVAL, MINVAL
from tests.storage.conftest import Node, Table
from tests.storage.language import constant, func, term


def counts(summary: WriteSummary) -> dict[str, int]:
    """The counters that are not zero."""
    names = ("deleted", "errors", "inserted", "replaced", "skipped", "unchanged")
    return {name: getattr(summary, name) for name in names if getattr(summary, name)}


def changes(summary: WriteSummary) -> list[Any]:
    assert summary.changes is not None
    return [orjson.loads(change) for change in summary.changes]


# --- insert


async def test_insert(table: Table) -> None:
    summary = await table.insert({"id": 1, "a": "x"}, {"id": "two"}, {"id": [3, True]})
    assert counts(summary) == {"inserted": 3}
    assert summary.first_error is None
    assert summary.changes is None
    assert await table.get(1) == {"id": 1, "a": "x"}
    assert await table.get([3, True]) == {"id": [3, True]}
    assert await table.get(4) is None


DUPLICATE = 'Duplicate primary key `id`:\n{\n\t"a":\t2,\n\t"id":\t2\n}\n{\n\t"b":\t20,\n\t"id":\t2\n}'


async def test_insert_of_an_existing_key_is_an_error(table: Table) -> None:
    await table.insert({"id": 2, "a": 2})
    summary = await table.insert({"id": 2, "b": 20}, return_changes="always")
    assert counts(summary) == {"errors": 1}
    assert summary.first_error == DUPLICATE
    assert changes(summary) == [{"error": DUPLICATE, "new_val": {"id": 2, "a": 2}, "old_val": {"id": 2, "a": 2}}]
    summary = await table.insert({"id": 2, "b": 20}, return_changes=True)
    assert (counts(summary), changes(summary)) == ({"errors": 1}, [])


async def test_insert_with_conflict_replace_and_update(table: Table) -> None:
    await table.insert({"id": 2, "a": 2})
    assert counts(await table.insert({"id": 2, "b": 1}, conflict="replace")) == {"replaced": 1}
    assert await table.get(2) == {"id": 2, "b": 1}
    assert counts(await table.insert({"id": 2, "c": {"d": 1}}, conflict="update")) == {"replaced": 1}
    assert counts(await table.insert({"id": 2, "c": {"e": 2}}, conflict="update")) == {"replaced": 1}
    assert await table.get(2) == {"id": 2, "b": 1, "c": {"d": 1, "e": 2}}
    assert counts(await table.insert({"id": 2, "b": 1}, conflict="update")) == {"unchanged": 1}
    assert counts(await table.insert({"id": 3}, conflict="update")) == {"inserted": 1}


async def test_insert_with_a_conflict_function(table: Table) -> None:
    await table.insert({"id": 1, "a": 1, "b": 1})
    merge = func(lambda name, old, new: old.merge({"b": new["b"], "name": name}))
    assert counts(await table.insert({"id": 1, "a": 5, "b": 5}, conflict=merge)) == {"replaced": 1}
    assert await table.get(1) == {"id": 1, "a": 1, "b": 5, "name": "id"}
    number = await table.insert({"id": 1}, conflict=func(lambda name, old, new: r.expr(2)))
    assert number.first_error == "Inserted value must be an OBJECT (got NUMBER):\n2"
    nothing = await table.insert({"id": 1}, conflict=func(lambda name, old, new: r.expr(None)), return_changes=True)
    assert counts(nothing) == {"deleted": 1}
    assert changes(nothing)[0]["new_val"] is None


async def test_insert_of_the_same_key_twice_in_a_statement(table: Table) -> None:
    summary = await table.insert({"id": 666}, {"id": 666}, return_changes="always")
    message = 'Duplicate primary key `id`:\n{\n\t"id":\t666\n}\n{\n\t"id":\t666\n}'
    assert counts(summary) == {"inserted": 1, "errors": 1}
    assert changes(summary) == [
        {"new_val": {"id": 666}, "old_val": None},
        {"error": message, "new_val": {"id": 666}, "old_val": {"id": 666}},
    ]


async def test_errors_of_single_documents_stand_in_order(table: Table) -> None:
    await table.insert({"id": 123, "n": 23})
    summary = await table.insert({"id": 123}, {"id": "a" * 500}, {"id": 321}, return_changes="always")
    first, second, third = changes(summary)
    assert counts(summary) == {"inserted": 1, "errors": 2}
    assert summary.first_error == first["error"]
    assert second == {
        "error": f'Primary key too long (max 127 characters): "{"a" * 500}"',
        "new_val": None,
        "old_val": None,
    }
    assert third == {"new_val": {"id": 321}, "old_val": None}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"a": 1}, 'Inserted object must have primary key `id`:\n{\n\t"a":\t1\n}'),
        (5, "Expected type OBJECT but found NUMBER."),
        (
            {"id": None},
            "Primary keys must be either a number, string, bool, pseudotype or array (got type NULL):\nnull",
        ),
        ({"id": 1, "a": MINVAL}, "`r.minval` and `r.maxval` cannot be written to disk."),
        ({"id": 1, "a": [{"b": MAXVAL}]}, "`r.minval` and `r.maxval` cannot be written to disk."),
        ({"id": 1, "a": {"b": [0] * 100_001}}, "Array too large for disk writes (limit 100,000 elements)."),
        (
            {"id": 1, "a": "x" * (16 << 20)},
            "Document too large for disk writes (limit 16,777,216 bytes of JSON, got 16,777,231).",
        ),
    ],
)
async def test_documents_that_cannot_be_inserted(table: Table, document: Any, message: str) -> None:
    summary = await table.insert(document, {"id": 2}, return_changes="always")
    assert counts(summary) == {"errors": 1, "inserted": 1}
    assert summary.first_error == message
    assert changes(summary)[0] == {"error": message, "new_val": None, "old_val": None}
    assert [row["id"] for row in await table.rows()] == [2]


async def test_array_of_the_greatest_length(table: Table) -> None:
    assert counts(await table.insert({"id": 1, "a": [0] * 100_000, "b": "x" * 100_000})) == {"inserted": 1}


# --- update


async def test_update(table: Table) -> None:
    await table.insert({"id": 1, "a": {"b": 1}}, {"id": 2})
    summary = await table.write("update", keys=[1, 2, 3], function=constant({"a": {"c": 2}}), return_changes=True)
    assert counts(summary) == {"replaced": 2, "skipped": 1}
    assert changes(summary) == [
        {"new_val": {"id": 1, "a": {"b": 1, "c": 2}}, "old_val": {"id": 1, "a": {"b": 1}}},
        {"new_val": {"id": 2, "a": {"c": 2}}, "old_val": {"id": 2}},
    ]
    assert await table.get(1) == {"id": 1, "a": {"b": 1, "c": 2}}
    again = await table.write("update", keys=[1, 2, 3], function=constant({"a": {"c": 2}}), return_changes="always")
    assert counts(again) == {"unchanged": 2, "skipped": 1}
    assert changes(again)[2] == {"new_val": None, "old_val": None}


async def test_update_with_a_function_and_literals(table: Table) -> None:
    await table.insert({"id": 1, "a": {"b": 1}, "n": 5})
    await table.write("update", keys=[1], function=func(lambda row: {"n": row["n"] + 1, "a": r.literal({"c": 1})}))
    assert await table.get(1) == {"id": 1, "a": {"c": 1}, "n": 6}
    await table.write("update", keys=[1], function=func(lambda row: {"a": r.literal()}))
    assert await table.get(1) == {"id": 1, "n": 6}
    assert counts(await table.write("update", keys=[1], function=func(lambda row: None))) == {"unchanged": 1}


async def test_update_that_is_no_object(table: Table) -> None:
    await table.insert({"id": 1})
    summary = await table.write("update", keys=[1], function=constant("text"))
    assert (counts(summary), summary.first_error) == (
        {"errors": 1},
        'Inserted value must be an OBJECT (got STRING):\n"text"',
    )


async def test_primary_key_cannot_be_changed(table: Table) -> None:
    await table.insert({"id": 1})
    update = await table.write("update", keys=[1], function=constant({"id": 2, "d": 1}))
    assert update.first_error == (
        'Primary key `id` cannot be changed (`{\n\t"id":\t1\n}` -> `{\n\t"d":\t1,\n\t"id":\t2\n}`).'
    )
    replace = await table.write("replace", keys=[1], function=constant({"id": 2, "a": 1}))
    assert replace.first_error == (
        'Primary key `id` cannot be changed (`{\n\t"id":\t1\n}` -> `{\n\t"a":\t1,\n\t"id":\t2\n}`).'
    )
    absent = await table.write("replace", keys=[7], function=constant({"id": 8}))
    assert absent.first_error == 'Primary key `id` cannot be changed (null -> {\n\t"id":\t8\n})'
    same = await table.write("update", keys=[1], function=func(lambda row: {"id": row["id"], "d": "b"}))
    assert counts(same) == {"replaced": 1}
    without = await table.write("replace", keys=[1], function=constant({"a": 1}))
    assert without.first_error == 'Inserted object must have primary key `id`:\n{\n\t"a":\t1\n}'


async def test_error_of_the_function_counts_for_its_document_only(table: Table) -> None:
    await table.insert({"id": 1, "n": 1}, {"id": 2, "n": "x"}, {"id": 3, "n": 3})
    summary = await table.write(
        "update", keys=[1, 2, 3], function=func(lambda row: {"n": row["n"] + 1}), return_changes="always"
    )
    assert counts(summary) == {"replaced": 2, "errors": 1}
    assert summary.first_error == "Expected type STRING but found NUMBER."
    assert [change.get("error") for change in changes(summary)] == [None, summary.first_error, None]
    assert changes(summary)[1]["new_val"] == {"id": 2, "n": "x"}


@pytest.mark.parametrize(("before", "after"), [(True, 1), (1, True), (0, False), (None, False), ("1", 1)])
async def test_values_of_different_types_are_different(table: Table, before: Any, after: Any) -> None:
    await table.insert({"id": 1, "a": before})
    assert counts(await table.write("update", keys=[1], function=constant({"a": after}))) == {"replaced": 1}
    assert type((await table.get(1))["a"]) is type(after)


async def test_same_document_with_its_fields_in_another_order_is_unchanged(table: Table) -> None:
    await table.insert({"id": 1, "a": {"x": 1, "y": 2}})
    replace = await table.write("replace", keys=[1], function=constant({"a": {"y": 2, "x": 1}, "id": 1}))
    assert counts(replace) == {"unchanged": 1}


# --- replace and delete


async def test_replace_inserts_replaces_and_deletes(table: Table) -> None:
    def toggle(row: Any) -> Any:
        return r.branch(row == None, {"id": 1, "on": True}, None)  # noqa: E711  # ReQL's null

    assert counts(await table.write("replace", keys=[1], function=func(toggle))) == {"inserted": 1}
    assert await table.get(1) == {"id": 1, "on": True}
    assert counts(await table.write("replace", keys=[1], function=func(toggle))) == {"deleted": 1}
    assert await table.get(1) is None
    assert counts(await table.write("replace", keys=[1], function=func(lambda row: None))) == {"skipped": 1}


async def test_delete(table: Table) -> None:
    await table.insert({"id": 1, "a": 1}, {"id": 2})
    summary = await table.write("delete", keys=[1, 2, 3, 1], return_changes=True)
    assert counts(summary) == {"deleted": 2, "skipped": 2}
    assert changes(summary) == [
        {"new_val": None, "old_val": {"id": 1, "a": 1}},
        {"new_val": None, "old_val": {"id": 2}},
    ]
    assert await table.rows() == []


async def test_statement_without_documents(table: Table) -> None:
    assert counts(await table.insert()) == {}
    assert changes(await table.write("delete", keys=[], return_changes=True)) == []


# --- many statements


async def test_statements_of_a_call_see_each_other_in_order(table: Table) -> None:
    add = func(lambda row: {"n": row["n"] + 1})
    key = [primary_key(1)]
    results = await table.storage.write(
        INTERNAL,
        [
            Write(table.info.id, "update", keys=key, function=add),
            Write(table.info.id, "insert", documents=[{"id": 1, "n": 0}]),
            Write(table.info.id, "update", keys=key * 3, function=add),
            Write(table.info.id, "insert", documents=[{"id": 1}]),
            Write(table.info.id, "delete", keys=key),
            Write(table.info.id, "insert", documents=[{"id": 1, "n": 10}]),
            Write(table.info.id, "update", keys=key, function=add),
        ],
    )
    assert [counts(result) for result in results if isinstance(result, WriteSummary)] == [
        {"skipped": 1},
        {"inserted": 1},
        {"replaced": 3},
        {"errors": 1},
        {"deleted": 1},
        {"inserted": 1},
        {"replaced": 1},
    ]
    assert await table.get(1) == {"id": 1, "n": 11}


async def test_statement_on_a_table_that_is_gone_fails_alone(node: Node, table: Table) -> None:
    other = await node.table("other")
    await node.storage.change_catalogue(INTERNAL, DropTable("test", "other"))
    gone, done = await node.storage.write(
        INTERNAL,
        [
            Write(other.info.id, "insert", documents=[{"id": 1}]),
            Write(table.info.id, "insert", documents=[{"id": 1}]),
        ],
    )
    assert isinstance(gone, TableGone)
    assert isinstance(done, WriteSummary)
    assert done.inserted == 1


@pytest.mark.parametrize("durability", ["hard", "soft"])
async def test_statement_over_many_documents(table: Table, durability: Any) -> None:
    """It takes several commits; the counts and the order are those of one."""
    documents = [{"id": number, "n": number} for number in range(3000)]
    summary = await table.insert(*documents, durability=durability, return_changes=True)
    assert counts(summary) == {"inserted": 3000}
    assert [change["new_val"]["id"] for change in changes(summary)] == list(range(3000))
    update = await table.write("update", keys=range(3000), function=func(lambda row: {"n": row["n"] * 2}))
    assert counts(update) == {"replaced": 2999, "unchanged": 1}
    assert [row["n"] for row in await table.rows()] == [2 * number for number in range(3000)]


async def test_large_documents_fill_a_commit(table: Table) -> None:
    documents = [{"id": number, "text": "x" * 5_000_000} for number in range(5)]
    assert counts(await table.insert(*documents)) == {"inserted": 5}
    log = await table.storage.read_log(INTERNAL, table.info.id, 0, 0, 10)
    assert len({record.time_us for record in log}) > 1, "they were one commit"


async def test_table_dropped_in_the_middle_of_a_statement(node: Node, table: Table) -> None:
    import asyncio

    writing = asyncio.create_task(table.insert(*({"id": number} for number in range(100_000))))
    while not await table.rows(limit=1):
        await asyncio.sleep(0)
    await node.storage.change_catalogue(INTERNAL, DropTable("test", "documents"))
    with pytest.raises(TableGone):
        await writing


# --- write hooks


async def set_hook(table: Table, hook: Any) -> None:
    await table.change(AlterTable("test", "documents", write_hook=term(hook) if hook else []))


async def test_write_hook_changes_what_is_written(table: Table) -> None:
    await set_hook(
        table,
        lambda context, old, new: new.merge(
            {"stamp": context["timestamp"], "key": context["primary_key"], "first": old == None}  # noqa: E711
        ),
    )
    await table.insert({"id": 5})
    found = await table.get(5)
    assert (found["key"], found["first"], found["stamp"]["$reql_type$"]) == (5, True, "TIME")
    await table.write("update", keys=[5], function=constant({"a": 1}))
    assert (await table.get(5))["first"] is False
    await table.insert({"id": 6}, ignore_write_hook=True)
    assert await table.get(6) == {"id": 6}
    await set_hook(table, None)
    await table.insert({"id": 7})
    assert await table.get(7) == {"id": 7}


async def test_write_hook_must_not_turn_one_kind_of_write_into_another(table: Table) -> None:
    await table.insert({"id": 1})
    await set_hook(table, lambda context, old, new: None)
    summary = await table.insert({"id": 2})
    assert summary.first_error == "A write hook function must not turn a replace/insert into a deletion."
    await set_hook(table, lambda context, old, new: {})
    summary = await table.write("delete", keys=[1])
    assert summary.first_error == "A write hook function must not turn a deletion into a replace/insert."
    await set_hook(table, lambda context, old, new: r.error("OH NOES!"))
    for summary in (await table.insert({"id": 2}), await table.write("delete", keys=[1])):
        assert summary.first_error == "Error in write hook: OH NOES!"
    await set_hook(table, lambda context, old, new: new.merge({"id": 9}))
    summary = await table.insert({"id": 2})
    assert summary.first_error == 'Primary key `id` cannot be changed (null -> {\n\t"id":\t9\n})'
    assert await table.rows() == [{"id": 1}]


async def test_write_hook_and_indexes_survive_a_restart(node: Node, table: Table) -> None:
    await set_hook(table, lambda context, old, new: new.merge({"a": 1}))
    await table.change(CreateIndex("test", "documents", "a", term(lambda row: row["a"])))
    await node.stop()
    await node.start()
    table = await node.table("documents")
    await table.insert({"id": 1})
    assert await table.get(1) == {"id": 1, "a": 1}
