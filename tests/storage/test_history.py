"""Reading the past: against a model that remembers every state of a table."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from photondb.api.catalogue import AlterTable, CreateIndex, TableSettings
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import Scan, Write
from photondb.datum.json import loads_stored
from photondb.datum.keys import encode_key, primary_key
from photondb.reql.aggregates import Count
from photondb.reql.errors import ReqlError
from services.storage import history
from services.storage.trimmer import LogTrimmer
from tests.storage.conftest import Node, Table, key_ranges
from tests.storage.language import constant, term

DAY_S = 86_400
Documents = dict[int, dict[str, Any]]


async def keep_history(table: Table, **settings: Any) -> None:
    settings = {"history_s": DAY_S, **settings}
    await table.change(AlterTable("test", table.info.name, settings=TableSettings(**settings)))


def then(time_us: int) -> CallContext:
    return CallContext(as_of_us=time_us)


async def scanned(table: Table, context: CallContext, **fields: Any) -> list[Any]:
    """All rows of a scan, in chunks of a few, with writes in between."""
    reply = await table.storage.scan(context, Scan(table.info.id, chunk_rows=7, **fields))
    assert reply.chunk is not None
    rows = list(reply.chunk.values())
    cursor, last = reply.cursor, reply.cursor is None
    while not last:
        assert cursor is not None
        chunk, last = await cursor.next()
        rows += chunk.values()
    return rows


class Model:
    """A table with random writes, and the states that it had: (time of the commit, documents)."""

    def __init__(self, table: Table, seed: int) -> None:
        self.table = table
        self.chance = random.Random(seed)
        self.states: list[tuple[int, Documents]] = []
        self.documents: Documents = {}

    async def write(self, count: int) -> None:
        for _ in range(count):
            await self._write()
            (sequence,) = await self.table.storage.log_position(INTERNAL, self.table.info.id)
            (record,) = await self.table.storage.read_log(INTERNAL, self.table.info.id, 0, sequence - 1, 1)
            self.states.append((record.time_us, dict(self.documents)))

    async def _write(self) -> None:
        chance = self.chance
        keys = chance.sample(range(30), chance.randrange(1, 5))
        number = chance.randrange(10)
        if chance.random() < 0.3 and any(key in self.documents for key in keys):
            for key in keys:
                self.documents.pop(key, None)
            await self.table.write("delete", keys=keys, durability="soft")
        else:
            # A value that no other write has, so that each changes something.
            fresh = {key: {"id": key, "a": number, "n": len(self.states)} for key in keys}
            self.documents |= fresh
            await self.table.insert(*fresh.values(), conflict="replace", durability="soft")

    def at(self, time_us: int) -> Documents:
        return next((documents for moment, documents in reversed(self.states) if moment <= time_us), {})

    async def check(self, time_us: int) -> None:
        """Compare everything that can be read as of then with the model."""
        expected = self.at(time_us)
        storage, info = self.table.storage, self.table.info
        raws = await storage.get(then(time_us), [(info.id, primary_key(key)) for key in range(30)])
        assert [None if raw is None else loads_stored(raw) for raw in raws] == [expected.get(key) for key in range(30)]
        by_key = [expected[key] for key in sorted(expected)]
        assert await scanned(self.table, then(time_us)) == by_key
        assert await scanned(self.table, then(time_us), descending=True) == by_key[::-1]
        part = key_ranges((encode_key(5), encode_key(20)))
        assert await scanned(self.table, then(time_us), ranges=part) == [row for row in by_key if 5 <= row["id"] < 20]
        by_index = sorted(expected.values(), key=lambda row: (row["a"], row["id"]))
        index = self.table.index("a")
        assert await scanned(self.table, then(time_us), index=index) == by_index
        assert await scanned(self.table, then(time_us), index=index, descending=True) == by_index[::-1]
        counted = await storage.scan(then(time_us), Scan(info.id, aggregate=Count()))
        assert counted.partial == len(expected)


@pytest.fixture
async def model(table: Table) -> Model:
    await keep_history(table)
    await table.change(CreateIndex("test", "documents", "a", term(lambda row: row["a"]), include=("b",)))
    while not (await table.storage.index_status(INTERNAL, table.info.id))[0].ready:
        await asyncio.sleep(0.001)
    return Model(table, 5)


@pytest.mark.parametrize("kept_bytes", [0, 500, 1 << 20])
async def test_every_moment_is_as_it_was(
    model: Model, node: Node, kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_KEPT_BYTES", kept_bytes)
    before = time.time_ns() // 1000
    await model.write(150)
    moments = [moment for moment, _ in model.states]
    for moment in [before, *moments[::10], *(moment - 1 for moment in moments[::10]), moments[-1]]:
        await model.check(moment)
    await node.stop()
    model.table.storage = await node.start()
    await model.write(50)
    for moment in [before, *moments[::15]]:
        await model.check(moment)


@pytest.mark.parametrize("kept_bytes", [0, 500, 1 << 20])
async def test_scan_of_the_past_goes_on_while_the_present_changes(
    model: Model, kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_KEPT_BYTES", kept_bytes)
    await model.write(100)
    moment = model.states[50][0]
    expected = model.at(moment)
    assert len(expected) > 10
    reply = await model.table.storage.scan(then(moment), Scan(model.table.info.id, chunk_rows=3))
    assert reply.chunk is not None
    rows, cursor, last = list(reply.chunk.values()), reply.cursor, False
    while not last:
        await model.write(3)
        assert cursor is not None
        chunk, last = await cursor.next()
        rows += chunk.values()
    assert rows == [expected[key] for key in sorted(expected)]


async def test_what_was_read_as_of_the_present_stays_true(model: Model) -> None:
    for _ in range(200):
        now = time.time_ns() // 1000
        seen = await scanned(model.table, then(now))
        await model.write(1)
        assert model.states[-1][0] > now
        assert await scanned(model.table, then(now)) == seen


async def test_log_of_a_table_with_history_is_not_trimmed_below_it(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    await model.write(60)
    trimmer = LogTrimmer(model.table.storage._store, {}, max_age_s=0, max_bytes=1, min_records=1)
    stored = model.table.storage._tables[model.table.info.id]
    trimmer.trim(stored)
    assert stored.oldest == 1
    middle = model.states[30][0]
    real = time.time_ns
    # A day later, as far as what is left of the history begins at that commit.
    monkeypatch.setattr(time, "time_ns", lambda: (middle + DAY_S * 1_000_000) * 1000)
    trimmer.trim(stored)
    assert stored.oldest > 1
    await model.check(middle)
    for moment, _ in model.states[31:]:
        await model.check(moment)
    with pytest.raises(ReqlError, match="does not go back to"):
        await model.check(middle - 1)
    monkeypatch.setattr(time, "time_ns", real)
    with pytest.raises(ReqlError, match="does not go back to"):
        await model.check(model.states[20][0])  # young enough, but gone


async def test_settings_of_the_change_log_are_honoured(table: Table) -> None:
    for number in range(20):
        await table.insert({"id": number})
    stored = table.storage._tables[table.info.id]
    trimmer = LogTrimmer(table.storage._store, {}, min_records=1)
    trimmer.trim(stored)
    assert stored.oldest == 1
    record_bytes = stored.position.log_bytes // 20
    await keep_history(table, history_s=None, changelog_bytes=record_bytes * 5)
    trimmer.trim(stored)
    assert 14 <= stored.oldest <= 17
    await keep_history(table, history_s=None, changelog_s=0)
    trimmer.trim(stored)
    assert stored.oldest == 20


async def test_log_of_few_huge_documents_is_trimmed(table: Table) -> None:
    for number in range(10):
        await table.insert({"id": number, "text": "x" * 100_000}, durability="soft")
    stored = table.storage._tables[table.info.id]
    LogTrimmer(table.storage._store, {}, max_bytes=250_000, min_bytes=10_000_000).trim(stored)
    assert stored.oldest == 1
    LogTrimmer(table.storage._store, {}, max_bytes=250_000, min_bytes=500_000).trim(stored)
    assert stored.oldest == 9


async def test_what_is_refused(model: Model, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    await model.write(20)
    moment = model.states[3][0]
    info = model.table.info
    with pytest.raises(ReqlError, match="has not come yet"):
        await scanned(model.table, then(time.time_ns() // 1000 + 10_000_000))
    with pytest.raises(ReqlError, match="does not go back to"):
        await scanned(model.table, then(-1))
    with pytest.raises(ReqlError, match="does not go back to"):
        await scanned(model.table, then(-(10**17)))
    with pytest.raises(ReqlError, match="cannot write"):
        await model.table.storage.write(then(moment), [Write(info.id, "delete", keys=[primary_key(1)])])
    other = await node.table("other")
    with pytest.raises(ReqlError, match=r"Table `test\.other` keeps no history"):
        await scanned(other, then(moment))
    monkeypatch.setattr(history, "MAX_CHANGED_BYTES", 100)
    with pytest.raises(ReqlError, match="have changed since the time"):
        await scanned(model.table, then(moment))
    assert (await model.table.write("update", keys=[*model.documents][:1], function=constant({"a": 1}))).errors == 0
