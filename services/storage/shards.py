"""Shards: how a table's one ordered key space is divided.

A shard is a range of primary keys and nothing else: its documents stay where they are, in the order they have, so that
a table is divided anew in no time. What works on a table in parallel takes a shard, or a run of shards, at a time.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence

from photondb.datum.keys import primary_key
from services.storage import layout
from services.storage.rocks import Store
from services.storage.tables import Table
from services.storage.views import View

SLICE_KEYS = 5_000
"""How many keys are gone through before others get their turn: about two milliseconds."""

STALE_PART = 0.05
"""How large a part of a table may have changed since its shards were counted, before they are counted anew."""


async def even_split_points(store: Store, table: Table, shards: int) -> tuple[bytes, ...] | None:
    """Where to split a table so that its shards have equally many documents, to within one; None where it has fewer
    documents than there are to be shards. It goes through all primary keys. Raises StoreError."""
    rows = table.position.rows
    if rows < shards:
        return None
    firsts = [rows * number // shards for number in range(1, shards)]
    points: list[bytes] = []
    passed = 0
    start = len(table.document_prefix)
    with View(store).read(table.document_prefix, layout.end_of(table.document_prefix), keys_only=True) as reader:
        while len(points) < len(firsts) and not reader.done:
            keys = reader.take_keys(SLICE_KEYS)
            while len(points) < len(firsts) and firsts[len(points)] < passed + len(keys):
                points.append(keys[firsts[len(points)] - passed][start:])
            passed += len(keys)
            await asyncio.sleep(0)
    return tuple(points)


def uuid_split_points(shards: int) -> tuple[bytes, ...]:
    """Where to split a table whose keys are not known yet: as is right for uuids, the keys that documents get."""
    step = (1 << 32) // shards
    return tuple(primary_key(f"{step * number:08x}-0000-0000-0000-000000000000") for number in range(1, shards))


class ShardCounts:
    """About how many documents each shard of each table has: exact when asked for the first time, and no further off
    than by what has changed since, a small part of the table."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[int, tuple[Sequence[bytes], int, list[int]]] = {}
        """By table: the split points, the last change, and the counts after it."""

    async def of(self, table: Table) -> list[int]:
        """The counts, which add up to the number of documents when nothing has changed. Raises StoreError."""
        points, position = table.info.split_points, table.position
        if not points:
            return [position.rows]
        known = self._known.get(table.id)
        if known is not None:
            known_points, sequence, counts = known
            if known_points == points and position.sequence - sequence <= position.rows * STALE_PART:
                return counts
        counts = await self._count(table, points)
        self._known[table.id] = points, position.sequence, counts
        return counts

    def forget(self, table: int) -> None:
        """The table was dropped."""
        self._known.pop(table, None)

    async def _count(self, table: Table, points: Sequence[bytes]) -> list[int]:
        counts = [0] * (len(points) + 1)
        prefix = table.document_prefix
        bounds = [prefix + point for point in points]
        with View(self._store).read(prefix, layout.end_of(prefix), keys_only=True) as reader:
            while not reader.done:
                keys = reader.take_keys(SLICE_KEYS)
                if not keys:
                    break
                first, last = bisect_right(bounds, keys[0]), bisect_right(bounds, keys[-1])
                if first == last:
                    counts[first] += len(keys)
                else:
                    for key in keys:
                        counts[bisect_right(bounds, key)] += 1
                await asyncio.sleep(0)
        return counts
