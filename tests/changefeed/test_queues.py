from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.datum.keys import primary_key
from services.changefeed.notices import Change
from services.changefeed.queues import ChangeQueue, make_queue
from tests.changefeed.log_model import ModelLog


def change(key: int, old: Any, new: Any, copy: int = 0) -> Change:
    def json(value: Any) -> bytes | None:
        return None if value is None else orjson.dumps(value)

    return Change(primary_key(key), copy, json(old), json(new))


def taken(queue: ChangeQueue, count: int = 1000) -> list[Any]:
    return [orjson.loads(notice) for notice in queue.take(count, 1 << 20)]


def push(queue: ChangeQueue, change: Change) -> None:
    """As for a reader that may be too slow."""
    queue.push(change)
    queue.drop_if_too_many()


def test_changes_wait_in_order() -> None:
    queue = make_queue(False, 10, False)
    queue.push(change(1, None, 1))
    queue.push(change(1, 1, 2))
    queue.push(change(2, 5, None))
    assert len(queue) == 3
    assert taken(queue, 2) == [{"old_val": None, "new_val": 1}, {"old_val": 1, "new_val": 2}]
    assert taken(queue) == [{"old_val": 5, "new_val": None}]
    assert taken(queue) == []


def test_changes_of_a_document_are_squashed() -> None:
    queue = make_queue(True, 10, True)
    queue.push(change(1, None, 1))
    queue.push(change(2, 5, 6))
    queue.push(change(1, 1, 2))
    assert taken(queue) == [
        {"old_val": None, "new_val": 2, "type": "add"},
        {"old_val": 5, "new_val": 6, "type": "change"},
    ]


@pytest.mark.parametrize(
    "changes",
    [
        [change(1, None, 1), change(1, 1, None)],
        [change(1, 1, 2), change(1, 2, 1)],
        [change(1, {"a": 1, "b": 2}, None), change(1, None, {"b": 2, "a": 1})],
    ],
)
def test_what_is_as_it_was_is_not_told(changes: list[Change]) -> None:
    queue = make_queue(True, 10, False)
    for one in changes:
        queue.push(one)
    assert len(queue) == 0
    assert taken(queue) == []


def test_the_rows_of_one_document_are_squashed_each_by_itself() -> None:
    queue = make_queue(True, 10, False)
    queue.push(change(1, None, 1, copy=0))
    queue.push(change(1, None, 1, copy=1))
    queue.push(change(1, 1, None, copy=1))
    assert taken(queue) == [{"old_val": None, "new_val": 1}]


@pytest.mark.parametrize("squash", [False, True])
def test_when_too_many_wait_all_are_dropped_and_counted(squash: bool) -> None:
    queue = make_queue(squash, 3, False)
    for key in range(9):
        push(queue, change(key, None, key))
    assert len(queue) == 2
    assert taken(queue) == [
        {"error": "Changefeed cache over array size limit, skipped 8 elements."},
        {"old_val": None, "new_val": 8},
    ]
    assert taken(queue) == []


def test_the_notice_about_dropped_changes_counts_as_one() -> None:
    queue = make_queue(False, 1, False)
    for key in range(3):
        push(queue, change(key, None, key))
    assert [*taken(queue, 1)[0]] == ["error"]
    assert taken(queue, 1) == [{"old_val": None, "new_val": 2}]


def test_a_batch_ends_at_its_size_in_bytes_but_has_a_change_at_least() -> None:
    queue = make_queue(False, 10, False)
    for key in range(3):
        queue.push(change(key, None, "x" * 100))
    assert len(queue.take(10, 150)) == 2
    assert len(queue.take(10, 1)) == 1


def test_it_is_nearly_full_from_the_middle_on() -> None:
    queue = make_queue(False, 4, False)
    queue.push(change(1, None, 1))
    queue.push(change(2, None, 2))
    assert not queue.nearly_full
    queue.push(change(3, None, 3))
    assert queue.nearly_full


@given(
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(0, 2), st.integers(0, 3)), max_size=40),
)
def test_what_the_reader_makes_of_it_is_the_state_of_the_documents(
    squash: bool, writes: list[tuple[int, int | None, int]]
) -> None:
    queue = make_queue(squash, 1000, False)
    log = ModelLog()
    reader: dict[int, Any] = {}

    def read(count: int) -> None:
        for notice in taken(queue, count):
            old, new = notice["old_val"], notice["new_val"]
            key = (old or new)["id"]
            assert reader.get(key) == old
            assert old != new
            reader[key] = new

    for key, value, reads in writes:
        record = log.write(key, None if value is None else {"value": value})
        if record is not None:
            queue.push(Change(record.key, 0, record.old, record.new))
        read(reads)
    read(1000)
    assert {key: value for key, value in reader.items() if value is not None} == log.documents
