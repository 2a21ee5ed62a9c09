"""What storage counts, and what its numbers are at a moment."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from photondb.telemetry import catalogue
from photondb.telemetry.catalogue import MAX_TABLES, OTHER
from photondb.telemetry.declaring import Metric
from photondb.telemetry.histogram import Histogram
from photondb.telemetry.scrape import Scrape
from services.storage.rocks import Store
from services.storage.tables import Table

LEVELS = 7
"""RocksDB's default number of levels."""

_PROPERTIES: dict[Metric, str] = {
    catalogue.ROCKSDB_CACHE_USED: "block-cache-usage",
    catalogue.ROCKSDB_MEMTABLE_BYTES: "cur-size-all-mem-tables",
    catalogue.ROCKSDB_FILES_BYTES: "total-sst-files-size",
    catalogue.ROCKSDB_LIVE_BYTES: "estimate-live-data-size",
    catalogue.ROCKSDB_KEYS: "estimate-num-keys",
    catalogue.ROCKSDB_FLUSHES: "num-running-flushes",
    catalogue.ROCKSDB_COMPACTIONS: "num-running-compactions",
    catalogue.ROCKSDB_COMPACTION_PENDING: "estimate-pending-compaction-bytes",
    catalogue.ROCKSDB_WRITES_STOPPED: "is-write-stopped",
    catalogue.ROCKSDB_DELAYED_RATE: "actual-delayed-write-rate",
    catalogue.ROCKSDB_ERRORS: "background-errors",
}

_TICKERS: dict[Metric, tuple[str, ...]] = {
    catalogue.ROCKSDB_CACHE_HITS: ("block.cache.hit",),
    catalogue.ROCKSDB_CACHE_MISSES: ("block.cache.miss",),
    catalogue.ROCKSDB_BLOOM_USEFUL: ("bloom.filter.useful",),
    catalogue.ROCKSDB_READ_BYTES: ("bytes.read", "number.multiget.bytes.read", "db.iter.bytes.read"),
    catalogue.ROCKSDB_WRITTEN_BYTES: ("bytes.written",),
    catalogue.ROCKSDB_WAL_BYTES: ("wal.bytes",),
    catalogue.ROCKSDB_WAL_SYNCS: ("wal.synced",),
    catalogue.ROCKSDB_FLUSH_BYTES: ("flush.write.bytes",),
    catalogue.ROCKSDB_COMPACTION_READ: ("compact.read.bytes",),
    catalogue.ROCKSDB_COMPACTION_WRITTEN: ("compact.write.bytes",),
}


def collect_store(store: Store, scrape: Scrape) -> None:
    """Write what RocksDB tells of itself, and the cache in front of it, into a reading."""
    documents = store.documents
    scrape.add(catalogue.DOCUMENT_CACHE_HITS, documents.reads - documents.misses)
    scrape.add(catalogue.DOCUMENT_CACHE_MISSES, documents.misses)
    scrape.add(catalogue.DOCUMENT_CACHE_BYTES, documents.used_bytes)
    scrape.add(catalogue.ROCKSDB_CACHE_SIZE, store.cache_bytes)
    for metric, name in _PROPERTIES.items():
        scrape.add(metric, store.property(name))
    for level in range(LEVELS):
        scrape.add(catalogue.ROCKSDB_LEVEL_FILES, store.property(f"num-files-at-level{level}"), str(level))
    tickers = store.counters()
    for metric, names in _TICKERS.items():
        scrape.add(metric, sum(tickers.get(name, 0) for name in names))
    scrape.add(catalogue.ROCKSDB_STALLS, tickers.get("stall.micros", 0) / 1e6)


def collect_disk(data_dir: Path, scrape: Scrape) -> None:
    """Write how much room there is for data into a reading."""
    usage = shutil.disk_usage(data_dir)
    scrape.add(catalogue.DISK_FREE, usage.free)
    scrape.add(catalogue.DISK_SIZE, usage.total)


class CommitMetrics:
    """Commits and syncs, which the commit path counts up. A commit is numbered when it is appended."""

    def __init__(self) -> None:
        self.documents = Histogram(catalogue.COMMIT_DOCUMENTS)
        self.bytes = 0
        self.sync_duration = Histogram(catalogue.SYNC_DURATION)
        self.sync_commits = Histogram(catalogue.SYNC_COMMITS)
        self.sync_failures = 0

    def collect(self, scrape: Scrape) -> None:
        """Write the numbers into a reading."""
        scrape.add(catalogue.COMMITS, self.documents.count)
        scrape.add_histogram(catalogue.COMMIT_DOCUMENTS, self.documents)
        scrape.add(catalogue.COMMIT_BYTES, self.bytes)
        scrape.add_histogram(catalogue.SYNC_DURATION, self.sync_duration)
        scrape.add_histogram(catalogue.SYNC_COMMITS, self.sync_commits)
        scrape.add(catalogue.SYNC_FAILURES, self.sync_failures)


class ColumnCacheMetrics:
    """What the column cache counts up: scans, and what became of columns."""

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self.builds = {"made": 0, "given_up": 0}
        self.evictions = {"room": 0, "outrun": 0}

    def collect(self, scrape: Scrape) -> None:
        """Write the numbers into a reading."""
        scrape.add(catalogue.COLUMN_CACHE_HITS, self.hits)
        scrape.add(catalogue.COLUMN_CACHE_MISSES, self.misses)
        for outcome, count in self.builds.items():
            scrape.add(catalogue.COLUMN_CACHE_BUILDS, count, outcome)
        for reason, count in self.evictions.items():
            scrape.add(catalogue.COLUMN_CACHE_EVICTIONS, count, reason)


class _Counts(NamedTuple):
    """What is told of a table: documents read, scans, documents written, documents there, and their bytes."""

    reads: int
    scans: int
    writes: int
    documents: int
    bytes: int


_METRICS = (
    catalogue.TABLE_READS,
    catalogue.TABLE_SCANS,
    catalogue.TABLE_WRITES,
    catalogue.TABLE_DOCUMENTS,
    catalogue.TABLE_BYTES,
)


class TableMetrics:
    """Shows tables by name, as many as there may be; a table that is shown stays so until it is dropped."""

    def __init__(self, max_tables: int = MAX_TABLES) -> None:
        self._max_tables = max_tables
        self._shown: set[int] = set()
        self._others: dict[int, _Counts] = {}
        self._gone = _Counts(0, 0, 0, 0, 0)
        """What dropped tables have added to the others' counters, which must not go back."""

    def collect(self, tables: Iterable[Table], scrape: Scrape) -> None:
        """Write the numbers of all tables into a reading."""
        present = {table.id: table for table in tables}
        self._shown &= present.keys()
        for table_id in self._others.keys() - present.keys():
            counts = self._others.pop(table_id)
            self._gone = _Counts(*map(int.__add__, self._gone, counts._replace(documents=0, bytes=0)))
        for table in present.values():
            counts = _counts(table)
            used = any(counts)
            if table.id in self._shown or (used and table.id not in self._others and self._has_room):
                self._shown.add(table.id)
                _add(scrape, counts, table.info.database, table.info.name)
            elif used:
                self._others[table.id] = counts
        if self._others or any(self._gone):
            for counts in (self._gone, *self._others.values()):
                _add(scrape, counts, OTHER, OTHER)

    @property
    def _has_room(self) -> bool:
        return len(self._shown) < self._max_tables


def _counts(table: Table) -> _Counts:
    position = table.position
    return _Counts(table.reads, table.scans, table.writes, position.rows, position.document_bytes)


def _add(scrape: Scrape, counts: _Counts, database: str, name: str) -> None:
    for metric, value in zip(_METRICS, counts, strict=True):
        scrape.add(metric, value, database, name)
