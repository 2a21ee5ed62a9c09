"""What every bus does: each test runs on the bus in the process and on NATS."""

from __future__ import annotations

import asyncio

import pytest

from photondb.bus import Bus, BusMessage
from tests.bus.waiting import until


async def test_a_subscriber_gets_what_is_published(bus: Bus) -> None:
    got: list[BusMessage] = []
    await bus.subscribe("a.b", got.append)
    await bus.publish("a.b", b"one")
    bus.publish_nowait("a.b", b"\0\r\n", {"traceparent": "00-1", "x": "y z"})
    await bus.publish("a.b", b"")
    await until(lambda: len(got) == 3)
    assert got == [
        BusMessage("a.b", b"one", {}),
        BusMessage("a.b", b"\0\r\n", {"traceparent": "00-1", "x": "y z"}),
        BusMessage("a.b", b"", {}),
    ]


async def test_messages_of_a_publisher_arrive_in_order(bus: Bus) -> None:
    got: list[bytes] = []
    await bus.subscribe("numbers.*", lambda message: got.append(message.payload))
    sent = [b"%d" % number for number in range(5000)]
    for number, payload in enumerate(sent):
        bus.publish_nowait(f"numbers.{number % 3}", payload)
        if number % 1000 == 0:
            await asyncio.sleep(0)
    await until(lambda: len(got) == len(sent))
    assert got == sent


async def test_wildcards_choose_what_is_delivered(bus: Bus) -> None:
    got: list[tuple[str, str]] = []
    for pattern in ("a.b", "a.*", "a.>", ">", "*.c"):
        await bus.subscribe(pattern, lambda message, pattern=pattern: got.append((pattern, message.subject)))
    for subject in ("a.b", "a.c", "a.b.c", "b", "end"):
        bus.publish_nowait(subject, b"")
    await until(lambda: (">", "end") in got)
    expected = {("a.b", "a.b"), ("a.*", "a.b"), ("a.*", "a.c"), ("a.>", "a.b"), ("a.>", "a.c"), ("a.>", "a.b.c")}
    expected |= {(">", subject) for subject in ("a.b", "a.c", "a.b.c", "b", "end")} | {("*.c", "a.c")}
    assert sorted(got) == sorted(expected)


async def test_publishing_never_calls_a_subscriber_itself(bus: Bus) -> None:
    got: list[BusMessage] = []
    await bus.subscribe("a", got.append)
    bus.publish_nowait("a", b"")
    await bus.publish("a", b"")
    assert got == []
    await until(lambda: len(got) == 2)


async def test_a_closed_subscription_gets_nothing_more(bus: Bus) -> None:
    closed: list[BusMessage] = []
    still_open: list[BusMessage] = []
    subscription = await bus.subscribe("a", closed.append)
    await bus.subscribe("a", still_open.append)
    bus.publish_nowait("a", b"1")
    await until(lambda: len(closed) == len(still_open) == 1)
    bus.publish_nowait("a", b"2")
    await subscription.close()
    await subscription.close()
    bus.publish_nowait("a", b"3")
    await until(lambda: len(still_open) == 3)
    assert [message.payload for message in closed] == [b"1"]


async def test_a_failing_subscriber_harms_nobody(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    got: list[BusMessage] = []

    def fail(message: BusMessage) -> None:
        raise RuntimeError("no")

    await bus.subscribe("a", fail)
    await bus.subscribe("a", got.append)
    bus.publish_nowait("a", b"1")
    bus.publish_nowait("a", b"2")
    await until(lambda: len(got) == 2)
    await until(lambda: sum(record.message == "a subscriber failed" for record in caplog.records) == 2)


async def test_a_subscriber_may_publish(bus: Bus) -> None:
    got: list[bytes] = []

    def relay(message: BusMessage) -> None:
        got.append(message.payload)
        if len(message.payload) < 5:
            bus.publish_nowait("a", message.payload + b"x")

    await bus.subscribe("a", relay)
    bus.publish_nowait("a", b"")
    await until(lambda: len(got) == 6)
    assert got[-1] == b"xxxxx"


async def test_malformed_subjects_and_patterns_are_refused(bus: Bus) -> None:
    with pytest.raises(ValueError, match="not a subject"):
        bus.publish_nowait("a b\r\nPUB c 0", b"")
    with pytest.raises(ValueError, match="not a pattern"):
        await bus.subscribe("a..b", lambda message: None)


async def test_who_subscribes_is_known_to_have_subscribed(bus: Bus) -> None:
    subscription = await bus.subscribe("a.*", lambda message: None)
    assert bus.has_subscribers("a.b")
    await subscription.close()


async def test_closing_ends_delivery(bus: Bus) -> None:
    got: list[BusMessage] = []
    await bus.subscribe("a", got.append)
    await bus.close()
    bus.publish_nowait("a", b"")
    await asyncio.sleep(0.01)
    assert got == []
