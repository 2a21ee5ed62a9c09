"""How a scan is answered: from columns, by a worker, in one go, or step by step with a cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from photondb.api.context import CallContext, SpanNames
from photondb.api.storage import Scan, ScanReply
from photondb.reql.chunk import Chunk
from photondb.reql.errors import op_failed
from photondb.reql.function_runtime import DEFAULT_ARRAY_LIMIT
from photondb.reql.memory import MemoryBudget
from photondb.reql.vectors import Unsuited
from services.storage.clock import CommitClock
from services.storage.column_cache import ColumnCache
from services.storage.cursors import OpenScans
from services.storage.failures import reql_error, reql_errors
from services.storage.history import PastView
from services.storage.indexes import Index
from services.storage.options import StorageOptions
from services.storage.rocks import Store, StoreError
from services.storage.scan import ScanRun
from services.storage.scan_cursor import Cursor
from services.storage.scan_workers import ScanWorkers, WorkerFailed
from services.storage.short_scan import is_short, read_short
from services.storage.tables import Table, find_table
from services.storage.transactions import Transactions

EXPIRE_EVERY_S = 1.0

MAX_PART_BYTES = 16 << 20
"""How much memory the groups (and so on) of one scan may take before they are handed on."""


class Scanner:
    """Answers all scans of a storage node, and ends those that are open for too long."""

    def __init__(
        self,
        store: Store,
        tables: Mapping[int, Table],
        transactions: Transactions,
        clock: CommitClock,
        options: StorageOptions,
    ) -> None:
        self._store = store
        self._tables = tables
        self._transactions = transactions
        self._clock = clock
        self.memory = MemoryBudget(options.aggregate_bytes, min(MAX_PART_BYTES, options.aggregate_bytes // 4))
        """What aggregates under way hold."""
        self.parts = 0
        """How many partial results were handed on before their scan was done."""
        self.runs = OpenScans(options.max_cursors, options.max_cursor_age_s)
        self.columns = ColumnCache(store, options.column_cache_bytes)
        self.workers = ScanWorkers(store, options.scan_workers)
        self._expiring = asyncio.create_task(self._expire())

    async def stop(self) -> None:
        """End all scans. Those under way fail."""
        self._expiring.cancel()
        await self.columns.stop()
        await self.workers.stop()
        for run in self.runs:
            run.abort()

    def forget(self, table_id: int) -> None:
        """A table has been dropped."""
        self.columns.forget(table_id)
        self.workers.forget(table_id)

    async def scan(self, context: CallContext, scan: Scan, spans: SpanNames = ()) -> ScanReply:
        """Begin a scan, and answer it as a whole if that is quick. `spans` are those of the scan itself. Raises
        TableGone, ReqlError."""
        table = find_table(self._tables, scan.table)
        parts = [scan.index, *(part.index for part in scan.others)]
        if scan.primary_order and not all(map(table.has_ready, parts)):
            scan = scan.without_index()
        index = _ready_index(table, scan.index)
        table.scans += 1
        if context.transaction:
            run = self._transactions.scan(context, table, index, scan)
        elif context.as_of_us is not None:
            self._clock.commit_after(context.as_of_us)
            with reql_errors():
                indexes = [index, *(table.index(part.index) for part in scan.others)]
                used = [one for one in indexes if one is not None]
                past = await PastView.open(self._store, table, used, context.as_of_us)
            run = ScanRun(self._store, table, index, scan, context, past)
        else:
            if is_short(context, scan, table, index):
                with reql_errors():
                    rows = read_short(self._store, table, index, scan)
                if rows is not None:
                    return ScanReply(rows)
            if _at_once(scan) and context.optimizations and not scan.measured and not scan.primary_order:
                with reql_errors(), suppress(Unsuited):
                    return ScanReply(partial=await self.columns.aggregate(table, scan, context))
                table = find_table(self._tables, scan.table)  # it may have been dropped meanwhile
                if self.workers.take(table, scan):
                    with suppress(WorkerFailed):
                        return ScanReply(partial=await self.workers.aggregate(table, scan, context, spans))
                    table = find_table(self._tables, scan.table)
            run = ScanRun(self._store, table, index, scan, context)
        return await self._begin(run, table, scan, context)

    async def _begin(self, run: ScanRun, table: Table, scan: Scan, context: CallContext) -> ScanReply:
        """The answer to a scan that goes through documents: its first chunk, or its aggregate."""
        self.runs.add(run)
        last = True
        try:
            if scan.primary_order and _at_once(scan) and run.of_the_present and not scan.measured:
                whole = scan.without_index()
                if not await run.leads_to_few(only_few=self.columns.has(table, whole)):
                    with suppress(Unsuited):  # the columns of all documents are faster, if they are in memory
                        return ScanReply(partial=await self.columns.aggregate(table, whole, context))
            if scan.aggregate is not None:
                partial, last = await run.aggregate(self.memory)
                if last:
                    return ScanReply(partial=partial, measures=run.measures)
                self.parts += 1
                return ScanReply(Chunk.of_values([partial]), cursor=Cursor(run, scan, self))
            chunk, last = await run.chunk(scan.first_chunk_rows or scan.chunk_rows)
        except StoreError as error:
            raise reql_error(error) from None
        finally:
            if last:
                run.close()
                self.runs.discard(run)
        return ScanReply(chunk, cursor=None if last else Cursor(run, scan, self))

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            self.runs.expire()


def _at_once(scan: Scan) -> bool:
    """Whether it has an aggregate whose result is not too large to be made in one piece."""
    return scan.aggregate is not None and scan.aggregate.most_rows <= DEFAULT_ARRAY_LIMIT


def _ready_index(table: Table, index_id: int | None) -> Index | None:
    if index_id is None:
        return None
    index = table.index(index_id)
    name = f"{table.info.database}.{table.info.name}"
    if index is None:
        raise op_failed(f"The index was dropped from table `{name}`.")
    if not index.info.ready:
        raise op_failed(
            f"Index `{index.info.name}` on table `{name}` was accessed before its construction was finished."
        )
    return index
