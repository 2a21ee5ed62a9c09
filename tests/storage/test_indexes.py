from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rethinkdb import r

from photondb.api.catalogue import CreateIndex, DropIndex, IndexInfo, RenameIndex
from photondb.api.context import INTERNAL
from photondb.api.storage import CATALOGUE_SUBJECT, Scan
from photondb.datum.keys import encode_key, key_range
from photondb.reql.errors import ErrorKind, ReqlError
from services.storage import builder
from services.storage.builder import IndexBuilder
from services.storage.indexes import MAX_INDEX_KEY_BYTES, Index
from tests.storage.conftest import Node, Table, key_ranges
from tests.storage.language import constant, func, term

POINT = {"$reql_type$": "GEOMETRY", "type": "Point", "coordinates": [1, 2]}
NOON = {"$reql_type$": "TIME", "epoch_time": 43200, "timezone": "+00:00"}


def make_index(function: Any, **fields: Any) -> Index:
    return Index(1, IndexInfo(1, "i", term(function), **fields))


async def create(table: Table, name: str, function: Any, *, ready: bool = True, **fields: Any) -> int:
    """Make an index, and by default wait until it is ready."""
    await table.change(CreateIndex("test", table.info.name, name, term(function), **fields))
    if ready:
        await until_ready(table)
    return table.index(name)


async def until_ready(table: Table) -> None:
    while not all(status.ready for status in await table.storage.index_status(INTERNAL, table.info.id)):
        await asyncio.sleep(0)


async def find(table: Table, index: int, left: Any, right: Any | None = None) -> list[Any]:
    """The ids of the documents between two values, or at one."""
    bounds = ("closed", "closed") if right is None else ("closed", "open")
    keys = key_range(left, left if right is None else right, *bounds, secondary=True)
    return [row["id"] for row in await table.rows(index=index, ranges=key_ranges(keys))]


# --- what a document is indexed by


@pytest.mark.parametrize(
    ("document", "keys"),
    [
        ({"a": 5}, [5]),
        ({"a": "text"}, ["text"]),
        ({"a": [1, "two"]}, [[1, "two"]]),
        ({"a": NOON}, [NOON]),
        ({"a": False}, [False]),
        ({"a": "x" * 10_000}, ["x" * 10_000]),
        ({}, []),
        ({"a": None}, []),
        ({"a": {"b": 1}}, []),
        ({"a": [1, None]}, []),
        ({"a": POINT}, []),
    ],
)
def test_simple_index(document: Any, keys: list[Any]) -> None:
    assert make_index(lambda row: row["a"]).index_keys(document) == [encode_key(key) for key in keys]


def test_index_of_an_error_or_an_extreme_has_no_entries() -> None:
    assert make_index(lambda row: r.error("no")).index_keys({"a": 1}) == []
    assert make_index(lambda row: r.minval).index_keys({"a": 1}) == []


def test_compound_index() -> None:
    index = make_index(lambda row: [row["a"], row["b"]])
    assert index.index_keys({"a": 1, "b": "x"}) == [encode_key([1, "x"])]
    assert index.index_keys({"a": 1}) == []
    assert index.fields == frozenset("ab")


def test_multi_index_has_an_entry_for_each_element() -> None:
    index = make_index(lambda row: row["a"], multi=True)
    assert index.index_keys({"a": [1, None, "x", {"no": "key"}]}) == [encode_key(1), encode_key("x")]
    assert index.index_keys({"a": 7}) == [encode_key(7)]
    assert index.index_keys({"a": []}) == []


def test_multi_index_has_as_many_entries_as_an_element_is_there() -> None:
    index = make_index(lambda row: row["a"], multi=True)
    entries = index.entry_keys(b"primary", {"a": [1, 2, 1, 1]})
    assert len(set(entries)) == 4
    assert sorted(entries)[0] == encode_key(1) + b"primary"


LINE = {"$reql_type$": "GEOMETRY", "type": "LineString", "coordinates": [[1, 2], [30, 40]]}


def test_geo_index_has_geometry_only() -> None:
    index = make_index(lambda row: row["a"], geo=True)
    assert len(index.index_keys({"a": POINT})) == 1
    assert len(index.index_keys({"a": LINE})) > 1
    assert index.index_keys({"a": 1}) == []
    assert index.index_keys({"a": [POINT]}) == []
    assert index.index_keys({"a": {**POINT, "coordinates": [1]}}) == []
    assert index.index_keys({}) == []


def test_geo_multi_index_has_the_cells_of_all_shapes_once() -> None:
    index = make_index(lambda row: row["a"], geo=True, multi=True)
    keys = index.entry_keys(b"primary", {"a": [POINT, LINE, "other", POINT]})
    assert len(set(keys)) == len(keys)
    # Whether a document has one entry or several is part of its keys.
    assert {key[8] for key in keys} == {1}
    assert {key[8] for key in index.entry_keys(b"primary", {"a": [POINT]})} == {0}


# --- entries follow the documents


async def test_entries_follow_every_kind_of_write(table: Table) -> None:
    index = await create(table, "a", lambda row: row["a"])
    await table.insert({"id": 1, "a": "x"}, {"id": 2, "a": "y"}, {"id": 3})
    assert (await find(table, index, "x"), await find(table, index, "y")) == ([1], [2])
    await table.write("update", keys=[1], function=constant({"a": "y"}))
    assert (await find(table, index, "x"), await find(table, index, "y")) == ([], [1, 2])
    await table.write("update", keys=[1, 2], function=constant({"b": 1}))
    assert await find(table, index, "y") == [1, 2]
    await table.write("replace", keys=[2], function=constant({"id": 2}))
    assert await find(table, index, "y") == [1]
    await table.insert({"id": 1, "a": "z"}, {"id": 3, "a": "z"}, conflict="replace")
    assert await find(table, index, "z") == [1, 3]
    await table.write("delete", keys=[1, 2])
    assert await find(table, index, "z") == [3]


async def test_rows_of_an_index_come_in_the_order_of_values_then_of_primary_keys(table: Table) -> None:
    index = await create(table, "a", lambda row: row["a"])
    await table.insert({"id": 3, "a": 1}, {"id": 1, "a": "x"}, {"id": 2, "a": 1}, {"id": 4, "a": -1}, {"id": 5})
    rows = await table.rows(index=index)
    assert [row["id"] for row in rows] == [4, 2, 3, 1]
    assert await table.rows(index=index, descending=True) == rows[::-1]
    assert await find(table, index, 0, 2) == [2, 3]


async def test_values_that_end_where_others_go_on_are_told_apart(table: Table) -> None:
    index = await create(table, "a", lambda row: row["a"])
    await table.insert({"id": 1, "a": ["a", "b"]}, {"id": 2, "a": ["a\0Sb"]}, {"id": 3, "a": "a"}, {"id": 4, "a": "aa"})
    assert await find(table, index, ["a", "b"]) == [1]
    assert await find(table, index, ["a\0Sb"]) == [2]
    assert await find(table, index, "a") == [3]


async def test_long_values_are_found_and_ordered_exactly(table: Table) -> None:
    index = await create(table, "a", lambda row: row["a"])
    values = ["x" * 1000 + str(number) for number in range(100, 200)]
    await table.insert(*({"id": 1000 - number, "a": value} for number, value in enumerate(values)))
    assert [row["a"] for row in await table.rows(index=index)] == values
    assert await find(table, index, values[50]) == [950]
    assert len(await find(table, index, values[10], values[20])) == 10


async def test_multi_index_gives_a_document_as_often_as_it_matches(table: Table) -> None:
    index = await create(table, "a", lambda row: row["a"], multi=True)
    await table.insert({"id": 1, "a": [1, 2, 2]}, {"id": 2, "a": [2]})
    assert await find(table, index, 2) == [1, 1, 2]
    await table.write("update", keys=[1], function=constant({"a": [2, 3]}))
    assert await find(table, index, 2) == [1, 2]


# --- builds


async def test_index_on_a_table_with_documents_is_built_in_the_background(table: Table, node: Node) -> None:
    await table.insert(*({"id": number, "a": number % 10} for number in range(20_000)))
    heard: list[bytes] = []
    await node.bus.subscribe(CATALOGUE_SUBJECT, lambda message: heard.append(message.payload))
    first = await create(table, "first", lambda row: row["a"], ready=False)
    await create(table, "second", lambda row: row["a"], multi=True, ready=False)
    statuses = await table.storage.index_status(INTERNAL, table.info.id)
    assert [(status.name, status.ready) for status in statuses] == [("first", False), ("second", False)]
    assert all(0 <= status.progress < 1 for status in statuses)
    with pytest.raises(ReqlError, match=r"`first` on table `test\.documents` was accessed before") as caught:
        await table.rows(index=first)
    assert caught.value.kind == ErrorKind.OP_FAILED
    seen = set()
    while not all(status.ready for status in statuses):
        statuses = await table.storage.index_status(INTERNAL, table.info.id)
        seen.add(statuses[0].progress)
        await asyncio.sleep(0)
    assert len(seen) > 5
    assert [status.progress for status in statuses] == [1, 1]
    assert len(await find(table, first, 3)) == 2000
    version = (await table.storage.catalogue(INTERNAL)).version
    await asyncio.sleep(0)
    assert heard[-1] == b"%d" % version


async def test_build_while_writes_go_on(table: Table) -> None:
    """The checker at the end of the test compares every entry with its document."""
    await table.insert(*({"id": number, "a": number % 10} for number in range(3000)))
    index = await create(table, "a", lambda row: row["a"], ready=False)
    number = 0
    while not all(status.ready for status in await table.storage.index_status(INTERNAL, table.info.id)):
        number += 1
        await asyncio.gather(
            *(
                table.write(kind, durability="soft", **fields)
                for kind, fields in (
                    ("update", {"keys": [number, 3000 - number], "function": constant({"a": number % 7 + 20})}),
                    ("delete", {"keys": [number * 2, 3000 - number * 2]}),
                    ("insert", {"documents": [{"id": 10_000 + number, "a": 5}, {"id": -number, "a": 5}]}),
                    ("update", {"keys": [9_999 + number], "function": func(lambda row: {"a": row["a"] + 1})}),
                )
            )
        )
    assert number > 1, "the index was there at once"
    rows = await table.rows()
    assert len(await table.rows(index=index)) == len(rows)


async def test_unfinished_build_goes_on_after_a_restart(node: Node, table: Table) -> None:
    await table.insert(*({"id": number, "a": number} for number in range(5000)))
    await create(table, "a", lambda row: row["a"], ready=False)
    while (await table.storage.index_status(INTERNAL, table.info.id))[0].progress < 0.2:
        await asyncio.sleep(0)
    await node.stop()
    await node.start()
    table = await node.table("documents")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    (status,) = await table.storage.index_status(INTERNAL, table.info.id)
    assert not status.ready
    assert status.progress >= 0.2, "it began anew"
    await until_ready(table)
    assert await find(table, table.index("a"), 4321) == [4321]
    await node.stop()
    await node.start()
    table = await node.table("documents")
    (status,) = await table.storage.index_status(INTERNAL, table.info.id)
    assert status.ready


async def test_index_dropped_while_it_is_built(node: Node, table: Table) -> None:
    await table.insert(*({"id": number, "a": number} for number in range(2000)))
    await create(table, "a", lambda row: row["a"], ready=False)
    await asyncio.sleep(0)
    await table.change(DropIndex("test", "documents", "a"))
    assert await table.storage.index_status(INTERNAL, table.info.id) == []
    builds: IndexBuilder = table.storage._catalogue.builder
    while builds._tasks:
        await asyncio.sleep(0.001)


async def test_dropped_index_cannot_be_read_and_its_successor_has_none_of_its_entries(table: Table) -> None:
    await table.insert(*({"id": number, "a": number, "b": "b"} for number in range(100)))
    first = await create(table, "i", lambda row: row["a"])
    await table.change(DropIndex("test", "documents", "i"))
    with pytest.raises(ReqlError, match="was dropped"):
        await table.storage.scan(INTERNAL, Scan(table.info.id, index=first))
    second = await create(table, "i", lambda row: row["b"])
    assert second != first
    assert len(await table.rows(index=second)) == 100
    assert await find(table, second, 5) == []


async def test_renamed_index_keeps_its_entries(table: Table) -> None:
    await table.insert({"id": 1, "a": 5})
    index = await create(table, "a", lambda row: row["a"])
    await table.change(RenameIndex("test", "documents", "a", "b"))
    assert table.index("b") == index
    assert await find(table, index, 5) == [1]
    await table.insert({"id": 2, "a": 5})
    assert await find(table, index, 5) == [1, 2]


# --- keys that are too long

FITS = "x" * (MAX_INDEX_KEY_BYTES - 2)
LONG = FITS + "x"


async def test_a_key_that_is_too_long_is_an_error_of_that_document_alone(table: Table) -> None:
    """That nothing else changed, the checker at the end of the test proves."""
    index = await create(table, "a", lambda row: row["a"])
    pair = await create(table, "pair", lambda row: [row["b"], row["a"]])
    summary = await table.insert({"id": 1, "a": FITS}, {"id": 2, "a": LONG}, {"id": 3, "a": "z", "b": 1})
    assert (summary.inserted, summary.errors) == (2, 1)
    assert summary.first_error == (
        "Index key too long: the document with the primary key 2 has a key of 32,769 bytes in the index `a`, and the "
        "limit is 32,768 bytes."
    )
    assert await table.get(2) is None
    assert await find(table, index, FITS) == [1]
    summary = await table.write("update", keys=[1, 3], function=constant({"a": FITS, "b": 1}))
    assert (summary.replaced, summary.errors) == (0, 2)
    assert "in the index `pair`" in (summary.first_error or "")
    assert await table.get(3) == {"id": 3, "a": "z", "b": 1}
    assert await find(table, pair, [1, "z"]) == [3]
    assert (await table.write("delete", keys=[1, 3])).deleted == 2


async def test_each_element_of_a_multi_index_may_be_as_long(table: Table) -> None:
    index = await create(table, "a", lambda row: row["a"], multi=True)
    summary = await table.insert({"id": 1, "a": [FITS, "x", FITS]}, {"id": 2, "a": ["x", LONG]})
    assert (summary.inserted, summary.errors) == (1, 1)
    assert await find(table, index, FITS) == [1, 1]
    assert await find(table, index, "x") == [1]


async def test_a_build_says_which_document_it_cannot_index_and_goes_on_when_that_is_changed(
    node: Node, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "RETRY_S", 0.01)
    await table.insert(*({"id": number, "a": LONG if number == 300 else number} for number in range(500)))
    await create(table, "a", lambda row: row["a"], ready=False)

    async def stuck() -> str:
        while not (problem := (await table.storage.index_status(INTERNAL, table.info.id))[0].problem):
            await asyncio.sleep(0.001)
        return problem

    assert "the document with the primary key 300 has a key of 32,769 bytes in the index `a`" in await stuck()
    assert (await table.write("update", keys=[300], function=constant({"b": 1}))).replaced == 1
    assert (await table.insert({"id": 501, "a": LONG})).errors == 1
    await node.stop()
    await node.start()
    table = await node.table("documents")
    assert "the primary key 300" in await stuck()
    await table.write("update", keys=[300], function=constant({"a": "short"}))
    await until_ready(table)
    assert (await table.storage.index_status(INTERNAL, table.info.id))[0].problem == ""
    assert await find(table, table.index("a"), "short") == [300]
