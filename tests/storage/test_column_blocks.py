"""Columns in blocks: they are those of the table whatever changes, and nobody waits long for them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from photondb.api.catalogue import CreateTable
from photondb.api.context import INTERNAL
from photondb.api.storage import KeyRange, Scan
from photondb.bus import LocalBus
from photondb.datum.keys import primary_key
from photondb.reql.aggregates import Sum
from services.storage import column_cache, columns
from services.storage.column_blocks import Snapshot
from services.storage.columns import TableColumns
from services.storage.options import StorageOptions
from services.storage.service import Storage
from tests.storage.conftest import Table
from tests.storage.language import func

ROWS = 4000


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Table]:
    storage = Storage(tmp_path / "data", LocalBus(), options=StorageOptions())
    await storage.start()
    catalogue = await storage.change_catalogue(INTERNAL, CreateTable("test", "t"))
    found = Table(storage, catalogue.tables["test", "t"])
    await found.insert(*({"id": n, "n": n, "s": f"s{n % 9}"} for n in range(ROWS)), durability="soft")
    yield found
    await storage.stop()


def numbers(snapshot: Snapshot, wanted: KeyRange | None = None) -> dict[bytes, Any]:
    """The values of the first field by key."""
    found: dict[bytes, Any] = {}
    for block, first in snapshot.parts(wanted or KeyRange()):
        keys = [block.keys[place] for place in range(len(block.keys))]
        assert snapshot.keys(range(first, first + len(keys))) == keys
        found.update(zip(keys, block.fields[0].values.tolist(), strict=True))
    assert list(found) == sorted(found)
    return found


def made(table: Table, at_a_time: int = 100) -> TableColumns:
    """Columns of what is in the table now."""
    inner = table.storage._tables[table.info.id]
    kept = TableColumns(table.storage._store, inner, ["n", "s"])
    prefix = inner.document_prefix
    for key, value in sorted(table.storage._store.database.items(from_key=prefix)):
        if not key.startswith(prefix):
            break
        kept.add([key[len(prefix) :]], [value])
    kept.finish()
    return kept


async def nobody_waits() -> None:
    await asyncio.sleep(0)


async def test_blocks_follow_the_table(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "BLOCK_ROWS", 64)
    kept = made(table)
    expected = {primary_key(n): float(n) for n in range(ROWS)}
    assert numbers(await kept.caught_up(nobody_waits)) == expected
    chance = random.Random(1)
    for round in range(12):
        before = await kept.caught_up(nobody_waits)
        held = numbers(before)
        rows = [{"id": chance.randrange(-500, ROWS + 500), "n": -round} for _ in range(chance.choice([1, 30, 300]))]
        rows += [{"id": 100.5 + n / 1000, "n": n} for n in range(300 if round == 3 else 0)]  # a block must be divided
        await table.insert(*rows, conflict="replace", durability="soft")
        expected |= {primary_key(row["id"]): float(row["n"]) for row in rows}
        low = chance.randrange(ROWS)
        gone = range(low, low + chance.choice([0, 10, 400]))
        await table.write("delete", keys=gone)
        left_out = set(map(primary_key, gone))
        expected = {key: value for key, value in sorted(expected.items()) if key not in left_out}
        after = await kept.caught_up(nobody_waits)
        assert numbers(after) == expected
        assert numbers(before) == held, "what somebody evaluates over has changed"
        part = KeyRange(primary_key(low - 3), primary_key(low + 700))
        assert numbers(after, part) == {key: v for key, v in expected.items() if part.low <= key < part.high}
    everything = [*range(-500, ROWS + 500), *(100.5 + n / 1000 for n in range(300))]
    await table.write("delete", keys=everything)
    assert numbers(await kept.caught_up(nobody_waits)) == {}
    await table.insert({"id": 1, "n": 7}, durability="soft")
    assert numbers(await kept.caught_up(nobody_waits)) == {primary_key(1): 7.0}
    kept.close()


async def test_what_was_not_caught_up_with_is_not_lost_by_a_query_that_gives_up(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "BLOCK_ROWS", 64)
    kept = made(table)
    await table.insert(*({"id": n, "n": -1} for n in range(ROWS)), conflict="replace", durability="soft")

    async def give_up() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await kept.caught_up(give_up)
    assert set(numbers(await kept.caught_up(nobody_waits)).values()) == {-1.0}
    kept.close()


async def test_others_have_their_turns_while_columns_catch_up(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many blocks, and their writes are part of the outcome."""
    monkeypatch.setattr(columns, "BLOCK_ROWS", 16)
    kept = made(table)
    await table.insert(*({"id": n, "n": -1} for n in range(ROWS)), conflict="replace", durability="soft")
    turns = 0

    async def give_way() -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            await table.insert({"id": 5, "n": 55}, {"id": -5, "n": 66}, conflict="replace", durability="soft")

    found = numbers(await kept.caught_up(give_way))
    assert turns >= ROWS / 16 / columns.CATCH_UP_BLOCKS - 1
    assert (found[primary_key(5)], found[primary_key(-5)]) == (55.0, 66.0)
    assert len(found) == ROWS + 1
    kept.close()


async def test_others_have_their_turns_while_columns_are_made(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any few documents, and between any few bytes of long ones."""
    monkeypatch.setattr(column_cache, "BUILD_ROWS", 100)
    monkeypatch.setattr(column_cache, "BUILD_BYTES", 10_000)
    long = [{"id": ROWS + n, "n": n, "text": "x" * 9000} for n in range(40)]
    await table.insert(*long, durability="soft")
    cache = table.storage._scanner.columns
    added: list[tuple[int, int]] = []
    turns = 0
    add = TableColumns.add

    def noted(self: TableColumns, keys: list[bytes], documents: list[bytes]) -> None:
        added.append((turns, sum(map(len, documents))))
        add(self, keys, documents)

    monkeypatch.setattr(TableColumns, "add", noted)
    scan = Scan(table.info.id, aggregate=Sum(func(lambda row: row["n"])))
    for _ in range(column_cache.HOT_SCANS):
        await table.storage.scan(INTERNAL, scan)
    assert len(cache._building) == 1
    while cache._building:
        turns += 1
        await asyncio.sleep(0)
    assert len({turn for turn, _ in added}) == len(added) >= ROWS / 100 + 20, "two steps in one turn"
    assert max(size for _, size in added) < 20_000
    hits = cache.metrics.hits
    reply = await table.storage.scan(INTERNAL, scan)
    assert reply.partial[0] == sum(range(ROWS)) + sum(range(40))
    assert cache.metrics.hits == hits + 1
    assert cache.metrics.builds == {"made": 1, "given_up": 0}


async def test_columns_take_no_more_memory_than_they_may_also_while_they_are_made(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns of another table leave; and what there is no room for is not begun again and again."""
    monkeypatch.setattr(column_cache, "BUILD_ROWS", 100)
    storage, cache = table.storage, table.storage._scanner.columns
    other = Table(storage, (await storage.change_catalogue(INTERNAL, CreateTable("test", "o"))).tables["test", "o"])
    await other.insert(*({"id": f"{n:0100}", "n": n} for n in range(ROWS)), durability="soft")
    largest = 0

    async def ask(of: Table) -> None:
        nonlocal largest
        scan = Scan(of.info.id, aggregate=Sum(func(lambda row: row["n"])))
        for _ in range(4):
            await storage.scan(INTERNAL, scan)
            while cache._building:
                largest = max(largest, cache.size)
                await asyncio.sleep(0)

    await ask(table)
    assert list(cache._kept) == [table.info.id]
    cache.max_bytes = cache.size + 200_000
    await ask(other)  # its keys are longer than was expected
    assert list(cache._kept) == [] or cache.size <= cache.max_bytes
    assert cache.metrics.evictions["room"] == 1
    assert cache.metrics.builds == {"made": 1, "given_up": 1}
    assert largest <= cache.max_bytes + 100 * 200, "more than one step of a build above what is allowed"
    await ask(other)
    assert cache.metrics.builds == {"made": 1, "given_up": 1}
