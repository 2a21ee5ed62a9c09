"""Changefeeds on system tables.

A system table has no log of changes. While somebody watches one, its rows are worked out anew whenever something is
done that may have changed them, and every second besides, for what other nodes do and for what changes by itself. A
feed tells how the rows differ from those that its reader was told of last; so a reader that is slow misses states in
between, but never the newest one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from photondb.api.catalogue import TableInfo
from photondb.api.changefeed import Feed, FeedRequest
from photondb.datum.errors import DatumError
from photondb.datum.json import dumps, loads_stored
from photondb.reql import system_tables
from photondb.reql.chunk import Chunk
from photondb.reql.errors import ReqlError, op_failed
from photondb.reql.feed_notices import change_notice, initial_notice, state_notice
from photondb.reql.suspend import Evaluation

if TYPE_CHECKING:
    from photondb.reql.runtime import Runtime
    from photondb.reql.surroundings import Surroundings

log = logging.getLogger(__name__)

POLL_INTERVAL_S = 1.0
"""How often the rows of a watched table are worked out when nothing says that they may have changed."""

_Key = tuple[int, str]
_watches: WeakKeyDictionary[object, dict[_Key, SystemWatch]] = WeakKeyDictionary()
"""What is watched in each service, by table and user."""


def open_system_feed(runtime: Runtime, info: TableInfo, request: FeedRequest) -> SystemFeed:
    """Open a feed on a system table. Raises ReqlError where it cannot be."""
    if request.limit is not None:
        raise op_failed("System tables don't support changefeeds on `.limit()`.")
    if request.include_position or request.resume is not None or request.since_us is not None:
        raise op_failed("A feed on a system table has no position: there is no log of its changes.")
    watches = _watches.setdefault(runtime.service, {})
    key = (info.id, runtime.context.user)
    watch = watches.get(key)
    if watch is None:
        watch = watches[key] = SystemWatch(runtime, info)
    watch.users += 1
    leave = functools.partial(_leave, runtime.service, key, watch)
    try:
        watch.refresh(runtime)
    except BaseException:
        leave()
        raise
    return SystemFeed(watch, request, leave)


def note_change(service: Surroundings) -> None:
    """Rows of system tables may have changed."""
    for watch in _watches.get(service, {}).values():
        watch.poke()


def _leave(service: object, key: _Key, watch: SystemWatch) -> None:
    watch.users -= 1
    if watch.users == 0:
        watch.stop()
        del _watches[service][key]


class SystemWatch:
    """The rows of a system table as a user sees them, kept up to date while there are feeds."""

    def __init__(self, runtime: Runtime, info: TableInfo) -> None:
        self.info = info
        self.rows: dict[bytes, bytes] = {}
        self.users = 0
        self.changed = asyncio.Event()
        """Is set, and replaced by another one, when `rows` are others."""
        self._runtime = runtime.outliving()
        self._readings = 0
        self._newest = 0
        self._poked = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def poke(self) -> None:
        """Work the rows out anew soon."""
        self._poked.set()

    def stop(self) -> None:
        """Watch no more."""
        self._task.cancel()

    def refresh(self, runtime: Runtime) -> None:
        """Work the rows out now (inside an evaluation)."""
        self._readings += 1
        reading = self._readings
        rows = system_tables.json_rows(runtime, self.info)
        if reading > self._newest:  # else one that began later is done already
            self._newest = reading
            if rows != self.rows:
                self.rows = rows
                self.changed.set()
                self.changed = asyncio.Event()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._poked.wait(), POLL_INTERVAL_S)
            self._poked.clear()
            try:
                await Evaluation().begin(self.refresh, self._runtime).complete()
            except ReqlError as error:
                log.warning("a system table cannot be read", extra={"table": self.info.name, "reason": error.message})
            except Exception:
                log.exception("a system table cannot be read", extra={"table": self.info.name})


class SystemFeed(Feed):
    """A feed on a system table. Dropping it closes it; `closed` is called once."""

    def __init__(self, watch: SystemWatch, request: FeedRequest, closed: Callable[[], None]) -> None:
        self._watch = watch
        self._request = request
        self._closed: Callable[[], None] | None = closed
        self._told = self._visible()
        self._notices = deque(self._beginning())

    async def next(self, max_changes: int) -> Chunk:
        while not self._notices:
            changed = self._watch.changed
            self._compare()
            if not self._notices:
                await changed.wait()
        count = min(max_changes, len(self._notices))
        return Chunk.of_raw([self._notices.popleft() for _ in range(count)])

    async def close(self) -> None:
        self._close()

    def _close(self) -> None:
        if self._closed is not None:
            closed, self._closed = self._closed, None
            closed()

    def __del__(self) -> None:
        self._close()

    def _beginning(self) -> Iterator[bytes]:
        request = self._request
        if request.include_initial:
            if request.include_states:
                yield state_notice("initializing", request.include_types)
            if request.key is not None:
                yield initial_notice(self._told.get((request.key, 0)), request.include_types)
            else:
                for value in self._told.values():
                    yield initial_notice(value, request.include_types)
        if request.include_states:
            yield state_notice("ready", request.include_types)

    def _compare(self) -> None:
        """Tell how the rows differ from those that the reader knows."""
        before, now = self._told, self._visible()
        self._told = now
        types = self._request.include_types
        for place in sorted(before.keys() | now.keys()):
            old, new = before.get(place), now.get(place)
            if old != new:
                self._notices.append(change_notice(old, new, types))

    def _visible(self) -> dict[tuple[bytes, int], bytes]:
        """What the feed shows of the rows, by key and number: ranges may have a row several times."""
        found: dict[tuple[bytes, int], bytes] = {}
        for key, row in sorted(self._watch.rows.items()):
            copies = self._copies(key)
            value = self._after_steps(row) if copies else None
            if value is not None:
                found.update(((key, copy), value) for copy in range(copies))
        return found

    def _copies(self, key: bytes) -> int:
        request = self._request
        if request.key is not None:
            return int(key == request.key)
        return sum(bounds.repeat for bounds in request.ranges if bounds.low <= key < bounds.high)

    def _after_steps(self, row: bytes) -> bytes | None:
        if not self._request.steps:
            return row
        values = [loads_stored(row)]
        try:
            for step in self._request.steps:
                values = step.apply(values)
        except (ReqlError, DatumError):
            return None  # as with other feeds
        return dumps(values[0]) if values and values[0] is not None else None
