"""Which fields are kept as columns, and scans that are answered from these.

Fields of a table are kept when whole-table aggregates over them are asked for again and again, as long as the memory
that is set aside for it suffices; what was not used for the longest time leaves first. Everything that is not plain is
left to `services.storage.scan`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from photondb.api.context import CallContext
from photondb.api.storage import KeyRange, Scan
from photondb.reql.aggregates import Count
from photondb.reql.column_reader import can_be_columns
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.vector_plan import VectorPlan
from photondb.reql.vectors import Unsuited
from photondb.telemetry import catalogue
from photondb.telemetry.scrape import Scrape
from services.storage import layout
from services.storage.column_evaluation import evaluated
from services.storage.columns import TableColumns
from services.storage.metrics import ColumnCacheMetrics
from services.storage.rocks import Store, StoreError
from services.storage.tables import Table
from services.storage.views import View

log = logging.getLogger(__name__)

HOT_SCANS = 2
"""A field is kept when it has been scanned so often ..."""

HOT_SECONDS = 600.0
"""... with no longer than this in between."""

MIN_ROWS = 1000
"""Smaller tables are scanned as fast."""

BUILD_ROWS = 1024
BUILD_BYTES = 512 << 10
"""Columns are made from so many documents in a turn, or of so many bytes, with a pause as long as that took: so half of
the time is for those who wait for an answer."""

TYPICAL_KEY_BYTES = 24
BYTES_PER_KEY = 8
BYTES_PER_VALUE = 8
"""What a row takes, about, from which it follows whether to begin at all."""


class ColumnCache:
    """The columns of all tables of a node, in at most `max_bytes` of memory; 0 turns it off."""

    def __init__(self, store: Store, max_bytes: int) -> None:
        self._store = store
        self.max_bytes = max_bytes
        self._kept: dict[int, TableColumns] = {}  # what was used last is at the end
        self._heat: dict[tuple[int, str], tuple[int, float]] = {}
        self._building: dict[int, tuple[TableColumns, asyncio.Task[None]]] = {}
        self._too_large: dict[int, float] = {}
        """Tables whose columns there was no room for, and when that was found out."""
        self.metrics = ColumnCacheMetrics()

    @property
    def size(self) -> int:
        """About how much memory all columns take, those that are being made among them."""
        return sum(columns.size for columns in self._kept.values()) + sum(
            columns.size for columns, _ in self._building.values()
        )

    def collect(self, scrape: Scrape) -> None:
        """Write what is counted into a reading."""
        self.metrics.collect(scrape)
        scrape.add(catalogue.COLUMN_CACHE_BYTES, self.size)
        scrape.add(catalogue.COLUMN_CACHE_SIZE, self.max_bytes)
        scrape.add(catalogue.COLUMN_CACHE_TABLES, len(self._kept))
        scrape.add(catalogue.COLUMN_CACHE_BUILDING, len(self._building))

    async def stop(self) -> None:
        """Let go of everything."""
        tasks = [task for _, task in self._building.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for table in list(self._kept):
            self.forget(table)

    def forget(self, table: int) -> None:
        """Give up the columns of a table."""
        self._too_large.pop(table, None)
        columns = self._kept.pop(table, None)
        if columns is not None:
            columns.close()

    def has(self, table: Table, scan: Scan) -> bool:
        """Whether a scan can be answered from columns that are in memory."""
        try:
            plan = self._plan(table, scan)
        except Unsuited:
            return False
        columns = self._kept.get(table.id)
        return columns is not None and not columns.outrun and plan.fields.issubset(columns.fields)

    async def aggregate(self, table: Table, scan: Scan, context: CallContext) -> Any:
        """The partial aggregate of a scan of the present state. Raises Unsuited where documents must be scanned."""
        plan = self._plan(table, scan)
        columns = self._ready(table, plan)
        if columns is None:
            self.metrics.misses += 1
            raise Unsuited

        async def give_way() -> None:
            if context.deadline is not None and time.monotonic() > context.deadline:
                raise ReqlError(ErrorKind.RESOURCE_LIMIT, "The query took longer than its time limit.")
            await asyncio.sleep(0)

        try:
            partial = await evaluated(self._store, columns, plan, scan.ranges, table.document_prefix, give_way)
        finally:
            columns.trim_summaries(self.max_bytes - self.size + columns.summaries.size)
        self.metrics.hits += 1
        return partial

    def _plan(self, table: Table, scan: Scan) -> VectorPlan:
        if not self.max_bytes or scan.aggregate is None or scan.index is not None or scan.descending:
            raise Unsuited
        if table.position.rows < MIN_ROWS or (type(scan.aggregate) is Count and not scan.steps):
            raise Unsuited
        if not _ascending(scan.ranges):
            raise Unsuited
        plan = VectorPlan(scan.steps, scan.aggregate)
        if not can_be_columns(plan.fields):
            raise Unsuited
        return plan

    def _ready(self, table: Table, plan: VectorPlan) -> TableColumns | None:
        """The columns for a plan, if they are there. If not, they are soon, should they be asked for again."""
        columns = self._kept.get(table.id)
        if columns is not None and columns.outrun:
            self.forget(table.id)
            self.metrics.evictions["outrun"] += 1
            columns = None
        if columns is not None and plan.fields.issubset(columns.fields):
            self._kept[table.id] = self._kept.pop(table.id)
            return columns
        now = time.monotonic()
        hot = True
        for name in plan.fields:
            scans, last = self._heat.get((table.id, name), (0, now))
            scans = scans + 1 if now - last < HOT_SECONDS else 1
            self._heat[table.id, name] = scans, now
            hot = hot and scans >= HOT_SCANS
        if len(self._heat) > 10_000:
            self._heat.clear()
        if hot and plan.fields and table.id not in self._building:
            self._build(table, sorted(plan.fields.union(() if columns is None else columns.fields)))
        return None

    def _build(self, table: Table, fields: Sequence[str]) -> None:
        expected = table.position.rows * (TYPICAL_KEY_BYTES + BYTES_PER_KEY + BYTES_PER_VALUE * len(fields))
        found_too_large = self._too_large.get(table.id)
        if expected > self.max_bytes or (
            found_too_large is not None and time.monotonic() - found_too_large < HOT_SECONDS
        ):
            return
        columns = TableColumns(self._store, table, fields)
        # Its iterator is the table as of now, too.
        prefix = table.document_prefix
        reader = View(self._store).read(prefix, layout.end_of(prefix), bulk=True)

        async def build() -> None:
            built = False
            try:
                while not reader.done:
                    start = time.perf_counter()
                    rows = reader.take(BUILD_ROWS, BUILD_BYTES)
                    columns.add([key[len(prefix) :] for key, _ in rows], [document for _, document in rows])
                    if columns.outrun or table.dropped:
                        return
                    if not self._make_room(columns):
                        self._too_large[table.id] = time.monotonic()
                        return
                    await asyncio.sleep(time.perf_counter() - start)
                columns.finish()
                built = not table.dropped
            except StoreError as error:
                log.error("columns could not be made", extra={"reason": str(error)})
            finally:
                reader.close()
                self._building.pop(table.id, None)
                self.metrics.builds["made" if built else "given_up"] += 1
                if built:
                    self.forget(table.id)
                    self._kept[table.id] = columns
                    self._make_room(columns)
                else:
                    columns.close()

        self._building[table.id] = columns, asyncio.create_task(build())

    def _make_room(self, wanted: TableColumns) -> bool:
        """Let go of what was not used for the longest time, until there is room for some columns with all others that
        stay. Returns whether there is."""
        while self.size > self.max_bytes:
            for columns in self._kept.values():
                columns.summaries.trim(0)
            if self.size <= self.max_bytes:
                break
            oldest = next((table for table, columns in self._kept.items() if columns is not wanted), None)
            if oldest is None:
                return False
            self.forget(oldest)
            self.metrics.evictions["room"] += 1
        return True


def _ascending(ranges: Sequence[KeyRange]) -> bool:
    """Whether ranges follow one another without any row twice."""
    return all(one.repeat == 1 for one in ranges) and all(
        before.high <= after.low for before, after in pairwise(ranges)
    )
