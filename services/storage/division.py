"""How home divides tables anew: it fills copies with other parts while the tables are used, and lets them take over.

A copy is filled by a scan of each part of the table, some documents at a time, and by following the parts' change logs
from where these stood before the scan. A record says how a document is after a change, so it makes no difference which
of both comes first, once all records are through. When little is left, writes to the table are paused, the last records
are carried over, and the catalogue says that the copy is the table. Until then nothing of the copy counts: whatever is
lost (a node with it, or home's memory of how far it is), it is thrown away and begun anew. That happens by its id, so
that nobody can finish a copy with which something has happened (`RestartCopy`).

The order of the last steps makes it exact. Nobody can write to the copy before all nodes of the table know that it is
gone, so nobody can read there what is older than what was written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Mapping, Sequence

import msgspec

from photondb.api.catalogue import FinishCopy, ForgetLogs, RestartCopy, TableInfo
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import KeyRange, LogGap, PausedPart, Scan, StorageApi, TableGone
from photondb.reql.errors import ReqlError
from photondb.sharding.nodes import Node, gathered
from photondb.sharding.placement import HOME, part_of
from services.storage.live_catalogue import LiveCatalogue
from services.storage.log import MAX_AGE_S
from services.storage.rocks import StoreError

log = logging.getLogger(__name__)

STEP_ROWS = 1000
STEP_BYTES = 1 << 20
"""How much is copied in one go."""

STEP_RECORDS = 1000
"""How many records of a change log are carried over in one go."""

FEW_RECORDS = 200
"""With no more left than this the table is paused for the rest."""

CALL_TIMEOUT_S = 30.0
"""How long a call of a node may take, apart from those of a pause."""

PAUSE_MS = 100
MAX_PAUSE_MS = 1_000
"""How long writes are paused for an attempt to finish. The next one may take twice as long, up to the second one: a
table to which large writes are made all the time has no other end."""

FINISH_TIMEOUT_S = 2.0
"""How long nodes may take to follow the catalogue in which a copy has taken over."""

RETRY_S = 0.5
"""How long to wait before the next attempt, and after a failure."""

LOOK_EVERY_S = 5.0
"""How often it is seen whether logs of former parts can go."""

DRAINED_LOG_S = 10.0
"""How long a node that is to be emptied keeps the logs of former parts: feeds that are open need them no longer."""


class _TooSlow(Exception):
    """An attempt to finish has taken longer than writes may be paused."""


class Divisions:
    """The copies of home's catalogue, `live`. `others` are the other storage nodes, from node 1 on."""

    def __init__(self, live: LiveCatalogue, home: StorageApi, others: Sequence[StorageApi]) -> None:
        self._live = live
        self._home = home
        self._others = others
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._forgetting: asyncio.Task[None]

    def start(self) -> None:
        """Begin to fill the copies that there are, and all that will be."""
        self._live.changed = self._look
        self._forgetting = asyncio.get_running_loop().create_task(self._forget_for_ever())
        self._look()

    async def stop(self) -> None:
        """Leave all copies as they are."""
        self._live.changed = lambda: None
        tasks = [self._forgetting, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _look(self) -> None:
        for copy in self._live.catalogue.copies:
            if copy.id not in self._tasks:
                nodes = [Node(HOME, self._home, None)]
                nodes += [Node(number, api, self._home) for number, api in enumerate(self._others, HOME + 1)]
                task = asyncio.get_running_loop().create_task(Division(self._live, nodes, copy.id).run())
                self._tasks[copy.id] = task
                task.add_done_callback(lambda _, id=copy.id: self._tasks.pop(id, None))  # type: ignore[misc]

    async def _forget_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._forget_logs()
            except (ReqlError, StoreError) as error:
                log.warning("the change logs of former parts of tables are not forgotten", extra={"reason": str(error)})

    async def _forget_logs(self) -> None:
        """Let the logs of former parts go that are older than those of a table may become."""
        now_us = time.time_ns() // 1000
        catalogue = self._live.catalogue
        for info in catalogue.tables.values():
            age_s = MAX_AGE_S if info.settings.changelog_s is None else info.settings.changelog_s
            over = [
                ended.at_us
                for ended in info.ended
                if ended.kept
                and now_us - ended.at_us > 1_000_000 * (DRAINED_LOG_S if ended.node in catalogue.drained else age_s)
            ]
            if over:
                await self._live.change(ForgetLogs(info.id, max(over)))


class Division:
    """Fills one copy, and lets it take over."""

    def __init__(self, live: LiveCatalogue, nodes: Sequence[Node], copy: int) -> None:
        self._live = live
        self._nodes = nodes
        self._copy = copy
        self._table = 0
        self._lows: list[bytes | None] = []
        """For each part of the table the first key that is not copied; None where all are."""
        self._positions: list[int] = []
        """For each part of the table up to which record its log is carried over."""
        self._pause_ms = PAUSE_MS
        self._pause_number = 0
        self._problem = ""

    async def run(self) -> None:
        """Go on until the copy has taken over, or is thrown away."""
        while self._infos() is not None:
            try:
                await self._work()
                self._problem = ""
            except _TooSlow:
                self._pause_ms = min(2 * self._pause_ms, MAX_PAUSE_MS)
                await asyncio.sleep(RETRY_S)
            except LogGap:
                await self._begin_anew("records of the change log were trimmed before they were carried over")
            except TableGone:  # dropped, or thrown away
                await asyncio.sleep(RETRY_S)
            except (ReqlError, StoreError) as error:
                self._complain(error.message if isinstance(error, ReqlError) else str(error))
                await asyncio.sleep(RETRY_S)
            except Exception:
                log.exception("a table cannot be divided anew", extra={"table": self._table})
                await asyncio.sleep(RETRY_S)

    def _infos(self) -> tuple[TableInfo, TableInfo] | None:
        """The table and its copy; None when that is no copy any more."""
        catalogue = self._live.catalogue
        copy = next((copy for copy in catalogue.copies if copy.id == self._copy), None)
        if copy is None:
            return None
        return next(info for info in catalogue.tables.values() if info.id == copy.copy_of), copy

    async def _work(self) -> None:
        """Copy everything, carry over what has changed meanwhile, and finish."""
        infos = self._infos()
        if infos is None:
            return
        info, copy = infos
        await self._live.sync()  # the nodes must not hear of a copy that home may forget
        if not self._lows:
            self._table = info.id
            positions = await gathered(
                [self._node(node).ask(lambda api: api.log_position(_context(), info.id)) for node in info.nodes]
            )
            self._positions = [position for (position,) in positions]
            self._lows = [b""] * len(info.nodes)
        while any(low is not None for low in self._lows):
            for part, low in enumerate(self._lows):
                if low is not None:
                    started = time.perf_counter()
                    await self._copy_some(info, copy, part, low)
                    await asyncio.sleep((time.perf_counter() - started) / 2)  # others come first
            await self._follow(info, copy)
        left = FEW_RECORDS + 1
        while left > FEW_RECORDS:
            left = await self._follow(info, copy)
        if self._is_indexed():
            await self._finish(info, copy)
        else:
            await asyncio.sleep(RETRY_S)

    async def _copy_some(self, info: TableInfo, copy: TableInfo, part: int, low: bytes) -> None:
        scan = Scan(
            table=info.id,
            ranges=(KeyRange(low),),
            limit=STEP_ROWS,
            chunk_rows=STEP_ROWS,
            chunk_bytes=STEP_BYTES,
            keyed=True,
        )
        reply = await self._node(info.nodes[part]).ask(lambda api: api.scan(_context(), scan))
        assert reply.chunk is not None
        rows, keys = list(reply.chunk.rows()), reply.chunk.keys or []
        if reply.cursor is not None:
            await reply.cursor.close()
        await self._fill(copy, dict(zip(keys, rows, strict=True)))
        is_last = reply.cursor is None and len(rows) < STEP_ROWS
        self._lows[part] = None if is_last else keys[-1] + b"\0"

    async def _follow(self, info: TableInfo, copy: TableInfo) -> int:
        """Carry over the next records of all parts, and return how many these were."""
        return sum(await gathered([self._follow_part(info, copy, part) for part in range(len(info.nodes))]))

    async def _follow_part(self, info: TableInfo, copy: TableInfo, part: int) -> int:
        number, after = len(info.ended) + part, self._positions[part]
        records = await self._node(info.nodes[part]).ask(
            lambda api: api.read_log(_context(), info.id, number, after, STEP_RECORDS)
        )
        if records:
            await self._fill(copy, {record.key: record.new for record in records})
            self._positions[part] = records[-1].sequence
        return len(records)

    async def _fill(self, copy: TableInfo, documents: Mapping[bytes, bytes | None]) -> None:
        divided: dict[int, tuple[list[bytes], list[bytes | None]]] = {}
        for key, document in documents.items():
            keys, values = divided.setdefault(copy.nodes[part_of(key, len(copy.nodes))], ([], []))
            keys.append(key)
            values.append(document)
        await gathered([self._fill_on(node, copy.id, *of_node) for node, of_node in divided.items()])

    async def _fill_on(self, node: int, copy: int, keys: list[bytes], values: list[bytes | None]) -> None:
        await self._node(node).ask(lambda api: api.fill(_context(), copy, keys, values))

    def _is_indexed(self) -> bool:
        """Whether the copy has all indexes that can be used on the table."""
        infos = self._infos()
        if infos is None:
            return False
        info, copy = infos
        built = {index.id for index in copy.indexes if index.ready}
        return all(index.id in built for index in info.indexes if index.ready)

    # --- the last steps

    async def _finish(self, info: TableInfo, copy: TableInfo) -> None:
        """Let the copy take over, with writes paused. Raises _TooSlow where that would take too long."""
        latest = time.monotonic() + self._pause_ms / 1000
        self._pause_number = secrets.randbits(63)
        try:
            paused = await self._pause(info, latest, 0)
            while any(position < part.sequence for position, part in zip(self._positions, paused, strict=True)):
                if time.monotonic() > latest:
                    raise _TooSlow
                await self._follow(info, copy)
            filled = await self._pause(copy, latest, max(part.time_us for part in paused))
            await gathered([self._node(node).ask(lambda api: api.sync(_context(), copy.id)) for node in copy.nodes])
            if _sizes(paused) != _sizes(filled):
                await self._begin_anew("it does not have the same documents")
                return
            if time.monotonic() > latest:
                raise _TooSlow
            ends, starts = (tuple(part.sequence for part in parts) for parts in (paused, filled))
            at_us = max(time.time_ns() // 1000, *(part.time_us for part in filled))
            await self._live.change(FinishCopy(copy.id, ends, starts, at_us))
            await self._tell(info, copy)
            log.info(
                "a table was divided anew",
                extra={"table": info.uuid, "nodes": list(copy.nodes), "documents": sum(part.rows for part in filled)},
            )
        finally:
            await self._resume(info, copy)

    async def _pause(self, info: TableInfo, latest: float, after_us: int) -> list[PausedPart]:
        left_ms = int(1000 * (latest - time.monotonic()))
        if left_ms <= 0:
            raise _TooSlow
        context = msgspec.structs.replace(INTERNAL, deadline=latest + FINISH_TIMEOUT_S)
        paused = await asyncio.gather(
            *(
                self._node(node).ask(
                    lambda api: api.pause_writes(context, info.id, self._pause_number, left_ms, after_us)
                )
                for node in info.nodes
            ),
            return_exceptions=True,
        )
        for part in paused:
            if isinstance(part, ReqlError) and time.monotonic() > latest:
                raise _TooSlow
            if isinstance(part, BaseException):
                raise part
        return paused  # type: ignore[return-value]

    async def _tell(self, info: TableInfo, copy: TableInfo) -> None:
        """Have all nodes concerned follow the catalogue. One that does not answer finds out by itself."""
        catalogue = await self._live.durable()
        context = msgspec.structs.replace(INTERNAL, deadline=time.monotonic() + FINISH_TIMEOUT_S)
        for nodes in (info.nodes, copy.nodes):
            told = await asyncio.gather(
                *(self._node(node).ask(lambda api: api.adopt_catalogue(context, catalogue)) for node in nodes),
                return_exceptions=True,
            )
            for outcome in told:
                if isinstance(outcome, ReqlError):
                    log.warning("a storage node has not heard that a table moved", extra={"reason": outcome.message})

    async def _resume(self, info: TableInfo, copy: TableInfo) -> None:
        context = msgspec.structs.replace(INTERNAL, deadline=time.monotonic() + FINISH_TIMEOUT_S)
        asked = [(node, table.id) for table in (copy, info) for node in table.nodes]
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*(self._resume_on(context, node, table) for node, table in asked))

    async def _resume_on(self, context: CallContext, node: int, table: int) -> None:
        with contextlib.suppress(ReqlError, TableGone):  # a node that is not reached ends the pause by itself
            await self._node(node).ask(lambda api: api.resume_writes(context, table, self._pause_number))

    async def _begin_anew(self, why: str) -> None:
        log.error("the copy of a table is thrown away", extra={"table": self._table, "reason": why})
        await self._live.change(RestartCopy(self._copy))

    def _node(self, number: int) -> Node:
        return self._nodes[number]

    def _complain(self, reason: str) -> None:
        if reason != self._problem:
            self._problem = reason
            log.warning("a table cannot be divided anew yet", extra={"table": self._table, "reason": reason})


def _sizes(parts: Sequence[PausedPart]) -> tuple[int, int]:
    """How many documents all parts have together, and their bytes."""
    return sum(part.rows for part in parts), sum(part.bytes for part in parts)


def _context() -> CallContext:
    return msgspec.structs.replace(INTERNAL, deadline=time.monotonic() + CALL_TIMEOUT_S)
