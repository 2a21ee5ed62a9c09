"""Scans in primary order that take an index as a short cut, and the documents that indexes list apart for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from photondb.api.catalogue import CreateIndex, DropIndex
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import KeyRange, Scan
from photondb.api.transactions import TransactionConflict
from photondb.datum.keys import HIGHEST, after_prefix, encode_key
from photondb.reql.aggregates import Count, Sum
from photondb.reql.index_values import Apart
from photondb.reql.steps import FilterStep
from services.storage import short_cut
from tests.storage.conftest import Node, Table
from tests.storage.language import func, term
from tests.storage.test_transactions import Tx

ROWS = 3000


@pytest.fixture
async def full(table: Table) -> Table:
    """Documents whose `a`, in index `a`, goes down as their ids go up; index `tags` has three tags of each."""
    await table.insert(*({"id": n, "a": ROWS - n, "tags": [n % 10, n % 3, n % 10]} for n in range(ROWS)))
    await table.change(CreateIndex("test", "documents", "a", term(lambda row: row["a"])))
    await table.change(CreateIndex("test", "documents", "tags", term(lambda row: row["tags"]), multi=True))
    await ready(table)
    return table


async def ready(table: Table) -> None:
    while not all(status.ready for status in await table.storage.index_status(INTERNAL, table.info.id)):
        await asyncio.sleep(0)


def at(value: Any) -> KeyRange:
    return KeyRange(encode_key(value), after_prefix(encode_key(value)))


def below(value: Any) -> KeyRange:
    return KeyRange(b"", encode_key(value))


async def ids(table: Table, index: str, *ranges: KeyRange, **fields: Any) -> list[Any]:
    rows = await table.rows(index=table.index(index), ranges=ranges, primary_order=True, **fields)
    return [row["id"] for row in rows]


async def test_rows_come_in_the_order_of_the_primary_key(full: Table) -> None:
    expected = list(range(ROWS - 99, ROWS))
    assert await ids(full, "a", below(100)) == expected
    assert await ids(full, "a", below(100), descending=True) == expected[::-1]
    assert await ids(full, "a", at(50), at(7), at(50)) == [ROWS - 50, ROWS - 7]


async def test_a_document_comes_once(full: Table) -> None:
    expected = [n for n in range(ROWS) if n % 10 in (7, 8)]
    assert await ids(full, "tags", at(7), at(8), chunk_rows=250) == expected
    assert await ids(full, "tags", at(7), limit=60) == [n for n in range(ROWS) if n % 10 == 7][:60]


async def test_limits_and_aggregates(full: Table) -> None:
    assert await ids(full, "a", below(100), limit=3) == [ROWS - 99, ROWS - 98, ROWS - 97]
    assert await ids(full, "a", at(100), limit=3) == [ROWS - 100]
    even = FilterStep(func(lambda row: row["a"] % 2 == 0))
    assert await ids(full, "a", below(10), steps=[even]) == [ROWS - 8, ROWS - 6, ROWS - 4, ROWS - 2]
    reply = await full.storage.scan(
        INTERNAL,
        Scan(full.info.id, full.index("a"), (below(10),), steps=[even], aggregate=Count(), primary_order=True),
    )
    assert reply.partial == 4
    whole = Scan(full.info.id, full.index("a"), (below(10),), aggregate=Sum(func(lambda r: r["a"])), primary_order=True)
    assert (await full.storage.scan(INTERNAL, whole)).partial == [45, 9]


async def test_too_many_documents_are_read_from_the_table(full: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps see to it that those that are no matches are left out."""
    monkeypatch.setattr(short_cut, "MIN_SHORT_CUT_DOCUMENTS", 10)
    few = FilterStep(func(lambda row: row["a"] < 2000))
    expected = list(range(ROWS - 1999, ROWS))
    assert await ids(full, "a", below(2000), steps=[few]) == expected
    assert await ids(full, "a", below(2000)) == list(range(ROWS))  # so the table was read


async def test_an_index_that_is_gone_or_not_ready_is_done_without(full: Table) -> None:
    index = full.index("a")
    await full.change(DropIndex("test", "documents", "a"))
    rows = await full.rows(index=index, ranges=(below(3),), primary_order=True)
    assert len(rows) == ROWS
    await full.change(CreateIndex("test", "documents", "b", term(lambda row: row["a"])))
    assert await ids(full, "b", below(3)) == list(range(ROWS))


async def test_all_of_it_sees_one_point_in_time(full: Table) -> None:
    scan = Scan(full.info.id, full.index("a"), (below(500),), primary_order=True, chunk_rows=10)
    reply = await full.storage.scan(INTERNAL, scan)
    assert reply.chunk is not None
    rows = list(reply.chunk.values())
    await full.write("delete", keys=list(range(ROWS - 300, ROWS)))
    await full.insert({"id": -1, "a": 5})
    cursor, last = reply.cursor, False
    while not last:
        assert cursor is not None
        chunk, last = await cursor.next()
        rows += chunk.values()
    assert [row["id"] for row in rows] == list(range(ROWS - 499, ROWS))


async def test_documents_without_a_place_are_listed_apart(node: Node) -> None:
    table = await node.table("documents")
    values = {"null": None, "object": {"x": 1}, "array": [1, None], "number": 1, "nested": {"n": {"x": 1}}}
    await table.insert(*({"id": name, "a": value} for name, value in values.items()), {"id": "without"})
    await table.change(CreateIndex("test", "documents", "a", term(lambda row: row["a"])))
    await table.change(CreateIndex("test", "documents", "x", term(lambda row: row["a"]["x"])))
    await table.change(CreateIndex("test", "documents", "m", term(lambda row: row["a"]), multi=True))
    await ready(table)
    apart = {place: KeyRange(place.value, after_prefix(place.value)) for place in Apart}
    assert await ids(table, "a", apart[Apart.NULL]) == ["null"]
    assert await ids(table, "a", apart[Apart.OBJECT]) == ["nested", "object"]
    assert await ids(table, "a", apart[Apart.ARRAY]) == ["array"]
    assert await ids(table, "a", apart[Apart.FAILED]) == []
    assert await ids(table, "x", apart[Apart.FAILED]) == ["array", "number"]
    assert await ids(table, "a", apart[Apart.LACKING]) == ["without"]
    assert await ids(table, "x", apart[Apart.LACKING]) == ["nested", "null", "without"]
    assert await ids(table, "m", apart[Apart.LACKING]) == []
    assert await ids(table, "m", apart[Apart.SINGLE]) == ["nested", "number", "object"]
    for name, found in (("a", ["number"]), ("x", ["object"]), ("m", ["array", "number"])):  # as in RethinkDB
        rows = await table.rows(index=table.index(name), ranges=(KeyRange(),))
        assert sorted(row["id"] for row in rows) == found
        assert sorted(await ids(table, name, KeyRange(b"", HIGHEST))) == found
    await table.write("update", keys=["null"], function=func(lambda row: {"a": 7}))
    await table.write("delete", keys=["number"])
    assert await ids(table, "a", apart[Apart.NULL]) == []
    assert await ids(table, "x", apart[Apart.FAILED]) == ["array", "null"]


async def begin(table: Table) -> Tx:
    context = CallContext(transaction="tx")
    await table.storage.begin_transaction(context, "tx", "serializable", False, 0)
    return Tx(table.storage, context)


@pytest.mark.parametrize("change", ["comes in", "goes out"])
async def test_phantoms_are_caught(full: Table, change: str) -> None:
    tx = await begin(full)
    assert len(await ids(tx.of(full), "a", below(10))) == 9
    await tx.of(full).insert({"id": "mine"})
    if change == "comes in":
        await full.insert({"id": "new", "a": 5})
    else:
        await full.write("update", keys=[ROWS - 5], function=func(lambda row: {"a": 5000}))
    with pytest.raises(TransactionConflict):
        await tx.commit()


async def test_changes_elsewhere_are_no_conflict(full: Table) -> None:
    tx = await begin(full)
    assert len(await ids(tx.of(full), "a", below(10))) == 9
    await tx.of(full).insert({"id": "mine", "a": 3})
    assert "mine" in await ids(tx.of(full), "a", below(10))
    await full.insert({"id": "new", "a": 5000})
    await tx.commit()


async def test_reading_the_table_instead_is_remembered_as_that(full: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_cut, "MIN_SHORT_CUT_DOCUMENTS", 10)
    tx = await begin(full)
    assert len(await ids(tx.of(full), "a", below(2000))) == ROWS
    await tx.of(full).insert({"id": "mine"})
    await full.insert({"id": "new", "a": 5000})
    with pytest.raises(TransactionConflict):
        await tx.commit()


async def test_an_index_younger_than_the_transaction_is_done_without(full: Table) -> None:
    tx = await begin(full)
    await tx.of(full).get(0)
    await full.change(CreateIndex("test", "documents", "late", term(lambda row: row["a"])))
    await ready(full)
    assert len(await ids(tx.of(full), "late", below(3))) == ROWS
    assert len(await ids(full, "late", below(3))) == 2


async def test_many_documents_are_aggregated_from_columns_that_are_in_memory(full: Table) -> None:
    less = FilterStep(func(lambda row: row["a"] < 600))
    scan = Scan(full.info.id, full.index("a"), (below(600),), steps=[less], aggregate=Count(), primary_order=True)
    columns = full.storage._scanner.columns
    answers = set()
    for _ in range(200):
        answers.add((await full.storage.scan(INTERNAL, scan)).partial)
        if columns.metrics.hits:
            break
        await asyncio.sleep(0.02)
    assert columns.metrics.hits == 1
    few = FilterStep(func(lambda row: row["a"] < 20))
    scan.ranges, scan.steps = (below(20),), [few]
    answers.add((await full.storage.scan(INTERNAL, scan)).partial)
    assert columns.metrics.hits == 1  # by the index
    await full.write("delete", keys=[ROWS - 5])
    scan.ranges, scan.steps = (below(600),), [less]
    answers.add((await full.storage.scan(INTERNAL, scan)).partial)
    assert columns.metrics.hits == 2
    assert answers == {599, 19, 598}
