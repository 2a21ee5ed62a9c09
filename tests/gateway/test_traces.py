"""Which queries are traced is decided for all that are submitted together, and clients' own traces are always seen."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from photondb.config import SamplerName
from photondb.telemetry import tracing
from photondb.telemetry.sampling import Sampler
from photondb.telemetry.span_export import SpanExporter
from photondb.telemetry.tracing import Tracer
from services.gateway.busy_polling import BusyPolling
from services.gateway.dispatcher import Dispatcher
from services.gateway.limits import Limits
from services.gateway.login import ConnectionLog
from services.gateway.metrics import GatewayMetrics
from services.gateway.pool import QueryHere
from services.gateway.session import Session
from tests.gateway.echo_query import EchoQuery

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
QUERIES = 5


class Transport(asyncio.Transport):
    """A client that takes everything."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1234) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes | bytearray | memoryview) -> None: ...


class Clients:
    """Two connections, and the spans of their queries."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.spans: list[OtlpSpan] = []
        self.sessions = [
            Session(number, "admin", 100, Limits(), dispatcher, cast(ConnectionLog, None)) for number in range(2)
        ]
        for session in self.sessions:
            session.connection_made(Transport())
        self.token = 0

    def put(self, scope: str, spans: bytes, count: int) -> None:
        self.spans += ScopeSpans.FromString(spans).spans

    def frame(self, payload: bytes) -> bytes:
        self.token += 1
        return struct.pack("<QI", self.token, len(payload)) + payload

    async def answered(self) -> None:
        while any(session.outstanding for session in self.sessions):
            await asyncio.sleep(0)


@asynccontextmanager
async def traced_clients(monkeypatch: pytest.MonkeyPatch, sampler: SamplerName, ratio: float) -> AsyncIterator[Clients]:
    dispatcher = Dispatcher(QueryHere(EchoQuery()), Limits(), GatewayMetrics(), BusyPolling(0))
    await dispatcher.start()
    clients = Clients(dispatcher)
    monkeypatch.setattr(tracing, "TRACER", Tracer(Sampler(sampler, ratio), cast(SpanExporter, clients)))
    yield clients
    await dispatcher.stop()


async def test_the_queries_of_a_turn_are_traced_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced_clients(monkeypatch, "traceidratio", 0.5) as clients:
        traced = []
        for _ in range(400):
            clients.spans.clear()
            for session in clients.sessions:
                session.data_received(b"".join(clients.frame(b"[1,1]") for _ in range(QUERIES)))
            await clients.answered()
            traced.append(len(clients.spans))
            assert len({span.trace_id for span in clients.spans}) == len(clients.spans)
        assert set(traced) == {0, 2 * QUERIES}
        assert 120 < sum(map(bool, traced)) < 280  # eight standard deviations from the half


@pytest.mark.parametrize("others", [0, 3])
async def test_a_trace_of_a_client_s_goes_on_however_its_query_arrives(
    monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    payload = b'[1,1,{"traceparent":"00-%b-%b-01"}]' % (TRACE.encode(), PARENT.encode())
    async with traced_clients(monkeypatch, "parentbased_always_off", 0) as clients:
        session = clients.sessions[0]
        for cut in range(len(payload) + 12):
            clients.spans.clear()
            data = clients.frame(payload)
            session.data_received(data[:cut])
            session.data_received(data[cut:] + b"".join(clients.frame(b"[1,2]") for _ in range(others)))
            await clients.answered()
            (span,) = clients.spans
            assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
