"""Sinks: tables whose changes are sent elsewhere, for as long as rows in a hidden table say so.

A sink reads its changes from the table's log and sends them batch by batch, each until it has arrived; then its
position is written. So a change arrives at least once, and in order, whatever is restarted in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from time import perf_counter

import orjson

from photondb.api.context import SpanNames
from photondb.api.feed_records import SINK_STATES_TABLE, SINKS_TABLE, SinkRecord, SinkState
from photondb.api.storage import KeyRange, LogGap, StorageApi, TableGone
from photondb.hidden_table import HiddenTable
from photondb.reql.errors import ReqlError
from photondb.reql.function import Func
from photondb.reql.steps import FilterStep
from photondb.rpc.backoff import Backoff
from photondb.rpc.errors import ServiceUnavailable
from photondb.telemetry import tracing
from photondb.telemetry.operations import DELIVER_TO_SINK
from services.changefeed.causes import Causes
from services.changefeed.documents import Index, Row
from services.changefeed.follower import TableFollower
from services.changefeed.metrics import FeedMetrics
from services.changefeed.selection import Selection
from services.changefeed.sink_targets import SinkChange, SinkError, target_of

log = logging.getLogger(__name__)

POLL_INTERVAL_S = 0.5
"""How often the table of sinks is looked at for changes."""

BATCH_CHANGES = 500
BATCH_BYTES = 1_000_000
READ_RECORDS = 500

FIRST_RETRY_MS = 250
LONGEST_RETRY_MS = 60_000

SKIP_RECORDS = 10_000
"""After so many records that are none of the sink's its position is written, too."""

IDLE_S = 1.0
"""It is written, too, when nothing came for so long."""

Following = Callable[[str], AbstractAsyncContextManager[TableFollower]]
"""Follows the table with a uuid while it is entered. Raises TableGone and ReqlError."""


class Sink:
    """Delivers for one row of the table of sinks. It is a feed of its follower."""

    index: Index | None = None

    def __init__(
        self, record: SinkRecord, states: HiddenTable[SinkState], following: Following, metrics: FeedMetrics
    ) -> None:
        self.record = record
        self._metrics = metrics
        self._states = states
        self._following = following
        self._state = SinkState(record.state, [])
        self._target = target_of(record)
        self._backoff = Backoff(FIRST_RETRY_MS, LONGEST_RETRY_MS)
        steps = [FilterStep(Func.from_wire(orjson.loads(record.filter)))] if record.filter else []
        self._selection = Selection(None, (KeyRange(),), steps)
        self._causes = Causes()
        self._more = asyncio.Event()
        self._skipped = 0
        self._turn = -1
        """How many times it has read."""

    async def run(self) -> None:
        """Deliver until cancelled, or until there is nothing more to do."""
        try:
            while not await self._ended():
                await self._pause()
        finally:
            await self._target.close()

    async def _ended(self) -> bool:
        """Deliver; True when that is over for good, False when another try may go better."""
        try:
            state = await self._states.get(self.record.state)
            if state is None:
                return True
            self._state = state
            async with self._following(self.record.table) as follower:
                follower.feeds.add(self)
                follower.router.add_row_listener(self)
                try:
                    while follower.error is None:
                        if not await self._step(follower):
                            return True
                finally:
                    follower.feeds.discard(self)
                    follower.router.remove_row_listener(self)
        except TableGone:
            await self._fail("the table was dropped")
            return True
        except LogGap as gap:
            await self._fail(f"{gap}, which is after what was delivered: insert the sink anew to begin with what comes")
            return True
        except ReqlError as error:
            log.warning("a sink has to wait", extra={"sink": self.record.id, "reason": error.message})
        return False

    # --- what its follower has to know

    def take(self, row: Row) -> None:
        """The follower has seen a change of the table."""
        self._causes.note(row)
        self._more.set()

    def table_divided(self) -> None:
        """The table was divided anew: there are further logs to read."""
        self._more.set()

    def fail(self, error: ReqlError) -> None:
        """The follower can go on no longer."""
        self._more.set()

    # --- reading and delivering

    async def _step(self, follower: TableFollower) -> bool:
        """Deliver a batch, or wait for changes; False when the sink was deleted."""
        self._more.clear()
        follower.info.add_logs(self._state.position)
        before = self._state.position
        changes, position = await self._read(follower)
        if position == self._state.position:
            return await self._wait()
        spans: SpanNames = ()
        if self._causes:
            spans, _ = self._causes.take(_between(before, position))
        while changes:
            started = perf_counter()
            try:
                with tracing.span_of(DELIVER_TO_SINK, spans) as span:
                    span.note("photondb.sink.id", self.record.id)
                    await self._target.deliver(follower.info, changes, span.names)
                self._metrics.sink_delivery(self.record.kind, started, len(changes))
                break
            except SinkError as error:
                self._metrics.sink_delivery(self.record.kind, started, 0)
                if not await self._fail(str(error)):
                    return False
            await self._pause()
        state = self._state
        state.position = position
        if not changes and self._skipped < SKIP_RECORDS:
            return True
        self._skipped = 0
        state.delivered += len(changes)
        state.failures = 0
        state.last_error = None
        self._backoff.reset()
        return await self._keep()

    async def _read(self, follower: TableFollower) -> tuple[list[SinkChange], list[int]]:
        """The next changes, and the position after them.

        Each time another shard is the first one, so that one with very many changes does not keep those of others
        waiting; nor does one that cannot be read at present.
        """
        changes: list[SinkChange] = []
        size = 0
        position = self._state.position.copy()
        unavailable: ServiceUnavailable | None = None
        logs = follower.info.open_logs(position)
        self._turn += 1
        first = self._turn % len(logs)
        for shard in (*logs[first:], *logs[:first]):
            try:
                records = await follower.read_log(shard, position[shard], READ_RECORDS)
            except ServiceUnavailable as error:
                unavailable = error
                continue
            for record in records:
                if len(changes) >= BATCH_CHANGES or size >= BATCH_BYTES:
                    return changes, position
                position[shard] = record.sequence
                self._skipped += 1
                # With the time, since the number is used again if storage loses the end of its log with its machine.
                name = f"{shard}-{record.sequence}-{record.time_us}"
                for change in self._selection.changes(Row(shard, record)):
                    notice = b'{"id":"%b",%b' % (name.encode(), change.notice(False)[1:])
                    changes.append(SinkChange(name, notice))
                    size += len(notice)
        if unavailable is not None and position == self._state.position:
            raise unavailable
        return changes, position

    async def _wait(self) -> bool:
        """Wait for changes. What was skipped does not stay unwritten when nothing comes."""
        try:
            async with asyncio.timeout(IDLE_S if self._skipped else None):
                await self._more.wait()
        except TimeoutError:
            self._skipped = 0
            return await self._keep()
        return True

    async def _pause(self) -> None:
        await asyncio.sleep(self._backoff.next_delay_ms() / 1000)

    async def _fail(self, reason: str) -> bool:
        """Let the user see what is wrong."""
        log.warning("a sink does not deliver", extra={"sink": self.record.id, "reason": reason})
        self._state.failures += 1
        self._state.last_error = reason
        return await self._keep()

    async def _keep(self) -> bool:
        """Write the state; False when it is not there any more. If storage does not answer, the next time will do:
        what is delivered again meanwhile does no harm."""
        state = self._state
        fields = {"position": state.position, "delivered": state.delivered, "failures": state.failures}
        try:
            return await self._states.update(state.id, durability="soft", last_error=state.last_error, **fields)
        except ReqlError as error:
            log.warning("a sink's state is not kept", extra={"sink": self.record.id, "reason": error.message})
            return True


def _between(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The shard and the sequence of each change after one position and up to another."""
    for shard, (first, last) in enumerate(zip(before, after, strict=True)):
        yield from ((shard, sequence) for sequence in range(first + 1, last + 1))


class Sinks:
    """The sinks that deliver: one for each row that is enabled."""

    def __init__(self, storage: StorageApi, following: Following, metrics: FeedMetrics) -> None:
        self._metrics = metrics
        self.there_may_be_some = False
        """Whether the table of sinks exists."""
        self._records = HiddenTable(storage, SINKS_TABLE, SinkRecord)
        self._states = HiddenTable(storage, SINK_STATES_TABLE, SinkState)
        self._following = following
        self._running: dict[str, tuple[SinkRecord, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        """How many run."""
        return len(self._running)

    async def run(self) -> None:
        """Run the sinks until cancelled."""
        seen: list[int] | None = None
        try:
            while True:
                try:
                    if self.there_may_be_some:
                        version = await self._records.version()
                        if version != seen:
                            await self._settle(await self._records.all())
                            seen = version
                except ReqlError as error:
                    log.warning("the table of sinks cannot be read", extra={"reason": error.message})
                except Exception:
                    log.exception("the table of sinks cannot be read")
                await asyncio.sleep(POLL_INTERVAL_S)
        finally:
            await self._settle([])

    async def _settle(self, records: list[SinkRecord]) -> None:
        """Run these sinks and no others."""
        wanted = {record.id: record for record in records if record.enabled}
        for id, (record, task) in list(self._running.items()):
            if wanted.get(id) != record:
                del self._running[id]
                task.cancel()
                await asyncio.wait([task])
        for id, record in wanted.items():
            if id not in self._running:
                task = asyncio.get_running_loop().create_task(self._guarded(record))
                self._running[id] = record, task

    async def _guarded(self, record: SinkRecord) -> None:
        try:
            await Sink(record, self._states, self._following, self._metrics).run()
        except Exception:
            log.exception("a sink failed", extra={"sink": record.id})
