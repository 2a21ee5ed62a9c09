"""What a storage node may take, and what it allows: set by its operator, or sensible for the machine."""

from __future__ import annotations

from pathlib import Path

import msgspec

from photondb.config import Settings
from photondb.config.machine import memory_bytes, processors

CACHE_SHARE = 4
"""The default cache is one part in so many of the memory that the process may use ..."""

MIN_CACHE_BYTES = 64 << 20
MAX_CACHE_BYTES = 8 << 30
"""... within these bounds."""


MAX_DEFAULT_WORKERS = 8

COLUMN_CACHE_SHARE = 8
MAX_COLUMN_CACHE_BYTES = 4 << 30
"""Columns may take one part in so many of that memory, and at most so many bytes."""

AGGREGATE_SHARE = 16
MIN_AGGREGATE_BYTES = 32 << 20
"""Groups, different values and first rows that are being worked out may take one part in so many of that memory, and so
many bytes in any case."""

DOCUMENT_SHARE = 4
MAX_DOCUMENT_CACHE_BYTES = 512 << 20
"""One part in so many of the cache, and at most so many bytes, are for single documents."""


class StorageOptions(msgspec.Struct, frozen=True):
    """`cache_bytes` is for blocks of table files, uncompressed, and for single documents. `mmap_reads` lets the kernel
    map table files into memory. `column_cache_bytes` is for fields that are kept as columns; 0 is for none.
    `scan_workers` processes run aggregates over large tables. Cursors are given up when they are older than
    `max_cursor_age_s`, and the oldest ones when there are more than `max_cursors`, because each keeps files and memory
    from being freed. Groups (and so on) that are being worked out are handed on in parts when they take more than
    `aggregate_bytes` together."""

    cache_bytes: int = 256 << 20
    column_cache_bytes: int = 128 << 20
    scan_workers: int = 0
    mmap_reads: bool = False
    max_document_bytes: int = 16 << 20
    max_cursor_age_s: float = 3600.0
    max_cursors: int = 4096
    aggregate_bytes: int = 256 << 20

    @property
    def document_cache_bytes(self) -> int:
        """The part of the cache that is for single documents."""
        return min(self.cache_bytes // DOCUMENT_SHARE, MAX_DOCUMENT_CACHE_BYTES)


DEFAULT_OPTIONS = StorageOptions()


def storage_options(settings: Settings) -> StorageOptions:
    """What an operator has set."""
    nodes = settings.storage_nodes  # of this machine, among which the defaults are divided
    columns, workers = settings.column_cache_bytes, settings.scan_workers
    return StorageOptions(
        cache_bytes=settings.cache_bytes or max(MIN_CACHE_BYTES, default_cache_bytes() // nodes),
        column_cache_bytes=default_column_cache_bytes() // nodes if columns is None else columns,
        scan_workers=default_scan_workers() // nodes if workers is None else workers,
        mmap_reads=settings.mmap_reads,
        max_document_bytes=settings.max_document_bytes,
        max_cursor_age_s=settings.max_cursor_seconds,
        aggregate_bytes=settings.aggregate_bytes or max(MIN_AGGREGATE_BYTES, default_aggregate_bytes() // nodes),
    )


def default_cache_bytes(root: Path = Path("/")) -> int:
    """A quarter of the machine's memory, or of what the container that this process runs in may use."""
    return max(MIN_CACHE_BYTES, min(MAX_CACHE_BYTES, memory_bytes(root) // CACHE_SHARE))


def default_column_cache_bytes(root: Path = Path("/")) -> int:
    """A part of the machine's memory, or of what the container may use, for fields that are kept as columns."""
    return min(MAX_COLUMN_CACHE_BYTES, memory_bytes(root) // COLUMN_CACHE_SHARE)


def default_aggregate_bytes(root: Path = Path("/")) -> int:
    """A part of the machine's memory, or of what the container may use, for aggregates under way."""
    return max(MIN_AGGREGATE_BYTES, memory_bytes(root) // AGGREGATE_SHARE)


def default_scan_workers() -> int:
    """One for each processor that this process may use, save the one for storage itself; at most 8."""
    return min(MAX_DEFAULT_WORKERS, processors() - 1)
