"""What several feeds are together."""

from __future__ import annotations

from typing import Any

import pytest

from photondb.reql.chunk import Chunk
from photondb.reql.feed_streams import NO_FEED, StateMerger, united_notes
from photondb.reql.wire import ResponseNote

TABLE = frozenset({ResponseNote.SEQUENCE_FEED})
POINT = frozenset({ResponseNote.ATOM_FEED})
UNION = frozenset({ResponseNote.UNIONED_FEED})
STATES = frozenset({ResponseNote.INCLUDES_STATES})


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ([], NO_FEED),
        ([NO_FEED, NO_FEED], NO_FEED),
        ([TABLE, NO_FEED], TABLE),
        ([TABLE, TABLE], TABLE),
        ([TABLE, POINT], UNION),
        ([UNION, POINT], UNION),
        ([TABLE | STATES, TABLE], TABLE | STATES),
        ([TABLE | STATES, POINT], UNION | STATES),
    ],
)
def test_the_notes_of_a_union(parts: list[Any], whole: Any) -> None:
    assert united_notes(parts) == whole


def test_of_several_feeds_the_first_initializes_and_the_last_is_ready() -> None:
    merger = StateMerger(2)
    initializing, ready, row = {"state": "initializing"}, {"state": "ready"}, {"new_val": 1}
    assert merger.merge(Chunk.of_values([initializing, row])).values() == [initializing, row]
    assert merger.merge(Chunk.of_values([initializing, row, ready])).values() == [row]
    assert merger.merge(Chunk.of_values([row, ready, row])).values() == [row, ready, row]
    assert merger.merge(Chunk.of_values([{"new_val": 2}])).values() == [{"new_val": 2}]
