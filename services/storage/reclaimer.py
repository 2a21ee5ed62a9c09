"""Frees the disk space of dropped tables and indexes soon, instead of when RocksDB next comes by."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from services.storage.rocks import Store, StoreError

log = logging.getLogger(__name__)


class Reclaimer:
    """Compacts key ranges that were deleted, one after another, in a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    def reclaim(self, ranges: Sequence[tuple[bytes, bytes]]) -> None:
        """Free what ranges (low inclusive, high exclusive) take, some time soon."""
        if ranges:
            task = asyncio.get_running_loop().create_task(self._compact(ranges))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Begin no more, and wait for the range that is being compacted."""
        self._stopped = True
        await asyncio.gather(*self._tasks)

    async def _compact(self, ranges: Sequence[tuple[bytes, bytes]]) -> None:
        async with self._turn:
            for low, high in ranges:
                if self._stopped:
                    return
                try:
                    await asyncio.to_thread(self._store.compact, low, high)
                except StoreError as error:
                    log.warning("the space of what was dropped is not freed yet", extra={"reason": str(error)})
