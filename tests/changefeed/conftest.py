from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import settings

from photondb.api.catalogue import CatalogueChange, CreateIndex, CreateTable, DropTable, TableInfo
from photondb.api.changefeed import Feed, FeedRequest
from photondb.api.context import INTERNAL
from photondb.api.storage import KeyRange, Write, WriteSummary
from photondb.bus import Bus
from photondb.datum.keys import after_prefix, primary_key, secondary_key
from photondb.reql.errors import ReqlError
from services.changefeed.service import Changefeed
from services.storage.service import Storage
from tests.changefeed.faulty_bus import FaultyBus
from tests.storage.language import term

settings.register_profile("changefeed", deadline=None)
settings.load_profile("changefeed")

WHOLE = (KeyRange(),)


def point(value: Any, repeat: int = 1) -> KeyRange:
    """The range of one value of the primary key or of an index."""
    key = secondary_key(value)
    return KeyRange(key, after_prefix(key), repeat)


class Reader:
    """Reads a feed in the background, as a client does."""

    def __init__(self, feed: Feed, max_changes: int = 100) -> None:
        self.feed = feed
        self.notices: list[Any] = []
        self.error: ReqlError | None = None
        self._task = asyncio.create_task(self._read(max_changes))

    async def _read(self, max_changes: int) -> None:
        try:
            while True:
                notices = (await self.feed.next(max_changes)).values()
                self.notices += notices  # the list as it is now: somebody may have taken the one from before the wait
        except ReqlError as error:
            self.error = error

    async def close(self) -> None:
        self._task.cancel()
        await self.feed.close()


class Suite:
    """Storage and the changefeed service on one bus, with the table `test.t`."""

    def __init__(self, data_dir: Path, bus: Bus, make_storage: type[Storage] = Storage) -> None:
        self.bus = bus
        self.storage = make_storage(data_dir, bus)
        self.changefeed = Changefeed(self.storage, bus, check_interval_s=0.02)
        self.info: TableInfo

    async def start(self) -> None:
        await self.storage.start()
        await self.changefeed.start()
        await self.change(CreateTable("test", "t"))

    async def stop(self) -> None:
        await self.changefeed.stop()
        await self.storage.stop()

    async def change(self, change: CatalogueChange) -> None:
        catalogue = await self.storage.change_catalogue(INTERNAL, change)
        if not isinstance(change, DropTable):
            self.info = catalogue.tables["test", "t"]

    async def create_index(self, name: str, function: Callable[..., Any], multi: bool = False) -> int:
        """Create an index, wait until it is built, and return its id."""
        await self.change(CreateIndex("test", "t", name, term(function), multi))
        while not all(status.ready for status in await self.storage.index_status(INTERNAL, self.info.id)):
            await asyncio.sleep(0.001)
        index = self.info.index(name)
        assert index is not None
        return index.id

    async def write(self, kind: Any, **fields: Any) -> WriteSummary:
        (summary,) = await self.storage.write(INTERNAL, [Write(self.info.id, kind, **fields)])
        assert isinstance(summary, WriteSummary)
        assert not summary.errors
        return summary

    async def put(self, *documents: dict[str, Any]) -> None:
        """Insert or replace documents, in one commit."""
        await self.write("insert", documents=documents, conflict="replace")

    async def delete(self, *keys: Any) -> None:
        """Delete documents, in one commit."""
        await self.write("delete", keys=[primary_key(key) for key in keys])

    async def open(self, *, ranges: Sequence[KeyRange] = WHOLE, **fields: Any) -> Feed:
        """Open a feed; a point feed has a `key`, as a value."""
        if "key" in fields:
            fields["key"] = primary_key(fields["key"])
            ranges = ()
        return await self.changefeed.open(INTERNAL, FeedRequest(self.info.id, self.info.uuid, ranges=ranges, **fields))


async def take(feed: Feed, count: int) -> list[Any]:
    """The next `count` notices."""
    taken: list[Any] = []
    while len(taken) < count:
        taken += (await feed.next(count - len(taken))).values()
    return taken


async def ready(feed: Feed, count: int = 1000) -> list[Any]:
    """The notices that there are without waiting."""
    notices: list[Any] = []
    for _ in range(10):
        await asyncio.sleep(0)  # for what is under way to get here before it is asked for
    waiting = asyncio.ensure_future(feed.next(count))
    for _ in range(20):  # turns of the loop, which what is under way in this process needs to get here
        await asyncio.sleep(0)
        if waiting.done():
            notices += orjson.loads(b"[" + waiting.result().json() + b"]")
            waiting = asyncio.ensure_future(feed.next(count))
    waiting.cancel()
    return notices


@pytest.fixture
async def suite(tmp_path: Path) -> AsyncIterator[Suite]:
    """On a bus that behaves unless a test tells it not to."""
    suite = Suite(tmp_path, FaultyBus())
    await suite.start()
    yield suite
    await suite.stop()
