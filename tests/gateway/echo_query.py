"""A stand-in for `query` that answers a query with its own term: what is under test is the gateway around it.

A term that is one of these strings is answered differently: "later" by the sink in a later turn, "hold" not before
`release`, "crash" by a failure of the whole batch, "refuse" by a refusal of the whole batch, "big" with 1 MB,
"who" with the number of the process.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

import orjson

from photondb.api.context import CallContext
from photondb.api.query import UNKNOWN_ENTRANCE, Answer, AnswerSink, Entrance, Request
from photondb.rpc.errors import Overloaded, ServiceUnavailable

INFO = {"id": "00000000-0000-0000-0000-000000000000", "name": "echo", "proxy": False}
BIG = b'{"t":1,"r":["%s"]}' % (b"x" * 1_000_000)


class EchoQuery:
    """Implements QueryApi. `batches` has what was submitted, batch by batch; `is_down` makes it unreachable, and
    the next `refusals` submits are refused."""

    def __init__(self) -> None:
        self.batches: list[list[Request]] = []
        self.is_down = False
        self.suspend = False
        self.refusals = 0
        self.channels: list[EchoChannel] = []

    @property
    def requests(self) -> list[Request]:
        return [request for batch in self.batches for request in batch]

    async def open(self, context: CallContext, sink: AnswerSink, entrance: Entrance = UNKNOWN_ENTRANCE) -> EchoChannel:
        if self.is_down:
            raise ServiceUnavailable("down")
        channel = EchoChannel(self, sink)
        self.channels.append(channel)
        return channel

    async def release(self) -> None:
        """Answer what is held."""
        channel = self.channels[-1]
        held, channel.held = channel.held, []
        await channel.sink.deliver([answer(request, {"t": 1, "r": ["released"]}) for request in held])


class EchoChannel:
    """Implements QueryChannel. `in_flight` submits wait for `gate` when the query service is told to suspend."""

    def __init__(self, query: EchoQuery, sink: AnswerSink) -> None:
        self.query = query
        self.sink = sink
        self.held: list[Request] = []
        self.closed = False
        self.lost = False
        self.end = asyncio.Event()
        self.in_flight = 0
        self.most_in_flight = 0
        self.gate = asyncio.Event()

    async def submit(self, requests: Sequence[Request]) -> list[Answer]:
        if self.lost:
            raise ServiceUnavailable("gone")
        if self.query.refusals and requests:
            self.query.refusals -= 1
            raise Overloaded("too much to do")
        self.query.batches.append(list(requests))
        if self.query.suspend and requests:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            await self.gate.wait()
            self.in_flight -= 1
            if self.lost:
                raise ServiceUnavailable("lost", indeterminate=True)
        answers = []
        for request in requests:
            if request.kind == "query":
                answers += self.carry_out(request)
        return answers

    async def wait_closed(self) -> None:
        await self.end.wait()
        if self.lost:
            raise ServiceUnavailable("gone")

    def carry_out(self, request: Request) -> list[Answer]:
        kind, *rest = orjson.loads(request.payload)
        if kind == 4:
            return [answer(request, {"t": 4, "r": []})]
        if kind == 5:
            return [answer(request, {"t": 5, "r": [INFO]})]
        term = rest[0] if rest else None
        if rest[1:] and rest[1].get("noreply"):
            return [Answer(request.session, request.token, b"")]
        match term:
            case "hold":
                self.held.append(request)
                return []
            case "later":
                asyncio.get_running_loop().call_later(0.01, self.answer_later, request)
                return []
            case "crash":
                raise RuntimeError("a bug")
            case "refuse":
                raise Overloaded("too much to do")
            case "who":
                return [answer(request, {"t": 1, "r": [os.getpid()]})]
            case "big":
                return [Answer(request.session, request.token, BIG)]
        return [answer(request, {"t": 1, "r": [term]})]

    def answer_later(self, request: Request) -> None:
        coroutine = self.sink.deliver([answer(request, {"t": 1, "r": ["later"]})])
        asyncio.get_running_loop().create_task(coroutine)

    async def close(self) -> None:
        self.closed = True

    def lose(self) -> None:
        """Break the channel, with submits that are under way."""
        self.lost = True
        self.end.set()
        self.gate.set()


def answer(request: Request, response: dict[str, object]) -> Answer:
    return Answer(request.session, request.token, orjson.dumps(response))
