"""Writes of one document have a shorter way than others: it must lead to the same place."""

from __future__ import annotations

import copy
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from rethinkdb import r

from photondb.api.catalogue import AlterTable, CreateIndex
from photondb.api.context import INTERNAL
from photondb.api.storage import Write
from photondb.datum.keys import primary_key
from photondb.reql.parameters import constant_function
from services.storage.splicing import with_fields
from tests.examples import examples
from tests.storage.conftest import Node, Table
from tests.storage.language import func, term

NAMES = ("a", "b", "name", 'a"b', 'x","a', "a,", "a\\", "", ":1,", '"a":', "{", "ä")
TEXTS = ("", "x", "a,", '"', '","a":1', '{"a":1}', "\\", 'x\\"', "[", "ö", "a" * 40)
plain_values = st.sampled_from((*TEXTS, 0, 1, -5, 1.5, 1e300, 123456789.25, True, False, None))
values = plain_values | st.sampled_from(
    ([], [1, "b"], ['"a":1,'], {"a": 1}, {"c": 3, "b": {"a": 2}}, [{"a": 3}], {"b": 1, "a": 2})
)
documents = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)
patches = st.dictionaries(st.sampled_from(NAMES), plain_values, max_size=3)


@settings(max_examples=examples(400))
@given(documents, patches)
def test_fields_are_set_in_the_json_as_they_would_be_in_the_document(
    fields: dict[str, Any], patch: dict[str, Any]
) -> None:
    document = {"id": 1, **fields}
    spliced = with_fields(orjson.dumps(document), patch)
    assert spliced is None or spliced == orjson.dumps(document | patch)


def test_documents_without_inner_objects_need_not_be_decoded() -> None:
    document = {"id": "k", "n": 1, "s": "a, b", "l": [1, 2], "t": True}
    for patch in ({"n": 2}, {"s": "x"}, {"t": None}, {"n": "2", "t": 1.5}, {"new": 7}, {"n": 1}, {}):
        assert with_fields(orjson.dumps(document), patch) == orjson.dumps(document | patch)


async def both(plain: Table, general: Table, patch: dict[str, Any], key: Any = 1) -> None:
    """Update a document of both tables, which must be the same before and after."""
    given_patch = copy.deepcopy(patch)
    one = await plain.write("update", keys=[key], function=constant_function(patch))
    other = await general.write("update", keys=[key], function=func(lambda row: r.expr(given_patch)))
    assert one == other
    assert await plain.get(key) == await general.get(key)


async def records(table: Table) -> list[Any]:
    log = await table.storage.read_log(INTERNAL, table.info.id, 0, 0, 1000)
    return [(record.sequence, record.key, record.old, record.new) for record in log]


async def entries(table: Table, name: str) -> list[Any]:
    return await table.rows(index=table.index(name))


async def test_update_of_one_document_does_what_updates_do(node: Node) -> None:
    plain, general = await node.table("plain"), await node.table("general")
    for table in (plain, general):
        await table.change(CreateIndex("test", table.info.name, "a", term(lambda row: row["a"])))
        await table.change(CreateIndex("test", table.info.name, "sum", term(lambda row: row["a"] + row["n"])))
        await table.insert({"id": 1, "a": 5, "n": 1, "s": "text", "l": [1], "o": {"a": 2}}, {"id": 2, "n": 1, "s": "x"})
    for key in (1, 2, 3):
        for patch in ({"s": "y"}, {"s": "y"}, {"a": 6}, {"n": 2}, {"a": "x"}, {"a": None}, {"l": 1}, {"o": 4}, {}):
            await both(plain, general, patch, key)
    await both(plain, general, {"id": 1, "s": "z"})
    await both(plain, general, {"id": 7})
    await both(plain, general, {"a": "x" * 33_000})  # which no index takes
    await both(plain, general, {"t": {"$reql_type$": "TIME", "epoch_time": 1, "timezone": "+00:00"}})
    assert await records(plain) == await records(general)
    for name in ("a", "sum"):
        assert await entries(plain, name) == await entries(general, name)


async def test_write_hooks_see_plain_writes(table: Table) -> None:
    await table.insert({"id": 1, "n": 1})
    hook = term(lambda context, old, new: r.branch(new == None, new, new.merge({"seen": True})))  # noqa: E711
    await table.change(AlterTable("test", "documents", write_hook=hook))
    await table.write("update", keys=[1], function=constant_function({"n": 2}))
    await table.insert({"id": 2})
    assert await table.rows() == [{"id": 1, "n": 2, "seen": True}, {"id": 2, "seen": True}]


async def test_plain_writes_of_one_call_see_each_other(table: Table) -> None:

    def update(patch: dict[str, Any]) -> Write:
        return Write(table.info.id, "update", keys=[primary_key("k")], function=constant_function(patch))

    insert = Write(table.info.id, "insert", documents=[{"id": "k", "n": 0}])
    results = await table.storage.write(
        INTERNAL, [update({"n": 9}), insert, update({"n": 1}), insert, update({"n": 1}), update({"m": 2})]
    )
    counted = [(s.skipped, s.inserted, s.replaced, s.errors, s.unchanged) for s in results]  # type: ignore[union-attr]
    assert counted == [
        (1, 0, 0, 0, 0),
        (0, 1, 0, 0, 0),
        (0, 0, 1, 0, 0),
        (0, 0, 0, 1, 0),
        (0, 0, 0, 0, 1),
        (0, 0, 1, 0, 0),
    ]
    assert await table.get("k") == {"id": "k", "n": 1, "m": 2}
