"""The stub of the query service behaves like the service, and channels end as they should."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from photondb.api.context import INTERNAL, CallContext
from photondb.api.query import UNKNOWN_ENTRANCE, Answer, AnswerSink, Entrance, Request
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.rpc import query as rpc_query
from photondb.rpc import schema
from photondb.rpc.admission import Admission
from photondb.rpc.errors import ServiceUnavailable
from photondb.rpc.loop import run
from photondb.rpc.query import QueryChannelStub, QueryStub, query_servant
from photondb.rpc.query_messages import packets
from photondb.rpc.remote import Method, Remote
from photondb.rpc.servant import Call, servant
from photondb.rpc.serve import RpcServer
from tests.rpc.probe import rpc_test, served


class Channel:
    """Answers "now ..." at once and "later ..." through the sink, with the payload itself."""

    def __init__(self, query: Query, sink: AnswerSink) -> None:
        self.query = query
        self.sink = sink
        self.batches: list[list[Request]] = []
        self.failure: Exception | None = None

    async def submit(self, requests: Sequence[Request]) -> list[Answer]:
        self.batches.append(list(requests))
        if self.failure is not None:
            raise self.failure
        later = [request for request in requests if request.payload.startswith(b"later")]
        if later:
            asyncio.get_running_loop().call_soon(self.query.keep, self.sink.deliver(self.answers(later)))
        return self.answers([request for request in requests if request.payload.startswith(b"now")])

    def answers(self, requests: Sequence[Request]) -> list[Answer]:
        return [Answer(r.session, r.token, r.payload * self.query.repeat.get(r.token, 1)) for r in requests]

    async def wait_closed(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        if self in self.query.channels:
            self.query.channels.remove(self)


def answers(requests: Sequence[Request]) -> list[Answer]:
    return [Answer(request.session, request.token, request.payload) for request in requests]


class Query:
    """Keeps the channels that are open."""

    def __init__(self) -> None:
        self.channels: list[Channel] = []
        self.contexts: list[CallContext] = []
        self.entrances: list[Entrance] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.repeat: dict[int, int] = {}

    async def open(self, context: CallContext, sink: AnswerSink, entrance: Entrance = UNKNOWN_ENTRANCE) -> Channel:
        self.contexts.append(context)
        self.entrances.append(entrance)
        channel = Channel(self, sink)
        self.channels.append(channel)
        return channel

    def keep(self, coroutine: Coroutine[None, None, None]) -> None:
        self.tasks.add(asyncio.create_task(coroutine))


class Sink:
    """Keeps what was delivered. With `gate` closed it is slow."""

    def __init__(self) -> None:
        self.delivered: list[Answer] = []
        self.deliveries = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def deliver(self, answers: Sequence[Answer]) -> None:
        self.deliveries += 1
        await self.gate.wait()
        self.delivered += answers

    async def have(self, count: int) -> list[Answer]:
        while len(self.delivered) < count:
            await asyncio.sleep(0.001)
        return self.delivered


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/query"


@contextmanager
def process(role: str, address: str) -> Iterator[subprocess.Popen[bytes]]:
    """This file as a process of its own."""
    command = [sys.executable, "-m", "tests.rpc.test_query", role, address]
    child = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        yield child
    finally:
        child.kill()
        child.wait()


class OlderStub(QueryStub):
    """A gateway's that has not heard of packed columns."""

    async def open(
        self, context: CallContext, sink: AnswerSink, entrance: Entrance = UNKNOWN_ENTRANCE
    ) -> QueryChannelStub:
        handlers = rpc_query._SinkHandlers(sink)
        asked = self._client.call(Method("open"), context, sink=servant(schema.QUERY.AnswerSink, handlers))
        return QueryChannelStub(Remote((await asked).ok, "query"), handlers, packed=False)


class OlderHandlers(rpc_query._QueryHandlers):
    """A query service's that has not."""

    async def open(self, call: Call) -> None:
        await super().open(call)
        call.results.packed = False


PEERS = pytest.mark.parametrize("older", ["", "gateway", "query"])


@asynccontextmanager
async def stub_of(query: Query, address: str, older: str = "") -> AsyncIterator[QueryStub]:
    served_query = query_servant(query)
    if older == "query":
        served_query = servant(schema.QUERY.Query, OlderHandlers("query", Admission(100), query))
    async with served(served_query, address):
        stub = (OlderStub if older == "gateway" else QueryStub)(address)
        yield stub
        await stub.close()


def request(number: int, payload: bytes, context: CallContext = INTERNAL) -> Request:
    return Request(number % 8, number, payload, context)


@PEERS
@rpc_test
async def test_answers_now_and_later(address: str, older: str) -> None:
    query, sink = Query(), Sink()
    async with stub_of(query, address, older) as stub:
        channel = await stub.open(CallContext(user="gateway"), sink)
        assert query.contexts == [CallContext(user="gateway")]
        requests = [request(n, b"%s %d" % (b"now" if n % 2 else b"later", n)) for n in range(64)]
        assert await channel.submit(requests) == answers(requests[1::2])
        assert await sink.have(32) == answers(requests[::2])
        assert query.channels[0].batches == [requests]
        assert await channel.submit([]) == []


@PEERS
@rpc_test
async def test_requests_arrive_as_they_are(address: str, older: str) -> None:
    query = Query()
    soon = time.monotonic() + 60
    batches = [
        [Request(2**63, 2**64 - 1, b"", INTERNAL, "end_session")],
        [request(1, b"one"), Request(2, 0, b"", INTERNAL, "end_session"), request(3, b"three")],
        [request(n, b"same", CallContext((), None, "request", "ada")) for n in range(3)],
        [request(n, b"other", CallContext((), None, f"request {n}", f"user {n}")) for n in range(3)],
        [request(n, b"due", CallContext(deadline=soon + n if n else None)) for n in range(3)],
        [request(n, b"due together", CallContext(deadline=soon)) for n in range(3)],
        [request(1, b"too late", CallContext(deadline=soon - 120))],
    ]
    async with stub_of(query, address, older) as stub:
        channel = await stub.open(INTERNAL, Sink())
        for batch in batches:
            await channel.submit(batch)
            arrived = query.channels[0].batches[-1]
            for ours, theirs in zip(batch, arrived, strict=True):
                assert (
                    theirs.context.deadline == pytest.approx(ours.context.deadline, abs=5)
                    or ours.payload == b"too late"
                )
                theirs.context = ours.context if ours.context.deadline else theirs.context
            assert arrived == batch


@rpc_test
async def test_an_error_of_a_batch(address: str) -> None:
    query = Query()
    async with stub_of(query, address) as stub:
        channel = await stub.open(INTERNAL, Sink())
        query.channels[0].failure = ReqlError(ErrorKind.RESOURCE_LIMIT, "Too much.")
        with pytest.raises(ReqlError, match="Too much"):
            await channel.submit([request(1, b"now")])


@PEERS
@pytest.mark.parametrize("when", [b"now", b"later"])
@rpc_test
async def test_long_answers_come_in_pieces_and_let_short_ones_pass(address: str, when: bytes, older: str) -> None:
    query, sink = Query(), Sink()
    async with stub_of(query, address, older) as stub:
        channel = await stub.open(INTERNAL, sink)
        query.repeat = dict.fromkeys(range(5), 5_000_000)
        requests = [request(n, when + b"%d" % n) for n in range(100)]
        at_once = await channel.submit(requests)
        everything = sorted(at_once + await sink.have(100 - len(at_once)), key=lambda answer: answer.token)
        assert [(a.session, a.token) for a in everything] == [(r.session, r.token) for r in requests]
        for answer, asked in zip(everything, requests, strict=True):
            assert answer.payload == asked.payload * query.repeat.get(asked.token, 1)


@rpc_test
async def test_a_batch_of_more_than_fits_into_a_message(address: str) -> None:
    query = Query()
    async with stub_of(query, address) as stub:
        channel = await stub.open(INTERNAL, Sink())
        requests = [request(n, b"silent" + bytes(length << 20)) for n, length in enumerate([20, 63, 1, 2, 40, 63])]
        requests.append(request(99, b"now"))
        assert await channel.submit(requests) == [Answer(3, 99, b"now")]
        assert [r.token for batch in query.channels[0].batches for r in batch] == [0, 1, 2, 3, 4, 5, 99]


def test_packets_are_short_and_complete() -> None:
    sizes = [0, 1, 4 << 20, 1, (4 << 20) + 1, 3 << 20, 3 << 20, 9 << 20, 5]
    whole = [Answer(n, n, bytes([n]) * size) for n, size in enumerate(sizes)]
    together: dict[int, bytes] = {}
    unfinished = None
    for packet in packets(whole):
        assert packet.answers
        assert sum(len(answer.payload) for answer in packet.answers) <= 4 << 20
        for answer in packet.answers:
            assert (answer.session in together) == (answer.session == unfinished)
            together[answer.session] = together.get(answer.session, b"") + answer.payload
            unfinished = None
        unfinished = packet.answers[-1].session if packet.unfinished else None
    assert unfinished is None
    assert together == {answer.session: answer.payload for answer in whole}
    assert packets([]) == []


@rpc_test
async def test_a_slow_gateway_slows_the_channel_down(address: str) -> None:
    query, sink = Query(), Sink()
    async with stub_of(query, address) as stub:
        await stub.open(INTERNAL, sink)
        sink.gate.clear()
        far_sink = query.channels[0].sink
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for number in range(100):
                await far_sink.deliver([Answer(1, number, b"x")])
                sent += 1

        flooding = asyncio.create_task(flood())
        while sink.deliveries < 16:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert (sink.deliveries, sent) == (16, 16)
        sink.gate.set()
        await flooding
        assert [answer.token for answer in await sink.have(100)] == list(range(100))


@pytest.mark.parametrize("how", ["close", "drop", "lose"])
@rpc_test
async def test_a_channel_that_ends_is_closed_in_the_service(address: str, how: str) -> None:
    query = Query()
    async with stub_of(query, address) as stub:
        channel = await stub.open(INTERNAL, Sink())
        other = await stub.open(INTERNAL, Sink())
        match how:
            case "close":
                await channel.close()
                assert len(query.channels) == 1
                await channel.close()
                await channel.wait_closed()
                with pytest.raises(ReqlError, match="closed"):
                    await channel.submit([])
            case "drop":
                del channel
            case "lose":
                await stub.close()
                with pytest.raises(ServiceUnavailable):
                    await channel.wait_closed()
        while len(query.channels) > (how != "lose"):
            await asyncio.sleep(0.005)
        if how != "lose":
            assert await other.submit([request(1, b"now")]) != []


@rpc_test
async def test_a_gateway_that_vanishes_frees_its_channel(address: str) -> None:
    query = Query()
    async with served(query_servant(query), address):
        with process("gateway", address):
            while not query.channels or not query.channels[0].batches:
                await asyncio.sleep(0.01)
            sink = query.channels[0].sink
        while query.channels:
            await asyncio.sleep(0.005)
        await sink.deliver([Answer(1, 1, b"anybody?")])  # finds out, but does not wait for it
        await asyncio.sleep(0.05)
        with pytest.raises(ServiceUnavailable):
            await sink.deliver([Answer(1, 2, b"anybody?")])


@rpc_test
async def test_a_query_service_that_vanishes_ends_the_channel(address: str) -> None:
    stub = QueryStub(address)
    with process("query", address) as service:
        channel = await stub.open(INTERNAL, Sink())
        lost = asyncio.create_task(channel.wait_closed())
        assert await channel.submit([request(1, b"now")]) == [Answer(1, 1, b"now")]
        os.kill(service.pid, signal.SIGKILL)
        with pytest.raises(ServiceUnavailable, match="connection to the query service was lost"):
            await lost
        with pytest.raises(ServiceUnavailable) as caught:
            await channel.submit([request(2, b"now")])
        assert caught.value.kind is ErrorKind.OP_FAILED  # it was not even sent
    with process("query", address):
        channel = await stub.open(INTERNAL, Sink())
        assert await channel.submit([request(3, b"now")]) == [Answer(3, 3, b"now")]
        await stub.close()


@rpc_test
async def test_a_gateway_tells_where_its_clients_come_in(address: str) -> None:
    query, entrance = Query(), Entrance(("192.0.2.7", "::1"), 28015, 8080)
    async with stub_of(query, address) as stub:
        await stub.open(INTERNAL, Sink(), entrance)
        await stub.open(INTERNAL, Sink())
    assert query.entrances == [entrance, UNKNOWN_ENTRANCE]


@rpc_test
async def test_a_batch_that_is_lost_is_indeterminate(address: str) -> None:
    class Hanging(Query):
        async def open(self, context: CallContext, sink: AnswerSink, entrance: Entrance = UNKNOWN_ENTRANCE) -> Channel:
            channel = await super().open(context, sink, entrance)

            async def submit(requests: Sequence[Request]) -> list[Answer]:
                channel.batches.append(list(requests))
                await asyncio.Event().wait()
                return []

            channel.submit = submit  # type: ignore[method-assign]
            return channel

    query = Hanging()
    async with served(query_servant(query), address):
        stub = QueryStub(address)
        channel = await stub.open(INTERNAL, Sink())
        submit = asyncio.create_task(channel.submit([request(1, b"now")]))
        while not query.channels[0].batches:
            await asyncio.sleep(0)
    with pytest.raises(ServiceUnavailable) as caught:
        await submit
    assert caught.value.kind is ErrorKind.OP_INDETERMINATE
    await stub.close()


async def hold_a_channel(address: str) -> None:
    channel = await QueryStub(address).open(INTERNAL, Sink())
    await channel.submit([request(1, b"never")])
    await asyncio.Event().wait()


async def serve_queries(address: str) -> None:
    server = RpcServer(query_servant(Query()))
    await server.listen(address)
    await asyncio.Event().wait()


if __name__ == "__main__":
    run(hold_a_channel(sys.argv[2]) if sys.argv[1] == "gateway" else serve_queries(sys.argv[2]))
