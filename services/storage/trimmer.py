"""Trims the change logs in the background, by age and by size."""

from __future__ import annotations

import asyncio
import logging
import time

from services.storage.log import MAX_AGE_S, MAX_BYTES, MIN_TRIMMED_RECORDS, trim, trim_point
from services.storage.rocks import Batch, Store, StoreError
from services.storage.tables import Table

log = logging.getLogger(__name__)

INTERVAL_S = 60.0


class LogTrimmer:
    """Keeps each table's log below `max_age_s` and `max_bytes`, or little above: never without its last record."""

    def __init__(
        self,
        store: Store,
        tables: dict[int, Table],
        max_age_s: float = MAX_AGE_S,
        max_bytes: int = MAX_BYTES,
        min_records: int = MIN_TRIMMED_RECORDS,
    ) -> None:
        self._store = store
        self._tables = tables
        self._max_age_s = max_age_s
        self._max_bytes = max_bytes
        self._min_records = min_records

    async def run(self) -> None:
        """Trim every minute, for ever."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            for table in list(self._tables.values()):
                self.trim(table)
                await asyncio.sleep(0)

    def trim(self, table: Table) -> None:
        """Trim the log of `table` now, if there is enough to trim."""
        if table.dropped or not table.position.sequence:
            return
        keep_after_us = time.time_ns() // 1000 - int(self._max_age_s * 1_000_000)
        try:
            first = trim_point(self._store, table.id, table.oldest, table.position, keep_after_us, self._max_bytes)
            if first - table.oldest < self._min_records:
                return
            batch = Batch()
            trim(batch, table.id, first)
            self._store.write(batch)
            table.oldest = first
        except StoreError as error:
            log.warning("a change log cannot be trimmed", extra={"table": table.info.uuid, "reason": str(error)})
