"""What the bus over NATS does when things go wrong. All against a real server."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest

from photondb.bus import BusMessage, NatsBus
from photondb.bus.server import MAX_PAYLOAD_BYTES, NatsServer
from tests.bus.waiting import until


async def test_two_connections_reach_each_other(nats_server: NatsServer) -> None:
    reader, writer = await NatsBus.connect(nats_server.url), await NatsBus.connect(nats_server.url)
    got: list[BusMessage] = []
    await reader.subscribe("a", got.append)
    writer.publish_nowait("a", b"x")  # no wait: the subscription is known to the server by now
    await until(lambda: len(got) == 1)
    await reader.close()
    await writer.close()


async def test_it_survives_a_restart_of_the_server(nats_server: NatsServer) -> None:
    reader, writer = await NatsBus.connect(nats_server.url), await NatsBus.connect(nats_server.url)
    got: list[bytes] = []
    gaps: dict[str, int] = {"reader": 0, "writer": 0}
    await reader.subscribe("a", lambda message: got.append(message.payload))
    reader.on_gap(lambda: gaps.update(reader=gaps["reader"] + 1))
    writer.on_gap(lambda: gaps.update(writer=gaps["writer"] + 1))
    for round_number in range(1, 3):
        nats_server.kill()
        await until(lambda: writer._client is None and reader._client is None)
        dropped = writer.dropped
        writer.publish_nowait("a", b"lost")
        assert writer.dropped == dropped + 1
        await nats_server.start()
        await until(lambda number=round_number: min(gaps.values()) >= number)
        writer.publish_nowait("a", b"%d" % round_number)
        await until(lambda number=round_number: got[-1:] == [b"%d" % number])
    assert got == [b"1", b"2"]
    await reader.close()
    await writer.close()


async def test_a_server_that_is_not_there_yet_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server = NatsServer(tmp_path)
    await server.start()
    server.kill()
    bus = await NatsBus.connect(server.url)
    got: list[BusMessage] = []
    gaps: list[None] = []
    bus.on_gap(lambda: gaps.append(None))
    await bus.subscribe("a", got.append)
    bus.publish_nowait("a", b"nobody hears this")
    assert bus.dropped == 1
    assert gaps == []
    await server.start()
    await until(lambda: len(gaps) > 0)
    bus.publish_nowait("a", b"heard")
    await until(lambda: len(got) == 1)
    assert got[0].payload == b"heard"
    assert [record.message for record in caplog.records].count("NATS cannot be reached; trying again") == 1
    assert server._token not in caplog.text
    await bus.close()
    await server.stop()


async def test_a_slow_subscriber_is_told_of_its_loss(nats_server: NatsServer) -> None:
    reader = await NatsBus.connect(nats_server.url, max_pending_messages=10)
    writer = await NatsBus.connect(nats_server.url)
    got: list[BusMessage] = []
    gaps: list[None] = []

    def handle(message: BusMessage) -> None:
        time.sleep(0.01)
        got.append(message)

    await reader.subscribe("a", handle)
    reader.on_gap(lambda: gaps.append(None))
    for _ in range(1000):
        writer.publish_nowait("a", b"x" * 100)
    await until(lambda: len(gaps) > 0)
    await until(lambda: len(got) + reader.slow_consumer_drops == 1000)
    assert reader.slow_consumer_drops > 0
    await reader.close()
    await writer.close()


async def test_a_message_too_large_for_the_server_is_dropped_and_the_publisher_is_told(
    nats_server: NatsServer,
) -> None:
    bus = await NatsBus.connect(nats_server.url)
    got: list[int] = []
    gaps: list[None] = []
    await bus.subscribe("a", lambda message: got.append(len(message.payload)))
    bus.on_gap(lambda: gaps.append(None))
    bus.publish_nowait("a", bytes(MAX_PAYLOAD_BYTES + 1))
    bus.publish_nowait("a", bytes(MAX_PAYLOAD_BYTES))
    await until(lambda: got == [MAX_PAYLOAD_BYTES])
    await until(lambda: len(gaps) == 1)
    assert bus.dropped == 1
    await bus.close()


async def test_closing_sends_what_was_published(nats_server: NatsServer) -> None:
    reader, writer = await NatsBus.connect(nats_server.url), await NatsBus.connect(nats_server.url)
    count = 0

    def handle(message: BusMessage) -> None:
        nonlocal count
        count += 1

    await reader.subscribe("a", handle)
    for _ in range(1000):
        writer.publish_nowait("a", b"x" * 1000)
    await writer.close()
    await until(lambda: count == 1000)
    await reader.close()


async def test_nobody_enters_without_the_token(nats_server: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    stranger = await NatsBus.connect(nats_server.url.replace(nats_server._token, "wrong"))
    assert stranger._client is None
    reported = [vars(record).get("error", "") for record in caplog.records]
    assert any("Authorization Violation" in text for text in reported)
    await stranger.close()


async def test_closing_while_the_server_is_away_ends_all_tasks(nats_server: NatsServer) -> None:
    before = asyncio.all_tasks()
    bus = await NatsBus.connect(nats_server.url)
    await bus.subscribe("a", lambda message: None)
    nats_server.kill()
    await until(lambda: bus._client is None)
    await bus.close()
    await until(lambda: asyncio.all_tasks() <= before)
