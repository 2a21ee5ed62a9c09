"""How the gateway reaches `query`: batches under way, failures of a batch, and the loss of the channel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from photondb.reql.errors import ErrorKind
from services.gateway import dispatcher
from services.gateway.protocol import frame, is_noreply
from services.gateway.service import Gateway
from tests.gateway.echo_query import EchoQuery, answer
from tests.gateway.raw_client import RawClient

Start = Callable[..., Awaitable[Gateway]]
Connect = Callable[..., Awaitable[RawClient]]


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; the test's own timeout ends the wait otherwise."""
    while not condition():
        await asyncio.sleep(0.005)


async def test_over_a_channel_that_takes_time_batches_grow_with_the_load(
    start_gateway: Start, connect: Connect, query: EchoQuery
) -> None:
    client = await connect(await start_gateway())
    query.suspend = True
    for token in range(2):
        client.query(token, 1, token, {})
        await until(lambda count=token + 1: len(query.batches) == count)  # type: ignore[misc]
    channel = query.channels[0]
    for token in range(2, 10):
        client.query(token, 1, token, {})
    await asyncio.sleep(0.05)
    assert len(query.batches) == dispatcher.MAX_SUBMITS
    channel.gate.set()
    assert sorted([(await client.read_answer())[0] for _ in range(10)]) == list(range(10))
    assert channel.most_in_flight == dispatcher.MAX_SUBMITS
    assert len(query.batches[2]) == 8


async def test_a_bug_in_query_answers_its_batch_and_nothing_else(
    start_gateway: Start, connect: Connect, query: EchoQuery
) -> None:
    client = await connect(await start_gateway())
    client.query(1, 1, "hold", {})
    await until(lambda: len(query.requests) == 1)
    client.send(frame(2, b'[1,"fine",{}]') + frame(3, b'[1,"crash",{}]'))
    for token in (2, 3):
        answered, response = await client.read_answer()
        assert answered == token
        assert (response["t"], response["e"], response["b"]) == (18, ErrorKind.INTERNAL, [])
    await query.release()
    assert await client.read_answer() == (1, {"t": 1, "r": ["released"]})
    assert await client.ask(4, 1, "goes on", {}) == "goes on"


async def test_a_batch_that_query_refuses_is_answered_with_the_reason(start_gateway: Start, connect: Connect) -> None:
    client = await connect(await start_gateway())
    client.query(1, 1, "refuse", {})
    assert await client.read_answer() == (
        1,
        {"t": 18, "e": ErrorKind.RESOURCE_LIMIT, "r": ["too much to do"], "b": []},
    )


async def test_the_end_of_a_session_is_told_again_when_it_was_refused(
    start_gateway: Start, connect: Connect, query: EchoQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "RETRY_MS", 10)
    client = await connect(await start_gateway())
    assert await client.ask(1, 1, "x", {}) == "x"
    query.refusals = 3
    await client.close()
    await until(lambda: query.requests[-1].kind == "end_session")
    assert query.refusals == 0


async def test_queries_wait_for_query_to_come_up(start_gateway: Start, connect: Connect, query: EchoQuery) -> None:
    query.is_down = True
    client = await connect(await start_gateway())
    client.query(1, 1, "early", {})
    await asyncio.sleep(0.05)
    query.is_down = False
    assert await client.read_answer() == (1, {"t": 1, "r": ["early"]})


async def test_queries_do_not_wait_for_ever(start_gateway: Start, connect: Connect, query: EchoQuery) -> None:
    query.is_down = True
    client = await connect(await start_gateway(query_outage_ms=50))
    client.query(1, 1, "in vain", {})
    token, response = await client.read_answer()
    assert (token, response["t"], response["e"]) == (1, 18, ErrorKind.OP_FAILED)
    assert "try it again" in response["r"][0]
    query.is_down = False
    assert await client.ask(2, 1, "up again", {}) == "up again"


async def test_what_was_under_way_when_query_is_lost_gets_an_error_and_later_queries_a_new_channel(
    start_gateway: Start, connect: Connect, query: EchoQuery
) -> None:
    client = await connect(await start_gateway())
    client.send(
        frame(1, b'[1,"hold",{}]')
        + frame(1, b'[1,"hold",{}]')  # a STOP, say: it is owed an answer, too
        + frame(2, b'[1,"hold",{}]')
    )
    await until(lambda: len(query.requests) == 3)
    query.suspend = True
    client.query(3, 1, "under way", {"noreply": True})
    client.query(4, 1, "under way", {})
    await until(lambda: any(request.token == 4 for request in query.requests))
    query.suspend = False
    query.channels[0].lose()
    errors = [await client.read_answer() for _ in range(4)]
    assert sorted(token for token, _ in errors) == [1, 1, 2, 4]
    for _, response in errors:
        assert (response["t"], response["e"], response["b"]) == (18, ErrorKind.OP_INDETERMINATE, [])
    assert await client.ask(5, 1, "new", {}) == "new"
    assert len(query.channels) == 2


async def test_answers_of_a_lost_channel_do_not_reach_queries_that_use_their_tokens_again(
    start_gateway: Start, connect: Connect, query: EchoQuery
) -> None:
    client = await connect(await start_gateway())
    client.query(1, 1, "hold", {})
    await until(lambda: len(query.requests) == 1)
    old = query.channels[0]
    old.lose()
    client.query(2, 1, "notices the loss", {})
    assert sorted([(await client.read_answer())[0] for _ in range(2)]) == [1, 2]
    client.query(1, 1, "hold", {})
    await until(lambda: bool(query.channels[-1].held))
    await old.sink.deliver([answer(request, {"t": 1, "r": ["stale"]}) for request in old.held])
    await query.release()
    assert await client.read_answer() == (1, {"t": 1, "r": ["released"]})


async def test_a_batch_that_did_not_get_through_is_submitted_again(
    start_gateway: Start, connect: Connect, query: EchoQuery
) -> None:
    client = await connect(await start_gateway())
    assert await client.ask(1, 1, "before", {}) == "before"
    query.channels[0].lose()
    client.send(b"".join(frame(token, b"[1,%d,{}]" % token) for token in range(2, 20)))
    assert [(await client.read_answer())[1]["r"] for _ in range(2, 20)] == [[token] for token in range(2, 20)]
    assert len(query.channels) == 2


async def test_a_loss_is_noticed_though_nothing_is_submitted(
    start_gateway: Start, connect: Connect, query: EchoQuery
) -> None:
    client = await connect(await start_gateway())
    client.query(1, 1, "hold", {})
    await until(lambda: bool(query.channels[0].held))
    query.channels[0].lose()
    token, response = await client.read_answer()
    assert (token, response["e"]) == (1, ErrorKind.OP_INDETERMINATE)


async def test_sessions_that_end_during_an_outage_are_not_told_to_the_new_channel(
    start_gateway: Start, connect: Connect, query: EchoQuery
) -> None:
    gateway = await start_gateway()
    gone, stays = await connect(gateway), await connect(gateway)
    await gone.ask(1, 1, "x", {})
    query.is_down = True
    query.channels[0].lose()
    stays.query(1, 1, "y", {})
    gone.query(2, 1, "z", {})
    await asyncio.sleep(0.05)
    await gone.close()
    await asyncio.sleep(0.05)
    seen = len(query.batches)
    query.is_down = False
    assert await stays.read_answer() == (1, {"t": 1, "r": ["y"]})
    assert [request.token for batch in query.batches[seen:] for request in batch] == [1]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'[1,"x",{"noreply":true}]', True),
        (b'[1,"x",{"noreply":false}]', False),
        (b'[1,"noreply",{}]', False),
        (b'[1,"x",{}]', False),
        (b'[1,"noreply"]', False),
        (b'{"noreply":true}', False),
        (b'"noreply"', False),
        (b'[1,"x","noreply"]', False),
        (b'[1,"noreply', False),
    ],
)
def test_which_queries_want_no_reply(payload: bytes, expected: bool) -> None:
    assert is_noreply(payload) is expected
