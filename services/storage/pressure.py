"""Keeps those who write much from filling up RocksDB, so that those who write little never wait for it.

RocksDB stops all writers when what is written cannot be flushed or compacted as fast as it comes, and it stops them
inside of a call that holds up everything else. Long before that, large writes, index builds and large transactions wait
here, where nobody else waits with them.
"""

from __future__ import annotations

import asyncio

from services.storage.rocks import Store

MAX_LOOKS = 200
"""After so many looks, a second, a writer goes on all the same: one commit a second does no harm, and it must not wait
for ever when the disk is full, but be told."""

LOOK_EVERY_S = 0.005


async def wait_for_relief(store: Store) -> None:
    """Return when RocksDB keeps up with what is written."""
    for _ in range(MAX_LOOKS):
        if not store.is_pressed():
            return
        await asyncio.sleep(LOOK_EVERY_S)
