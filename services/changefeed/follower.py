"""Follows the commits of one table: the I/O around a sequencer per shard.

However many feeds a table has, its commits are read from the bus once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from time import perf_counter
from typing import Any, Protocol

from photondb.api.catalogue import TableInfo
from photondb.api.context import INTERNAL, SpanNames
from photondb.api.storage import CHANGES_SUBJECT, LogGap, LogRecord, Scan, ScanReply, StorageApi, TableGone
from photondb.bus import Bus, BusMessage, Subscription
from photondb.reql.errors import ReqlError, op_failed
from photondb.rpc.events import ChangeBatch, read_change_batch
from photondb.telemetry import tracing
from photondb.telemetry.operations import RECEIVE
from photondb.telemetry.trace_context import TRACEPARENT, read_traceparents
from services.changefeed.documents import Index, Row
from services.changefeed.metrics import FeedMetrics
from services.changefeed.router import Router
from services.changefeed.sequencer import (
    AskPosition,
    Deliver,
    Fail,
    Instruction,
    ReadLog,
    RetryLater,
    ShardSequencer,
)

log = logging.getLogger(__name__)

RETRY_S = 0.25
"""How long to wait before storage is asked again when it did not answer."""

SLICE_S = 0.002
"""How long feeds are told of changes before other work has its turn."""

MAX_BACKLOG_RECORDS = 10_000
"""When so many records wait to be told of, no more are read from the log, and messages are left to be read from it."""


def aborted() -> ReqlError:
    """The error with which feeds end when their table can no longer be followed, in RethinkDB's words."""
    return op_failed("Changefeed aborted (unavailable).")


class Dependant(Protocol):
    """A feed, as far as the follower has to know it."""

    @property
    def index(self) -> Index | None:
        """The index that it works with."""
        ...

    def fail(self, error: ReqlError) -> None:
        """There will be no more changes."""
        ...

    def table_divided(self) -> None:
        """The table was divided anew, and has further logs."""
        ...


class TableFollower:
    """Follows the table `info` and tells its `router` of every change, in order, from `start` on.

    `failed` is called when it cannot go on; all feeds have been told then.
    """

    def __init__(
        self,
        storage: StorageApi,
        bus: Bus,
        info: TableInfo,
        failed: Callable[[TableFollower], None],
        metrics: FeedMetrics,
    ) -> None:
        self.info = info
        self.metrics = metrics
        self.router = Router()
        self.feeds: set[Dependant] = set()
        self.users = 0
        self._storage = storage
        self._bus = bus
        self._failed = failed
        self._error: ReqlError | None = None
        self._sequencers: dict[int, ShardSequencer] = {}
        self._backlog: deque[Row] = deque()
        self._told: list[int] = []  # for each shard the last record that feeds were told of
        self._open_logs = range(len(info.ended), len(info.ended) + len(info.nodes))
        """Those that are followed: the present ones, or after a division the former ones until they are through."""
        self._traced: dict[tuple[int, int], SpanNames] = {}
        """The traces of changes that have been received and not told of, by shard and sequence."""
        self._telling = False
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._indexes: dict[int, Index] = {}
        self._asking: set[int] = set()
        self._ask_running = False
        self._starting: asyncio.Task[None]
        self._subscription: Subscription | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._retries: set[asyncio.TimerHandle] = set()

    def start(self) -> None:
        """Begin to follow."""
        self._starting = asyncio.get_running_loop().create_task(self._start())

    async def started(self) -> None:
        """Return when it follows the table. Raises TableGone or ReqlError."""
        if self._starting.done():
            self._starting.result()
        else:
            await asyncio.shield(self._starting)

    async def _start(self) -> None:
        subject = CHANGES_SUBJECT.format(table_uuid=self.info.uuid, shard="*")
        self._subscription = await self._bus.subscribe(subject, self._message)
        positions = await self.log_position()
        # There are more where the table was divided anew and that has not been heard here.
        self._told = positions[: self._open_logs.stop]
        self.info.add_logs(self._told)
        for shard in self._open_logs:
            self._carry_out(shard, self._sequencer(shard).position_known(positions[shard]))
        self._go_on_with_next_logs()

    async def stop(self) -> None:
        """Follow no more. Feeds that are left end with an error."""
        self.fail(aborted())
        await asyncio.wait([self._starting])
        if self._subscription is not None:
            await self._subscription.close()
        for retry in self._retries:
            retry.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def backlog(self) -> int:
        """How many records have come that feeds were not told of yet."""
        return len(self._backlog)

    @property
    def missing(self) -> int:
        """How many records are known to exist and have not come."""
        return sum(sequencer.missing for sequencer in self._sequencers.values())

    # --- what feeds need

    @property
    def error(self) -> ReqlError | None:
        """Why it does not follow the table any more."""
        return self._error

    def delivered(self) -> list[int]:
        """The sequence of the last record of each shard that the router was told of."""
        return self._told

    async def log_position(self) -> list[int]:
        """The sequence of the last record of each shard. Raises TableGone or ReqlError."""
        return await self._storage.log_position(INTERNAL, self.info.id)

    async def read_log(self, shard: int, after: int, limit: int) -> list[LogRecord]:
        """Records after `after`. Raises TableGone, LogGap or ReqlError."""
        return await self._storage.read_log(INTERNAL, self.info.id, shard, after, limit)

    async def scan(self, scan: Scan) -> ScanReply:
        """Read rows of the table. Raises TableGone or ReqlError."""
        return await self._storage.scan(INTERNAL, scan)

    async def get(self, key: bytes) -> bytes | None:
        """Read one document. Raises TableGone or ReqlError."""
        (document,) = await self._storage.get(INTERNAL, [(self.info.id, key)])
        return document

    def index(self, index_id: int) -> Index | None:
        """The index of that id, compiled; None where there is none."""
        index = self._indexes.get(index_id)
        if index is None:
            for info in self.info.indexes:
                if info.id == index_id:
                    index = self._indexes[index_id] = Index(info)
        return index

    # --- what the service tells

    def update(self, info: TableInfo) -> None:
        """The table's configuration is now `info`. Feeds on an index that is gone end."""
        self.info = info
        present = {index.id for index in info.indexes}
        for index_id in [index_id for index_id in self._indexes if index_id not in present]:
            dropped = self._indexes.pop(index_id)
            for feed in [feed for feed in self.feeds if feed.index is dropped]:
                feed.fail(op_failed(f"Changefeed aborted: the index `{dropped.name}` was dropped."))

    def divided(self, info: TableInfo) -> None:
        """The table was divided anew. What is left in the logs of its former parts comes first, then those of the new
        ones are followed. Feeds go on."""
        self.update(info)
        if self._told:
            info.add_logs(self._told)
            self._go_on_with_next_logs()
        for feed in list(self.feeds):
            feed.table_divided()

    def _go_on_with_next_logs(self) -> None:
        """Where the logs that are followed have ended, read them to their end, and then follow the next ones."""
        ended = self.info.ended
        while self._error is None and self._open_logs.start < len(ended):
            for shard in self._open_logs:
                self._carry_out(shard, self._sequencers[shard].batch(ended[shard].end + 1, []))
            if any(self._sequencers[shard].delivered < ended[shard].end for shard in self._open_logs):
                return
            for shard in self._open_logs:
                del self._sequencers[shard]
                self._asking.discard(shard)
            self._open_logs = self.info.logs_from(self._open_logs.stop)
            for shard in self._open_logs:
                sequencer = self._sequencer(shard)
                self._carry_out(shard, sequencer.position_known(self.info.log_start(shard)))
                self._carry_out(shard, sequencer.check())

    def fail(self, error: ReqlError) -> None:
        """End all feeds."""
        if self._error is None:
            self._error = error
            for feed in list(self.feeds):
                feed.fail(error)
            self._failed(self)

    def check(self) -> None:
        """Ask storage whether something was missed."""
        for shard, sequencer in list(self._sequencers.items()):
            self._carry_out(shard, sequencer.check())

    # --- events and instructions

    def _message(self, message: BusMessage) -> None:
        if self._error is not None or not self._has_room.is_set():
            return
        try:
            batch = read_change_batch(message)
        except ValueError as error:
            log.warning("not a message about changes", extra={"subject": message.subject, "reason": str(error)})
            return
        if batch.shard not in self._open_logs:  # of a log that is through, or whose turn comes later
            return
        sequencer = self._sequencer(batch.shard)
        traceparent = message.headers.get(TRACEPARENT)
        if traceparent is None:
            self._carry_out(batch.shard, sequencer.batch(batch.first_sequence, batch.records))
            return
        with tracing.span_of(RECEIVE, read_traceparents(traceparent.split(","))) as span:
            self._note_trace(batch, span.names)
            self._carry_out(batch.shard, sequencer.batch(batch.first_sequence, batch.records))

    def _note_trace(self, batch: ChangeBatch, spans: SpanNames) -> None:
        """Remember of which trace the changes of a batch are until feeds are told of them."""
        if spans:
            if len(self._traced) > MAX_BACKLOG_RECORDS:
                self._traced.clear()
            self._traced.update(((batch.shard, record.sequence), spans) for record in batch.records)

    def _sequencer(self, shard: int) -> ShardSequencer:
        sequencer = self._sequencers.get(shard)
        if sequencer is None:
            sequencer = self._sequencers[shard] = ShardSequencer()
        return sequencer

    def _carry_out(self, shard: int, instructions: Sequence[Instruction]) -> None:
        if self._error is not None or shard not in self._sequencers:
            return
        for instruction in instructions:
            match instruction:
                case Deliver(records):
                    traced = self._traced
                    self._deliver(
                        [
                            Row(shard, record, traced.pop((shard, record.sequence), ()) if traced else ())
                            for record in records
                        ]
                    )
                    if self._open_logs.start < len(self.info.ended):
                        asyncio.get_running_loop().call_soon(self._go_on_with_next_logs)
                case ReadLog(after, limit):
                    self.metrics.gap_reads += 1
                    self.spawn(self._guarded(self._read(shard, after, limit)))
                case AskPosition():
                    self._asking.add(shard)
                    if not self._ask_running:
                        self._ask_running = True
                        self.spawn(self._guarded(self._ask()))
                case RetryLater():
                    self._retry_later(shard)
                case Fail(reason):
                    log.error("a table cannot be followed", extra={"table": self.info.uuid, "reason": reason})
                    self.fail(aborted())

    def _deliver(self, rows: list[Row]) -> None:
        """Have the router tell of the next rows, unless they concern nobody."""
        if not self._backlog and not any(map(self.router.concerns, rows)):
            self._told[rows[-1].shard] = rows[-1].sequence
            return
        self._backlog.extend(rows)
        if len(self._backlog) > MAX_BACKLOG_RECORDS:
            self._has_room.clear()
        if not self._telling:
            # Where storage runs in this process, its writer is to have the answer first, which has its turn in the
            # loop's next round.
            self._telling = True
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._tell)

    def _tell(self) -> None:
        """Tell the router of what waits, for a while; then again in the loop's next turn."""
        self._telling = False
        end = perf_counter() + SLICE_S
        row: Row | None = None
        told = 0
        try:
            while self._backlog and self._error is None:
                row = self._backlog.popleft()
                self.router.dispatch(row)
                self._told[row.shard] = row.sequence
                told += 1
                if perf_counter() > end:
                    break
        except Exception:
            log.exception("a change could not be told of", extra={"table": self.info.uuid})
            self.fail(aborted())
        if row is not None:
            self.metrics.records += told
            self.metrics.lag.observe(max(0.0, time.time() - row.time_us / 1e6))
        if len(self._backlog) <= MAX_BACKLOG_RECORDS and not self._has_room.is_set():
            self._has_room.set()
            self.check()  # for the messages that were left
        if self._backlog and self._error is None:
            self._telling = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _retry_later(self, shard: int) -> None:
        def retry() -> None:
            self._retries.discard(handle)
            if shard in self._sequencers:
                self._carry_out(shard, self._sequencers[shard].retry_due())

        handle = asyncio.get_running_loop().call_later(RETRY_S, retry)
        self._retries.add(handle)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do work in the background that ends with this follower."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Do work; a bug in it must not leave feeds waiting for ever."""
        try:
            await work
        except Exception:
            log.exception("a table cannot be followed", extra={"table": self.info.uuid})
            self.fail(aborted())

    async def _read(self, shard: int, after: int, limit: int) -> None:
        sequencer = self._sequencers.get(shard)
        if sequencer is None:  # its log is through
            return
        await self._has_room.wait()
        try:
            instructions = sequencer.log_read(await self.read_log(shard, after, limit))
        except TableGone:
            self.fail(aborted())
            return
        except LogGap as gap:
            instructions = sequencer.log_trimmed(gap.oldest)
        except ReqlError as error:
            log.warning("the change log cannot be read", extra={"table": self.info.uuid, "reason": error.message})
            instructions = sequencer.read_failed()
        self._carry_out(shard, instructions)

    async def _ask(self) -> None:
        """Answer all shards that want to know their position; those that begin to want it meanwhile get a newer one."""
        while self._asking:
            asking = sorted(self._asking)
            self._asking.clear()
            try:
                positions: list[int] | None = await self.log_position()
            except TableGone:
                self.fail(aborted())
                return
            except ReqlError as error:
                reason = error.message
                log.warning("storage does not say where it is", extra={"table": self.info.uuid, "reason": reason})
                positions = None
            for shard in asking:
                sequencer = self._sequencers.get(shard)
                if sequencer is None:  # its log is through
                    continue
                if positions is None:
                    self._carry_out(shard, sequencer.read_failed())
                else:
                    self._carry_out(shard, sequencer.position_known(positions[shard]))
        self._ask_running = False
