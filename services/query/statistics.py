"""What storage knows of tables, remembered for some seconds, so that the planner need not wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any

from photondb.api.context import INTERNAL
from photondb.api.storage import StorageApi, TableGone
from photondb.api.storage_status import TableStatistics

REFRESH_SECONDS = 1.0
"""Statistics that are older are asked for again, in the background."""

MAX_AGE_SECONDS = 60.0
"""Those that are older are not used any more."""

MAX_TABLES = 10_000


class StatisticsCache:
    """The statistics of tables, by their ids."""

    def __init__(self, storage: StorageApi, in_background: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._storage = storage
        self._in_background = in_background
        self._known: dict[int, tuple[float, TableStatistics]] = {}
        self._asked: set[int] = set()

    async def of(self, table: int) -> TableStatistics:
        """The statistics of a table. Raises TableGone."""
        known = self._known.get(table)
        age = MAX_AGE_SECONDS if known is None else time.monotonic() - known[0]
        if known is None or age >= MAX_AGE_SECONDS:
            return await self._fetch(table)
        if age >= REFRESH_SECONDS and table not in self._asked:
            self._asked.add(table)
            self._in_background(self._refresh(table))
        return known[1]

    def forget(self) -> None:
        """Ask for all statistics again when they are wanted next."""
        self._known.clear()

    async def _fetch(self, table: int) -> TableStatistics:
        statistics = await self._storage.statistics(INTERNAL, table)
        if len(self._known) >= MAX_TABLES:
            self._known.clear()
        self._known[table] = (time.monotonic(), statistics)
        return statistics

    async def _refresh(self, table: int) -> None:
        try:
            await self._fetch(table)
        except TableGone:
            self._known.pop(table, None)
        finally:
            self._asked.discard(table)
