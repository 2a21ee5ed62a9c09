"""Feeds that tell positions, and feeds that go on after them."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import msgspec
import pytest

from photondb.api.catalogue import CreateTable, DropTable
from photondb.api.context import INTERNAL
from photondb.api.storage import LogGap, LogRecord
from photondb.reql.errors import ReqlError
from photondb.reql.steps import FilterStep
from services.changefeed import range_feed
from tests.changefeed.conftest import Suite, point, ready, take
from tests.storage.language import func


async def positioned(suite: Suite, **fields: Any) -> tuple[Any, str]:
    """A feed, and its first position."""
    feed = await suite.open(include_position=True, include_states=True, **fields)
    (state,) = await take(feed, 1)
    return feed, state["position"]


def values(notices: list[Any]) -> list[Any]:
    return [(notice["old_val"], notice["new_val"]) for notice in notices]


async def test_each_position_leads_to_the_changes_after_it(suite: Suite) -> None:
    feed, first = await positioned(suite)
    for number in range(5):
        await suite.put({"id": number % 2, "n": number}, {"id": "other", "n": number})
    changes = await take(feed, 10)
    positions = [first, *(change["position"] for change in changes)]
    assert len(set(positions)) == 11
    for seen, position in enumerate(positions):
        resumed = await suite.open(resume=position)
        assert values(await ready(resumed)) == values(changes[seen:])


async def test_a_feed_on_a_selection_goes_on_with_changes_made_while_it_was_away(suite: Suite) -> None:
    even = [FilterStep(func(lambda row: row["n"] % 2 == 0))]
    feed, position = await positioned(suite, steps=even)
    await feed.close()
    for number in range(4):
        await suite.put({"id": number, "n": number})
    resumed = await suite.open(steps=even, resume=position, include_position=True)
    changes = await take(resumed, 2)
    assert values(changes) == [(None, {"id": 0, "n": 0}), (None, {"id": 2, "n": 2})]
    await suite.put({"id": 6, "n": 6})
    again = await suite.open(steps=even, resume=changes[1]["position"])
    assert values(await take(again, 1)) == values(await take(resumed, 1)) == [(None, {"id": 6, "n": 6})]


async def test_a_position_can_be_between_the_changes_of_one_record(suite: Suite) -> None:
    index = await suite.create_index("tags", lambda row: row["tags"], multi=True)
    wanted: dict[str, Any] = {"index": index, "ranges": [point("a"), point("b")]}
    feed, _ = await positioned(suite, **wanted)
    await suite.put({"id": 1, "tags": ["a", "b"]})
    first, second = await take(feed, 2)
    assert values([first]) == values([second])
    resumed = await suite.open(resume=first["position"], include_position=True, **wanted)
    assert await take(resumed, 1) == [second]
    assert await ready(resumed) == []
    assert await ready(await suite.open(resume=second["position"], **wanted)) == []


async def test_a_point(suite: Suite) -> None:
    _, position = await positioned(suite, key=1)
    await suite.put({"id": 1}, {"id": 2})
    resumed = await suite.open(key=1, resume=position)
    assert values(await take(resumed, 1)) == [(None, {"id": 1})]
    assert await ready(resumed) == []


async def test_the_first_position_comes_after_the_initial_values(suite: Suite) -> None:
    await suite.put({"id": 1})
    feed = await suite.open(include_initial=True, include_position=True, include_states=True)
    initializing, initial, state = await take(feed, 3)
    assert initializing == {"state": "initializing"}
    assert initial == {"new_val": {"id": 1}}
    await suite.put({"id": 2})
    assert values(await take(await suite.open(resume=state["position"]), 1)) == [(None, {"id": 2})]


async def test_a_slow_reader_who_wants_positions_loses_nothing(suite: Suite) -> None:
    feed, _ = await positioned(suite, queue_size=3)
    for number in range(50):
        await suite.put({"id": number % 7, "n": number})
    changes: list[Any] = []
    while len(changes) < 50:
        changes += await take(feed, 1)
    await suite.put({"id": "last"})
    changes += await take(feed, 1)
    assert [change["new_val"].get("n") for change in changes] == [*range(50), None]


async def test_a_reader_that_nothing_comes_for_is_told_its_position(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(range_feed, "POSITION_INTERVAL_S", 0.001)
    feed, first = await positioned(suite, key=1)
    await suite.put({"id": 2})
    (state,) = await take(feed, 1)
    assert state["state"] == "ready"
    assert state["position"] != first
    await suite.put({"id": 1})
    resumed = await suite.open(key=1, resume=state["position"])
    assert values(await take(resumed, 1)) == [(None, {"id": 1})]


async def test_the_position_after_the_last_change_waits_for_the_next(suite: Suite) -> None:
    _, position = await positioned(suite)
    resumed = await suite.open(resume=position)
    assert await ready(resumed) == []
    await suite.put({"id": 1})
    assert values(await take(resumed, 1)) == [(None, {"id": 1})]


# --- times


async def test_changes_since_a_time(suite: Suite) -> None:
    for number in range(20):
        await suite.put({"id": number})
        await asyncio.sleep(0.0001)
    records = await suite.storage.read_log(INTERNAL, suite.info.id, 0, 0, 100)
    for number, record in enumerate(records):
        feed = await suite.open(since_us=record.time_us)
        assert [notice["new_val"]["id"] for notice in await ready(feed)] == list(range(number, 20))
    assert await ready(await suite.open(since_us=records[-1].time_us + 1)) == []
    assert len(await ready(await suite.open(since_us=0))) == 20


async def test_a_table_without_changes_has_none_since_any_time(suite: Suite) -> None:
    feed = await suite.open(since_us=0)
    await suite.put({"id": 1})
    assert len(await take(feed, 1)) == 1


# --- refusals


async def refusal(suite: Suite, **fields: Any) -> str:
    with pytest.raises(ReqlError) as caught:
        await suite.open(**fields)
    return caught.value.message


@pytest.mark.parametrize("token", ["?", "YQ", "YQ==", base64.b64encode(b"\x91\x01").decode(), "ü"])
async def test_what_is_no_position_is_refused(suite: Suite, token: str) -> None:
    assert await refusal(suite, resume=token) == "The argument `resume` is not the position of a changefeed."


async def test_a_position_of_another_format_is_refused(suite: Suite) -> None:
    token = base64.urlsafe_b64encode(msgspec.msgpack.encode([2, "whatever"])).decode()
    assert "another version" in await refusal(suite, resume=token)


async def test_a_position_of_another_feed_is_refused(suite: Suite) -> None:
    _, position = await positioned(suite)
    assert "another shape" in await refusal(suite, resume=position, key=1)
    assert "another shape" in await refusal(suite, resume=position, steps=[FilterStep(func(lambda row: row["n"] == 1))])


async def test_a_position_in_another_table_is_refused(suite: Suite) -> None:
    _, position = await positioned(suite)
    await suite.change(DropTable("test", "t"))
    await suite.change(CreateTable("test", "t"))
    assert "another table" in await refusal(suite, resume=position)


async def test_a_position_that_the_log_has_not_reached_is_refused(suite: Suite) -> None:
    feed, _ = await positioned(suite)
    await suite.put({"id": 1})
    (change,) = await take(feed, 1)
    raw = msgspec.msgpack.decode(base64.urlsafe_b64decode(change["position"]))
    raw[3] = [2]
    token = base64.urlsafe_b64encode(msgspec.msgpack.encode(raw)).decode()
    assert "ahead of the table's change log" in await refusal(suite, resume=token)


async def test_what_the_log_no_longer_has_is_refused(suite: Suite) -> None:
    _, position = await positioned(suite)
    for number in range(10):
        await suite.put({"id": number})
    real = suite.storage.read_log

    async def trimmed(context: Any, table: int, shard: int, after: int, limit: int) -> list[LogRecord]:
        if after < 4:
            raise LogGap(5)
        return await real(context, table, shard, after, limit)

    suite.storage.read_log = trimmed  # type: ignore[method-assign]
    assert await refusal(suite, resume=position) == (
        "The table's change log no longer reaches back to this position. Begin again with `include_initial`."
    )
    records = await suite.storage.read_log(INTERNAL, suite.info.id, 0, 4, 100)
    assert "no longer reaches back to that time" in await refusal(suite, since_us=records[0].time_us)
    feed = await suite.open(since_us=records[1].time_us)
    assert [notice["new_val"]["id"] for notice in await ready(feed)] == [5, 6, 7, 8, 9]
