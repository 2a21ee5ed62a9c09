"""The gateway with `query` in another process, which is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from photondb.config import Settings
from photondb.reql.errors import ErrorKind
from photondb.rpc.loop import run
from photondb.rpc.query import RemoteQueries
from services.gateway.protocol import frame
from services.gateway.service import Gateway
from tests.gateway.open_auth import OpenAuth
from tests.gateway.raw_client import RawClient
from tests.gateway.remote_query import query_process


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/query"


def with_gateway(test: Callable[[RawClient, str], Coroutine[Any, Any, None]]) -> Callable[[str], None]:
    """Run the test with a client of a gateway that looks for `query` at `address`."""

    async def main(address: str) -> None:
        gateway = Gateway(RemoteQueries(address), OpenAuth(), Settings(driver_port=0, http_port=0))  # type: ignore[arg-type]
        await gateway.start()
        try:
            client = await RawClient.connect(gateway)
            await test(client, address)
            await client.close()
        finally:
            await gateway.stop()

    @wraps(test)
    def run_test(address: str) -> None:
        run(main(address))

    del run_test.__wrapped__  # type: ignore[attr-defined]  # or pytest would ask for the test's own parameters
    return run_test


@with_gateway
async def test_queries_travel(client: RawClient, address: str) -> None:
    with query_process(address):
        assert await client.ask(1, 1, "there and back", {}) == "there and back"
        client.send(b"".join(frame(token, b"[1,%d,{}]" % token) for token in range(500)))
        answers = sorted([await client.read_answer() for _ in range(500)], key=lambda answer: answer[0])
        assert answers == [(token, {"t": 1, "r": [token]}) for token in range(500)]
        assert await client.ask(1, 1, "later", {}) == "later"
        text = "x" * 20_000_000
        assert await client.ask(1, 1, text, {}) == text


@with_gateway
async def test_a_query_service_that_is_killed_and_comes_back(client: RawClient, address: str) -> None:
    with query_process(address) as process:
        client.send(frame(1, b'[1,"hold",{}]') + frame(2, b'[1,"fine",{}]'))
        assert await client.read_answer() == (2, {"t": 1, "r": ["fine"]})
        os.kill(process.pid, signal.SIGKILL)
        token, response = await client.read_answer()
        assert (token, response["e"]) == (1, ErrorKind.OP_INDETERMINATE)
    client.query(3, 1, "sent while it is away", {})
    with query_process(address):
        assert await client.read_answer() == (3, {"t": 1, "r": ["sent while it is away"]})
        assert await client.ask(4, 1, "again", {}) == "again"
