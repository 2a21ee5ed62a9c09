"""The last steps of dividing a table anew: with the table paused, its copy takes its place.

The order makes it exact. Writes to the table and the copy are paused on all their nodes, what is left is carried over,
and the copy is on the disk. Then reads of the table are paused, too, and only then the catalogue says that the copy is
the table. So whoever takes the first write to the copy, and whenever, nobody reads what is older: each node of the
table has stopped to answer by then, and goes on when it knows the catalogue. A node of the copy goes on when it has
heard that it has the table now. Nodes that do not hear, because they or home have died, find out by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Collection, Sequence

import msgspec

from photondb.api.catalogue import FinishCopy, TableInfo
from photondb.api.context import INTERNAL
from photondb.api.storage import PausedPart, TableGone
from photondb.reql.errors import ReqlError
from photondb.sharding.nodes import Node, gathered
from services.storage.copying import Copier
from services.storage.live_catalogue import LiveCatalogue

log = logging.getLogger(__name__)

FINISH_TIMEOUT_S = 2.0
"""How long nodes may take to follow the catalogue in which a copy has taken over."""


class TooSlow(Exception):
    """An attempt to switch has taken longer than a table may be paused."""


class Differs(Exception):
    """The copy does not have the same documents as its table."""


class Switch:
    """One attempt to put a copy in the place of its table. `nodes` are all storage nodes by their numbers."""

    def __init__(self, live: LiveCatalogue, nodes: Sequence[Node], info: TableInfo, copy: TableInfo) -> None:
        self._live = live
        self._nodes = nodes
        self._info = info
        self._copy = copy
        self._number = secrets.randbits(63)
        """That of the pause."""
        self._settled = {(node, table.id) for table in (info, copy) for node in table.nodes}
        """The nodes, with the tables, of which it is known that they can go on."""

    async def carry_out(self, copier: Copier, timeout_ms: int) -> None:
        """Pause, carry over what is left, and switch. Raises TooSlow where that would pause the table for longer than
        `timeout_ms`, Differs, ReqlError, StoreError, LogGap."""
        info, copy = self._info, self._copy
        latest = time.monotonic() + timeout_ms / 1000
        try:
            paused = await self._pause(info, latest, 0)
            while any(position < part.sequence for position, part in zip(copier.positions, paused, strict=True)):
                _check(latest)
                await copier.follow(info, copy)
            filled = await self._pause(copy, latest, max(part.time_us for part in paused))
            context = msgspec.structs.replace(INTERNAL, deadline=latest + FINISH_TIMEOUT_S)
            await gathered([self._nodes[node].ask(lambda api: api.sync(context, copy.id)) for node in copy.nodes])
            if _sizes(paused) != _sizes(filled):
                raise Differs
            await self._pause_reads(latest)
            _check(latest)
            log.info("a table is switched to its new parts", extra={"table": info.uuid, "nodes": list(copy.nodes)})
            await self._finish(paused, filled)
            await self._tell()
        finally:
            await self._end_pause()

    async def _pause(self, info: TableInfo, latest: float, after_us: int) -> list[PausedPart]:
        _check(latest)
        left_ms = max(1, int(1000 * (latest - time.monotonic())))
        context = msgspec.structs.replace(INTERNAL, deadline=latest + FINISH_TIMEOUT_S)
        paused = await asyncio.gather(
            *(
                self._nodes[node].ask(lambda api: api.pause_writes(context, info.id, self._number, left_ms, after_us))
                for node in info.nodes
            ),
            return_exceptions=True,
        )
        for part in paused:
            if isinstance(part, ReqlError):
                _check(latest)
            if isinstance(part, BaseException):
                raise part
        return paused  # type: ignore[return-value]

    async def _pause_reads(self, latest: float) -> None:
        context = msgspec.structs.replace(INTERNAL, deadline=latest + FINISH_TIMEOUT_S)
        table = self._info.id
        await gathered(
            [
                self._nodes[node].ask(lambda api: api.pause_reads(context, table, self._number))
                for node in self._info.nodes
            ]
        )

    async def _finish(self, paused: Sequence[PausedPart], filled: Sequence[PausedPart]) -> None:
        """Make the copy the table. Where nobody knows whether that is on the disk, all wait until somebody does."""
        copy = self._copy
        ends, starts = (tuple(part.sequence for part in parts) for parts in (paused, filled))
        at_us = max(time.time_ns() // 1000, *(part.time_us for part in filled))
        settled, self._settled = self._settled, set()
        try:
            await self._live.change(FinishCopy(copy.id, copy.attempt, ends, starts, at_us))
        except ReqlError:  # refused
            self._settled = settled
            raise

    async def _tell(self) -> None:
        """Have all nodes concerned follow the catalogue. One that does not answer finds out by itself."""
        catalogue = await self._live.durable()
        context = msgspec.structs.replace(INTERNAL, deadline=time.monotonic() + FINISH_TIMEOUT_S)
        nodes = sorted({*self._info.nodes, *self._copy.nodes})
        told = await asyncio.gather(
            *(self._nodes[node].ask(lambda api: api.adopt_catalogue(context, catalogue)) for node in nodes),
            return_exceptions=True,
        )
        for node, outcome in zip(nodes, told, strict=True):
            if isinstance(outcome, ReqlError):
                log.warning(
                    "a storage node has not heard that a table moved", extra={"node": node, "reason": outcome.message}
                )
            elif outcome is None and node in self._copy.nodes:
                self._settled.add((node, self._copy.id))

    async def _end_pause(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*(self._end_pause_on(node, table) for node, table in sorted(self._settled)))

    async def _end_pause_on(self, node: int, table: int) -> None:
        context = msgspec.structs.replace(INTERNAL, deadline=time.monotonic() + FINISH_TIMEOUT_S)
        with contextlib.suppress(ReqlError, TableGone):  # a node that is not reached ends the pause by itself
            await self._nodes[node].ask(lambda api: api.end_pause(context, table, self._number))


def _check(latest: float) -> None:
    if time.monotonic() > latest:
        raise TooSlow


def _sizes(parts: Collection[PausedPart]) -> tuple[int, int]:
    """How many documents all parts have together, and their bytes."""
    return sum(part.rows for part in parts), sum(part.bytes for part in parts)
