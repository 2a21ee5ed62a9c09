from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson

from photondb.api.catalogue import AlterTable, CreateIndex, Expiry, TableSettings
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import Write, WriteSummary
from photondb.datum.time import make_time
from photondb.reql.stored_functions import field_term
from services.storage import expiring
from services.storage.expiring import Expiring
from tests.storage.conftest import Table

NOW = 1_700_000_000


def at(seconds: float) -> dict[str, Any]:
    return make_time(seconds, "+00:00")


async def expire_by_until(table: Table, after_s: int = 0) -> None:
    """Let the documents of a table expire by their field `until`."""
    await table.change(CreateIndex("test", table.info.name, "until", field_term("until")))
    while not all(status.ready for status in await table.storage.index_status(INTERNAL, table.info.id)):
        await asyncio.sleep(0.01)
    settings = TableSettings(expire=Expiry("until", after_s))
    await table.change(AlterTable("test", table.info.name, settings=settings))


async def test_what_has_expired_is_deleted_and_nothing_else(table: Table) -> None:
    await expire_by_until(table, after_s=60)
    kept = [
        {"id": 1, "until": at(NOW - 59)},
        {"id": 2, "until": at(NOW + 1000)},
        {"id": 3, "until": NOW - 1000},  # a number is no time
        {"id": 4, "until": None},
        {"id": 5},
        {"id": 6, "until": "2001-01-01T00:00:00Z"},
        {"id": 7, "until": [at(0)]},
    ]
    expired = [
        {"id": 11, "until": at(NOW - 61)},
        {"id": 12, "until": at(NOW - 1e9)},
        {"id": 13, "until": at(-5)},
        {"id": 14, "until": at(0)},
    ]
    await table.insert(*kept, *expired)
    await Expiring(table.storage, table.storage._tables).expire_all(NOW)
    assert [row["id"] for row in await table.rows()] == [row["id"] for row in kept]
    deleted = await table.storage.read_log(INTERNAL, table.info.id, 0, len(kept) + len(expired), 100)
    assert {orjson.loads(record.old)["id"] for record in deleted if record.old and not record.new} == {11, 12, 13, 14}


async def test_many_go_in_batches(table: Table, monkeypatch: Any) -> None:
    monkeypatch.setattr(expiring, "BATCH_DOCUMENTS", 10)
    await expire_by_until(table)
    await table.insert(*({"id": number, "until": at(NOW - number)} for number in range(-3, 35)))
    await Expiring(table.storage, table.storage._tables).expire_all(NOW)
    assert [row["id"] for row in await table.rows()] == [-3, -2, -1, 0]


async def test_a_document_that_lives_on_meanwhile_stays(table: Table) -> None:
    await expire_by_until(table)
    await table.insert(
        {"id": 1, "until": at(NOW - 1)}, {"id": 2, "until": at(NOW - 1)}, {"id": 3, "until": at(NOW - 1)}
    )

    class Racing:
        """The storage, on which somebody writes in between."""

        scan = table.storage.scan

        async def write(self, context: CallContext, writes: Sequence[Write]) -> list[WriteSummary | Exception]:
            await table.insert({"id": 1, "until": at(NOW + 60)}, conflict="update")
            await table.insert({"id": 2, "until": None}, conflict="update")
            return await table.storage.write(context, writes)

    await Expiring(Racing(), table.storage._tables).expire_all(NOW)  # type: ignore[arg-type]
    assert [row["id"] for row in await table.rows()] == [1, 2]


async def test_without_its_index_nothing_expires(table: Table) -> None:
    await table.insert({"id": 1, "until": at(0)})
    await table.change(AlterTable("test", table.info.name, settings=TableSettings(expire=Expiry("until"))))
    await Expiring(table.storage, table.storage._tables).expire_all(NOW)
    assert len(await table.rows()) == 1
