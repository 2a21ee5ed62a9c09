from __future__ import annotations

from photondb.bus import BusMessage, LocalBus
from photondb.bus.local import MAX_CACHED_ROUTES
from tests.bus.waiting import until


async def test_it_knows_when_nobody_would_get_a_message() -> None:
    bus = LocalBus()
    assert not bus.has_subscribers("a.b")
    subscription = await bus.subscribe("a.*", lambda message: None)
    assert bus.has_subscribers("a.b")
    assert not bus.has_subscribers("a.b.c")
    await subscription.close()
    assert not bus.has_subscribers("a.b")


async def test_routes_follow_the_subscriptions() -> None:
    bus = LocalBus()
    first: list[BusMessage] = []
    second: list[BusMessage] = []
    await bus.subscribe("a", first.append)
    bus.publish_nowait("a", b"1")
    await bus.subscribe("a", second.append)
    bus.publish_nowait("a", b"2")
    await until(lambda: len(first) == 2)
    assert [message.payload for message in second] == [b"2"]


async def test_many_subjects_do_not_fill_the_memory() -> None:
    bus = LocalBus()
    count = 0

    def handle(message: BusMessage) -> None:
        nonlocal count
        count += 1

    await bus.subscribe("s.*", handle)
    for number in range(2 * MAX_CACHED_ROUTES + 1):
        bus.publish_nowait(f"s.{number}", b"")
    await until(lambda: count == 2 * MAX_CACHED_ROUTES + 1)
    assert len(bus._routes) <= MAX_CACHED_ROUTES
