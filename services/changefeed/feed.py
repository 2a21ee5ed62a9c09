"""What all feeds have in common: a reader that comes for changes, and waits where there are none."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec

from photondb.api.changefeed import Feed, FeedRequest
from photondb.api.context import SpanNames
from photondb.api.storage import LogGap, TableGone
from photondb.reql.chunk import Chunk
from photondb.reql.errors import ErrorKind, ReqlError, op_failed
from photondb.reql.feed_notices import state_notice
from photondb.rpc.errors import ServiceUnavailable
from photondb.telemetry import tracing
from photondb.telemetry.operations import DELIVER
from services.changefeed.causes import MAX_CAUSES, joined
from services.changefeed.documents import Index, Row
from services.changefeed.follower import RETRY_S, TableFollower, aborted
from services.changefeed.metrics import FeedMetrics
from services.changefeed.selection import Selection

log = logging.getLogger(__name__)

MAX_BATCH_BYTES = 1_000_000
"""About how much a reader is given at a time, in bytes of JSON."""

CATCH_UP_RECORDS = 1000
"""Records that a feed reads from the log at a time while it catches up."""


class OpenFeed(ABC):
    """The state of a feed. The follower holds on to it while it is open, the reader has a `FeedHandle`.

    A feed is behind until it has shown what was there at the beginning and has read the log up to where the follower
    is; all this happens only as fast as its reader comes. From then on, `live`, the follower's router tells it of
    changes, which wait for the reader. An idle feed costs its memory and nothing else.
    """

    def __init__(self, follower: TableFollower, request: FeedRequest, selection: Selection) -> None:
        self.request = msgspec.structs.replace(request, steps=())  # which are in the selection
        self.selection = selection
        self.follower = follower
        self.live = False
        self.behind = True
        """Whether the beginning has not been shown to its end."""
        self.positions: list[int] = []
        """For each shard the sequence up to which its records count as seen."""
        self.notices: deque[bytes] = deque()
        """What the reader is to see first, before any change that waits."""
        squash = request.squash
        self.squash = squash is not False
        self._collect_s = 0.0 if isinstance(squash, bool) else float(squash)
        self._mid_batch = False
        self._error: ReqlError | None = None
        self.idle_s: float | None = None
        """How long a reader may wait before `idle` is called."""
        self._waiter: asyncio.Future[bool] | None = None
        self._advancing: asyncio.Task[None] | None = None
        self.spans: SpanNames = ()
        """The span of the query that opened the feed, where it is traced."""
        self._causes: list[SpanNames] = []
        self._caused_ns = 0
        follower.feeds.add(self)

    @property
    def index(self) -> Index | None:
        """The index that the feed works with."""
        return self.selection.index

    @property
    def waiting(self) -> int:
        """How many notices and changes wait for the reader."""
        return len(self.notices)

    # --- what kinds of feeds do differently

    @abstractmethod
    def take_changes(self, count: int, max_bytes: int) -> list[bytes]:
        """The first notices of changes that wait: up to `count`, and about `max_bytes`."""
        ...

    @abstractmethod
    def has_changes(self) -> bool:
        """Whether changes wait."""
        ...

    @abstractmethod
    def nearly_full(self) -> bool:
        """Whether so many changes wait that the reader should not be kept waiting."""
        ...

    @abstractmethod
    async def show_beginning(self) -> bool:
        """Do a part of what comes before the changes: append to `notices`, set `positions`. True when it was the
        last part. Raises ReqlError, TableGone."""
        ...

    @abstractmethod
    def take(self, row: Row) -> None:
        """Take a change from the log."""
        ...

    @abstractmethod
    def attach(self) -> None:
        """Have the follower's router tell of changes."""
        ...

    @abstractmethod
    def detach(self) -> None:
        """Undo `attach`; allowed without it."""
        ...

    # --- the reader's side

    async def next(self, max_changes: int) -> Chunk:
        """`Feed.next`."""
        if self._collect_s and self.live and not self._mid_batch and not self.notices:
            await self._collect()
        while True:
            notices = self._take(max_changes)
            if notices:
                if self._causes and not self.has_changes():
                    self._trace_delivery()
                self._mid_batch = bool(self.notices) or self.has_changes()
                return Chunk.of_raw(notices)
            if self._error is not None:
                raise self._error
            if self.live:
                if not await self._wait(self.idle_s):
                    self.idle()
            else:
                await self._advance()

    def caused_by(self, row: Row) -> None:
        """The change is one of those that wait for the reader."""
        if row.spans and len(self._causes) < MAX_CAUSES:
            if not self._causes:
                self._caused_ns = time.time_ns()
            self._causes.append(row.spans)

    def _trace_delivery(self) -> None:
        """All changes that waited go to the reader: a part of the traces of their commits, and of the feed's own."""
        causes, self._causes = self._causes, []
        with tracing.span_of(DELIVER, (*joined(causes), *self.spans), self._caused_ns):
            pass

    def _take(self, count: int) -> list[bytes]:
        taken = self.take_notices(count, MAX_BATCH_BYTES)
        left = MAX_BATCH_BYTES - sum(map(len, taken))
        if len(taken) < count and left > 0 and self.has_changes():
            taken += self.take_changes(count - len(taken), left)
        return taken

    def take_notices(self, count: int, max_bytes: int) -> list[bytes]:
        """The first of `notices`: up to `count`, and about `max_bytes`."""
        taken: list[bytes] = []
        size = 0
        while self.notices and len(taken) < count and size < max_bytes:
            taken.append(self.notices.popleft())
            size += len(taken[-1])
        return taken

    async def _wait(self, timeout_s: float | None = None) -> bool:
        """Wait for `wake` (True), or for the time to pass (False)."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiter = waiter
        timer = None if timeout_s is None else loop.call_later(timeout_s, self._end_wait, False)
        try:
            return await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    async def _collect(self) -> None:
        """Give changes the time to come together in which they are squashed."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._collect_s
        while self._error is None and self.live and not self.nearly_full():
            left_s = end - loop.time()
            if left_s <= 0:
                return
            await self._wait(left_s)

    def wake(self) -> None:
        """Something has changed that a waiting reader should look at."""
        self._end_wait(True)

    def _end_wait(self, woken: bool) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(woken)

    def idle(self) -> None:  # noqa: B027 - most kinds have nothing to do then
        """Nothing has come for `idle_s` while the reader waited."""

    def ready_notice(self) -> bytes:
        """The notice that the beginning has been shown."""
        return state_notice("ready", self.request.include_types)

    # --- from the beginning to where the follower is

    async def begin(self) -> None:
        """Open the feed: fix from where on it tells of changes. Raises ReqlError, TableGone."""
        if self.request.include_states and self.request.include_initial:
            self.notices.append(state_notice("initializing", self.request.include_types))
        await self._show_part()
        self._go_live()

    async def _show_part(self) -> None:
        """Do the next part of the beginning."""
        if await self.show_beginning():
            self.behind = False
            if self.request.include_states:
                self.notices.append(self.ready_notice())

    async def _advance(self) -> None:
        """Do one step towards being live. It goes on when its reader is cancelled, so that nothing is lost."""
        if self._advancing is None:
            self._advancing = self.follower.spawn(self._step())
        await asyncio.wait([self._advancing])

    async def _step(self) -> None:
        try:
            if self.behind:
                await self._show_part()
            else:
                await self._try_to_catch_up()
            self._go_live()
        except TableGone:
            self.fail(aborted())
        except LogGap as gap:
            self.fail(op_failed(f"Changefeed aborted: its reader was so slow that {gap}."))
        except ReqlError as error:
            self.fail(error)
        except Exception:
            log.exception("a feed failed", extra={"table": self.follower.info.uuid})
            message = "Internal error in the changefeed service. Its log has the details."
            self.fail(ReqlError(ErrorKind.INTERNAL, message))
        finally:
            self._advancing = None

    async def _try_to_catch_up(self) -> None:
        try:
            await self.catch_up()
        except ServiceUnavailable:  # storage will be back, and the log is still there
            await asyncio.sleep(RETRY_S)

    def targets(self) -> list[int]:
        """The positions that the feed must get to before it can be live."""
        return self.follower.delivered()

    def add_logs(self) -> None:
        """Let positions go on with the logs that the table has got since, where it was divided anew."""
        if self.positions:
            self.follower.info.add_logs(self.positions)

    def table_divided(self) -> None:
        """The table was divided anew, and has further logs."""
        self.add_logs()

    def settled(self) -> bool:
        """Whether it is there."""
        return all(map(int.__ge__, self.positions, self.targets()))

    async def catch_up(self) -> None:
        """Get nearer to it: read some of what was committed since `positions` from the log."""
        self.add_logs()
        targets = self.targets()
        for shard in self.follower.info.open_logs(self.positions):
            position = self.positions[shard]
            if position >= targets[shard]:
                continue
            for record in await self.follower.read_log(shard, position, CATCH_UP_RECORDS):
                self.take(Row(shard, record))
                self.positions[shard] = record.sequence
            if self.positions[shard] == position:
                await asyncio.sleep(RETRY_S)  # storage is not where it was; the follower finds out what that means

    def _go_live(self) -> None:
        """Let the follower tell of changes from now on, if the feed has got to where it is."""
        self.add_logs()
        if self.follower.error is not None:
            self.fail(self.follower.error)
        elif not self.behind and not self.live and self.settled():
            self.live = True
            self.attach()

    def fall_behind(self) -> None:
        """Stop being told of changes; the reader's next visit goes on from `positions`."""
        self.live = False
        self.detach()
        self.wake()

    # --- the end

    def fail(self, error: ReqlError) -> None:
        """There will be no more changes: the reader gets those that wait, then the error."""
        if self._error is None:
            self._error = error
            self.live = False
            self.detach()
            self.follower.feeds.discard(self)
            if self._advancing is not None and self._advancing is not asyncio.current_task():
                self._advancing.cancel()
            self.wake()

    def close(self) -> None:
        """The reader will not come again."""
        self.fail(op_failed("The changefeed was closed."))


class Readable(Protocol):
    """What a handle is for."""

    async def next(self, max_changes: int) -> Chunk:
        """`Feed.next`."""
        ...

    def close(self) -> None:
        """The reader will not come again."""
        ...


class FeedHandle(Feed):
    """A feed as its reader has it. Dropping it closes the feed."""

    def __init__(self, feed: Readable, closed: Callable[[], None], metrics: FeedMetrics) -> None:
        self._feed = feed
        self._metrics = metrics
        self._closed: Callable[[], None] | None = closed

    async def next(self, max_changes: int) -> Chunk:
        changes = await self._feed.next(max_changes)
        self._metrics.changes += len(changes)
        return changes

    async def close(self) -> None:
        self._close()

    def _close(self) -> None:
        if self._closed is not None:
            closed, self._closed = self._closed, None
            self._feed.close()
            closed()

    def __del__(self) -> None:
        self._close()
