"""`query` from afar: a stub with the interface of `QueryApi`, and the servant that such stubs call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from photondb.address import Address
from photondb.api.context import INTERNAL, CallContext
from photondb.api.query import UNKNOWN_ENTRANCE, Answer, AnswerSink, Entrance, QueryApi, QueryChannel, Request
from photondb.rpc import schema
from photondb.rpc.admission import Admission
from photondb.rpc.client import RpcClient
from photondb.rpc.connect import DEFAULT_OPTIONS, ConnectOptions
from photondb.rpc.endpoints import Endpoints
from photondb.rpc.errors import ServiceUnavailable
from photondb.rpc.query_messages import (
    AnswerAssembly,
    AnswerPacket,
    batches,
    message,
    packet_spans,
    packets,
    read_requests,
    spans_at,
    traced_positions,
    write_answers,
    write_requests,
)
from photondb.rpc.remote import Method, Remote, RemoteObject
from photondb.rpc.servant import DEFAULT_MAX_CALLS, Call, ClosableHandlers, Handlers, Servant, servant
from photondb.telemetry import tracing

SERVICE = "query"

_OPEN = Method("open")
_SUBMIT = Method("submit", effects=True)
_DELIVER = Method("deliver")

_LOST = "The connection to the query service was lost."

_SINK_WINDOW = 16
"""How many deliveries to a gateway are under way at a time."""


class QueryStub(QueryApi):
    """The query service at `address` (`unix:/path` or `tcp:host:port`)."""

    def __init__(self, address: str | Endpoints, options: ConnectOptions = DEFAULT_OPTIONS) -> None:
        self._client = RpcClient(SERVICE, schema.QUERY.Query, address, options)

    @property
    def instance(self) -> Address | None:
        """The instance of the service that it is connected to."""
        return self._client.instance

    async def close(self) -> None:
        """Close the connection, which ends all channels."""
        await self._client.close()

    async def open(
        self, context: CallContext, sink: AnswerSink, entrance: Entrance = UNKNOWN_ENTRANCE
    ) -> QueryChannelStub:
        handlers = _SinkHandlers(sink)
        sink_servant = servant(schema.QUERY.AnswerSink, handlers)
        place = {
            "addresses": list(entrance.addresses),
            "driverPort": entrance.driver_port,
            "httpPort": entrance.http_port,
        }
        response = await self._client.call(_OPEN, context, sink=sink_servant, packed=True, entrance=place)
        return QueryChannelStub(Remote(response.ok, SERVICE), handlers, response.packed)


class RemoteQueries:
    """The instances of the query service at `addresses`: several with commas, or all that a host name stands for."""

    def __init__(self, addresses: str, options: ConnectOptions = DEFAULT_OPTIONS) -> None:
        self._endpoints = Endpoints(addresses)
        self._options = options

    async def instances(self) -> list[Address]:
        """Where they are. Raises OSError when no name can be resolved."""
        return await self._endpoints.instances()

    def connect(self) -> QueryStub:
        """One more connection. It goes to the instance that has the fewest."""
        return QueryStub(self._endpoints, self._options)


class QueryChannelStub(RemoteObject, QueryChannel):
    """A channel to the query service. It ends with ServiceUnavailable when the service is lost: open another then."""

    def __init__(self, remote: Remote, sink: _SinkHandlers, packed: bool) -> None:
        super().__init__(remote)
        self._sink = sink
        self._packed = packed

    async def submit(self, requests: Sequence[Request]) -> list[Answer]:
        answers: list[Answer] = []
        for number, batch in enumerate(batches(requests)):
            if self._sink.gone.is_set() and self._remote is not None:
                raise ServiceUnavailable(_LOST, indeterminate=number > 0)
            traced = [] if tracing.TRACER is None else traced_positions(batch)
            context = INTERNAL.traced(spans_at(batch, traced)) if traced else INTERNAL
            columns = message(write_requests(batch, traced), self._packed)
            response = await self.remote.call(_SUBMIT, context, requests=columns)
            answers += self._sink.assembly.add(response.ok)
        return answers

    async def wait_closed(self) -> None:
        """Return when the channel was closed. Raises ServiceUnavailable when it was lost instead: what was submitted
        and not yet answered will not be."""
        await self._sink.gone.wait()
        if self._remote is not None:
            raise ServiceUnavailable(_LOST)


class _SinkHandlers(Handlers):
    """`AnswerSink`, in the gateway. The query service drops it when the channel ends, and so does a lost connection."""

    unlimited = frozenset({"deliver"})  # the sender has a window
    eager = frozenset({"deliver"})

    def __init__(self, sink: AnswerSink) -> None:
        super().__init__("gateway", Admission(_SINK_WINDOW))
        self._sink = sink
        self.assembly = AnswerAssembly()
        self.gone = asyncio.Event()

    async def deliver(self, call: Call) -> None:
        answers = self.assembly.add(call.params.answers)
        if answers:
            await self._sink.deliver(answers)
        call.results.ok = None

    def dropped(self) -> None:
        self.gone.set()


def query_servant(query: QueryApi, max_calls: int = DEFAULT_MAX_CALLS) -> Servant:
    """The capability through which stubs call `query`. It carries out `max_calls` calls at a time."""
    return servant(schema.QUERY.Query, _QueryHandlers(SERVICE, Admission(max_calls), query))


class _QueryHandlers(Handlers):
    def __init__(self, service: str, admission: Admission, query: QueryApi) -> None:
        super().__init__(service, admission)
        self._query = query

    async def open(self, call: Call) -> None:
        params = call.params
        sink = AnswerSinkStub(Remote(params.sink, "gateway"), params.packed)
        place = params.entrance
        entrance = Entrance(tuple(place.addresses), place.driverPort, place.httpPort)
        channel = await self._query.open(call.context, sink, entrance)
        results = call.results
        results.ok = servant(schema.QUERY.QueryChannel, _ChannelHandlers(self, channel, sink))
        results.packed = True


class _ChannelHandlers(ClosableHandlers):
    eager = frozenset({"submit"})

    def __init__(self, owner: Handlers, channel: QueryChannel, sink: AnswerSinkStub) -> None:
        super().__init__(owner, channel)
        self._channel = channel
        self._sink = sink

    async def submit(self, call: Call) -> None:
        answers = await self._channel.submit(read_requests(call.params.requests, call.context))
        waiting = packets(answers)
        # The result may be overtaken by deliveries, so an answer in pieces must not begin in it.
        ready = AnswerPacket() if not waiting or waiting[0].unfinished else waiting.pop(0)
        call.results.ok = message(write_answers(ready), self._sink.packed)
        for packet in waiting:
            await self._sink.send(packet)


class AnswerSinkStub(AnswerSink):
    """A gateway's sink, which reads packed answers or does not. `deliver` returns when the answers are under way, and
    only _SINK_WINDOW packets are at a time.

    It raises what an earlier delivery failed with: the sink is lost then.
    """

    def __init__(self, remote: Remote, packed: bool) -> None:
        self.packed = packed
        self._remote = remote
        self._window = asyncio.Semaphore(_SINK_WINDOW)
        self._under_way: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None

    async def deliver(self, answers: Sequence[Answer]) -> None:
        for packet in packets(answers):
            await self.send(packet)

    async def send(self, packet: AnswerPacket) -> None:
        """Begin to deliver a packet, as soon as the window has room."""
        await self._window.acquire()
        if self._failure is not None:
            self._window.release()
            raise self._failure
        task = asyncio.create_task(self._send(packet))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _send(self, packet: AnswerPacket) -> None:
        try:
            context = INTERNAL
            if tracing.TRACER is not None:
                context = context.traced(packet_spans(packet))
            await self._remote.call(_DELIVER, context, answers=message(write_answers(packet), self.packed))
        except Exception as error:
            self._failure = error
        finally:
            self._window.release()
