"""What storage tells about its store."""

from __future__ import annotations

from photondb.api.context import INTERNAL
from tests.storage.conftest import Table


async def test_numbers_follow_what_is_done(table: Table) -> None:
    storage = table.storage
    before = await storage.engine_stats(INTERNAL)
    for number in range(200):
        await table.insert({"id": number, "text": "x" * 1000}, durability="soft")
    await storage.sync(INTERNAL, table.info.id)
    written = await storage.engine_stats(INTERNAL)
    assert written.log_written_bytes >= before.log_written_bytes + 400_000
    assert written.log_syncs > before.log_syncs
    assert written.memory_table_bytes > 400_000
    storage._store.flush()
    await table.rows()
    await table.rows()
    read = await storage.engine_stats(INTERNAL)
    assert read.table_file_bytes > before.table_file_bytes
    assert read.cache_misses > before.cache_misses
    assert read.cache_hits > written.cache_hits
    assert read.cache_used_bytes > 0
    await table.insert({"id": 1000})
    storage._store.flush()
    storage._store.compact(b"", b"\xff")
    compacted = await storage.engine_stats(INTERNAL)
    assert compacted.compaction_written_bytes > 0
    assert (compacted.cache_bytes, compacted.writes_stopped) == (192 << 20, False)
