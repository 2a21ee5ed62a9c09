"""Pauses of tables: the part that a node has of one stays as it is while the table moves to other nodes.

A call that has begun to write is let finish; later ones wait. Who paused a table says when it is over, by the number
that he gave the pause: so a message that comes late does not end another one. If he does not,
because he is gone, the node has to find out whether the table has moved: `left_alone` is called for that, and the pause
lasts until it has returned.

Before it may be that the table has moved, its reads are paused, too: what the node still has may be older then than
what was written elsewhere. No reader can come by that until the node knows. One that starts again knows before it
serves anybody, so that pauses need not be on the disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

from photondb.reql.errors import ReqlError, op_failed
from services.storage.rocks import StoreError
from services.storage.tables import Table

log = logging.getLogger(__name__)

LEFT_ALONE_S = 3.0
"""After so long nobody seems to look after a pause any more."""

RETRY_S = 0.5
"""How long to wait before home is asked again what has become of a table."""


class TablePauses:
    """The pauses of a node's tables. It is false where there are none, and `unread` are the tables, by their ids, that
    are not to be read, either."""

    def __init__(self, tables: Mapping[int, Table]) -> None:
        self._tables = tables
        self._over: dict[int, asyncio.Future[None]] = {}
        self._idle: dict[int, asyncio.Event] = {}
        self._numbers: dict[int, int] = {}
        self.unread: set[int] = set()
        self._watching: dict[int, asyncio.Task[None]] = {}
        self.left_alone: Callable[[int], Awaitable[None]] = _nothing
        """Finds out what has become of a table. Raises ReqlError, StoreError when it cannot be told yet."""

    def __bool__(self) -> bool:
        return bool(self._over)

    async def wait_to_write(self, tables: Iterable[int]) -> None:
        """Return when none of these tables is paused."""
        wanted = set(tables)
        while paused := wanted & self._over.keys():
            await asyncio.shield(self._over[min(paused)])

    async def wait_to_read(self, tables: Iterable[int]) -> None:
        """Return when the reads of none of these tables are paused."""
        wanted = set(tables)
        while paused := wanted & self.unread:
            await asyncio.shield(self._over[min(paused)])

    async def pause(self, table: Table, number: int, timeout_ms: int) -> None:
        """Let no more calls write to a table, and wait for those that do. Raises ReqlError when these take longer, or
        when the pause is ended meanwhile: then there is none."""
        if table.id not in self._over:
            self._over[table.id] = asyncio.get_running_loop().create_future()
            self._idle[table.id] = asyncio.Event()
        self._numbers[table.id] = number
        self._watch(table.id)
        if table.writers:
            idle = self._idle[table.id]
            idle.clear()
            try:
                async with asyncio.timeout(timeout_ms / 1000):
                    await idle.wait()
            except TimeoutError:
                self.end_pause(table.id, number)
                raise op_failed(f"Writes to the table were still under way after {timeout_ms} ms.") from None
            except BaseException:
                self.end_pause(table.id, number)
                raise
        if self._numbers.get(table.id) != number or table.writers:
            raise op_failed("The pause of the table was ended before it had begun.")

    def pause_reads(self, table: int, number: int) -> None:
        """Let nobody begin to read a table that is paused, either. Raises ReqlError where that pause is over."""
        if self._numbers.get(table) != number:
            raise op_failed("The pause of the table was ended before its reads were paused.")
        self.unread.add(table)

    def begin_write(self, table: Table) -> None:
        """A call begins to write to a table that is not paused."""
        table.writers += 1

    def end_write(self, table: Table) -> None:
        """A call has written what it had to write."""
        table.writers -= 1
        if not table.writers and table.id in self._idle:
            self._idle[table.id].set()

    def end_pause(self, table: int, number: int | None = None) -> None:
        """The pause with that number (None for any) is over, if there is one."""
        if table not in self._over or number not in (None, self._numbers[table]):
            return
        over = self._over.pop(table)
        self.unread.discard(table)
        del self._numbers[table]
        self._idle.pop(table).set()
        over.set_result(None)
        watching = self._watching.pop(table)
        if watching is not asyncio.current_task():
            watching.cancel()

    async def stop(self) -> None:
        """End all pauses."""
        watching = list(self._watching.values())
        for table in list(self._over):
            self.end_pause(table)
        await asyncio.gather(*watching, return_exceptions=True)

    def _watch(self, table: int) -> None:
        earlier = self._watching.pop(table, None)
        if earlier is not None:
            earlier.cancel()
        self._watching[table] = asyncio.get_running_loop().create_task(self._look_after(table))

    async def _look_after(self, table: int) -> None:
        await asyncio.sleep(LEFT_ALONE_S)
        while True:
            try:
                await self.left_alone(table)
                break
            except (ReqlError, StoreError) as error:
                reason = error.message if isinstance(error, ReqlError) else str(error)
                log.warning("nobody says whether a table has moved", extra={"table": table, "reason": reason})
                await asyncio.sleep(RETRY_S)
        self.end_pause(table)


async def _nothing(table: int) -> None:
    """There is nobody to ask."""
