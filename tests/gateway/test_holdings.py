"""What the clients of one user may make the gateway hold together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.gateway.holdings import HEAVY_BYTES, Holdings
from services.gateway.protocol import HEADER, frame
from services.gateway.service import Gateway
from tests.gateway.echo_query import EchoQuery
from tests.gateway.raw_client import RawClient

Start = Callable[..., Awaitable[Gateway]]
Connect = Callable[..., Awaitable[RawClient]]

MB = 1 << 20


@dataclass(eq=False)
class Client:
    user: str
    held_bytes: int


def test_what_the_clients_of_a_user_hold_is_added_up() -> None:
    holdings = Holdings(max_user_bytes=10 * HEAVY_BYTES)
    one, two, another = (Client(user, 6 * HEAVY_BYTES) for user in ("eve", "eve", "bob"))
    assert not holdings.exceeded_by(one)
    assert not holdings.exceeded_by(another)
    assert holdings.exceeded_by(two)
    one.held_bytes = HEAVY_BYTES // 2  # which is not counted any more
    assert not holdings.exceeded_by(two)
    one.held_bytes = 6 * HEAVY_BYTES
    assert holdings.exceeded_by(one)
    holdings.forget(two)
    assert not holdings.exceeded_by(one)


async def test_queries_that_would_be_too_much_are_refused(start_gateway: Start, connect: Connect) -> None:
    gateway = await start_gateway(max_user_bytes=3 * MB)
    first, second = await connect(gateway), await connect(gateway)
    begun = frame(1, b'[1,"now",{}]' + b" " * (MB * 5 // 2))
    first.send(begun[: 2 * MB])
    await until_received(gateway, 2 * MB)
    second.send(HEADER.pack(7, 50 * MB) + b" " * (2 * MB))
    token, response = await second.read_answer()
    text = "The queries and answers of the user `admin` take too much memory (limit 3 MB)."
    assert (token, response["r"]) == (7, [text])
    assert await second.read_end() == b""
    await second.close()
    third = await connect(gateway)
    assert await third.ask(1, 1, "now", {}) == "now"  # others of the user are as they were
    first.send(begun[2 * MB :])
    assert await first.read_answer() == (1, {"t": 1, "r": ["now"]})
    await first.close()


async def test_answers_that_are_not_taken_count(start_gateway: Start, connect: Connect, query: EchoQuery) -> None:
    gateway = await start_gateway(max_user_bytes=20 * MB, stalled_client_timeout_ms=600_000)
    clients = [await connect(gateway, receive_buffer=4096) for _ in range(3)]
    for client in clients:
        client.send(b"".join(frame(token, b'[1,"big",{}]') for token in range(20)))
    while not any(request.kind == "end_session" for request in query.requests):
        await asyncio.sleep(0.005)


async def until_received(gateway: Gateway, count: int) -> None:
    while gateway._dispatchers.metrics.received_bytes < count:
        await asyncio.sleep(0.005)
