"""Feeds on documents, ranges and whole tables, against real storage."""

from __future__ import annotations

import asyncio

import pytest

from photondb.api.catalogue import DropIndex, DropTable
from photondb.api.context import INTERNAL
from photondb.api.storage import KeyRange, TableGone
from photondb.datum.keys import key_range
from photondb.reql.errors import ReqlError
from photondb.reql.steps import FilterStep, MapStep
from tests.changefeed.conftest import Suite, point, ready, take
from tests.storage.language import func


async def test_a_table_feed_tells_of_every_change(suite: Suite) -> None:
    await suite.put({"id": 0})
    feed = await suite.open()
    await suite.put({"id": 1}, {"id": 2})
    await suite.put({"id": 1, "a": 1})
    await suite.delete(2)
    assert await ready(feed) == [
        {"old_val": None, "new_val": {"id": 1}},
        {"old_val": None, "new_val": {"id": 2}},
        {"old_val": {"id": 1}, "new_val": {"id": 1, "a": 1}},
        {"old_val": {"id": 2}, "new_val": None},
    ]


async def test_no_more_changes_are_given_than_are_asked_for(suite: Suite) -> None:
    feed = await suite.open()
    await suite.put(*[{"id": number} for number in range(5)])
    assert len(await feed.next(2)) == 2
    assert len(await feed.next(2)) == 2
    assert len(await feed.next(2)) == 1


async def test_a_reader_waits_for_a_change(suite: Suite) -> None:
    feed = await suite.open()
    waiting = asyncio.create_task(feed.next(10))
    await asyncio.sleep(0)
    assert not waiting.done()
    await suite.put({"id": 1})
    assert (await waiting).values() == [{"old_val": None, "new_val": {"id": 1}}]


async def test_a_cancelled_read_loses_nothing(suite: Suite) -> None:
    feed = await suite.open()
    waiting = asyncio.create_task(feed.next(10))
    await asyncio.sleep(0)
    waiting.cancel()
    await suite.put({"id": 1})
    assert waiting.cancelled()
    assert await take(feed, 1) == [{"old_val": None, "new_val": {"id": 1}}]


async def test_a_point_feed(suite: Suite) -> None:
    feed = await suite.open(key=1)
    await suite.put({"id": 1}, {"id": 2})
    await suite.delete(1)
    assert await ready(feed) == [
        {"old_val": None, "new_val": {"id": 1}},
        {"old_val": {"id": 1}, "new_val": None},
    ]


@pytest.mark.parametrize("there", [False, True])
async def test_a_point_feed_begins_with_what_is_there_or_not(suite: Suite, there: bool) -> None:
    if there:
        await suite.put({"id": 1, "a": 1})
    feed = await suite.open(key=1, include_initial=True, include_states=True, include_types=True)
    await suite.put({"id": 1, "a": 2})
    first = {"id": 1, "a": 1} if there else None
    assert await ready(feed) == [
        {"state": "initializing", "type": "state"},
        {"new_val": first, "type": "initial"},
        {"state": "ready", "type": "state"},
        {"old_val": first, "new_val": {"id": 1, "a": 2}, "type": "change" if there else "add"},
    ]


async def test_a_feed_on_a_range_of_the_primary_key(suite: Suite) -> None:
    feed = await suite.open(ranges=[KeyRange(*key_range(2, 4))])
    await suite.put(*[{"id": number} for number in range(6)])
    assert [notice["new_val"]["id"] for notice in await ready(feed)] == [2, 3]


async def test_a_feed_on_several_keys(suite: Suite) -> None:
    feed = await suite.open(ranges=[point(1), point(3, repeat=2)])
    await suite.put(*[{"id": number} for number in range(6)])
    assert [notice["new_val"]["id"] for notice in await ready(feed)] == [1, 3, 3]


async def test_a_feed_on_an_index_which_documents_enter_and_leave(suite: Suite) -> None:
    index = await suite.create_index("a", lambda row: row["a"])
    feed = await suite.open(index=index, ranges=[KeyRange(*key_range(2, 4, secondary=True))])
    await suite.put({"id": 1, "a": 9}, {"id": 2, "a": 3})
    await suite.put({"id": 1, "a": 2})
    await suite.put({"id": 2, "a": 4})
    assert await ready(feed) == [
        {"old_val": None, "new_val": {"id": 2, "a": 3}},
        {"old_val": None, "new_val": {"id": 1, "a": 2}},
        {"old_val": {"id": 2, "a": 3}, "new_val": None},
    ]


async def test_an_index_can_be_made_while_its_table_is_followed(suite: Suite) -> None:
    other = await suite.open()
    index = await suite.create_index("a", lambda row: row["a"])
    feed = await suite.open(index=index, ranges=[point(1)])
    await suite.put({"id": 1, "a": 1})
    assert len(await ready(feed)) == len(await ready(other)) == 1


async def test_filters_and_maps(suite: Suite) -> None:
    steps = [FilterStep(func(lambda row: row["a"] > 1)), MapStep(func(lambda row: row["a"] * 10))]
    feed = await suite.open(steps=steps)
    for value in (1, 2, 3, 1):
        await suite.put({"id": 1, "a": value})
    assert await ready(feed) == [
        {"old_val": None, "new_val": 20},
        {"old_val": 20, "new_val": 30},
        {"old_val": 30, "new_val": None},
    ]


async def test_feeds_on_the_same_hear_the_same(suite: Suite) -> None:
    feeds = [await suite.open(steps=[FilterStep(func(lambda row: row["a"] > 1))]) for _ in range(3)]
    await feeds[0].close()
    await suite.put({"id": 1, "a": 2})
    assert len(await ready(feeds[1])) == len(await ready(feeds[2])) == 1


# --- initial values


async def test_initial_values_come_before_the_changes(suite: Suite) -> None:
    await suite.put(*[{"id": number} for number in range(3)])
    feed = await suite.open(include_initial=True, include_states=True)
    await suite.put({"id": 1, "a": 1})
    assert await ready(feed) == [
        {"state": "initializing"},
        {"new_val": {"id": 0}},
        {"new_val": {"id": 1}},
        {"new_val": {"id": 2}},
        {"state": "ready"},
        {"old_val": {"id": 1}, "new_val": {"id": 1, "a": 1}},
    ]


async def test_initial_values_go_through_ranges_and_steps(suite: Suite) -> None:
    index = await suite.create_index("tags", lambda row: row["tags"], multi=True)
    await suite.put({"id": 1, "tags": [1, 2], "a": 5}, {"id": 2, "tags": [2], "a": 1}, {"id": 3, "tags": [3], "a": 5})
    steps = [FilterStep(func(lambda row: row["a"] > 1)), MapStep(func(lambda row: row["id"]))]
    feed = await suite.open(index=index, ranges=[point(1), point(2)], steps=steps, include_initial=True)
    assert await ready(feed) == [{"new_val": 1}, {"new_val": 1}]


async def test_a_long_beginning_is_read_as_fast_as_its_reader_comes(suite: Suite) -> None:
    await suite.put(*[{"id": number} for number in range(2500)])
    feed = await suite.open(include_initial=True, include_states=True, queue_size=10)
    first = await take(feed, 600)
    # Far more changes than the queue takes, but the reader is not slow: the feed is not live yet.
    await suite.put(*[{"id": number, "a": 1} for number in range(100)])
    rest = await take(feed, 2502 - 600)
    notices = [*first, *rest]
    assert notices[0] == {"state": "initializing"}
    assert [notice["new_val"] for notice in notices[1:-1]] == [{"id": number} for number in range(2500)]
    assert notices[-1] == {"state": "ready"}
    changes = await take(feed, 100)
    assert [notice["new_val"] for notice in changes] == [{"id": number, "a": 1} for number in range(100)]


async def test_changes_during_a_long_beginning_follow_it(suite: Suite) -> None:
    await suite.put(*[{"id": number} for number in range(1200)])
    feed = await suite.open(include_initial=True)
    await suite.put({"id": 3, "a": 1})
    await take(feed, 700)
    await suite.delete(1000)
    notices = await take(feed, 502)
    assert notices[-2:] == [
        {"old_val": {"id": 3}, "new_val": {"id": 3, "a": 1}},
        {"old_val": {"id": 1000}, "new_val": None},
    ]
    assert len(await ready(feed)) == 0


async def test_without_initial_values_states_say_ready_at_once(suite: Suite) -> None:
    feed = await suite.open(include_states=True)
    assert await ready(feed) == [{"state": "ready"}]


async def test_a_step_that_fails_on_an_initial_value_ends_the_feed(suite: Suite) -> None:
    await suite.put({"id": 1, "a": "text"})
    with pytest.raises(ReqlError, match="Expected type"):
        await suite.open(steps=[MapStep(func(lambda row: row["a"] + 1))], include_initial=True)


# --- squashing and slow readers


async def test_squashing_while_the_reader_is_away(suite: Suite) -> None:
    feed = await suite.open(squash=True)
    await suite.put({"id": 1})
    await suite.put({"id": 1, "a": 1}, {"id": 2})
    await suite.delete(2)
    assert await ready(feed) == [{"old_val": None, "new_val": {"id": 1, "a": 1}}]


async def test_squashing_for_a_while(suite: Suite) -> None:
    feed = await suite.open(squash=0.3)
    waiting = asyncio.create_task(feed.next(10))
    await asyncio.sleep(0)
    await suite.put({"id": 1})
    await suite.put({"id": 1, "a": 1})
    assert (await waiting).values() == [{"old_val": None, "new_val": {"id": 1, "a": 1}}]


async def test_a_queue_that_gets_full_is_read_before_the_time_of_squashing_is_over(suite: Suite) -> None:
    feed = await suite.open(squash=1000.0, queue_size=4)
    waiting = asyncio.create_task(feed.next(10))
    await asyncio.sleep(0)
    await suite.put(*[{"id": number} for number in range(3)])
    assert len(await waiting) == 3


async def test_the_rest_of_a_batch_is_not_kept_back(suite: Suite) -> None:
    feed = await suite.open(squash=0.05)
    await suite.put(*[{"id": number} for number in range(3)])
    assert len(await feed.next(1)) == 1
    assert [notice["new_val"]["id"] for notice in await ready(feed)] == [1, 2]


async def test_a_slow_reader_is_told_what_it_missed(suite: Suite) -> None:
    slow, quick = await suite.open(queue_size=10), await suite.open()
    await suite.put(*[{"id": number} for number in range(25)])
    await suite.put({"id": 99})
    assert (await take(slow, 1)) == [{"error": "Changefeed cache over array size limit, skipped 22 elements."}]
    assert [notice["new_val"]["id"] for notice in await ready(slow)] == [22, 23, 24, 99]
    assert len(await ready(quick)) == 26


# --- the end


async def test_a_dropped_table_ends_its_feeds_after_what_waits(suite: Suite) -> None:
    feeds = [await suite.open(), await suite.open(key=1), await suite.open(limit=1)]
    await suite.put({"id": 1})
    waiting = [asyncio.create_task(take(feed, 2)) for feed in feeds]
    await suite.change(DropTable("test", "t"))
    for task in waiting:
        with pytest.raises(ReqlError, match=r"^Changefeed aborted \(unavailable\)\.$"):
            await task
    for feed in feeds:
        with pytest.raises(ReqlError, match="aborted"):
            await feed.next(1)


async def test_a_table_that_is_gone_has_no_feeds(suite: Suite) -> None:
    await suite.change(DropTable("test", "t"))
    with pytest.raises(TableGone):
        await suite.open()


async def test_a_dropped_index_ends_its_feeds_alone(suite: Suite) -> None:
    index = await suite.create_index("a", lambda row: row["a"])
    feed, other = await suite.open(index=index, ranges=[point(1)]), await suite.open()
    await suite.change(DropIndex("test", "t", "a"))
    with pytest.raises(ReqlError, match="the index `a` was dropped"):
        await feed.next(1)
    await suite.put({"id": 1})
    assert len(await ready(other)) == 1
    with pytest.raises(ReqlError, match="index was dropped"):
        await suite.open(index=index)


async def test_a_closed_feed_ends_its_reader(suite: Suite) -> None:
    feed = await suite.open()
    waiting = asyncio.create_task(feed.next(1))
    await asyncio.sleep(0)
    await feed.close()
    await feed.close()
    with pytest.raises(ReqlError, match="closed"):
        await waiting


@pytest.mark.parametrize("drop", [False, True])
async def test_a_table_is_followed_while_there_are_feeds_on_it(suite: Suite, drop: bool) -> None:
    subject = f"photondb.changes.{suite.info.uuid}.0"
    first, second = await suite.open(), await suite.open(key=1)
    assert suite.bus.has_subscribers(subject)
    await first.close()
    assert suite.bus.has_subscribers(subject)
    if drop:
        del second
    else:
        await second.close()
    while suite.bus.has_subscribers(subject):
        await asyncio.sleep(0)
    again = await suite.open()
    await suite.put({"id": 1})
    assert len(await ready(again)) == 1


async def test_stopping_the_service_ends_all_feeds(suite: Suite) -> None:
    feed = await suite.open()
    await suite.changefeed.stop()
    with pytest.raises(ReqlError, match="aborted"):
        await feed.next(1)
    with pytest.raises(TableGone):
        await suite.changefeed.open(INTERNAL, feed._feed.request)  # type: ignore[attr-defined]
