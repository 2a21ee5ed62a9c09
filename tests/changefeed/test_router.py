"""The router tells those whom a change concerns, and nobody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from photondb.api.catalogue import IndexInfo
from photondb.api.storage import KeyRange, LogRecord
from photondb.datum.keys import after_prefix, key_range, primary_key
from photondb.reql.steps import FilterStep
from services.changefeed.documents import Index, Row
from services.changefeed.notices import Change
from services.changefeed.router import Router
from services.changefeed.selection import Selection
from tests.storage.language import func, term


def row(old: Any, new: Any) -> Row:
    key = primary_key((old or new)["id"])
    return Row(0, LogRecord(1, 1, key, old and orjson.dumps(old), new and orjson.dumps(new)))


class Ear:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes | None, bytes | None]] = []
        self.rows: list[bytes] = []

    def push(self, row: Row, changes: list[Change]) -> None:
        self.heard += [(change.old, change.new) for change in changes]

    def take(self, row: Row) -> None:
        self.rows.append(row.key)


def point(value: Any) -> KeyRange:
    key = primary_key(value)
    return KeyRange(key, after_prefix(key))


INDEX = Index(IndexInfo(id=1, name="a", function=term(lambda row: row["a"]), ready=True))
MULTI = Index(IndexInfo(id=2, name="tags", function=term(lambda row: row["tags"]), multi=True, ready=True))


def test_listeners_to_the_same_share_one_selection() -> None:
    router = Router()
    function: Callable[..., Any] = lambda row: row["a"] > 1  # noqa: E731
    first = router.add(Selection(None, (KeyRange(),), (FilterStep(func(function)),)), Ear())
    second = router.add(Selection(None, (KeyRange(),), (FilterStep(func(function)),)), Ear())
    assert first is second
    assert len(first.listeners) == 2


def test_who_was_removed_hears_nothing() -> None:
    router = Router()
    stays, leaves = Ear(), Ear()
    shared = router.add(Selection(None, (point(1),), ()), stays)
    router.add(Selection(None, (point(1),), ()), leaves)
    router.remove(shared, leaves)
    router.remove(shared, leaves)
    router.dispatch(row(None, {"id": 1}))
    assert stays.heard == [(None, b'{"id":1}')]
    assert leaves.heard == []


def test_a_selection_of_nothing_hears_nothing_and_can_be_removed() -> None:
    router = Router()
    ear, other = Ear(), Ear()
    nothing = router.add(Selection(None, (), ()), ear)
    something = router.add(Selection(None, (point(1),), ()), other)
    router.remove(something, other)
    router.remove(nothing, ear)
    router.dispatch(row(None, {"id": 1}))
    assert ear.heard == []


def test_row_listeners_hear_of_every_row() -> None:
    router = Router()
    ear = Ear()
    router.add_row_listener(ear)
    router.dispatch(row(None, {"id": 1}))
    router.remove_row_listener(ear)
    router.remove_row_listener(ear)
    router.dispatch(row(None, {"id": 2}))
    assert ear.rows == [primary_key(1)]


values = st.integers(0, 4)
document = st.builds(lambda a, tags: {"id": 1, "a": a, "tags": tags}, values, st.lists(values, max_size=3))
some_ranges = st.lists(
    st.one_of(values.map(point), st.tuples(values, values).map(lambda pair: KeyRange(*key_range(*pair)))), max_size=3
)
selections = st.lists(
    st.builds(lambda index, ranges: Selection(index, ranges, ()), st.sampled_from([None, INDEX, MULTI]), some_ranges),
    max_size=6,
)


@given(selections, st.none() | document, st.none() | document, st.data())
def test_each_listener_hears_what_its_selection_says(
    chosen: list[Selection], old: Any, new: Any, data: st.DataObject
) -> None:
    if old is None and new is None:
        return
    router = Router()
    listeners = [(selection, Ear()) for selection in chosen]
    added = [(router.add(selection, ear), ear) for selection, ear in listeners]
    removed = data.draw(st.sets(st.sampled_from(range(len(added))))) if added else set()
    for place in removed:
        router.remove(*added[place])
    router.dispatch(row(old, new))
    assert router.concerns(row(old, new)) or not any(ear.heard for _, ear in listeners)
    for place, (selection, ear) in enumerate(listeners):
        expected = [(change.old, change.new) for change in selection.changes(row(old, new))]
        assert ear.heard == ([] if place in removed else expected)
