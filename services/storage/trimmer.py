"""Trims the change logs in the background, by age and by size."""

from __future__ import annotations

import asyncio
import logging
import time
from math import inf

from services.storage import layout
from services.storage.log import (
    MAX_AGE_S,
    MAX_BYTES,
    MIN_TRIMMED_BYTES,
    MIN_TRIMMED_RECORDS,
    decode_position,
    trim,
    trim_point,
)
from services.storage.rocks import Batch, Store, StoreError
from services.storage.tables import Table

log = logging.getLogger(__name__)

INTERVAL_S = 60.0


class LogTrimmer:
    """Keeps each table's log below `max_age_s` and `max_bytes` (or what the table's settings say), or little above.

    The last record always stays, and so does what the table's history needs.
    """

    def __init__(
        self,
        store: Store,
        tables: dict[int, Table],
        max_age_s: float = MAX_AGE_S,
        max_bytes: int = MAX_BYTES,
        min_records: int = MIN_TRIMMED_RECORDS,
        min_bytes: int = MIN_TRIMMED_BYTES,
    ) -> None:
        self._store = store
        self._tables = tables
        self._max_age_s = max_age_s
        self._max_bytes = max_bytes
        self._min_records = min_records
        self._min_bytes = min_bytes

    async def run(self) -> None:
        """Trim every minute, for ever."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.trim_all()

    async def trim_all(self) -> None:
        """Trim the logs of all tables now, and let others go on after each."""
        for table in list(self._tables.values()):
            self.trim(table)
            await asyncio.sleep(0)

    def trim(self, table: Table) -> None:
        """Trim the log of `table` now, if there is enough to trim.

        However much that is, it takes a few reads to find out, and one deletion of a range of keys.
        """
        if table.dropped or not table.position.sequence:
            return
        try:
            first = self._first_kept(table)
            if first - table.oldest < self._min_records and self._size(table, first) < self._min_bytes:
                return
            batch = Batch()
            trim(batch, table.id, first)
            self._store.write(batch)
            table.oldest = first
        except StoreError as error:
            log.warning("a change log cannot be trimmed", extra={"table": table.info.uuid, "reason": str(error)})

    def _first_kept(self, table: Table) -> int:
        settings = table.info.settings
        now_us = time.time_ns() // 1000

        def point(age_s: float, max_bytes: float) -> int:
            keep_after_us = now_us - int(age_s * 1_000_000)
            return trim_point(self._store, table.id, table.oldest, table.position, keep_after_us, max_bytes)

        max_age_s = self._max_age_s if settings.changelog_s is None else settings.changelog_s
        first = point(max_age_s, self._max_bytes if settings.changelog_bytes is None else settings.changelog_bytes)
        if settings.history_s is not None:
            # History is kept whatever its size, with one record more, which tells that none in between is missing.
            first = min(first, max(table.oldest, point(settings.history_s, inf) - 1))
        return first

    def _size(self, table: Table, first: int) -> int:
        """How many bytes of records come before the record `first`."""
        ends = []
        for sequence in (table.oldest, first):
            record = self._store.get(layout.record_key(table.id, layout.SHARD, sequence))
            assert record is not None, "the log has a hole"
            ends.append(decode_position(sequence, record).log_bytes - len(record))
        return ends[1] - ends[0]
