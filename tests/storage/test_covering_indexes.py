"""Covering indexes: their entries carry fields of documents, and queries that need no others read nothing else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest

from photondb.api.catalogue import CreateIndex
from photondb.api.context import INTERNAL
from photondb.api.storage import KeyRange, Scan
from photondb.datum.keys import key_range
from photondb.reql.aggregates import Count
from photondb.reql.errors import ReqlError
from photondb.reql.steps import FilterStep, MapStep
from services.storage import scan_blocks
from services.storage.document_cache import DocumentCache
from tests.storage.conftest import Node, Table, key_ranges
from tests.storage.language import constant, func, term
from tests.storage.test_transactions import begin

POINT = {"$reql_type$": "GEOMETRY", "type": "Point", "coordinates": [1, 2]}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many documents each look-up of documents was for."""
    counts: list[int] = []
    read = scan_blocks.ScanBlocks.documents

    def counted(run: Any, primaries: list[bytes]) -> list[bytes]:
        counts.append(len(primaries))
        return read(run, primaries)

    monkeypatch.setattr(scan_blocks.ScanBlocks, "documents", counted)
    return counts


async def create(table: Table, name: str, function: Any, **fields: Any) -> int:
    await table.change(CreateIndex("test", table.info.name, name, term(function), **fields))
    while not all(status.ready for status in await table.storage.index_status(INTERNAL, table.info.id)):
        await asyncio.sleep(0)
    return table.index(name)


def at(value: Any) -> Sequence[KeyRange]:
    return key_ranges(key_range(value, value, "closed", "closed", secondary=True))


def documents(count: int) -> list[dict[str, Any]]:
    return [{"id": number, "a": number % 10, "b": {"n": number}, "text": "x" * 50} for number in range(count)]


async def test_what_is_carried_is_all_that_is_read(table: Table, looks: list[int]) -> None:
    await table.insert(*documents(100))
    index = await create(table, "a", lambda row: row["a"], include=("b",))
    (info,) = table.info.indexes
    assert info.include == ("a", "b", "id")
    b = MapStep(func(lambda row: [row["id"], row["b"]["n"], row["a"]]))
    assert await table.rows(index=index, ranges=at(3), steps=[b]) == [[n, n, 3] for n in range(3, 100, 10)]
    large = FilterStep(func(lambda row: row["b"]["n"] > 50))
    counted = await table.storage.scan(INTERNAL, Scan(table.info.id, index, at(3), steps=[large], aggregate=Count()))
    assert counted.partial == 5
    assert looks == []
    text = MapStep(func(lambda row: row["text"]))
    assert len(await table.rows(index=index, ranges=at(3), steps=[text])) == 10
    assert looks == [10]
    # Rows that are only filtered leave as they are, and so must be whole.
    assert len(await table.rows(index=index, ranges=at(3), steps=[large])) == 5
    assert (await table.rows(index=index, ranges=at(3)))[0] == documents(4)[3]


async def test_whole_documents(table: Table, looks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    index = await create(table, "a", lambda row: row["a"], include_all=True)
    await table.insert(*documents(100))
    expected = documents(100)[3::10]
    assert await table.rows(index=index, ranges=at(3)) == expected
    monkeypatch.setattr(DocumentCache, "read", lambda cache, keys: pytest.fail("documents were read"))
    assert await table.rows(index=index, ranges=at(3), limit=20) == expected  # a short scan
    assert await table.rows(index=index, ranges=at(3), limit=2, descending=True) == expected[:-3:-1]
    twice = [KeyRange(found.low, found.high, 2) for found in at(3)]
    assert await table.rows(index=index, ranges=twice, limit=4) == [expected[0]] * 2 + [expected[1]] * 2
    assert looks == []


@pytest.mark.parametrize("fields", [{"include": ("b",)}, {"include_all": True}], ids=["some", "all"])
async def test_entries_follow_what_they_carry(table: Table, fields: dict[str, Any]) -> None:
    """The checker at the end of the test compares every entry with its document."""
    await table.insert(*documents(50))
    index = await create(table, "a", lambda row: row["a"], **fields)
    multi = await create(table, "tags", lambda row: row["tags"], multi=True, **fields)
    pair = await create(table, "pair", lambda row: [row["a"], row["id"]], **fields)
    taken = [MapStep(func(lambda row: row["b"].default(None)))]
    chance = random.Random(1)
    model = {row["id"]: row for row in documents(50)}
    for _ in range(150):
        key = chance.randrange(60)
        change = {"b": chance.randrange(5), "tags": [chance.randrange(3) for _ in range(3)]}
        if chance.random() < 0.3:
            change = {"text": str(chance.random())}
        if chance.random() < 0.2:
            await table.write("delete", keys=[key])
            model.pop(key, None)
        elif key in model:
            await table.write("update", keys=[key], function=constant(change))
            model[key] = {**model[key], **change}
        else:
            model[key] = {"id": key, "a": key % 10, **change}
            await table.insert(model[key])
    rows = sorted(model.values(), key=lambda row: (row["a"], row["id"]))
    assert await table.rows(index=index, steps=taken) == [row.get("b") for row in rows]
    assert await table.rows(index=pair, steps=taken) == [row.get("b") for row in rows]
    found = await table.rows(index=multi, ranges=at(1), steps=taken)
    expected = [
        row.get("b") for row in sorted(rows, key=lambda row: row["id"]) for tag in row.get("tags", ()) if tag == 1
    ]
    assert found == expected


async def test_a_transaction_s_own_writes(table: Table, looks: list[int]) -> None:
    index = await create(table, "a", lambda row: row["a"], include=("b",))
    await table.insert(*documents(20))
    b = [MapStep(func(lambda row: row["b"]))]
    tx = await begin(table.storage)
    await tx.of(table).write("update", keys=[3], function=constant({"b": "new"}))
    assert await tx.of(table).rows(index=index, ranges=at(3), steps=b) == ["new", {"n": 13}]
    assert await table.rows(index=index, ranges=at(3), steps=b) == [{"n": 3}, {"n": 13}]
    await tx.commit()
    assert await table.rows(index=index, ranges=at(3), steps=b) == ["new", {"n": 13}]
    assert looks == []


async def test_another_s_change_of_what_an_entry_carries_is_a_conflict(table: Table) -> None:
    index = await create(table, "a", lambda row: row["a"], include=("b",))
    await table.insert(*documents(20))
    tx = await begin(table.storage)
    await tx.of(table).rows(index=index, ranges=at(3), steps=[MapStep(func(lambda row: row["b"]))])
    await tx.of(table).insert({"id": 100})
    await table.write("update", keys=[3], function=constant({"b": 0}))
    with pytest.raises(Exception, match="conflicts with another write: document 3"):
        await tx.commit()


async def test_messages_show_whole_documents(table: Table) -> None:
    index = await create(table, "a", lambda row: row["a"], include=("b", "c"))
    await table.insert({"id": 1, "a": 3, "b": 1, "text": "all of it"}, {"id": 2, "a": 3, "c": 1})
    with pytest.raises(ReqlError, match=r"No attribute `c` in object:\n\{[^}]*all of it"):
        await table.rows(index=index, ranges=at(3), steps=[MapStep(func(lambda row: row["c"]))])
    # Rows before the one that fails may be all that is wanted.
    b = [MapStep(func(lambda row: row["b"]))]
    assert await table.rows(index=index, ranges=at(3), steps=b, limit=1) == [1]
    with pytest.raises(ReqlError, match="No attribute `b`"):
        await table.rows(index=index, ranges=at(3), steps=b, limit=2)


async def test_a_geo_index_carries_fields_too(table: Table, looks: list[int]) -> None:
    index = await create(table, "place", lambda row: row["place"], geo=True, include=("name",))
    await table.insert({"id": 1, "place": POINT, "name": "here", "text": "x"})
    name = MapStep(func(lambda row: row["name"]))
    assert await table.rows(index=index, steps=[name]) == ["here"]
    assert looks == []


async def test_it_is_kept_over_a_restart(node: Node, table: Table) -> None:
    index = await create(table, "a", lambda row: row["a"], include=("b",))
    await table.insert(*documents(20))
    await node.stop()
    await node.start()
    table = await node.table("documents")
    (info,) = table.info.indexes
    assert (info.include, info.include_all) == (("a", "b", "id"), False)
    b = [MapStep(func(lambda row: row["b"]))]
    assert await table.rows(index=index, ranges=at(3), steps=b) == [{"n": 3}, {"n": 13}]
