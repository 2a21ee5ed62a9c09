"""Nothing is lost or doubled, whatever happens to the bus and however storage answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from photondb.api.context import CallContext
from photondb.api.storage import LogGap, LogRecord, Scan, ScanReply
from photondb.bus import NatsBus
from photondb.bus.server import NatsServer
from photondb.reql.errors import ReqlError
from photondb.reql.steps import FilterStep
from photondb.rpc.errors import ServiceUnavailable
from services.changefeed import follower
from services.storage.service import Storage
from tests.changefeed.conftest import WHOLE, Reader, Suite, point, take
from tests.changefeed.faulty_bus import FaultyBus
from tests.storage.language import func


class UnreliableStorage(Storage):
    """Storage that often does not answer questions about its log, as if it were far away."""

    choose: random.Random | None = None

    def _fail(self) -> None:
        if self.choose is not None and self.choose.random() < 0.3:
            raise ServiceUnavailable("Storage is away.")

    async def read_log(self, context: CallContext, table: int, shard: int, after: int, limit: int) -> list[LogRecord]:
        self._fail()
        records = await super().read_log(context, table, shard, after, limit)
        return records if self.choose is None else records[: self.choose.randint(1, 5)]

    async def log_position(self, context: CallContext, table: int) -> list[int]:
        self._fail()
        return await super().log_position(context, table)

    async def scan(self, context: CallContext, scan: Scan) -> ScanReply:
        self._fail()
        return await super().scan(context, scan)


class Client:
    """Folds what a feed tells into the documents that it is on."""

    def __init__(self, reader: Reader, **state: Any) -> None:
        self.reader = reader
        self.documents: dict[int, Any] = dict(state.get("known", {}))
        self.sees = state.get("sees", lambda document: True)
        self._folded = 0

    def fold(self) -> dict[int, Any]:
        """The documents as the client has them. What a change says was there must be what the client had."""
        assert self.reader.error is None
        for notice in self.reader.notices[self._folded :]:
            old, new = notice.get("old_val"), notice["new_val"]
            if old is not None:
                assert self.documents.pop(old["id"], None) == old, f"{notice} is about what was not there"
            if new is not None:
                assert new["id"] not in self.documents, f"{notice} brings what is there already"
                self.documents[new["id"]] = new
        self._folded = len(self.reader.notices)
        return self.documents


class Writer:
    """Writes at random, and knows what the table must hold."""

    def __init__(self, suite: Suite, choose: random.Random) -> None:
        self.suite = suite
        self.choose = choose
        self.documents: dict[int, Any] = {}
        self._next = 0
        self._turn = asyncio.Lock()

    async def write(self) -> None:
        await asyncio.shield(self._write_in_turn())  # who waits may be cancelled; what is written must be known

    async def _write_in_turn(self) -> None:
        async with self._turn:  # else who is first here may not be first in storage
            await self._write()

    async def _write(self) -> None:
        choose = self.choose
        keys = choose.sample(range(12), choose.randint(1, 4))
        if choose.random() < 0.7:
            self._next += 1
            documents = [{"id": key, "n": self._next, "even": choose.random() < 0.5} for key in keys]
            await self.suite.put(*documents)
            self.documents.update({document["id"]: document for document in documents})
        else:
            await self.suite.delete(*keys)
            for key in keys:
                self.documents.pop(key, None)


async def open_client(suite: Suite, writer: Writer, choose: random.Random) -> Client:
    """A feed of some kind. Without initial values the client knows what was written before."""
    initial = choose.random() < 0.6
    kind = choose.choice(["table", "filter", "keys", "first"])
    fields: dict[str, Any] = {"include_initial": initial, "squash": choose.choice([False, True])}
    sees: Any = lambda document: True  # noqa: E731
    ranges: Sequence[Any] = WHOLE
    if kind == "filter":
        fields["steps"] = [FilterStep(func(lambda row: row["even"]))]
        sees = lambda document: document["even"]  # noqa: E731
    elif kind == "keys":
        ranges = [point(1), point(5)]
        sees = lambda document: document["id"] in (1, 5)  # noqa: E731
    elif kind == "first":
        fields["limit"] = 4
        sees = lambda document: document["id"] in sorted(writer.documents)[:4]  # noqa: E731
    feed = await suite.open(ranges=ranges, **fields)
    known = {} if initial else {key: document for key, document in writer.documents.items() if sees(document)}
    return Client(Reader(feed, choose.choice([1, 7, 100])), known=known, sees=sees)


async def until_equal(writer: Writer, clients: list[Client]) -> None:
    """Wait until all clients have what the table has; the test's time limit ends a wait in vain."""
    for client in clients:
        expected = {key: document for key, document in writer.documents.items() if client.sees(document)}
        while client.fold() != expected:
            await asyncio.sleep(0.005)


@pytest.fixture(params=range(8))
def seed(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
async def unreliable(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Suite]:
    """A suite in which the bus loses, repeats and reorders messages and storage often does not answer."""
    monkeypatch.setattr(follower, "RETRY_S", 0.002)
    if seed % 2:  # feeds are told of one change at a time, and messages that come meanwhile are dropped
        monkeypatch.setattr(follower, "SLICE_S", 0.0)
        monkeypatch.setattr(follower, "MAX_BACKLOG_RECORDS", 5)
    suite = Suite(tmp_path, FaultyBus(random.Random(seed)), UnreliableStorage)
    await suite.start()
    yield suite
    await suite.stop()


async def test_clients_have_what_the_table_has(seed: int, unreliable: Suite) -> None:
    choose = random.Random(-seed)
    writer = Writer(unreliable, choose)
    clients: list[Client] = []
    assert isinstance(unreliable.storage, UnreliableStorage)
    for _ in range(300):
        await writer.write()
        if len(clients) < 12 and choose.random() < 0.1:
            unreliable.storage.choose = None  # a feed that cannot be opened is an error, and told so
            clients.append(await open_client(unreliable, writer, choose))
            unreliable.storage.choose = choose
        if choose.random() < 0.1:
            await asyncio.sleep(0.001)
    await until_equal(writer, clients)
    assert clients
    for client in clients:
        await client.reader.close()


async def test_what_is_committed_while_the_beginning_is_fixed_is_neither_missing_nor_double(suite: Suite) -> None:
    """Writes go on between the questions for the position, and while the scan begins."""
    choose = random.Random(7)
    writer = Writer(suite, choose)
    for _ in range(20):
        await writer.write()
    real_position, real_scan = suite.storage.log_position, suite.storage.scan

    async def position(*args: Any) -> list[int]:
        answer = await real_position(*args)
        await writer.write()
        return answer

    async def scan(*args: Any) -> Any:
        await writer.write()
        reply = await real_scan(*args)
        await writer.write()
        return reply

    for _ in range(40):
        suite.storage.log_position, suite.storage.scan = position, scan  # type: ignore[method-assign]
        feed = await suite.open(include_initial=True)
        suite.storage.log_position, suite.storage.scan = real_position, real_scan  # type: ignore[method-assign]
        client = Client(Reader(feed))
        await writer.write()
        await until_equal(writer, [client])
        await client.reader.close()


async def test_a_bus_that_loses_everything_only_makes_it_slower(suite: Suite) -> None:
    assert isinstance(suite.bus, FaultyBus)
    suite.bus.cut = True
    feed = await suite.open()
    await suite.put({"id": 1})
    assert await take(feed, 1) == [{"old_val": None, "new_val": {"id": 1}}]
    assert suite.bus.lost


async def test_a_trimmed_log_ends_feeds_that_need_it(suite: Suite) -> None:
    feed = await suite.open(include_initial=True)
    await suite.put({"id": 1})

    async def trimmed(*args: Any) -> list[LogRecord]:
        raise LogGap(1000)

    suite.storage.read_log = trimmed  # type: ignore[method-assign]
    assert isinstance(suite.bus, FaultyBus)
    suite.bus.cut = True
    await suite.put({"id": 2})
    with pytest.raises(ReqlError, match="aborted"):
        await take(feed, 2)


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    server = NatsServer(tmp_path)
    await server.start()
    yield server
    await server.stop()


async def test_a_bus_that_is_killed_and_comes_back_loses_nothing(nats_server: NatsServer, tmp_path: Path) -> None:
    choose = random.Random(3)
    bus = await NatsBus.connect(nats_server.url)
    suite = Suite(tmp_path / "data", bus)
    await suite.start()
    writer = Writer(suite, choose)
    clients = [await open_client(suite, writer, choose) for _ in range(4)]
    for _ in range(3):
        for _ in range(20):
            await writer.write()
        nats_server.kill()
        for _ in range(20):
            await writer.write()
        await nats_server.start()
        for _ in range(20):
            await writer.write()
    await until_equal(writer, clients)
    for client in clients:
        await client.reader.close()
    await suite.stop()
    await bus.close()
