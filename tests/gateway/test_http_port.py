"""The HTTP port."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from importlib.metadata import version

import httpx
import pytest

from photondb.api.context import INTERNAL
from photondb.telemetry import health
from services.gateway.service import Gateway
from tests.gateway.echo_query import EchoQuery
from tests.gateway.open_auth import OpenAuth

Start = Callable[..., Awaitable[Gateway]]


async def get(gateway: Gateway, path: str) -> httpx.Response:
    port = (await gateway.status(INTERNAL)).http_port
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
    port = (await (await start_gateway()).status(INTERNAL)).http_port
    async with httpx.AsyncClient() as client:
        response = await client.request(method, f"http://127.0.0.1:{port}{path}")
    assert response.status_code == status
    assert response.json()["path"] == path
    assert response.json()["error"]


async def test_signals_stay_with_the_process(start_gateway: Start) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    await get(await start_gateway(), "/health")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
