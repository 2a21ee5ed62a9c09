"""A model of feeds, and runs that compare it with the real ones while everything around them fails.

A run is a random program: writers commit at once, clients of all kinds read fast or slowly, give up, crash in the
middle of a batch and come again; the bus loses, repeats and reorders, storage does not answer or is started anew, and
so is the changefeed service. When all that is over, what each client has must follow from the table's log, and the log
from what the writers were told.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import orjson

from photondb.api.catalogue import CreateIndex, CreateTable, TableInfo
from photondb.api.changefeed import Feed, FeedRequest
from photondb.api.context import INTERNAL
from photondb.api.storage import KeyRange, LogRecord, TableGone, Write, WriteSummary
from photondb.datum.keys import primary_key
from photondb.reql.errors import ReqlError
from photondb.reql.steps import FilterStep, MapStep
from photondb.rpc.errors import ServiceUnavailable
from services.changefeed.service import Changefeed
from services.storage.service import Storage
from tests.changefeed.conftest import WHOLE, point
from tests.changefeed.faulty_bus import FaultyBus
from tests.storage.language import func, term

KEYS = range(8)
STEPS = 60
FAILURES = 0.15
"""The share of the questions to storage that get no answer while it is unreliable."""

Document = dict[str, Any]
Views = list[Any]
Change = tuple[Any, Any]


class Kind:
    """A kind of feed: what is asked for, and how often and as what a document is shown. `first` is the number of first
    rows that it is on, by primary key."""

    def __init__(
        self,
        name: str,
        request: Callable[[World], dict[str, Any]],
        shows: Callable[[Document], Views],
        *,
        transforms: bool = False,
        first: int | None = None,
    ) -> None:
        self.name = name
        self.request = request
        self.shows = shows
        self.transforms = transforms
        self.first = first

    def changes(self, record: LogRecord) -> list[Change]:
        """What a record of the log changes for such a feed, in order."""
        before = [] if record.old is None else self.shows(orjson.loads(record.old))
        after = [] if record.new is None else self.shows(orjson.loads(record.new))
        pairs = list(zip_longest(before, after))
        return [pair for pair in pairs if pair[0] != pair[1]] if self.transforms else pairs

    def state(self, documents: dict[int, Document]) -> list[str]:
        """What a feed adds up to, sorted."""
        chosen = [documents[key] for key in sorted(documents)[: self.first]]
        return sorted(text(view) for document in chosen for view in self.shows(document))


def text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def is_even(row: Any) -> Any:
    return row["even"]


KINDS = [
    Kind("table", lambda world: {}, lambda row: [row]),
    Kind(
        "range",
        lambda world: {"ranges": [KeyRange(primary_key(2), primary_key(6))]},
        lambda row: [row] * (2 <= row["id"] < 6),
    ),
    Kind("keys", lambda world: {"ranges": [point(1, 2), point(5)]}, lambda row: [row] * {1: 2, 5: 1}.get(row["id"], 0)),
    Kind("point", lambda world: {"key": primary_key(3), "ranges": ()}, lambda row: [row] * (row["id"] == 3)),
    Kind("filter", lambda world: {"steps": [FilterStep(func(is_even))]}, lambda row: [row] * row["even"]),
    Kind("map", lambda world: {"steps": [MapStep(func(is_even), False)]}, lambda row: [row["even"]], transforms=True),
    Kind(
        "multi index",
        lambda world: {"index": world.tags, "ranges": [point("a"), point("b")]},
        lambda row: [row] * (("a" in row["tags"]) + ("b" in row["tags"])),
    ),
    Kind("first rows", lambda world: {"limit": 3}, lambda row: [row], first=3),
]


class RestartableStorage:
    """Storage as the changefeed service sees it from afar: it may not answer, and from one call to the next it may be
    one that was started anew."""

    def __init__(self, data_dir: Path, bus: FaultyBus, choose: random.Random) -> None:
        self._data_dir = data_dir
        self._bus = bus
        self._choose = choose
        self.reliable = True
        self.real: Storage

    async def start(self) -> None:
        self.real = Storage(self._data_dir, self._bus)
        await self.real.start()

    async def restart(self) -> None:
        reliable, self.reliable = self.reliable, True
        await self.real.stop()
        await self.start()
        self.reliable = reliable

    def __getattr__(self, name: str) -> Any:
        asked = name in ("read_log", "log_position", "scan", "get")
        if asked and not self.reliable and self._choose.random() < FAILURES:
            raise ServiceUnavailable("Storage is away.")
        return getattr(self.real, name)


class Client:
    """A client: it opens a feed of some kind, again and again, and keeps what it was told."""

    def __init__(self, world: World, kind: Kind, resumable: bool) -> None:
        self.world = world
        self.kind = kind
        self.resumable = resumable
        self.initial = kind.first is not None or not resumable or world.choose.random() < 0.5
        self.squash = not resumable and world.choose.random() < 0.3
        self.queue_size = world.choose.choice([1, 5, 100_000]) if resumable else 100_000
        self.max_changes = world.choose.choice([1, 3, 100])
        self.reading = asyncio.Event()
        self.reading.set()
        self.begin_anew()
        self.feed: Feed | None = None
        self.task: asyncio.Task[None] | None = None

    def begin_anew(self) -> None:
        """Forget everything."""
        self.values: list[Any] = []
        self.changes: list[Change] = []
        self.positions: list[str] = []
        self.earliest = self.latest = 0
        """Between which sequences the feed began."""

    async def connect(self) -> None:
        """Open the feed, or go on with it."""
        request = FeedRequest(self.world.info.id, self.world.info.uuid, ranges=WHOLE)
        for name, value in self.kind.request(self.world).items():
            setattr(request, name, value)
        request.squash = self.squash
        request.queue_size = self.queue_size
        if self.resumable:
            request.include_position = request.include_states = True
        if self.positions:
            request.resume = self.positions[-1]
        else:
            self.begin_anew()
            request.include_initial = self.initial
            self.earliest = await self.world.sequence()
        self.feed = await self.world.changefeed.open(INTERNAL, request)
        if not self.positions:
            self.latest = await self.world.sequence()
        self.task = asyncio.create_task(self._read(self.feed))

    async def _read(self, feed: Feed) -> None:
        while True:
            await self.reading.wait()
            for notice in (await feed.next(self.max_changes)).values():
                self._take(notice)

    def _take(self, notice: Any) -> None:
        assert "error" not in notice, notice
        if "state" in notice:
            if notice["state"] == "ready" and self.resumable and not self.positions:
                self.positions.append(notice["position"])
        elif "old_val" not in notice:
            if notice["new_val"] is not None:  # the point that is not there
                self.values.append(notice["new_val"])
        else:
            self.changes.append((notice["old_val"], notice["new_val"]))
            if self.resumable:
                self.positions.append(notice["position"])

    async def disconnect(self) -> None:
        """Give up, having dealt with some of what came last or with none of it."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
            self.task = None
        if self.feed is not None:
            await self.feed.close()
            self.feed = None
        if self.positions:
            unseen = self.world.choose.randint(0, min(3, len(self.changes)))
            del self.positions[len(self.positions) - unseen :]
            del self.changes[len(self.changes) - unseen :]

    async def keep_connected(self) -> None:
        """Connect again after an error."""
        if self.task is not None and self.task.done():
            error = None if self.task.cancelled() else self.task.exception()
            if error is not None and not isinstance(error, ReqlError):
                raise error
            await self.disconnect()
        if self.task is None:
            try:
                await self.connect()
            except (ReqlError, TableGone):
                await self.disconnect()

    def is_right(self) -> bool:
        """Whether it has what it must have."""
        return self._adds_up() and (not self.resumable or self._is_complete())

    def _adds_up(self) -> bool:
        if not self.initial:
            return True
        state = [text(value) for value in self.values]
        for old, new in self.changes:
            if old is not None:
                state.remove(text(old))  # what it had
            if new is not None:
                state.append(text(new))
        return sorted(state) == self.kind.state(self.world.documents)

    def _is_complete(self) -> bool:
        """Whether the changes are those of the log from where the feed began: none missing, none double."""
        if not self.positions:
            return False
        records = self.world.records
        return any(
            self.changes == list(itertools.chain.from_iterable(map(self.kind.changes, records[start:])))
            for start in range(self.earliest, self.latest + 1)
        )


class World:
    """A database, its writers and its clients."""

    def __init__(self, data_dir: Path, seed: int) -> None:
        self.choose = random.Random(seed)
        self.bus = FaultyBus()
        self.storage = RestartableStorage(data_dir, self.bus, self.choose)
        self.documents: dict[int, Document] = {}
        self.clients: list[Client] = []
        self.records: Sequence[LogRecord] = ()
        self.tags = 0
        self.info: TableInfo
        self._numbers = itertools.count()

    async def run(self) -> None:
        """One run. An AssertionError, or not ending, is a failure."""
        await self.storage.start()
        await self._start_changefeed()
        await self._make_table()
        for _ in range(STEPS):
            await self._step()
        await self._settle()
        for client in self.clients:
            await client.disconnect()
        await self.changefeed.stop()
        await self.storage.real.stop()

    async def sequence(self) -> int:
        """The number of records of the log."""
        (sequence,) = await self.storage.real.log_position(INTERNAL, self.info.id)
        return sequence

    async def _start_changefeed(self) -> None:
        self.changefeed = Changefeed(self.storage, self.bus, check_interval_s=0.01)
        await self.changefeed.start()

    async def _make_table(self) -> None:
        real = self.storage.real
        await real.change_catalogue(INTERNAL, CreateTable("test", "t", durability="soft"))
        tags = CreateIndex("test", "t", "tags", term(lambda row: row["tags"]), multi=True)
        self.info = (await real.change_catalogue(INTERNAL, tags)).tables["test", "t"]
        while not all(status.ready for status in await real.index_status(INTERNAL, self.info.id)):
            await asyncio.sleep(0)
        index = self.info.index("tags")
        assert index is not None
        self.tags = index.id

    async def _step(self) -> None:
        choose = self.choose
        step = choose.choices(
            [self._write, self._open, self._reconnect, self._slow, self._misbehave, self._restart, self._pause],
            [30, 6, 6, 5, 4, 2, 10],
        )[0]
        await step()
        for client in self.clients:
            await client.keep_connected()

    async def _write(self) -> None:
        """Some writers at once; which of them is first is up to storage."""
        keys = self.choose.sample(KEYS, self.choose.randint(1, 4))
        await asyncio.gather(*map(self._write_one, keys))

    async def _write_one(self, key: int) -> None:
        choose = self.choose
        if choose.random() < 0.3:
            write = Write(self.info.id, "delete", keys=[primary_key(key)])
            self.documents.pop(key, None)
        else:
            tags = choose.sample(["a", "b", "c"], choose.randint(0, 3))
            document = {"id": key, "n": next(self._numbers), "even": choose.random() < 0.5, "tags": tags}
            write = Write(self.info.id, "insert", documents=[document], conflict="replace")
            self.documents[key] = document
        (summary,) = await self.storage.real.write(INTERNAL, [write])
        assert isinstance(summary, WriteSummary)
        assert not summary.errors

    async def _open(self) -> None:
        if len(self.clients) < 10:
            kind = self.choose.choice(KINDS)
            resumable = kind.first is None and self.choose.random() < 0.7
            self.clients.append(Client(self, kind, resumable))

    async def _reconnect(self) -> None:
        if self.clients:
            client = self.choose.choice(self.clients)
            await client.disconnect()
            if self.choose.random() < 0.5:  # and things happen meanwhile
                await self._write()

    async def _slow(self) -> None:
        for client in self.clients:
            if self.choose.random() < 0.3:
                client.reading.clear()
            else:
                client.reading.set()

    async def _misbehave(self) -> None:
        self.bus.choose = self.choose.choice([None, self.choose])
        self.bus.cut = self.choose.random() < 0.2
        self.storage.reliable = self.choose.random() < 0.5

    async def _restart(self) -> None:
        reliable, self.storage.reliable = self.storage.reliable, True
        if self.choose.random() < 0.5:
            await self.storage.restart()
        else:
            await self.changefeed.stop()
            await self._start_changefeed()
        self.storage.reliable = reliable

    async def _pause(self) -> None:
        await asyncio.sleep(self.choose.choice([0, 0, 0.001, 0.004]))

    async def _settle(self) -> None:
        """Let everything work, until all clients have what they must have."""
        self.bus.choose, self.bus.cut, self.storage.reliable = None, False, True
        self.records = await self.storage.real.read_log(INTERNAL, self.info.id, 0, 0, 1_000_000)
        found: dict[int, Document] = {}
        for record in self.records:
            for raw in filter(None, (record.old, record.new)):
                found.pop(orjson.loads(raw)["id"], None)
            if record.new is not None:
                document = orjson.loads(record.new)
                found[document["id"]] = document
        assert found == self.documents
        for client in self.clients:
            client.reading.set()
        while not all(client.is_right() for client in self.clients):
            await asyncio.sleep(0.002)
            for client in self.clients:
                await client.keep_connected()
