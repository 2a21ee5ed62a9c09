"""What the gateway's tests share: every test that has a loop runs on asyncio's and on uvloop, as both are supported."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import uvloop

from photondb.config import Settings
from services.gateway.limits import Limits
from services.gateway.pool import QueryHere
from services.gateway.service import Gateway
from tests.gateway.echo_query import EchoQuery
from tests.gateway.open_auth import OpenAuth
from tests.gateway.raw_client import RawClient


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def query() -> EchoQuery:
    return EchoQuery()


@pytest.fixture
def auth() -> OpenAuth:
    return OpenAuth()


StartGateway = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def start_gateway(query: EchoQuery, auth: OpenAuth) -> AsyncIterator[StartGateway]:
    """Starts a gateway on free ports; keyword arguments are limits."""
    async with AsyncExitStack() as stack:

        async def start(probes: Any = None, busy_poll_us: int = 0, **limits: int) -> Gateway:
            settings = Settings(driver_port=0, http_port=0)
            gateway = Gateway(
                QueryHere(query),
                auth,
                settings,
                Limits(**{"drain_timeout_ms": 200, **limits}),
                probes,
                busy_poll_us=busy_poll_us,
            )
            await gateway.start()
            stack.push_async_callback(gateway.stop)
            return gateway

        yield start


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Awaitable[RawClient]]]:
    """Connects to a gateway's driver port, and logs in unless told otherwise."""
    async with AsyncExitStack() as stack:

        async def connect(gateway: Gateway, **options: Any) -> RawClient:
            client = await RawClient.connect(gateway, **options)
            stack.push_async_callback(client.close)
            return client

        yield connect
