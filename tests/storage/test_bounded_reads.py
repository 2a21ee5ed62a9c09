"""What is read at a time is bounded by its bytes, however long some documents are, and nothing is left out for that."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from photondb.api.catalogue import CreateIndex
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import Scan
from photondb.reql.aggregates import Sum
from photondb.reql.steps import FilterStep
from services.storage import scan as scanning
from services.storage import short_cut
from services.storage.overlay import FrozenOverlay, MergedReader
from services.storage.rocks import Batch, Store
from services.storage.scan_blocks import BLOCK_BYTES, LOOKED_UP_AT_A_TIME, ScanBlocks
from services.storage.views import Reader, View
from tests.storage.conftest import Table
from tests.storage.language import func, term

LOW, HIGH = b"d\0", b"d\xff"
LONG = 100_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Rows of which some are long."""
    opened = Store.open(tmp_path / "data")
    batch = Batch()
    chance = random.Random(1)
    for number in range(300):
        batch.put(LOW + b"%03d" % number, b"x" * chance.choice([0, 1, 20, 20, 1000, 5000]))
    opened.write(batch)
    yield opened
    opened.close()


def overlaid(base: Reader, descending: bool) -> Reader:
    """A reader of the same with other rows laid over them, some of them gone."""
    values: dict[bytes, bytes | None] = {
        LOW + b"%05.1f" % (number / 2): None if number % 3 else b"y" * 700 for number in range(100, 400)
    }
    return MergedReader(base, FrozenOverlay(sorted(values), values), LOW, HIGH, descending)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("kind", ["direct", "pinned", "overlaid"])
def test_bounded_reads_give_every_row_once(store: Store, kind: str, descending: bool) -> None:
    view = View(store)
    if kind == "pinned":
        view.pin()

    def reader() -> Reader:
        base = view.read(LOW, HIGH, descending=descending)
        return overlaid(base, descending) if kind == "overlaid" else base

    with reader() as whole:
        expected = whole.take(1000)
        assert whole.done
    chance = random.Random(2)
    longest = max(len(value) for _, value in expected)
    for only_values in (False, True):
        found: list[Any] = []
        with reader() as bounded:
            while not bounded.done:
                count, max_bytes = chance.choice([1, 7, 50]), chance.choice([1, 800, 6000])
                rows: list[Any] = (
                    bounded.take_values(count, max_bytes) if only_values else bounded.take(count, max_bytes)
                )
                assert rows or bounded.done
                size = sum(map(len, rows)) if only_values else sum(len(value) for _, value in rows)
                assert len(rows) <= count
                assert kind == "overlaid" or size < max_bytes + longest
                found += rows
        assert found == ([value for _, value in expected] if only_values else expected)
    view.close()


@pytest.fixture
async def mixed(table: Table) -> Table:
    """A table with 60 long documents among 1,200 short ones, and an index of its numbers."""
    await table.change(CreateIndex("test", table.info.name, "n", term(lambda row: row["n"])))
    while not all(status.ready for status in await table.storage.index_status(INTERNAL, table.info.id)):
        await asyncio.sleep(0)
    for start in range(0, 1260, 60):
        text = "x" * (LONG if start == 600 else 10)
        await table.insert(*({"id": n, "n": n, "text": text} for n in range(start, start + 60)), durability="soft")
    return table


@pytest.mark.parametrize("way", ["table", "descending", "filter", "aggregate", "index", "short cut", "transaction"])
async def test_a_scan_reads_few_long_documents_at_a_time(
    mixed: Table, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    sizes: list[int] = []
    read = ScanBlocks.read

    def noted(self: ScanBlocks, *arguments: Any) -> list[bytes]:
        block = read(self, *arguments)
        sizes.append(sum(map(len, block)))
        return block

    monkeypatch.setattr(ScanBlocks, "read", noted)
    monkeypatch.setattr(scanning, "AGGREGATED_BLOCK_BYTES", BLOCK_BYTES)
    monkeypatch.setattr(short_cut, "MAX_SHORT_CUT_SHARE", 1.0)
    context = CallContext(user="admin", transaction="tx") if way == "transaction" else INTERNAL
    if context.transaction:
        await mixed.storage.begin_transaction(context, "tx", "snapshot", False, 60_000)
    every = FilterStep(func(lambda row: row["n"] >= 0))
    fields: dict[str, Any] = {
        "descending": {"descending": True},
        "filter": {"steps": [every]},
        "aggregate": {"steps": [every], "aggregate": Sum(func(lambda row: row["n"]))},
        "index": {"index": mixed.index("n")},
        "short cut": {"index": mixed.index("n"), "primary_order": True},
    }.get(way, {})
    reply = await mixed.storage.scan(context, Scan(mixed.info.id, **fields))
    if way == "aggregate":
        assert reply.partial == [sum(range(1260)), 1260]
    else:
        rows, cursor = list(reply.chunk.values()), reply.cursor
        last = cursor is None
        while not last:
            assert cursor is not None
            chunk, last = await cursor.next()
            rows += chunk.values()
        numbers = [row["n"] for row in rows]
        assert numbers == list(range(1259, -1, -1) if way == "descending" else range(1260))
    looked_up = LOOKED_UP_AT_A_TIME if way in ("index", "short cut") else 1
    assert max(sizes) < BLOCK_BYTES + (looked_up + 0.1) * LONG
    assert sum(sizes) > 60 * LONG
