from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r

from photondb.api.catalogue import IndexInfo
from photondb.api.storage import KeyRange, LogRecord
from photondb.datum.keys import after_prefix, key_range, primary_key, secondary_key
from photondb.reql.errors import ReqlError
from photondb.reql.steps import FilterStep, MapStep, Step
from services.changefeed.documents import Document, Index, Row
from services.changefeed.selection import KeyRanges, Selection
from tests.storage.language import func, term

WHOLE = (KeyRange(),)


def row(old: Any, new: Any) -> Row:
    key = primary_key((old or new)["id"])
    return Row(0, LogRecord(1, 1, key, old and orjson.dumps(old), new and orjson.dumps(new)))


def changes(selection: Selection, old: Any, new: Any) -> list[tuple[Any, Any]]:
    return [
        (change.old and orjson.loads(change.old), change.new and orjson.loads(change.new))
        for change in selection.changes(row(old, new))
    ]


def index(function: Callable[..., Any], multi: bool = False) -> Index:
    return Index(IndexInfo(id=7, name="i", function=term(function), multi=multi, ready=True))


def point(value: Any, repeat: int = 1) -> KeyRange:
    key = secondary_key(value)
    return KeyRange(key, after_prefix(key), repeat)


def keep(function: Callable[..., Any]) -> Step:
    return FilterStep(func(function))


def test_a_whole_table_shows_every_change_as_it_is() -> None:
    selection = Selection(None, WHOLE, ())
    assert changes(selection, None, {"id": 1}) == [(None, {"id": 1})]
    assert changes(selection, {"id": 1}, {"id": 1, "a": 2}) == [({"id": 1}, {"id": 1, "a": 2})]
    assert changes(selection, {"id": 1}, None) == [({"id": 1}, None)]


def test_a_range_of_the_primary_key() -> None:
    selection = Selection(None, (KeyRange(*key_range(2, 4)),), ())
    assert changes(selection, None, {"id": 1}) == []
    assert changes(selection, None, {"id": 2}) == [(None, {"id": 2})]
    assert changes(selection, {"id": 4}, None) == []


def test_a_range_of_an_index_which_rows_enter_and_leave() -> None:
    selection = Selection(index(lambda row: row["a"]), (KeyRange(*key_range(2, 4, secondary=True)),), ())
    outside, inside, also = {"id": 1, "a": 9}, {"id": 1, "a": 2}, {"id": 1, "a": 3}
    assert changes(selection, outside, inside) == [(None, inside)]
    assert changes(selection, inside, also) == [(inside, also)]
    assert changes(selection, also, outside) == [(also, None)]
    assert changes(selection, outside, {"id": 1}) == []


def test_a_document_comes_as_often_as_a_multi_index_has_it() -> None:
    selection = Selection(index(lambda row: row["tags"], multi=True), (point("x"), point("y")), ())
    twice, once = {"id": 1, "tags": ["x", "y", "z"]}, {"id": 1, "tags": ["y"]}
    assert changes(selection, None, twice) == [(None, twice), (None, twice)]
    assert changes(selection, twice, once) == [(twice, once), (twice, None)]
    assert changes(selection, once, None) == [(once, None)]


def test_a_document_comes_as_often_as_its_key_was_asked_for() -> None:
    selection = Selection(index(lambda row: row["a"]), (point(1, repeat=2),), ())
    assert changes(selection, None, {"id": 1, "a": 1}) == [(None, {"id": 1, "a": 1})] * 2


def test_a_filter_makes_inserts_and_deletions_of_changes() -> None:
    selection = Selection(None, WHOLE, (keep(lambda row: row["a"] > 1),))
    low, high, higher = {"id": 1, "a": 1}, {"id": 1, "a": 2}, {"id": 1, "a": 3}
    assert changes(selection, low, high) == [(None, high)]
    assert changes(selection, high, higher) == [(high, higher)]
    assert changes(selection, high, low) == [(high, None)]
    assert changes(selection, low, {"id": 1, "a": 0}) == []


def test_a_filtered_document_is_shown_as_it_is() -> None:
    selection = Selection(None, WHOLE, (keep(lambda row: row["a"] > 1),))
    raw = b'{"b":1.50,"id":1,"a":2}'
    assert selection.show(Document(raw)) == raw


def test_a_map_that_makes_the_same_of_both_hides_the_change() -> None:
    selection = Selection(None, WHOLE, (MapStep(func(lambda row: row["a"])),))
    assert changes(selection, {"id": 1, "a": 1, "b": 1}, {"id": 1, "a": 1, "b": 2}) == []
    assert changes(selection, {"id": 1, "a": 1}, {"id": 1, "a": 2}) == [(1, 2)]


def test_null_counts_as_nothing() -> None:
    selection = Selection(None, WHOLE, (MapStep(func(lambda row: row["a"])),))
    assert changes(selection, {"id": 1, "a": None}, {"id": 1, "a": 2}) == [(None, 2)]
    assert changes(selection, None, {"id": 1, "a": None}) == []


@pytest.mark.parametrize(
    "step",
    [
        MapStep(func(lambda row: row["a"] + 1)),
        keep(lambda row: row["a"] + 1 > 0),
        MapStep(func(lambda row: r.branch(row["a"] == 1, r.minval, r.error("no")))),
    ],
)
def test_a_step_that_fails_leaves_the_document_out(step: Step) -> None:
    selection = Selection(None, WHOLE, (step,))
    assert changes(selection, None, {"id": 1, "a": "text"}) == []
    assert changes(selection, None, {"id": 1}) == []


def test_a_row_that_was_read_is_shown_without_its_filters_and_raises_what_fails() -> None:
    steps: Sequence[Step] = (keep(lambda row: row["a"] > 1), MapStep(func(lambda row: row["a"] + 1)))
    selection = Selection(None, WHOLE, steps)
    assert len(selection.filters) == 1
    assert selection.show_filtered(Document(b'{"id":1,"a":0}')) == b"1"
    with pytest.raises(ReqlError):
        selection.show_filtered(Document(b'{"id":1,"a":"text"}'))


def test_only_filters_that_come_first_can_be_left_to_storage() -> None:
    steps = (keep(lambda row: row["a"] > 1), MapStep(func(lambda row: row["a"])), keep(lambda row: row > 2))
    assert len(Selection(None, WHOLE, steps).filters) == 1


def test_selections_of_the_same_have_the_same_identity() -> None:
    def selection(limit: int) -> Selection:
        return Selection(index(lambda row: row["a"]), (point(1),), (keep(lambda row: row["a"] > limit),))

    assert selection(1).identity == selection(1).identity
    assert selection(1).identity != selection(2).identity
    assert selection(1).identity != Selection(None, (point(1),), selection(1).steps).identity


keys = st.integers(0, 9)
ranges = st.lists(st.tuples(keys, keys, st.integers(1, 3)), max_size=5).map(
    lambda found: [KeyRange(*key_range(low, high), repeat) for low, high, repeat in found]
)
points = st.lists(st.tuples(keys, st.integers(1, 3)), max_size=5).map(
    lambda found: [point(key, repeat) for key, repeat in found]
)


@given(ranges | points, keys)
def test_a_key_is_counted_in_all_ranges_that_hold_it(wanted: list[KeyRange], value: int) -> None:
    key = primary_key(value)
    expected = sum(one.repeat for one in wanted if one.low <= key < one.high)
    assert KeyRanges(wanted).count(key) == expected


@given(points)
def test_ranges_of_one_value_each_are_points(wanted: list[KeyRange]) -> None:
    found = KeyRanges(wanted).points
    assert found is not None
    assert found.keys() == {one.low for one in wanted}


def test_wider_ranges_are_no_points() -> None:
    assert KeyRanges(WHOLE).points is None
    assert KeyRanges((point(1), KeyRange(*key_range(1, 3)))).points is None
