"""Statistics of indexes, for the planner: how many entries there are, how many different values, and where they lie.

A background task goes through the keys of each index when enough of its table has changed. It needs no snapshot (the
figures are estimates), reads only keys, and works for a small part of the time, however large the index is. Of every
block of keys the first ones are looked at: they give the share of neighbours that differ, and a bound of the histogram.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from itertools import pairwise
from time import perf_counter

from photondb.api.storage_status import IndexStatistics
from photondb.datum.keys import HIGHEST, end_of_key
from photondb.reql.index_values import Apart
from services.storage.indexes import Index
from services.storage.rocks import Store, StoreError
from services.storage.tables import Table
from services.storage.views import View

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
"""How often the task looks for tables that have changed enough."""

CHANGED_SHARE = 0.1
MIN_CHANGES = 200
"""Statistics are taken anew when this share of a table's documents has changed, but at least so many."""

SLICE_S = 0.001
REST_PER_WORK = 15
"""After a slice of work the task rests so many times as long."""

BLOCK_KEYS = 512
SAMPLE_KEYS = 32
"""So many keys of each block are looked at."""

MAX_BOUNDS = 256
"""How many bounds a histogram has; when there are more, every other one is left out."""

MAX_BOUND_BYTES = 64


class StatisticsCollector:
    """Keeps statistics of all indexes of a store."""

    def __init__(self, store: Store, tables: dict[int, Table]) -> None:
        self._store = store
        self._tables = tables
        self._known: dict[tuple[int, int], IndexStatistics] = {}

    def of(self, table: Table) -> dict[int, IndexStatistics]:
        """What is known of a table's indexes, by their ids."""
        known = self._known
        return {index.id: known[table.id, index.id] for index in table.indexes if (table.id, index.id) in known}

    async def run(self) -> None:
        """Take statistics when they are due, for ever."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                await self.collect()
            except StoreError as error:
                log.warning("statistics cannot be taken", extra={"reason": str(error)})

    async def collect(self) -> None:
        """Take the statistics that are due."""
        for table in list(self._tables.values()):
            for index in table.indexes:
                if index.info.ready and not index.info.geo and self._due(table, index):
                    self._known[table.id, index.id] = await self._measure(table, index)
        present = {(table.id, index.id) for table in self._tables.values() for index in table.indexes}
        for gone in self._known.keys() - present:
            del self._known[gone]

    def _due(self, table: Table, index: Index) -> bool:
        known = self._known.get((table.id, index.id))
        if known is None:
            return True
        changes = table.position.sequence - known.sequence
        return changes >= max(MIN_CHANGES, table.position.rows * CHANGED_SHARE)

    async def _measure(self, table: Table, index: Index) -> IndexStatistics:
        sequence = table.position.sequence
        start = len(index.prefix)
        entries = neighbours = differing = 0
        bounds: list[bytes] = []
        stride, block = 1, 0
        async for keys in self._blocks(table, index.prefix, index.prefix + HIGHEST):
            entries += len(keys)
            sample = keys if len(keys) < BLOCK_KEYS else keys[:SAMPLE_KEYS]
            values = [key[start : end_of_key(key, start)] for key in sample]
            neighbours += len(values) - 1
            differing += sum(left != right for left, right in pairwise(values))
            if block % stride == 0:
                bounds.append(values[0][:MAX_BOUND_BYTES])
                if len(bounds) > MAX_BOUNDS:
                    bounds, stride = bounds[::2], 2 * stride
            block += 1
            if len(keys) < BLOCK_KEYS and block == 1:  # a small index: every value counts
                bounds = [value[:MAX_BOUND_BYTES] for value in values[:: max(1, len(values) // MAX_BOUNDS)]]
        distinct = round(1 + (entries - 1) * differing / max(neighbours, 1)) if entries else 0
        apart: dict[str, int] = {}
        for reason in Apart:
            low = index.prefix + reason.value
            async for keys in self._blocks(table, low, low + HIGHEST):
                apart[reason.name] = apart.get(reason.name, 0) + len(keys)
        return IndexStatistics(entries, distinct, tuple(bounds), apart, sequence)

    async def _blocks(self, table: Table, low: bytes, high: bytes) -> AsyncIterator[list[bytes]]:
        """The keys of a range, in blocks, with rests in between."""
        began = perf_counter()
        while not table.dropped:
            with View(self._store).read(low, high, keys_only=True, bulk=True) as reader:
                keys = reader.take_keys(BLOCK_KEYS)
            if not keys:
                return
            yield keys
            if len(keys) < BLOCK_KEYS:
                return
            low = keys[-1] + b"\0"
            worked = perf_counter() - began
            if worked > SLICE_S:
                await asyncio.sleep(worked * REST_PER_WORK)
                began = perf_counter()
