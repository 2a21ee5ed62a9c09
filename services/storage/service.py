"""The storage service as a whole."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from photondb.api.catalogue import Catalogue, CatalogueChange, SplitTable
from photondb.api.context import CallContext
from photondb.api.storage import (
    EngineStats,
    IndexStatus,
    LogRecord,
    Positions,
    Scan,
    ScanReply,
    StorageApi,
    TableGone,
    TableStatistics,
    TableStats,
    Write,
    WriteSummary,
)
from photondb.api.transactions import Isolation, TransactionInfo
from photondb.bus import Bus
from photondb.config import StartupError
from photondb.reql.errors import ReqlError, op_failed
from photondb.reql.vectors import Unsuited
from photondb.telemetry import catalogue, tracing
from photondb.telemetry.debug import Report
from photondb.telemetry.operations import COMMIT_TRANSACTION, READ, SCAN, WRITE
from photondb.telemetry.requests import RequestMetrics, measured
from photondb.telemetry.scrape import Scrape
from services.storage import catalog, layout
from services.storage.builder import IndexBuilder
from services.storage.column_cache import ColumnCache
from services.storage.commit import LocalCommitPath
from services.storage.cursors import OpenScans
from services.storage.engine_stats import engine_stats
from services.storage.failures import indeterminate, reql_error, reql_errors
from services.storage.history import PastView, documents_then
from services.storage.indexes import Index
from services.storage.metrics import TableMetrics, collect_disk, collect_store
from services.storage.options import DEFAULT_OPTIONS, StorageOptions
from services.storage.publisher import Publisher
from services.storage.reclaimer import Reclaimer
from services.storage.rocks import Batch, Store, StoreError
from services.storage.scan import ScanRun
from services.storage.scan_cursor import Cursor
from services.storage.scan_workers import SCRATCH, ScanWorkers, WorkerFailed
from services.storage.shards import ShardCounts, even_split_points, uuid_split_points
from services.storage.short_scan import is_short, read_short
from services.storage.sizes import DiskSizes
from services.storage.statistics import StatisticsCollector
from services.storage.tables import Table
from services.storage.transactions import DEFAULT_LIMITS, NotDurable, TransactionLimits, Transactions
from services.storage.trimmer import LogTrimmer
from services.storage.views import View
from services.storage.write_statements import WriteStatements

log = logging.getLogger(__name__)

EXPIRE_EVERY_S = 1.0


CHECKPOINTS = "checkpoints"
"""The folder of the data directory where checkpoints are made."""


class Storage(StorageApi):
    """One storage node with its data in `data_dir`; implements StorageApi."""

    def __init__(
        self,
        data_dir: Path,
        bus: Bus,
        *,
        options: StorageOptions = DEFAULT_OPTIONS,
        transaction_limits: TransactionLimits = DEFAULT_LIMITS,
    ) -> None:
        self._data_dir = data_dir
        self._bus = bus
        self._options = options
        self.requests = RequestMetrics("storage")
        self._table_metrics = TableMetrics()
        self._tables: dict[int, Table] = {}
        self._runs = OpenScans(options.max_cursors, options.max_cursor_age_s)
        self._last_time_us = 0
        self._limits = transaction_limits
        self._transactions: Transactions
        self._store: Store
        self._path: LocalCommitPath
        self._state: catalog.State
        self._catalogue: Catalogue
        self._publisher: Publisher
        self._statements: WriteStatements
        self._builder: IndexBuilder
        self._reclaimer: Reclaimer
        self._sizes: DiskSizes
        self._shard_counts: ShardCounts
        self._statistics: StatisticsCollector
        self._collecting: asyncio.Task[None]
        self._columns: ColumnCache
        self._workers: ScanWorkers
        self._trimming: asyncio.Task[None]
        self._expiring: asyncio.Task[None]

    async def start(self) -> None:
        """Open the store and take up unfinished index builds. Raises StartupError."""
        store = self._store = Store.open(
            self._data_dir,
            cache_bytes=self._options.cache_bytes - self._options.document_cache_bytes,
            document_cache_bytes=self._options.document_cache_bytes,
            mmap_reads=self._options.mmap_reads,
        )
        try:
            await self._open(store)
        except (StoreError, ReqlError, msgspec.MsgspecError) as error:
            store.close()
            raise StartupError(f"the data directory {self._data_dir} is damaged: {error}") from None

    async def _open(self, store: Store) -> None:
        # Checkpoints that a backup did not remove because it was killed, and what earlier scan workers have left.
        for folder in (CHECKPOINTS, SCRATCH):
            await asyncio.to_thread(shutil.rmtree, self._data_dir / folder, ignore_errors=True)
        self._path = LocalCommitPath(store)
        self._publisher = Publisher(self._bus, self._tables)
        max_document_bytes = self._options.max_document_bytes
        self._statements = WriteStatements(store, self._path, self._tables, self._now_us, max_document_bytes)
        self._path.follow(self._publisher.commit)
        self._transactions = Transactions(store, self._path, self._tables, self._now_us, self._limits)
        self._builder = IndexBuilder(store, self._finish_index)
        self._reclaimer = Reclaimer(store)
        self._sizes = DiskSizes(store)
        self._shard_counts = ShardCounts(store)
        self._columns = ColumnCache(store, self._options.column_cache_bytes)
        self._workers = ScanWorkers(store, self._options.scan_workers)
        state = catalog.load(store)
        if state is None or not state.counters.node_id:
            first = catalog.first_state() if state is None else catalog.with_node_id(state)
            batch = Batch()
            first.write_to(batch, store)
            store.write(batch)
            await self._path.sync()
            state = first.state
        self._adopt(state)
        self._start_builds()
        self._last_time_us = max((table.position.time_us for table in self._tables.values()), default=0)
        self._trimming = asyncio.create_task(LogTrimmer(store, self._tables).run())
        self._statistics = StatisticsCollector(store, self._tables)
        self._collecting = asyncio.create_task(self._statistics.run())
        self._expiring = asyncio.create_task(self._expire_scans())

    async def stop(self) -> None:
        """Make everything durable and let go of the data directory. Calls under way fail."""
        self._trimming.cancel()
        self._collecting.cancel()
        self._expiring.cancel()
        await self._builder.stop()
        await self._columns.stop()
        await self._workers.stop()
        await self._reclaimer.stop()
        self._transactions.close()
        for run in self._runs:
            run.abort()
        try:
            await self._path.close()
        except StoreError as error:
            log.error("the last writes may be lost", extra={"reason": str(error)})
        self._publisher.flush()
        try:
            await asyncio.to_thread(self._store.close)
        except StoreError as error:
            log.error("the store was not closed cleanly", extra={"reason": str(error)})

    def collect(self, scrape: Scrape) -> None:
        """Write what is counted into a reading."""
        self.requests.collect(scrape)
        self._path.collect(scrape)
        self._table_metrics.collect(self._tables.values(), scrape)
        scrape.add(catalogue.STORAGE_TABLES, len(self._tables))
        scrape.add(catalogue.STORAGE_INDEXES, sum(len(table.indexes) for table in self._tables.values()))
        scrape.add(catalogue.STORAGE_INDEX_BUILDS, len(self._builder))
        scrape.add(catalogue.STORAGE_SCANS, len(self._runs))
        scrape.add(catalogue.STORAGE_SCANS_GIVEN_UP, self._runs.given_up)
        scrape.add(catalogue.STORAGE_TRANSACTIONS, len(self._transactions))
        for outcome, count in self._transactions.outcomes.items():
            scrape.add(catalogue.STORAGE_TRANSACTIONS_ENDED, count, outcome)
        scrape.add(catalogue.COLUMN_CACHE_HITS, self._columns.hits)
        scrape.add(catalogue.COLUMN_CACHE_BYTES, self._columns.size)
        collect_disk(self._data_dir, scrape)
        collect_store(self._store, scrape)

    def reports(self) -> dict[str, Report]:
        """What can be said about the store."""
        return {"rocksdb": self._store.report}

    # --- the catalogue

    @measured
    async def catalogue(self, context: CallContext) -> Catalogue:
        return self._catalogue

    @measured
    async def change_catalogue(self, context: CallContext, change: CatalogueChange) -> Catalogue:
        with reql_errors():
            if isinstance(change, SplitTable):
                await self._split(change)
            else:
                self._carry_out(catalog.carry_out(self._state, change), Batch())
            after = self._catalogue
            await self._path.sync()
        self._publisher.catalogue(after.version)
        self._start_builds()
        return after

    def _carry_out(self, outcome: catalog.Outcome, batch: Batch) -> None:
        """Write a change of the catalogue together with what is in `batch` already, and live by it."""
        outcome.write_to(batch, self._store)
        self._store.write(batch)
        self._adopt(outcome.state)
        self._reclaimer.reclaim(outcome.deleted_ranges)

    def _adopt(self, state: catalog.State) -> None:
        """Bring the tables in memory in line with the catalogue."""
        self._state = state
        self._catalogue = state.catalogue()
        tables = self._tables
        for table_id in [table_id for table_id in tables if table_id not in state.tables]:
            tables.pop(table_id).dropped = True
            self._shard_counts.forget(table_id)
            self._columns.forget(table_id)
            self._workers.forget(table_id)
        view = View(self._store)
        for table_id, record in state.tables.items():
            table = tables.get(table_id)
            if table is None:
                tables[table_id] = Table.load(view, record.info)
            elif table.info is not record.info:
                table.update(record.info)

    async def _split(self, change: SplitTable) -> None:
        """Divide a table into shards anew, where that changes anything."""
        table = self._tables[self._state.find(change.database, change.name).info.id]
        shards = change.shards or table.info.shards
        if shards == change.shards == table.info.shards:
            return
        points = await even_split_points(self._store, table, shards)
        if points is None and shards != table.info.shards:
            points = uuid_split_points(shards)
        if table.dropped:
            raise op_failed(f"Table `{change.database}.{change.name}` does not exist.")
        if points is not None and points != table.info.split_points:
            self._carry_out(catalog.split(self._state, table.id, points), Batch())

    def _start_builds(self) -> None:
        for table in self._tables.values():
            for index in table.indexes:
                if not index.info.ready:
                    self._builder.start(table, index)

    def _finish_index(self, table: Table, index: Index, batch: Batch) -> None:
        self._carry_out(catalog.mark_ready(self._state, table.id, index.id), batch)
        self._publisher.catalogue(self._catalogue.version)

    @measured
    async def index_status(self, context: CallContext, table: int) -> list[IndexStatus]:
        found = self._table(table)
        statuses = [self._builder.status(found, index) for index in found.indexes]
        return sorted(statuses, key=lambda status: status.name)

    # --- documents

    @measured
    async def get(self, context: CallContext, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        with tracing.span(READ, context):
            return await self._get(context, keys)

    async def _get(self, context: CallContext, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        if context.transaction:
            with reql_errors():
                return self._transactions.get(context, keys)
        if context.as_of_us is not None:
            return await self._get_as_of(context.as_of_us, keys)
        try:
            store_keys = self._store_keys(keys)
        except KeyError:
            raise TableGone from None
        try:
            return self._store.documents.read(store_keys)
        except StoreError as error:
            raise reql_error(error) from None

    def _store_keys(self, keys: Sequence[tuple[int, bytes]]) -> list[bytes]:
        """The keys in the store, counted as reads of their tables. Raises KeyError for a table that is not there."""
        if not keys:
            return []
        first = keys[0][0]
        table = self._tables[first]
        prefix = table.document_prefix
        store_keys = [prefix + key for key_table, key in keys if key_table == first]
        if len(store_keys) == len(keys):  # nearly always
            table.reads += len(keys)
            return store_keys
        store_keys = []
        for key_table, key in keys:
            table = self._tables[key_table]
            table.reads += 1
            store_keys.append(table.document_prefix + key)
        return store_keys

    async def _get_as_of(self, as_of_us: int, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        self._commit_after(as_of_us)
        wanted: dict[int, list[bytes]] = {}
        for table_id, key in keys:
            wanted.setdefault(table_id, []).append(self._table(table_id).document_prefix + key)
        found: dict[bytes, bytes | None] = {}
        with reql_errors():
            for table_id, store_keys in wanted.items():
                documents = await documents_then(self._store, self._table(table_id), store_keys, as_of_us)
                found.update(zip(store_keys, documents, strict=True))
        return [found[layout.document_prefix(table_id) + key] for table_id, key in keys]

    def _commit_after(self, as_of_us: int) -> None:
        """See to it that no later commit has that time or an earlier one, so that what is read as of then stays true.

        A time that has not come yet is refused later on.
        """
        if as_of_us <= time.time_ns() // 1000:
            self._last_time_us = max(self._last_time_us, as_of_us + 1)

    @measured
    async def write(self, context: CallContext, writes: Sequence[Write]) -> list[WriteSummary | Exception]:
        with tracing.span(WRITE, context) as span:
            return await self._write(span.within(context), writes)

    async def _write(self, context: CallContext, writes: Sequence[Write]) -> list[WriteSummary | Exception]:
        if context.transaction:
            with reql_errors():
                return await self._transactions.write(context, writes)
        if context.as_of_us is not None:
            raise op_failed("A query with the run option `as_of` cannot write.")
        return await self._statements.carry_out(context, writes)

    def _now_us(self) -> int:
        """The time of a commit. It never goes back, even when the clock does."""
        self._last_time_us = max(self._last_time_us, time.time_ns() // 1000)
        return self._last_time_us

    @measured
    async def sync(self, context: CallContext, table: int) -> None:
        self._table(table)
        with reql_errors():
            await self._path.sync()

    @measured
    async def table_stats(self, context: CallContext, table: int) -> TableStats:
        position = self._table(table).position
        return TableStats(position.rows, position.document_bytes)

    @measured
    async def shard_rows(self, context: CallContext, table: int) -> list[int]:
        with reql_errors():
            return await self._shard_counts.of(self._table(table))

    @measured
    async def positions(self, context: CallContext, tables: Sequence[int]) -> Positions:
        sequences = tuple((self._table(table).position.sequence,) for table in tables)
        return Positions(self._catalogue.version, sequences)

    @measured
    async def statistics(self, context: CallContext, table: int) -> TableStatistics:
        found = self._table(table)
        return TableStatistics(found.position.rows, found.position.document_bytes, self._statistics.of(found))

    async def collect_statistics(self) -> None:
        """Take the statistics of indexes that are due, as is otherwise done in the background."""
        with reql_errors():
            await self._statistics.collect()

    @measured
    async def engine_stats(self, context: CallContext) -> EngineStats:
        with reql_errors():
            return await engine_stats(self._store, self._sizes)

    @measured
    async def checkpoint(self, context: CallContext) -> str:
        path = self._data_dir.absolute() / CHECKPOINTS / str(uuid.uuid4())
        path.parent.mkdir(exist_ok=True)
        with reql_errors():
            await asyncio.to_thread(self._store.flush)  # first, so that what holds up all others is short
            self._store.checkpoint(path)
        return str(path)

    # --- transactions

    @measured
    async def begin_transaction(
        self, context: CallContext, id: str, isolation: Isolation, read_only: bool, timeout_ms: int
    ) -> TransactionInfo:
        return self._transactions.begin(context, self._state, id, isolation, read_only, timeout_ms)

    @measured
    async def commit_transaction(self, context: CallContext, id: str) -> TransactionInfo:
        try:
            with tracing.span(COMMIT_TRANSACTION, context) as span:
                return await self._transactions.commit(span.within(context), id)
        except NotDurable as error:
            raise indeterminate(error) from None
        except StoreError as error:
            raise reql_error(error) from None

    @measured
    async def abort_transaction(self, context: CallContext, id: str, reason: str = "") -> TransactionInfo:
        return self._transactions.abort(context, id, reason)

    @measured
    async def transactions(self, context: CallContext, id: str = "") -> list[TransactionInfo]:
        return self._transactions.visible(context, id)

    # --- scans

    @measured
    async def scan(self, context: CallContext, scan: Scan) -> ScanReply:
        with tracing.span(SCAN, context):
            return await self._scan(context, scan)

    async def _scan(self, context: CallContext, scan: Scan) -> ScanReply:
        table = self._table(scan.table)
        if scan.primary_order and not table.has_ready(scan.index):
            scan = scan.without_index()
        index = self._ready_index(table, scan.index)
        table.scans += 1
        if context.transaction:
            run = self._transactions.scan(context, table, index, scan)
        elif context.as_of_us is not None:
            self._commit_after(context.as_of_us)
            with reql_errors():
                past = await PastView.open(self._store, table, index, context.as_of_us)
            run = ScanRun(self._store, table, index, scan, context, past)
        else:
            if is_short(context, scan, table, index):
                with reql_errors():
                    rows = read_short(self._store, table, index, scan)
                if rows is not None:
                    return ScanReply(rows)
            if scan.aggregate is not None and context.optimizations and not scan.measured and not scan.primary_order:
                with reql_errors(), suppress(Unsuited):
                    return ScanReply(partial=await self._columns.aggregate(table, scan, context))
                table = self._table(scan.table)  # it may have been dropped meanwhile
                if self._workers.take(table, scan):
                    with suppress(WorkerFailed):
                        return ScanReply(partial=await self._workers.aggregate(table, scan, context))
                    table = self._table(scan.table)
            run = ScanRun(self._store, table, index, scan, context)
        self._runs.add(run)
        last = True
        try:
            if scan.primary_order and scan.aggregate is not None and run.of_the_present and not scan.measured:
                whole = scan.without_index()
                if not await run.leads_to_few(only_few=self._columns.has(table, whole)):
                    with suppress(Unsuited):  # the columns of all documents are faster, if they are in memory
                        return ScanReply(partial=await self._columns.aggregate(table, whole, context))
            if scan.aggregate is not None:
                partial = await run.aggregate()
                return ScanReply(partial=partial, measures=run.measures)
            chunk, last = await run.chunk(scan.first_chunk_rows or scan.chunk_rows)
        except StoreError as error:
            raise reql_error(error) from None
        finally:
            if last:
                run.close()
                self._runs.discard(run)
        return ScanReply(chunk, cursor=None if last else Cursor(run, scan.chunk_rows, self._runs))

    async def _expire_scans(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            self._runs.expire()

    def _ready_index(self, table: Table, index_id: int | None) -> Index | None:
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

    # --- the change log

    @measured
    async def read_log(self, context: CallContext, table: int, shard: int, after: int, limit: int) -> list[LogRecord]:
        self._table(table)
        with reql_errors():
            return self._path.read(table, shard, after, limit)

    @measured
    async def log_position(self, context: CallContext, table: int) -> list[int]:
        return [self._table(table).position.sequence]

    def _table(self, table_id: int) -> Table:
        table = self._tables.get(table_id)
        if table is None:
            raise TableGone
        return table
