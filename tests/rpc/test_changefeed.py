"""The stub of the changefeed service behaves like the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from photondb.api.changefeed import FeedRequest
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import KeyRange, TableGone
from photondb.reql.aggregates import Sum
from photondb.reql.chunk import Chunk
from photondb.reql.errors import ReqlError, op_failed
from photondb.reql.function import Func
from photondb.reql.grouping import Group, Grouping
from photondb.reql.pipeline import steps_to_wire
from photondb.reql.steps import FilterStep
from photondb.rpc.changefeed import ChangefeedStub, changefeed_servant
from photondb.rpc.errors import ServiceUnavailable
from tests.rpc.probe import rpc_test, served
from tests.rpc.terms import IS_TRUE


class Feed:
    """A feed of what is put into its queue."""

    def __init__(self, changefeed: Changefeed) -> None:
        self.changefeed = changefeed
        self.queue: asyncio.Queue[Chunk | Exception] = asyncio.Queue()
        self.asked: list[int] = []
        self.cancelled = 0

    async def next(self, max_changes: int) -> Chunk:
        self.asked.append(max_changes)
        try:
            item = await self.queue.get()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(item, Exception):
            raise item
        return item

    async def close(self) -> None:
        if self in self.changefeed.feeds:
            self.changefeed.feeds.remove(self)


class Changefeed:
    """Keeps the requests, and the feeds that are open."""

    def __init__(self) -> None:
        self.requests: list[tuple[CallContext, FeedRequest]] = []
        self.feeds: list[Feed] = []

    async def open(self, context: CallContext, request: FeedRequest) -> Feed:
        if request.table == 404:
            raise TableGone
        self.requests.append((context, request))
        feed = Feed(self)
        self.feeds.append(feed)
        return feed


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/changefeed"


@asynccontextmanager
async def stub_of(changefeed: Changefeed, address: str) -> AsyncIterator[ChangefeedStub]:
    async with served(changefeed_servant(changefeed), address):
        stub = ChangefeedStub(address)
        yield stub
        await stub.close()


REQUEST = FeedRequest(table=1, table_uuid="u")


@rpc_test
async def test_requests_arrive_as_they_are(address: str) -> None:
    changefeed = Changefeed()
    requests = [
        REQUEST,
        FeedRequest(2, "uuid", key=b"\x00key", include_initial=True),
        FeedRequest(
            3,
            "uuid",
            index=0,
            ranges=[KeyRange(b"a", b"b"), KeyRange(b"c", b"d", 2)],
            limit=10,
            descending=True,
            include_initial=True,
            include_states=True,
            include_types=True,
            include_offsets=True,
            squash=True,
            queue_size=7,
        ),
        FeedRequest(4, "uuid", squash=2.5, limit=0),
        FeedRequest(5, "uuid", include_position=True, resume="token"),
        FeedRequest(5, "uuid", since_us=0),
        FeedRequest(6, "uuid", group="workers", group_timeout_s=1.5),
    ]
    async with stub_of(changefeed, address) as stub:
        context = CallContext(user="ada", request_id="r1")
        for request in requests:
            await stub.open(context, request)
            arrived_context, arrived = changefeed.requests[-1]
            assert arrived_context == context
            assert (list(arrived.ranges), arrived.squash) == (list(request.ranges), request.squash)
            arrived.ranges = request.ranges
            arrived.steps = request.steps
            assert arrived == request


@rpc_test
async def test_steps_arrive(address: str) -> None:
    changefeed = Changefeed()
    async with stub_of(changefeed, address) as stub:
        request = FeedRequest(1, "u", steps=[FilterStep(Func.from_wire(IS_TRUE), default=True)])
        await stub.open(INTERNAL, request)
        assert steps_to_wire(changefeed.requests[0][1].steps) == steps_to_wire(request.steps)


@rpc_test
async def test_aggregates_arrive(address: str) -> None:
    changefeed = Changefeed()
    async with stub_of(changefeed, address) as stub:
        aggregate = Group(Grouping([Func.from_wire(IS_TRUE)]), Sum(), 10)
        await stub.open(INTERNAL, FeedRequest(1, "u", aggregate=aggregate))
        arrived = changefeed.requests[0][1].aggregate
        assert arrived is not None
        assert arrived.to_wire() == aggregate.to_wire()


@rpc_test
async def test_changes_come_when_they_are_there(address: str) -> None:
    changefeed = Changefeed()
    async with stub_of(changefeed, address) as stub:
        feed = await stub.open(INTERNAL, REQUEST)
        waiting = asyncio.create_task(feed.next(50))
        changes = [{"old_val": None, "new_val": {"id": 1}}, {"new_val": None, "old_val": {"id": 1}}]
        changefeed.feeds[0].queue.put_nowait(Chunk.of_values(changes))
        chunk = await waiting
        assert len(chunk) == 2
        assert chunk.values() == changes
        assert changefeed.feeds[0].asked == [50]

        changefeed.feeds[0].queue.put_nowait(Chunk.of_raw([b'{"new_val":"%s"}' % bytes(b"x" * 20_000_000)]))
        assert len((await feed.next(1)).json()) > 20_000_000

        changefeed.feeds[0].queue.put_nowait(op_failed("Table was dropped."))
        with pytest.raises(ReqlError, match="Table was dropped"):
            await feed.next(1)


@rpc_test
async def test_a_cancelled_next_loses_nothing(address: str) -> None:
    changefeed = Changefeed()
    async with stub_of(changefeed, address) as stub:
        feed = await stub.open(INTERNAL, REQUEST)
        queue = changefeed.feeds[0].queue
        for number in range(50):
            waiting = asyncio.create_task(feed.next(1))
            if number % 3:
                while not changefeed.feeds[0].asked:
                    await asyncio.sleep(0)
            for _ in range(number % 7):
                await asyncio.sleep(0)
            waiting.cancel()
            queue.put_nowait(Chunk.of_values([number]))
            await asyncio.wait([waiting])
            received = waiting.result() if not waiting.cancelled() else await feed.next(1)
            assert received.values() == [number]
            changefeed.feeds[0].asked.clear()
        assert changefeed.feeds[0].cancelled == 0


@rpc_test
async def test_closing_ends_the_feed_and_who_waits_for_it(address: str) -> None:
    changefeed = Changefeed()
    async with stub_of(changefeed, address) as stub:
        feed = await stub.open(INTERNAL, REQUEST)
        waiting = asyncio.create_task(feed.next(1))
        while not changefeed.feeds[0].asked:
            await asyncio.sleep(0)
        await feed.close()
        assert changefeed.feeds == []
        with pytest.raises(ReqlError, match="closed"):
            await waiting
        with pytest.raises(ReqlError, match="closed"):
            await feed.next(1)
        await feed.close()


@pytest.mark.parametrize("waiting", [False, True])
@rpc_test
async def test_dropping_the_feed_closes_it(address: str, waiting: bool) -> None:
    changefeed = Changefeed()
    async with stub_of(changefeed, address) as stub:
        feed = await stub.open(INTERNAL, REQUEST)
        if waiting:
            call = asyncio.create_task(feed.next(1))
            while not changefeed.feeds[0].asked:
                await asyncio.sleep(0)
            call.cancel()  # and the feed waits on by itself
            await asyncio.wait([call])
            del call
        del feed
        while changefeed.feeds:
            await asyncio.sleep(0.005)


@rpc_test
async def test_many_waiting_feeds_leave_room_for_calls(address: str) -> None:
    changefeed = Changefeed()
    async with served(changefeed_servant(changefeed, max_calls=2), address):
        stub = ChangefeedStub(address)
        feeds = [await stub.open(INTERNAL, REQUEST) for _ in range(20)]
        calls = [asyncio.create_task(feed.next(1)) for feed in feeds]
        while not all(feed.asked for feed in changefeed.feeds):
            await asyncio.sleep(0)
        await stub.open(INTERNAL, REQUEST)
        for feed in changefeed.feeds:
            feed.queue.put_nowait(Chunk.of_values([1]))
        assert [(await call).values() for call in calls] == [[1]] * 20
        await stub.close()


@rpc_test
async def test_a_lost_service(address: str) -> None:
    changefeed = Changefeed()
    async with served(changefeed_servant(changefeed), address):
        stub = ChangefeedStub(address)
        feed = await stub.open(INTERNAL, REQUEST)
        waiting = asyncio.create_task(feed.next(1))
        while not changefeed.feeds[0].asked:
            await asyncio.sleep(0)
    with pytest.raises(ServiceUnavailable):
        await waiting
    assert changefeed.feeds == []
    await stub.close()


@rpc_test
async def test_a_table_that_is_gone(address: str) -> None:
    async with stub_of(Changefeed(), address) as stub:
        with pytest.raises(TableGone):
            await stub.open(INTERNAL, FeedRequest(404, "u"))
