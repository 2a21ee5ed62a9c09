"""Connections over real sockets: batching, order, limits, back-pressure, and how they end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import orjson
import pytest

from photondb.config import Settings, StartupError
from services.gateway import session
from services.gateway.handshake import V0_3, V1_0
from services.gateway.limits import Limits
from services.gateway.pool import QueryHere
from services.gateway.protocol import HEADER, frame
from services.gateway.service import Gateway
from tests.gateway.echo_query import EchoQuery
from tests.gateway.raw_client import RawClient, old_handshake

Start = Callable[..., Awaitable[Gateway]]
Connect = Callable[..., Awaitable[RawClient]]


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; the test's own timeout ends the wait otherwise."""
    while not condition():
        await asyncio.sleep(0.005)


def ended(query: EchoQuery) -> bool:
    """Whether the query service has heard that a session has ended."""
    return any(request.kind == "end_session" for request in query.requests)


async def test_a_query_is_answered(start_gateway: Start, connect: Connect, query: EchoQuery) -> None:
    client = await connect(await start_gateway())
    assert await client.ask(7, 1, "hello", {}) == "hello"
    (request,) = query.requests
    assert (request.token, request.payload, request.context.user) == (7, b'[1,"hello",{}]', "admin")


async def test_what_arrives_together_is_submitted_together_and_answered_in_one_write(
    start_gateway: Start, connect: Connect, query: EchoQuery
) -> None:
    client = await connect(await start_gateway())
    client.send(b"".join(frame(token, b"[1,%d,{}]" % token) for token in range(50)))
    assert [await client.read_answer() for _ in range(50)] == [(n, {"t": 1, "r": [n]}) for n in range(50)]
    assert len(query.batches) == 1


async def test_frames_sent_with_the_handshake_are_answered(start_gateway: Start, connect: Connect) -> None:
    client = await connect(await start_gateway(), login=False)
    client.send(old_handshake() + frame(1, b'[1,"early",{}]'))
    assert await client.read_text() == b"SUCCESS"
    assert await client.read_answer() == (1, {"t": 1, "r": ["early"]})


async def test_answers_come_out_of_order(start_gateway: Start, connect: Connect) -> None:
    client = await connect(await start_gateway())
    client.send(frame(1, b'[1,"later",{}]') + frame(2, b'[1,"now",{}]'))
    assert [(await client.read_answer())[0] for _ in range(2)] == [2, 1]


async def test_v0_3_gets_its_answers_in_order(start_gateway: Start, connect: Connect, query: EchoQuery) -> None:
    client = await connect(await start_gateway(), version=V0_3)
    client.query(1, 1, "later", {})
    client.query(2, 1, "now", {})
    client.query(3, 1, "later", {})
    client.query(4, 1, "now", {})
    assert [(await client.read_answer())[0] for _ in range(4)] == [1, 2, 3, 4]
    assert [len(batch) for batch in query.batches] == [1, 1, 1, 1]


async def test_a_token_in_use_twice_gets_two_answers(start_gateway: Start, connect: Connect, query: EchoQuery) -> None:
    client = await connect(await start_gateway())
    client.query(1, 1, "hold", {})
    client.query(1, 1, "stop", {})
    assert await client.read_answer() == (1, {"t": 1, "r": ["stop"]})
    await query.release()
    assert await client.read_answer() == (1, {"t": 1, "r": ["released"]})
    assert await client.ask(2, 1, "next", {}) == "next"


async def test_answers_that_nobody_waits_for_are_dropped(
    start_gateway: Start, connect: Connect, query: EchoQuery
) -> None:
    client = await connect(await start_gateway())
    client.query(1, 1, "hold", {})
    assert await client.ask(2, 1, "sync", {}) == "sync"
    channel = query.channels[0]
    channel.held *= 2  # the query service answers twice
    await query.release()
    assert await client.read_answer() == (1, {"t": 1, "r": ["released"]})
    assert await client.ask(3, 1, "next", {}) == "next"


async def test_the_end_of_a_connection_ends_its_session(
    start_gateway: Start, connect: Connect, query: EchoQuery
) -> None:
    client = await connect(await start_gateway())
    await client.ask(1, 1, "x", {})
    await client.close()
    await until(lambda: ended(query))
    assert query.requests[-1].session == query.requests[0].session


async def test_sessions_have_numbers_of_their_own(start_gateway: Start, connect: Connect, query: EchoQuery) -> None:
    gateway = await start_gateway()
    for name in ("first", "second"):
        assert await (await connect(gateway)).ask(1, 1, name, {}) == name
    assert len({request.session for request in query.requests}) == 2


async def test_noreply_queries_have_no_answer_and_take_no_room(
    start_gateway: Start, connect: Connect, query: EchoQuery
) -> None:
    client = await connect(await start_gateway(max_outstanding=3))
    for token in range(20):
        client.query(token, 1, token, {"noreply": True})
    client.query(99, 4)
    assert await client.read_answer() == (99, {"t": 4, "r": []})
    assert [request.token for request in query.requests] == [*range(20), 99]


async def test_no_more_is_read_than_may_be_outstanding(
    start_gateway: Start, connect: Connect, query: EchoQuery
) -> None:
    client = await connect(await start_gateway(max_outstanding=5))
    client.send(b"".join(frame(token, b'[1,"hold",{}]') for token in range(12)))
    await until(lambda: len(query.requests) == 5)
    for expected in ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]):
        await until(lambda count=expected[-1] + 1: len(query.requests) >= count)  # type: ignore[misc]
        assert [request.token for request in query.channels[0].held] == expected
        await query.release()
        assert [(await client.read_answer())[0] for _ in expected] == expected


async def test_the_size_of_what_is_outstanding_is_limited(
    start_gateway: Start, connect: Connect, query: EchoQuery
) -> None:
    client = await connect(await start_gateway(max_outstanding_bytes=500_000))
    text = b" " * 300_000
    for token in range(4):
        client.send(frame(token, b'[1,"hold",{}]' + text))
    for expected in ([0, 1], [2, 3]):
        await until(lambda count=expected[-1] + 1: len(query.requests) >= count)  # type: ignore[misc]
        assert [request.token for request in query.channels[0].held] == expected
        await query.release()
        assert [(await client.read_answer())[0] for _ in expected] == expected


async def test_a_client_that_vanishes_while_it_is_not_read_from_is_noticed(
    start_gateway: Start, connect: Connect, query: EchoQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "PEER_CHECK_MS", 20)
    client = await connect(await start_gateway(max_outstanding=2))
    client.send(b"".join(frame(token, b'[1,"hold",{}]') for token in range(5)))
    await until(lambda: len(query.requests) == 2)
    await asyncio.sleep(0.1)
    assert not ended(query)
    await client.close()
    await until(lambda: ended(query))


async def test_a_frame_beyond_the_limit_is_answered_and_the_connection_closed(
    start_gateway: Start, connect: Connect
) -> None:
    client = await connect(await start_gateway(max_frame_bytes=1000))
    assert await client.ask(1, 1, "before", {}) == "before"
    client.send(frame(2, b" " * 100_000) + frame(3, b'[1,"after",{}]'))
    token, response = await client.read_answer()
    assert token == 2
    assert response == {"t": 16, "r": ["Query size (100000) greater than maximum (1000)."], "b": []}
    assert await client.read_end() == b""


async def test_a_frame_of_gigabytes_is_answered_before_it_is_sent(start_gateway: Start, connect: Connect) -> None:
    client = await connect(await start_gateway())
    client.send(HEADER.pack(5, 2**32 - 1) + b"x" * 1_000_000)
    token, response = await client.read_answer()
    assert (token, response["t"]) == (5, 16)
    assert await client.read_end() == b""


async def test_a_large_query_and_its_answer_pass(start_gateway: Start, connect: Connect) -> None:
    client = await connect(await start_gateway())
    text = "x" * 20_000_000
    assert await client.ask(1, 1, text, {}) == text


async def test_what_is_no_json_is_left_to_query(start_gateway: Start, connect: Connect, query: EchoQuery) -> None:
    client = await connect(await start_gateway())
    client.send(frame(1, b"\xff\xfe\x00"))
    await until(lambda: bool(query.requests))
    assert query.requests[0].payload == b"\xff\xfe\x00"


async def test_a_client_that_does_not_read_stops_being_read_and_is_dropped(
    start_gateway: Start, connect: Connect, query: EchoQuery
) -> None:
    gateway = await start_gateway(stalled_client_timeout_ms=300, write_high_water_bytes=100_000)
    other = await connect(gateway)
    client = await connect(gateway, receive_buffer=4096)
    for token in range(100):
        client.query(token, 1, "big", {})
    await until(lambda: any(request.session != 1 for request in query.requests))
    assert await other.ask(1, 1, "not disturbed", {}) == "not disturbed"
    await until(lambda: ended(query))
    assert await other.ask(2, 1, "not disturbed", {}) == "not disturbed"


async def test_a_client_that_reads_slowly_is_kept(start_gateway: Start, connect: Connect) -> None:
    gateway = await start_gateway(stalled_client_timeout_ms=2_000, write_high_water_bytes=100_000)
    client = await connect(gateway, receive_buffer=4096)
    for token in range(20):
        client.query(token, 1, "big", {})
    tokens = set()
    for _ in range(20):
        await asyncio.sleep(0.15)  # in all more than the timeout, and each much less
        tokens.add((await client.read_answer())[0])
    assert tokens == set(range(20))


async def test_a_client_for_which_too_much_waits_is_dropped_at_once(
    start_gateway: Start, connect: Connect, query: EchoQuery
) -> None:
    gateway = await start_gateway(max_write_buffer_bytes=20_000_000, stalled_client_timeout_ms=600_000)
    client = await connect(gateway, receive_buffer=4096)
    client.send(b"".join(frame(token, b'[1,"big",{}]') for token in range(60)))
    await until(lambda: ended(query))


async def test_clients_beyond_the_limit_are_told(start_gateway: Start, connect: Connect) -> None:
    gateway = await start_gateway(max_connections=2)
    first, _ = await connect(gateway), await connect(gateway)
    refused = await connect(gateway, login=False)
    refused.send(old_handshake())
    assert await refused.read_end() == (
        b"ERROR: The server has reached its limit of 2 connections. Try again later.\n\0"
    )
    await refused.close()
    refused = await connect(gateway, login=False)
    refused.send(V1_0.to_bytes(4, "little"))
    assert orjson.loads((await refused.read_text()).decode())["error_code"] == 19
    await refused.close()
    await first.close()
    while gateway.connections > 1:
        await asyncio.sleep(0.005)
    assert await (await connect(gateway)).ask(1, 1, "welcome", {}) == "welcome"


async def test_a_crowd_beyond_the_limit_is_dropped(start_gateway: Start, connect: Connect) -> None:
    gateway = await start_gateway(max_connections=1)
    clients = [await connect(gateway, login=False) for _ in range(110)]
    results = await asyncio.gather(*(client.reader.read(1) for client in clients[-5:]), return_exceptions=True)
    assert all(result == b"" or isinstance(result, ConnectionError) for result in results)
    assert gateway.connections <= 101


async def test_a_handshake_that_is_not_finished_ends(start_gateway: Start, connect: Connect) -> None:
    client = await connect(await start_gateway(handshake_timeout_ms=50), login=False)
    client.send(old_handshake()[:-1])
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.read_text()


async def test_a_finished_handshake_has_no_timeout(start_gateway: Start, connect: Connect) -> None:
    client = await connect(await start_gateway(handshake_timeout_ms=2_000))
    await asyncio.sleep(2.1)
    assert await client.ask(1, 1, "alive", {}) == "alive"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (b"wrong", b"ERROR: Incorrect authorization key.\n"),
        (b"broken", b"ERROR: The server cannot check logins at the moment. Try again.\n"),
    ],
)
async def test_a_login_that_fails_is_told_and_closed(
    start_gateway: Start, connect: Connect, key: bytes, text: bytes
) -> None:
    client = await connect(await start_gateway(), login=False)
    client.send(old_handshake(key=key) + b"more that is never read" * 1000)
    assert await client.read_text() == text
    assert await client.read_end() == b""


async def test_http_on_the_driver_port(start_gateway: Start, connect: Connect) -> None:
    client = await connect(await start_gateway(), login=False)
    client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await client.read_end()).startswith(b"HTTP/1.1 400 Bad Request\r\n")


async def test_garbage_is_answered_and_lingers_no_longer_than_it_must(start_gateway: Start, connect: Connect) -> None:
    gateway = await start_gateway(linger_timeout_ms=50)
    client = await connect(gateway, login=False)
    client.send(b"\x16\x03\x01\x02" + b"x" * 1000)
    assert (await client.read_text()).startswith(b"ERROR: Received an unsupported protocol version.")
    while gateway.connections:  # though the client does not close
        await asyncio.sleep(0.005)


async def test_stop_waits_for_answers_and_closes(start_gateway: Start, connect: Connect, query: EchoQuery) -> None:
    gateway = await start_gateway(drain_timeout_ms=60_000)
    client = await connect(gateway)
    client.query(1, 1, "hold", {})
    await until(lambda: bool(query.requests))
    stopping = asyncio.get_running_loop().create_task(gateway.stop())
    await asyncio.sleep(0.05)
    await query.release()
    await stopping
    assert await client.read_answer() == (1, {"t": 1, "r": ["released"]})
    assert await client.read_end() == b""
    assert query.channels[0].closed


async def test_stop_does_not_wait_for_ever(start_gateway: Start, connect: Connect, query: EchoQuery) -> None:
    gateway = await start_gateway(drain_timeout_ms=50)
    client = await connect(gateway)
    client.query(1, 1, "hold", {})
    await until(lambda: bool(query.requests))
    await gateway.stop()
    assert await client.read_end() == b""


async def test_a_taken_port_is_one_clear_line(start_gateway: Start) -> None:
    status = await start_gateway()
    for settings, setting in (
        (Settings(driver_port=status.driver_port, http_port=0), "--driver-port"),
        (Settings(driver_port=0, http_port=status.http_port), "--http-port"),
    ):
        with pytest.raises(StartupError) as error:
            await Gateway(QueryHere(EchoQuery()), object(), settings, Limits()).start()  # type: ignore[arg-type]
        assert "in use" in str(error.value)
        assert setting in str(error.value)
        assert "\n" not in str(error.value)


async def test_an_address_that_is_not_ours_is_one_clear_line() -> None:
    settings = Settings(bind="192.0.2.1", driver_port=0, http_port=0)
    with pytest.raises(StartupError, match=r"cannot listen on 192\.0\.2\.1:0 for drivers: .*; check --bind"):
        await Gateway(QueryHere(EchoQuery()), object(), settings).start()  # type: ignore[arg-type]


async def test_dead_clients_are_noticed_and_small_answers_not_held_back(start_gateway: Start, connect: Connect) -> None:
    gateway = await start_gateway()
    await connect(gateway)
    (transport,) = gateway._listener._transports
    connection = transport.get_extra_info("socket")
    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
