"""The HTTP port."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import struct
from collections.abc import Awaitable, Callable
from importlib.metadata import version

import httpx
import pytest
from rethinkdb import r
from rethinkdb.errors import ReqlDriverError

from photondb import http_server
from photondb.telemetry import health
from services.gateway.handshake import JSON, V0_1, V0_3, V0_4
from services.gateway.service import Gateway
from tests.gateway.echo_query import EchoQuery
from tests.gateway.open_auth import OpenAuth

Start = Callable[..., Awaitable[Gateway]]


async def get(gateway: Gateway, path: str) -> httpx.Response:
    port = gateway.http_port
    async with httpx.AsyncClient() as client:
        return await client.get(f"http://127.0.0.1:{port}{path}")


async def test_the_root_says_who_answers(start_gateway: Start) -> None:
    response = await get(await start_gateway(), "/")
    assert response.status_code == 200
    assert response.json()["name"] == "PhotonDB"
    assert response.json()["version"] == version("photondb")


async def test_alive(start_gateway: Start, query: EchoQuery) -> None:
    query.is_down = True
    response = await get(await start_gateway(), "/health")
    assert (response.status_code, response.json()) == (200, {"status": "alive"})


async def test_ready(start_gateway: Start) -> None:
    async def storage() -> None:
        return

    response = await get(await start_gateway(probes={"storage": storage}), "/health/ready")
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "services": {"query": "ok", "auth": "ok", "storage": "ok"}}


async def test_not_ready_names_what_is_missing(
    start_gateway: Start, query: EchoQuery, auth: OpenAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PROBE_TIMEOUT_MS", 50)

    async def storage() -> None:
        await asyncio.sleep(60)

    query.is_down = auth.is_down = True
    response = await get(await start_gateway(probes={"storage": storage}), "/health/ready")
    assert response.status_code == 503
    assert response.json() == {
        "status": "not ready",
        "services": {
            "query": "The query service cannot be reached.",
            "auth": "auth is down",
            "storage": "no answer within 50 ms",
        },
    }


async def test_a_lost_query_service_is_not_ready(start_gateway: Start, query: EchoQuery) -> None:
    gateway = await start_gateway()
    assert (await get(gateway, "/health/ready")).status_code == 200
    query.is_down = True
    query.channels[0].lose()
    assert (await get(gateway, "/health/ready")).status_code == 503


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("POST", "/health", 405)])
async def test_errors_are_json(start_gateway: Start, method: str, path: str, status: int) -> None:
    port = (await start_gateway()).http_port
    async with httpx.AsyncClient() as client:
        response = await client.request(method, f"http://127.0.0.1:{port}{path}")
    assert response.status_code == status
    assert response.json()["path"] == path
    assert response.json()["error"]


async def test_signals_stay_with_the_process(start_gateway: Start) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    await get(await start_gateway(), "/health")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_a_driver_is_told_that_this_is_the_wrong_port(start_gateway: Start) -> None:
    gateway = await start_gateway()
    text = rf"This is PhotonDB's port for HTTP\. Connect drivers to its port for drivers, {gateway.driver_port}\."
    with pytest.raises(ReqlDriverError, match=text) as caught:
        await asyncio.to_thread(r.connect, "127.0.0.1", gateway.http_port)
    assert type(caught.value) is ReqlDriverError, "neither a time limit nor a question of passwords"


@pytest.mark.parametrize(
    ("version", "told"), [(V0_1, "PROTOBUF"), (V0_3, "Connect drivers"), (V0_4, "Connect drivers")]
)
async def test_old_drivers_are_told_so_too(start_gateway: Start, version: int, told: str) -> None:
    port = (await start_gateway()).http_port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for byte in struct.pack("<III", version, 0, JSON)[:4]:
        writer.write(bytes([byte]))
        await writer.drain()
    answer = await reader.read()
    assert answer.startswith(b"ERROR: ")
    assert answer.endswith(b"\n\0")
    assert told in answer.decode()
    writer.close()


async def test_a_request_may_come_in_pieces(start_gateway: Start) -> None:
    port = (await start_gateway()).http_port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in (b"G", b"ET", b" /health HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n"):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()


async def test_who_sends_no_request_is_not_waited_for(start_gateway: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "REQUEST_TIMEOUT_MS", 50)
    gateway = await start_gateway()
    for begun in (b"", b"GET", b"GET /health HTTP/1.1\r\nHost: a\r\nX: "):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
        writer.write(begun)
        with contextlib.suppress(ConnectionError):
            await reader.read(-1)  # up to the end, which comes
        writer.close()
    assert (await get(gateway, "/health")).status_code == 200


async def test_there_is_a_limit_of_connections(start_gateway: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 2)
    gateway = await start_gateway()
    idle = [await asyncio.open_connection("127.0.0.1", gateway.http_port) for _ in range(2)]
    while True:  # until both are known
        try:
            await get(gateway, "/health")
        except httpx.TransportError:
            break
    for _, writer in idle:
        writer.close()
    while True:  # until it is known that they are gone
        with contextlib.suppress(httpx.TransportError):
            assert (await get(gateway, "/health")).status_code == 200
            break
