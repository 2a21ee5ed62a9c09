"""Feeds on the first rows of an ordered selection, against real storage."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from photondb.api.storage import KeyRange
from photondb.datum.keys import key_range
from photondb.reql.errors import ReqlError
from photondb.reql.steps import FilterStep, MapStep
from services.changefeed import limit_feed
from services.changefeed.limit_feed import RESERVE_ROWS
from tests.changefeed.conftest import Reader, Suite, ready
from tests.changefeed.faulty_bus import FaultyBus
from tests.storage.language import func


async def test_it_begins_with_the_first_rows(suite: Suite) -> None:
    await suite.put(*[{"id": number} for number in (3, 1, 2)])
    feed = await suite.open(limit=2, include_initial=True, include_states=True, include_types=True)
    assert await ready(feed) == [
        {"state": "initializing", "type": "state"},
        {"new_val": {"id": 1}, "type": "initial"},
        {"new_val": {"id": 2}, "type": "initial"},
        {"state": "ready", "type": "state"},
    ]


async def test_it_tells_of_rows_that_come_go_and_change(suite: Suite) -> None:
    await suite.put(*[{"id": number} for number in (1, 2, 3)])
    feed = await suite.open(limit=2)
    await suite.put({"id": 0})
    await suite.put({"id": 1, "a": 1})
    await suite.put({"id": 9})
    await suite.delete(1)
    assert await ready(feed) == [
        {"old_val": {"id": 2}, "new_val": {"id": 0}},
        {"old_val": {"id": 1}, "new_val": {"id": 1, "a": 1}},
        {"old_val": {"id": 1, "a": 1}, "new_val": {"id": 2}},
    ]


async def test_offsets_tell_where_rows_come_and_go(suite: Suite) -> None:
    await suite.put(*[{"id": number} for number in (1, 2, 3)])
    feed = await suite.open(limit=2, include_initial=True, include_offsets=True)
    await suite.put({"id": 0})
    await suite.delete(0)
    assert await ready(feed) == [
        {"new_val": {"id": 1}, "new_offset": 0},
        {"new_val": {"id": 2}, "new_offset": 1},
        {"old_val": {"id": 2}, "new_val": {"id": 0}, "old_offset": 1, "new_offset": 0},
        {"old_val": {"id": 0}, "new_val": {"id": 2}, "old_offset": 0, "new_offset": 1},
    ]


async def test_the_order_of_an_index_and_of_the_keys_within_it(suite: Suite) -> None:
    index = await suite.create_index("a", lambda row: row["a"])
    await suite.put({"id": 1, "a": 5}, {"id": 2, "a": 5}, {"id": 3, "a": 4}, {"id": 4})
    ascending = await suite.open(index=index, limit=2, include_initial=True)
    descending = await suite.open(index=index, limit=2, descending=True, include_initial=True)
    assert [notice["new_val"]["id"] for notice in await ready(ascending)] == [3, 1]
    assert [notice["new_val"]["id"] for notice in await ready(descending)] == [2, 1]
    await suite.put({"id": 4, "a": 5})
    assert await ready(ascending) == []
    assert await ready(descending) == [{"old_val": {"id": 1, "a": 5}, "new_val": {"id": 4, "a": 5}}]


async def test_a_range_a_filter_and_a_map(suite: Suite) -> None:
    index = await suite.create_index("a", lambda row: row["a"])
    steps = [FilterStep(func(lambda row: row["b"] > 0)), MapStep(func(lambda row: row["id"]))]
    await suite.put(*[{"id": number, "a": number, "b": number % 2} for number in range(8)])
    feed = await suite.open(
        index=index, ranges=[KeyRange(*key_range(2, 8, secondary=True))], steps=steps, limit=2, include_initial=True
    )
    assert await ready(feed) == [{"new_val": 3}, {"new_val": 5}]
    await suite.put({"id": 2, "a": 2, "b": 1}, {"id": 1, "a": 1, "b": 2})
    assert await ready(feed) == [{"old_val": 5, "new_val": 2}]
    await suite.put({"id": 2, "a": 2, "b": 1, "c": 9})
    assert await ready(feed) == []


async def test_a_filter_behind_a_map_is_done_here(suite: Suite) -> None:
    steps = [MapStep(func(lambda row: row["a"])), FilterStep(func(lambda value: value > 5))]
    await suite.put(*[{"id": number, "a": number % 10} for number in range(50)])
    feed = await suite.open(steps=steps, limit=3, include_initial=True)
    assert [notice["new_val"] for notice in await ready(feed)] == [6, 7, 8]


async def test_a_document_with_several_entries_in_a_multi_index(suite: Suite) -> None:
    index = await suite.create_index("tags", lambda row: row["tags"], multi=True)
    await suite.put({"id": 1, "tags": [1, 3, 3]}, {"id": 2, "tags": [2]})
    feed = await suite.open(index=index, limit=3, include_initial=True)
    assert [notice["new_val"]["id"] for notice in await ready(feed)] == [1, 2, 1]
    await suite.put({"id": 2, "tags": [9]})
    one, two = {"id": 1, "tags": [1, 3, 3]}, {"id": 2, "tags": [2]}
    assert await ready(feed) == [{"old_val": two, "new_val": one}]


async def test_when_the_reserve_is_used_up_rows_come_from_storage(suite: Suite) -> None:
    count = 2 * RESERVE_ROWS + 20
    await suite.put(*[{"id": number} for number in range(count)])
    feed = await suite.open(limit=3, include_offsets=True, include_initial=True)
    reader = [notice["new_val"] for notice in await ready(feed)]
    for number in range(count - 2):
        await suite.delete(number)
        fold_by_offsets(reader, await ready(feed))
        assert reader == [{"id": later} for later in range(number + 1, min(number + 4, count))]


async def test_squashed_changes_are_the_difference(suite: Suite) -> None:
    index = await suite.create_index("a", lambda row: row["a"])
    feed = await suite.open(index=index, limit=10, squash=True)
    await suite.put(*[{"id": number, "a": 5} for number in range(12)])
    await suite.delete(1, 8, 9)
    notices = await ready(feed)
    assert all(notice["old_val"] is None for notice in notices)
    assert [notice["new_val"]["id"] for notice in notices] == [0, 2, 3, 4, 5, 6, 7, 10, 11]


async def test_for_a_slow_reader_changes_come_together_instead_of_being_lost(suite: Suite) -> None:
    feed = await suite.open(limit=2, queue_size=3, include_offsets=True)
    for number in range(40):
        await suite.put({"id": -number})
    reader: list[Any] = []
    notices = await ready(feed)
    assert len(notices) < 10
    fold_by_offsets(reader, notices)
    assert reader == [{"id": -39}, {"id": -38}]


async def test_a_limit_of_zero_has_no_rows(suite: Suite) -> None:
    await suite.put({"id": 1})
    feed = await suite.open(limit=0, include_initial=True, include_states=True)
    await suite.put({"id": 0})
    assert await ready(feed) == [{"state": "initializing"}, {"state": "ready"}]


async def test_a_step_that_fails_at_the_beginning_ends_it(suite: Suite) -> None:
    await suite.put({"id": 1, "a": "text"})
    with pytest.raises(ReqlError, match="Expected type"):
        await suite.open(steps=[MapStep(func(lambda row: row["a"] + 1))], limit=1)


def fold_by_offsets(rows: list[Any], notices: list[Any]) -> None:
    """What a client does that keeps the rows in a list."""
    for notice in notices:
        if notice.get("old_offset") is not None:
            assert rows.pop(notice["old_offset"]) == notice["old_val"]
        if notice["new_offset"] is not None:
            rows.insert(notice["new_offset"], notice["new_val"])


@pytest.mark.parametrize("seed", range(6))
async def test_clients_have_the_first_rows_whatever_is_written_and_lost(seed: int, tmp_path: Path) -> None:
    choose = random.Random(seed)
    suite = Suite(tmp_path, FaultyBus(choose))
    await suite.start()
    index = await suite.create_index("tags", lambda row: row["tags"], multi=True)
    kept: dict[int, list[int]] = {}

    async def write() -> None:
        keys = choose.sample(range(60), choose.randint(1, 6))
        if choose.random() < 0.5:
            documents = [{"id": key, "tags": choose.choices(range(20), k=choose.randint(0, 3))} for key in keys]
            await suite.put(*documents)
            kept.update({key: document["tags"] for key, document in zip(keys, documents, strict=True)})
        else:
            await suite.delete(*keys)
            for key in keys:
                kept.pop(key, None)

    for _ in range(30):
        await write()
    readers = []
    for _ in range(8):
        limit, descending = choose.choice([1, 3, 10]), choose.random() < 0.5
        by_tag = choose.random() < 0.6
        feed = await suite.open(
            index=index if by_tag else None,
            limit=limit,
            descending=descending,
            squash=choose.choice([False, True]),
            include_initial=True,
            include_offsets=True,
        )
        readers.append((Reader(feed, choose.choice([1, 100])), by_tag, limit, descending))
        await write()
    for _ in range(150):
        await write()
        if choose.random() < 0.2:
            await asyncio.sleep(0.001)

    def first_rows(by_tag: bool, limit: int, descending: bool) -> list[Any]:
        entries = [(tag, key) for key, tags in kept.items() for tag in (tags if by_tag else [0])]
        keys = [key for _, key in sorted(entries, reverse=descending)[:limit]]
        return [{"id": key, "tags": kept[key]} for key in keys]

    for reader, *selected in readers:
        while True:
            assert reader.error is None
            rows: list[Any] = []
            fold_by_offsets(rows, [{"old_offset": None, **notice} for notice in reader.notices])
            if rows == first_rows(*selected):
                break
            await asyncio.sleep(0.01)
        await reader.close()
    await suite.stop()


async def test_rows_from_storage_that_are_newer_than_the_feed_do_not_show_before_their_time(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes go on around the scans that fill the window. A client never has a document twice, nor an older state of
    it after a newer one."""
    monkeypatch.setattr(limit_feed, "RESERVE_ROWS", 1)
    choose = random.Random(1)
    index = await suite.create_index("rank", lambda row: row["rank"])
    kept: dict[int, Any] = {}
    one_at_a_time = asyncio.Lock()
    number = 0

    async def write() -> None:
        async with one_at_a_time:  # so that `kept` follows the order of the commits
            await carry_out_write()

    async def carry_out_write() -> None:
        nonlocal number
        number += 1
        first = sorted(kept.values(), key=lambda row: (row["rank"], row["id"]))[:3]
        key = choose.choice(first)["id"] if first and choose.random() < 0.6 else choose.randrange(20)
        if choose.random() < 0.9:
            kept[key] = {"id": key, "rank": choose.randrange(20), "n": number}
            await suite.put(kept[key])
        else:
            kept.pop(key, None)
            await suite.delete(key)

    real_scan = suite.storage.scan

    async def scan(*args: Any) -> Any:
        for _ in range(choose.randint(0, 3)):
            await write()
        reply = await real_scan(*args)
        for _ in range(choose.randint(0, 3)):
            await write()
        return reply

    suite.storage.scan = scan  # type: ignore[method-assign]
    for _ in range(20):
        await write()
    feed = await suite.open(index=index, limit=3, include_initial=True, include_offsets=True)
    rows: list[Any] = []
    newest: dict[int, int] = {}

    async def read() -> None:
        for notice in await ready(feed):
            fold_by_offsets(rows, [{"old_offset": None, **notice}])
            assert len({row["id"] for row in rows}) == len(rows) <= 3
            new = notice["new_val"]
            if new is not None:
                assert newest.get(new["id"], 0) <= new["n"]
                newest[new["id"]] = new["n"]

    for _ in range(200):
        await write()
        await read()
    suite.storage.scan = real_scan  # type: ignore[method-assign]
    while rows != sorted(kept.values(), key=lambda row: (row["rank"], row["id"]))[:3]:
        await read()
