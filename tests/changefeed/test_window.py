"""The window shows the first rows of an ordered selection, whatever happens to the rows."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.datum.keys import encode_key, primary_key
from services.changefeed.window import Entry, Window, WindowChange, order_key


def entry(rank: int, key: int, text: str = "x", descending: bool = False) -> Entry:
    order = order_key(encode_key(rank) + primary_key(key), descending)
    return Entry(order, primary_key(key), b'{"id":%d,"rank":%d,"text":"%b"}' % (key, rank, text.encode()))


def window_of(size: int, reserve: int, *entries: Entry) -> Window:
    """A window on just these rows, which the reader knows."""
    window = Window(size, reserve)
    ordered = sorted(entries)
    some = ordered[: window.wants]
    window.extend(some, None if len(some) == len(ordered) else some[-1].order)
    window.show()
    return window


def fold(reader: list[bytes], changes: list[WindowChange], size: int) -> None:
    """What a reader does who keeps the rows by their offsets."""
    for change in changes:
        if change.old_offset is not None:
            assert reader.pop(change.old_offset) == change.old
        else:
            assert change.old is None
        if change.new_offset is not None:
            assert change.new is not None
            reader.insert(change.new_offset, change.new)
        assert len(reader) <= size


def test_it_wants_rows_until_it_has_them() -> None:
    window = Window(2, 1)
    assert window.wants == 3
    window.extend([entry(1, 1), entry(2, 2), entry(3, 3)], entry(3, 3).order)
    assert window.wants == 0
    assert window.rows() == [entry(1, 1).value, entry(2, 2).value]


def test_it_wants_no_more_than_there_are() -> None:
    window = Window(2, 1)
    window.extend([entry(1, 1)], None)
    assert window.wants == 0


def test_a_size_of_zero_wants_nothing() -> None:
    assert Window(0, 1).wants == 0


def test_a_row_comes_into_a_window_that_is_not_full() -> None:
    window = window_of(2, 1, entry(1, 1))
    window.apply(primary_key(2), [entry(0, 2)])
    assert window.show() == [WindowChange(None, entry(0, 2).value, None, 0)]


def test_a_row_pushes_out_the_last_one() -> None:
    window = window_of(2, 1, entry(1, 1), entry(2, 2))
    window.apply(primary_key(3), [entry(0, 3)])
    assert window.show() == [WindowChange(entry(2, 2).value, entry(0, 3).value, 1, 0)]


def test_a_row_beyond_the_window_does_not_show() -> None:
    window = window_of(2, 1, entry(1, 1), entry(2, 2))
    window.apply(primary_key(3), [entry(3, 3)])
    assert window.show() == []


def test_a_row_that_leaves_makes_room_for_the_next() -> None:
    window = window_of(2, 1, entry(1, 1), entry(2, 2), entry(3, 3))
    window.apply(primary_key(1), [])
    assert window.show() == [WindowChange(entry(1, 1).value, entry(3, 3).value, 0, 1)]


def test_a_row_that_changes_in_its_place() -> None:
    window = window_of(2, 1, entry(1, 1), entry(2, 2))
    window.apply(primary_key(2), [entry(2, 2, "y")])
    assert window.show() == [WindowChange(entry(2, 2).value, entry(2, 2, "y").value, 1, 1)]


def test_a_row_that_moves_within_the_window() -> None:
    window = window_of(3, 1, entry(1, 1), entry(2, 2), entry(3, 3))
    window.apply(primary_key(1), [entry(9, 1)])
    assert window.show() == [WindowChange(entry(1, 1).value, entry(9, 1).value, 0, 2)]


def test_a_row_that_comes_and_goes_before_it_is_shown_was_never_there() -> None:
    window = window_of(2, 1, entry(1, 1), entry(2, 2))
    window.apply(primary_key(3), [entry(0, 3)])
    assert window.changed
    window.apply(primary_key(3), [])
    assert window.show() == []
    assert not window.changed


def test_a_row_that_is_what_it_was_again_has_not_changed() -> None:
    window = window_of(2, 1, entry(1, 1), entry(2, 2))
    window.apply(primary_key(1), [entry(1, 1, "y")])
    window.apply(primary_key(1), [entry(1, 1)])
    assert window.show() == []


def test_a_document_may_have_several_rows() -> None:
    window = window_of(3, 1, entry(1, 1), entry(2, 1), entry(3, 2))
    window.apply(primary_key(1), [entry(2, 1)])
    assert window.show() == [WindowChange(entry(1, 1).value, None, 0, None)]


def test_when_the_reserve_is_used_up_it_wants_rows_after_those_that_it_knows() -> None:
    window = window_of(2, 1, *[entry(rank, rank) for rank in range(5)])
    window.apply(primary_key(0), [])
    assert window.wants == 0
    window.apply(primary_key(1), [])
    assert window.wants == 2
    assert window.complete_to == entry(2, 2).order


def test_what_lies_beyond_the_known_rows_is_left_to_storage() -> None:
    window = window_of(2, 1, *[entry(rank, rank) for rank in range(5)])
    assert not window.concerns(primary_key(9), [entry(9, 9)])
    assert window.concerns(primary_key(9), [entry(1, 9)])
    assert window.concerns(primary_key(1), [entry(9, 1)])


def test_the_reserve_does_not_grow_beyond_its_limit() -> None:
    window = window_of(1, 1, entry(5, 5))
    for rank in (4, 3, 2):
        window.apply(primary_key(rank), [entry(rank, rank)])
    assert window.complete_to == entry(3, 3).order


@pytest.mark.parametrize("text", [b"", b"\x00", b"a\xff"])
def test_an_inverted_key_is_given_back_by_inverting_it(text: bytes) -> None:
    assert order_key(order_key(text, True), True) == text


class WindowWorld:
    """A table of a few documents, its log, and a window on it that reads rows as late as storage gives them."""

    def __init__(self, choose: random.Random, size: int, descending: bool) -> None:
        self.choose = choose
        self.descending = descending
        self.rows: dict[int, list[Entry]] = {}
        self.log: list[tuple[int, list[Entry]]] = []
        for _ in range(choose.randint(0, 12)):
            self.write()
        self.window = Window(size, choose.randint(1, 3))
        self.position = len(self.log)
        self.target = self.position
        self.reader: list[bytes] = []

    def write(self) -> None:
        key = self.choose.randint(0, 9)
        ranks = self.choose.sample(range(8), self.choose.choice([0, 1, 1, 1, 2]))
        text = self.choose.choice("xy")
        self.rows[key] = [entry(rank, key, text, self.descending) for rank in ranks]
        self.log.append((key, self.rows[key]))

    def first_rows(self) -> list[bytes]:
        """What the window should show, from the table as it is now."""
        every = sorted(row for rows in self.rows.values() for row in rows)
        return [row.value for row in every[: self.window.size]]

    def fetch(self) -> None:
        after = self.window.complete_to
        assert after is not None
        following = sorted(row for rows in self.rows.values() for row in rows if row.order > after)
        some = following[: self.choose.randint(1, self.window.wants)]
        for _ in range(self.choose.randint(0, 3)):  # after the scan's view, before its position is known
            self.write()
        self.target = len(self.log)
        self.window.extend(some, None if len(some) == len(following) else some[-1].order)

    def follow(self) -> None:
        if self.position < len(self.log):
            document, rows = self.log[self.position]
            key = primary_key(document)
            self.position += 1
            if self.window.concerns(key, rows):
                self.window.apply(key, rows)

    @property
    def consistent(self) -> bool:
        return not self.window.wants and self.position >= self.target

    def step(self) -> None:
        if self.choose.random() < 0.4:
            self.write()
        elif self.window.wants:
            self.fetch()
        else:
            self.follow()
        if self.consistent and self.choose.random() < 0.7:
            fold(self.reader, self.window.show(), self.window.size)
            assert self.reader == self.window.rows()


@given(st.randoms(use_true_random=False), st.integers(1, 5), st.booleans(), st.integers(0, 120))
def test_the_reader_has_the_first_rows_whenever_the_window_has_caught_up(
    choose: random.Random, size: int, descending: bool, length: int
) -> None:
    world = WindowWorld(choose, size, descending)
    for _ in range(length):
        world.step()
    while not world.consistent or world.position < len(world.log):
        if world.window.wants:
            world.fetch()
        else:
            world.follow()
    fold(world.reader, world.window.show(), size)
    assert world.reader == world.first_rows()
