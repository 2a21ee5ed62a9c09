"""What RocksDB tells about itself, in the terms of `EngineStats`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from photondb.api.storage_status import EngineStats
from services.storage.rocks import Store
from services.storage.sizes import DiskSizes
from services.storage.tables import Table


async def engine_stats(store: Store, sizes: DiskSizes, tables: Mapping[int, Table]) -> EngineStats:
    """The state of the store and its tables, and its counters since it was opened. Raises StoreError."""
    sizes_of_tables = await asyncio.to_thread(sizes.tables)
    counters = store.counters()
    return EngineStats(
        cache_bytes=store.cache_bytes,
        cache_used_bytes=store.property("block-cache-usage"),
        cache_hits=counters.get("block.cache.hit", 0),
        cache_misses=counters.get("block.cache.miss", 0),
        compactions_running=store.property("num-running-compactions"),
        compaction_pending_bytes=store.property("estimate-pending-compaction-bytes"),
        compaction_read_bytes=counters.get("compact.read.bytes", 0),
        compaction_written_bytes=counters.get("compact.write.bytes", 0),
        writes_stopped=bool(store.property("is-write-stopped")),
        log_written_bytes=counters.get("wal.bytes", 0),
        log_syncs=counters.get("wal.synced", 0),
        memory_table_bytes=store.property("cur-size-all-mem-tables"),
        table_file_bytes=store.property("total-sst-files-size"),
        tables=sizes_of_tables,
        reads={number: table.reads for number, table in tables.items()},
    )
