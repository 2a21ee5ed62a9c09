"""The storage service as a whole."""

from __future__ import annotations

import asyncio
import logging
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import msgspec

from photondb.api.catalogue import Catalogue, CatalogueChange, ResumeCopy
from photondb.api.context import CallContext
from photondb.api.storage import LogGap, LogRecord, PausedPart, Scan, ScanReply, StorageApi, Write, WriteSummary
from photondb.api.storage_status import DivisionStatus, EngineStats, IndexStatus, Positions, TableStatistics, TableStats
from photondb.api.transactions import Isolation, TransactionInfo
from photondb.bus import Bus
from photondb.config import StartupError
from photondb.reql.errors import ReqlError, op_failed
from photondb.telemetry import catalogue, tracing
from photondb.telemetry.debug import Report
from photondb.telemetry.operations import COMMIT_TRANSACTION, READ, SCAN, WRITE
from photondb.telemetry.requests import RequestMetrics, measured
from photondb.telemetry.scrape import Scrape
from services.storage import layout
from services.storage.clock import CommitClock
from services.storage.commit import LocalCommitPath
from services.storage.division import Divisions
from services.storage.engine_stats import engine_stats
from services.storage.expiring import Expiring
from services.storage.failures import indeterminate, reql_error, reql_errors
from services.storage.filling import CopyFiller
from services.storage.following import HomeFollower
from services.storage.live_catalogue import LiveCatalogue
from services.storage.metrics import TableMetrics, collect_disk, collect_store
from services.storage.options import DEFAULT_OPTIONS, StorageOptions
from services.storage.pauses import TablePauses
from services.storage.publisher import Publisher
from services.storage.reading import DocumentReader
from services.storage.rocks import Store, StoreError
from services.storage.role import ONLY_NODE, NodeRole
from services.storage.scan_workers import SCRATCH
from services.storage.scanning import Scanner
from services.storage.shards import ShardCounts
from services.storage.sizes import DiskSizes
from services.storage.statistics import StatisticsCollector
from services.storage.tables import Table, find_table
from services.storage.transactions import DEFAULT_LIMITS, NotDurable, TransactionLimits, Transactions
from services.storage.trimmer import LogTrimmer
from services.storage.write_statements import WriteStatements

log = logging.getLogger(__name__)

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
        role: NodeRole = ONLY_NODE,
    ) -> None:
        self._data_dir = data_dir
        self._bus = bus
        self._options = options
        self._role = role
        self.requests = RequestMetrics("storage")
        self._table_metrics = TableMetrics()
        self._tables: dict[int, Table] = {}
        self._clock = CommitClock()
        self._limits = transaction_limits
        self._transactions: Transactions
        self._store: Store
        self._path: LocalCommitPath
        self._catalogue: LiveCatalogue
        self._follower: HomeFollower | None = None
        self._divisions: Divisions | None = None
        self._filler: CopyFiller
        self._pauses = TablePauses(self._tables)
        self._publisher: Publisher
        self._statements: WriteStatements
        self._sizes: DiskSizes
        self._shard_counts: ShardCounts
        self._statistics: StatisticsCollector
        self._collecting: asyncio.Task[None]
        self._reader: DocumentReader
        self._scanner: Scanner
        self._trimming: asyncio.Task[None]
        self._expiring: asyncio.Task[None]

    async def start(self) -> None:
        """Open the store and take up unfinished index builds. A node that is not home waits for home, and follows its
        catalogue. Raises StartupError."""
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
        except StartupError:
            store.close()
            raise
        if self._role.home is not None:
            self._follower = HomeFollower(self._role.home, self._catalogue, self._bus)
            try:
                await self._follower.start()
            except BaseException:
                await self.stop()
                raise
            self._recall_time()
        elif self._role.count > 1:
            self._divisions = Divisions(self._catalogue, self, self._role.others)
            self._divisions.start()

    async def _open(self, store: Store) -> None:
        # Checkpoints that a backup did not remove because it was killed, and what earlier scan workers have left.
        for folder in (CHECKPOINTS, SCRATCH):
            await asyncio.to_thread(shutil.rmtree, self._data_dir / folder, ignore_errors=True)
        self._path = LocalCommitPath(store)
        self._publisher = Publisher(self._bus, self._tables, is_home=self._role.home is None)
        max_document_bytes = self._options.max_document_bytes
        self._statements = WriteStatements(
            store, self._path, self._tables, self._pauses, self._clock.now_us, max_document_bytes
        )
        self._pauses.left_alone = self._settle
        self._filler = CopyFiller(store, self._path, self._clock.now_us)
        self._path.follow(self._publisher.commit)
        self._transactions = Transactions(
            store, self._path, self._tables, self._pauses, self._clock.now_us, self._limits
        )
        self._sizes = DiskSizes(store)
        self._shard_counts = ShardCounts(store)
        self._catalogue = LiveCatalogue(store, self._path, self._tables, self._publisher, self._forget, self._role)
        await self._catalogue.open()
        self._recall_time()
        self._reader = DocumentReader(store, self._tables, self._transactions, self._clock)
        self._scanner = Scanner(store, self._tables, self._transactions, self._clock, self._options)
        self._trimming = asyncio.create_task(LogTrimmer(store, self._tables).run())
        self._expiring = asyncio.create_task(Expiring(self, self._tables).run())
        self._statistics = StatisticsCollector(store, self._tables)
        self._collecting = asyncio.create_task(self._statistics.run())

    def _recall_time(self) -> None:
        """Let no commit have an earlier time than those that there are."""
        times = [table.position.time_us for table in self._tables.values()]
        self._clock.last_us = max(self._clock.last_us, *times, 0)

    def _forget(self, table_id: int) -> None:
        self._pauses.end_pause(table_id)
        self._shard_counts.forget(table_id)
        self._scanner.forget(table_id)

    async def stop(self) -> None:
        """Make everything durable and let go of the data directory. Calls under way fail."""
        if self._follower is not None:
            await self._follower.stop()
        if self._divisions is not None:
            await self._divisions.stop()
        await self._pauses.stop()
        self._trimming.cancel()
        self._expiring.cancel()
        self._collecting.cancel()
        await self._catalogue.stop()
        await self._scanner.stop()
        self._transactions.close()
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
        scrape.add(catalogue.STORAGE_CATALOGUE, self._catalogue.state.counters.version)
        scrape.add(catalogue.STORAGE_TABLES, len(self._tables))
        indexes = [index for table in self._tables.values() for index in table.info.indexes]
        scrape.add(catalogue.STORAGE_INDEXES, len(indexes))
        scrape.add(catalogue.STORAGE_INDEXES_OUTDATED, sum(index.outdated for index in indexes))
        scrape.add(catalogue.STORAGE_INDEX_BUILDS, len(self._catalogue.builder))
        scrape.add(catalogue.STORAGE_AGGREGATES, self._scanner.memory.used)
        scrape.add(catalogue.STORAGE_AGGREGATES_LIMIT, self._scanner.memory.limit)
        scrape.add(catalogue.STORAGE_AGGREGATE_PARTS, self._scanner.parts)
        scrape.add(catalogue.STORAGE_SCANS, len(self._scanner.runs))
        scrape.add(catalogue.STORAGE_SCANS_GIVEN_UP, self._scanner.runs.given_up)
        scrape.add(catalogue.STORAGE_TRANSACTIONS, len(self._transactions))
        for outcome, count in self._transactions.outcomes.items():
            scrape.add(catalogue.STORAGE_TRANSACTIONS_ENDED, count, outcome)
        self._scanner.columns.collect(scrape)
        self._scanner.workers.collect(scrape)
        if self._divisions is not None:
            self._divisions.collect(scrape)
        collect_disk(self._data_dir, scrape)
        collect_store(self._store, scrape)

    def reports(self) -> dict[str, Report]:
        """What can be said about the store."""
        return {"rocksdb": self._store.report}

    # --- the catalogue

    @measured
    async def catalogue(self, context: CallContext) -> Catalogue:
        with reql_errors():
            return await self._catalogue.durable()

    @measured
    async def change_catalogue(self, context: CallContext, change: CatalogueChange) -> Catalogue:
        with reql_errors():
            return await self._catalogue.change(change)

    @measured
    async def adopt_catalogue(self, context: CallContext, catalogue: Catalogue) -> None:
        if catalogue.version <= self._catalogue.state.counters.version:
            return
        with reql_errors():
            await self._catalogue.adopt(catalogue)

    @measured
    async def split_points(self, context: CallContext, table: int, shards: int | None) -> tuple[bytes, ...]:
        with reql_errors():
            return await self._catalogue.split_points(self._table(table), shards)

    @measured
    async def index_status(self, context: CallContext, table: int) -> list[IndexStatus]:
        return self._catalogue.index_statuses(self._table(table))

    # --- dividing tables anew

    @measured
    async def fill(
        self, context: CallContext, table: int, attempt: int, keys: Sequence[bytes], documents: Sequence[bytes | None]
    ) -> None:
        with reql_errors():
            await self._filler.fill(self._table(table), attempt, keys, documents)

    @measured
    async def pause_writes(
        self, context: CallContext, table: int, pause: int, timeout_ms: int, after_us: int
    ) -> PausedPart:
        await self._pauses.pause(self._table(table), pause, timeout_ms)
        self._clock.last_us = max(self._clock.last_us, after_us)
        position = self._table(table).position
        return PausedPart(position.sequence, position.rows, position.document_bytes, self._clock.last_us)

    @measured
    async def pause_reads(self, context: CallContext, table: int, pause: int) -> None:
        self._pauses.pause_reads(table, pause)

    @measured
    async def end_pause(self, context: CallContext, table: int, pause: int) -> None:
        self._pauses.end_pause(table, pause)

    @measured
    async def divisions(self, context: CallContext) -> list[DivisionStatus]:
        return [] if self._divisions is None else self._divisions.statuses()

    async def _settle(self, table: int) -> None:
        """Find out what has become of a table that was paused and left alone. Raises ReqlError, StoreError."""
        if self._follower is not None:
            await self._follower.settle(table)
            return
        for copy in self._catalogue.catalogue.copies:
            if table in (copy.id, copy.copy_of):
                await self._catalogue.change(ResumeCopy(copy.id))

    # --- documents

    @measured
    async def get(self, context: CallContext, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        with tracing.span(READ, context):
            if self._pauses.unread:
                await self._pauses.wait_to_read({table for table, _ in keys})
            return await self._reader.get(context, keys)

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

    @measured
    async def sync(self, context: CallContext, table: int) -> None:
        self._table(table)
        with reql_errors():
            await self._path.sync()

    @measured
    async def table_stats(self, context: CallContext, table: int) -> TableStats:
        if self._pauses.unread:
            await self._pauses.wait_to_read((table,))
        position = self._table(table).position
        return TableStats(position.rows, position.document_bytes)

    @measured
    async def shard_rows(self, context: CallContext, table: int) -> list[int]:
        with reql_errors():
            return await self._shard_counts.of(self._table(table))

    @measured
    async def positions(self, context: CallContext, tables: Sequence[int]) -> Positions:
        sequences = tuple((self._table(table).position.sequence,) for table in tables)
        return Positions(self._catalogue.catalogue.version, sequences)

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
            return await engine_stats(self._store, self._sizes, self._tables)

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
        return self._transactions.begin(context, self._catalogue.state, id, isolation, read_only, timeout_ms)

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
        with tracing.span(SCAN, context) as span:
            if self._pauses.unread:
                await self._pauses.wait_to_read((scan.table,))
            return await self._scanner.scan(context, scan, span.names)

    # --- the change log

    @measured
    async def read_log(self, context: CallContext, table: int, shard: int, after: int, limit: int) -> list[LogRecord]:
        kept = self._catalogue.kept_logs.get(table)
        if kept is not None:
            with reql_errors():
                records = self._path.read(table, layout.SHARD, after, limit)
            if not records and after < kept.end:  # it did not come along from a backup
                raise LogGap(kept.end + 1)
            return records
        found = self._table(table)
        if shard != found.shard:
            raise op_failed(f"Storage node {self._role.number} has no part {shard} of `{found.info.name}`.")
        with reql_errors():
            return self._path.read(table, layout.SHARD, after, limit)

    @measured
    async def log_position(self, context: CallContext, table: int) -> list[int]:
        return [self._table(table).position.sequence]

    def _table(self, table_id: int) -> Table:
        return find_table(self._tables, table_id)
