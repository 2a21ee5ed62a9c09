from __future__ import annotations

import pytest
from orjson import loads

from photondb.reql.feed_notices import (
    change_notice,
    initial_notice,
    offset_notice,
    skipped_notice,
    state_notice,
)
from services.changefeed.notices import Change

OLD, NEW = b'{"id":1}', b'{"id":1,"a":2}'


@pytest.mark.parametrize(("old", "new", "kind"), [(None, NEW, "add"), (OLD, None, "remove"), (OLD, NEW, "change")])
def test_a_change(old: bytes | None, new: bytes | None, kind: str) -> None:
    expected = {"old_val": old and loads(old), "new_val": new and loads(new)}
    assert loads(change_notice(old, new, False)) == expected
    assert loads(change_notice(old, new, True)) == {**expected, "type": kind}
    change = Change(b"key", 0, old, new)
    assert loads(change.notice(True)) == {**expected, "type": kind}
    assert loads(change.notice(False)) == expected


def test_a_change_with_offsets() -> None:
    assert loads(offset_notice(OLD, NEW, 2, 0, True)) == {
        "old_val": {"id": 1},
        "new_val": {"id": 1, "a": 2},
        "old_offset": 2,
        "new_offset": 0,
        "type": "change",
    }
    assert loads(offset_notice(None, NEW, None, 0, False)) == {
        "old_val": None,
        "new_val": {"id": 1, "a": 2},
        "old_offset": None,
        "new_offset": 0,
    }


def test_an_initial_value() -> None:
    assert loads(initial_notice(NEW, False)) == {"new_val": {"id": 1, "a": 2}}
    assert loads(initial_notice(None, True)) == {"new_val": None, "type": "initial"}
    assert loads(initial_notice(OLD, True, 3)) == {"new_val": {"id": 1}, "new_offset": 3, "type": "initial"}


def test_a_state() -> None:
    assert loads(state_notice("ready", False)) == {"state": "ready"}
    assert loads(state_notice("initializing", True)) == {"state": "initializing", "type": "state"}


def test_skipped_changes() -> None:
    assert loads(skipped_notice(7)) == {"error": "Changefeed cache over array size limit, skipped 7 elements."}
