"""Consumer groups: connections that share the changes of one feed, and what they have done with, kept in storage.

A group reads its changes from the table's log, which is as far behind as the group is. What its consumers have
acknowledged is written to a hidden table a little later; after a crash they get some changes again, and miss none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

from photondb.api.changefeed import DEFAULT_GROUP_TIMEOUT_S, FeedRequest
from photondb.api.context import INTERNAL, SpanNames
from photondb.api.feed_records import GROUPS_TABLE, GroupRecord, ShardProgress
from photondb.api.storage import LogGap, StorageApi, TableGone
from photondb.hidden_table import HiddenTable
from photondb.reql.chunk import Chunk
from photondb.reql.errors import ErrorKind, ReqlError, op_failed
from photondb.rpc.errors import ServiceUnavailable
from photondb.telemetry import tracing
from photondb.telemetry.operations import DELIVER
from services.changefeed.causes import Causes
from services.changefeed.documents import Index, Row
from services.changefeed.follower import RETRY_S, TableFollower, aborted
from services.changefeed.group_state import Deliver, GroupState, Item
from services.changefeed.notices import Change
from services.changefeed.selection import Selection

log = logging.getLogger(__name__)

READ_RECORDS = 1000
"""Records that are read from the log at a time."""

KEEP_INTERVAL_S = 0.25
"""How long to wait after the progress was written before it is written again."""


class Group:
    """A group that has consumers. It ends with the last of them, or with an error that all of them get."""

    def __init__(
        self, follower: TableFollower, records: HiddenTable[GroupRecord], record: GroupRecord, selection: Selection
    ) -> None:
        self.selection = selection
        self.closed = asyncio.Event()
        """It has ended, and its progress has been kept."""
        self._follower = follower
        self.name = record.name
        self.causes = Causes()
        self._records = records
        self._id = record.id
        self._state: GroupState[list[Change]] = GroupState(record.progress, DEFAULT_GROUP_TIMEOUT_S)
        self._consumers: dict[int, GroupConsumer] = {}
        self._numbers = 0
        self._error: ReqlError | None = None
        self._more = asyncio.Event()  # there may be more to read, or room for it
        self._progressed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        follower.feeds.add(self)
        follower.router.add_row_listener(self)
        self._reading = follower.spawn(self._read_for_ever())
        self._keeping = self._loop.create_task(self._keep_for_ever())

    @property
    def index(self) -> Index | None:
        """The index that its selection is on."""
        return self.selection.index

    @property
    def ended(self) -> bool:
        """Whether nobody can join any more."""
        return self._error is not None

    def join(self, request: FeedRequest) -> GroupConsumer:
        """A new consumer. The newest one says how long all have for a batch."""
        self._numbers += 1
        consumer = GroupConsumer(self, self._numbers, request.include_types)
        self._state.timeout_s = request.group_timeout_s
        self._consumers[consumer.number] = consumer
        self._state.joined(consumer.number)
        return consumer

    @property
    def consumers(self) -> int:
        """How many there are."""
        return len(self._consumers)

    # --- the consumers' events

    def asked(self, consumer: int, count: int) -> None:
        """A consumer asks for changes, and acknowledges some."""
        self._carry_out(self._state.asked(consumer, count, self._loop.time()))
        self._progressed.set()
        self._more.set()

    def left(self, consumer: int) -> None:
        """A consumer has gone."""
        if self._consumers.pop(consumer, None) is None:
            return
        self._carry_out(self._state.left(consumer, self._loop.time()))
        if not self._consumers:
            self.fail(op_failed("The changefeed was closed."))

    def take(self, row: Row) -> None:
        """The follower has seen a change of the table."""
        self.causes.note(row)
        self._more.set()

    def table_divided(self) -> None:
        """The table was divided anew: there are further logs to read."""
        self._more.set()

    def fail(self, error: ReqlError) -> None:
        """End. What consumers have not got any more, somebody will get when the group goes on."""
        if self._error is not None:
            return
        self._error = error
        self._follower.router.remove_row_listener(self)
        self._follower.feeds.discard(self)
        if self._reading is not asyncio.current_task():
            self._reading.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._progressed.set()  # for the last time
        consumers, self._consumers = self._consumers, {}
        for consumer in consumers.values():
            consumer.fail(error)

    def _carry_out(self, deliveries: list[Deliver[list[Change]]]) -> None:
        for delivery in deliveries:
            self._consumers[delivery.consumer].deliver(delivery.items)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._state.deadline
        if deadline is not None and self._error is None:
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._carry_out(self._state.tick(self._loop.time()))

    # --- reading the log

    async def _read_for_ever(self) -> None:
        try:
            while self._error is None:
                self._more.clear()
                if not self._state.has_room or not await self._read():
                    await self._more.wait()
        except TableGone:
            self.fail(aborted())
        except LogGap:
            self.fail(
                op_failed(
                    f"The log of changes no longer has all that the group `{self.name}` did not get. Delete its row "
                    "in `rethinkdb.feed_groups` to let it begin anew with the changes from then on."
                )
            )
        except ReqlError as error:
            self.fail(error)
        except Exception:
            log.exception("a consumer group failed", extra={"group": self._id})
            self.fail(
                ReqlError(ErrorKind.INTERNAL, "Internal error in the changefeed service. Its log has the details.")
            )

    async def _read(self) -> bool:
        """Read some records of each shard; whether there may be more."""
        found = unavailable = False
        self._state.add_logs(self._follower.info)
        positions = self._state.read
        for shard in self._follower.info.open_logs(positions):
            try:
                records = await self._follower.read_log(shard, positions[shard], READ_RECORDS)
            except ServiceUnavailable:  # storage will be back, and the log is still there
                unavailable = True
                continue
            for record in records:
                found = True
                row = Row(shard, record)
                changes = self.selection.changes(row)
                if not changes:
                    self._state.skip(shard, record.sequence)
                    if self.causes:
                        self.causes.take([(shard, record.sequence)])
                    continue
                size = sum(len(change.old or b"") + len(change.new or b"") for change in changes)
                item = Item(shard, record.sequence, record.key, changes, size)
                self._carry_out(self._state.change(item, self._loop.time()))
            if records:
                self._progressed.set()
                await asyncio.sleep(0)
        if unavailable:
            await asyncio.sleep(RETRY_S)
        return found or unavailable

    # --- keeping the progress

    async def _keep_for_ever(self) -> None:
        kept: list[ShardProgress] | None = None
        try:
            while True:
                await self._progressed.wait()
                self._progressed.clear()
                ended = self.ended
                progress = self._state.progress()
                if progress != kept:
                    kept = await self._keep(progress)
                if ended:
                    return
                await asyncio.sleep(KEEP_INTERVAL_S)
        finally:
            self.closed.set()

    async def _keep(self, progress: list[ShardProgress]) -> list[ShardProgress] | None:
        """Write what is acknowledged. Losing it means that changes are given again; so a failure is no more."""
        try:
            if not await self._records.update(self._id, durability="soft", progress=progress):
                self.fail(op_failed(f"The group `{self.name}` was deleted."))
            return progress
        except ReqlError as error:
            log.warning("a group's progress is not kept", extra={"group": self._id, "reason": error.message})
            self._progressed.set()
            return None


class GroupConsumer:
    """One connection's share of a group, as its reader has it."""

    def __init__(self, group: Group, number: int, include_types: bool) -> None:
        self.number = number
        self._group = group
        self._include_types = include_types
        self._asked = False
        self.spans: SpanNames = ()
        """The span of the query that opened the feed, where it is traced."""
        self._caused: tuple[SpanNames, int | None] = (), None
        self._delivered: list[bytes] | None = None
        self._error: ReqlError | None = None
        self._arrived = asyncio.Event()

    async def next(self, max_changes: int) -> Chunk:
        """`Feed.next`: changes, or the empty batch that follows them."""
        if not self._asked and self._error is None:
            self._asked = True
            self._group.asked(self.number, max_changes)
        await self._arrived.wait()
        if self._delivered is None:
            assert self._error is not None
            raise self._error
        notices, self._delivered, self._asked = self._delivered, None, False
        if self._error is None:
            self._arrived.clear()
        spans, since_ns = self._caused
        if spans:
            self._caused = (), None
            with tracing.span_of(DELIVER, (*spans, *self.spans), since_ns) as span:
                span.note("messaging.consumer.group.name", self._group.name)
        return Chunk.of_raw(notices)

    def deliver(self, items: Any) -> None:
        """What the group gives."""
        self._delivered = [change.notice(self._include_types) for item in items for change in item.payload]
        if self._group.causes:
            self._caused = self._group.causes.take((item.shard, item.sequence) for item in items)
        self._arrived.set()

    def fail(self, error: ReqlError) -> None:
        """There will be no more."""
        self._error = error
        self._arrived.set()

    def close(self) -> None:
        """The reader will not come again."""
        self._group.left(self.number)


class FeedGroups:
    """The groups that have consumers, by id."""

    def __init__(self, storage: StorageApi) -> None:
        self._records = HiddenTable(storage, GROUPS_TABLE, GroupRecord)
        self._groups: dict[str, Group] = {}
        self._opening = asyncio.Lock()

    def __iter__(self) -> Iterator[Group]:
        return iter([group for group in self._groups.values() if not group.ended])

    async def join(self, follower: TableFollower, request: FeedRequest, selection: Selection) -> GroupConsumer:
        """Make a connection a consumer of the group that the request names. Raises ReqlError, TableGone."""
        assert request.group is not None
        id = f"{request.table_uuid}/{request.group}"
        async with self._opening:
            group = self._groups.get(id)
            if group is not None and group.ended:
                await group.closed.wait()
                group = None
            if group is None:
                record = await self._record(id, follower, request)
                if follower.error is not None:
                    raise follower.error
                self._groups = {id: group for id, group in self._groups.items() if not group.closed.is_set()}
                group = self._groups[id] = Group(follower, self._records, record, selection)
            elif group.selection.identity != selection.identity:
                raise op_failed(
                    f"The group `{request.group}` has consumers of another selection of this table. Close them first, "
                    "or use another name."
                )
            return group.join(request)

    async def forget_dropped(self, storage: StorageApi) -> None:
        """Forget the groups of tables that are gone. Raises ReqlError."""
        records = await self._records.all()  # first: a group that was made meanwhile may have a new table
        catalogue = await storage.catalogue(INTERNAL)
        present = {info.uuid for info in catalogue.tables.values()}
        for record in records:
            if record.table not in present:
                await self._records.delete(record.id)

    async def stop(self) -> None:
        """Return when the progress of all groups, which have ended, is kept."""
        for group in list(self._groups.values()):
            group.fail(aborted())
            await group.closed.wait()

    async def _record(self, id: str, follower: TableFollower, request: FeedRequest) -> GroupRecord:
        """The group as it was kept. A new one begins with what is committed from now on."""
        record = await self._records.get(id)
        if record is None:
            assert request.group is not None
            progress = [ShardProgress(sequence) for sequence in await follower.log_position()]
            record = GroupRecord(id, request.table_uuid, request.group, progress)
            await self._records.put(record)
        return record
