"""Rows of several ordered streams come in one order, whatever the chunks, and none is given too early."""

from __future__ import annotations

from itertools import cycle

from hypothesis import given, settings
from hypothesis import strategies as st

from photondb.sharding.merging import RowMerger

places = st.lists(st.integers(0, 400), max_size=25, unique=True)


def key(number: int) -> bytes:
    return number.to_bytes(2, "big")


@settings(deadline=None)
@given(
    st.lists(places, min_size=1, max_size=4),
    st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any),
    st.booleans(),
)
def test_streams_are_merged(streams: list[list[int]], chunks: list[int], descending: bool) -> None:
    # A number belongs to one stream, and may be several rows of one document.
    seen: set[int] = set()
    waiting: list[list[int]] = []
    for stream in streams:
        own = [number for number in stream if number not in seen]
        seen.update(own)
        waiting.append([number for number in sorted(own, reverse=descending) for _ in range(1 + number % 3)])
    expected = sorted((number for stream in waiting for number in stream), reverse=descending)
    merger = RowMerger(len(waiting), descending)
    found: list[bytes] = []
    sizes = cycle(chunks)
    while not merger.done:
        for stream in merger.wanting:
            size = next(sizes)
            rows, waiting[stream] = waiting[stream][:size], waiting[stream][size:]
            keys = list(map(key, rows))
            merger.add(stream, keys, keys, last=not waiting[stream])
        if not merger.wanting:
            found += merger.take()[0]
    assert found == list(map(key, expected))


def test_rows_of_one_document_stay_as_they_are() -> None:
    merger = RowMerger(2, descending=True)
    merger.add(0, [key(5), key(5), key(1)], [b"5a", b"5b", b"1"], last=True)
    merger.add(1, [key(7), key(2), key(2)], [b"7", b"2a", b"2b"], last=False)
    assert merger.take()[0] == [b"7", b"5a", b"5b", b"2a", b"2b"]
    assert merger.wanting == [1]
    merger.add(1, [key(2)], [b"2c"], last=True)
    assert merger.take()[0] == [b"2c", b"1"]
    assert merger.done


def test_nothing_is_given_before_all_have_come() -> None:
    merger = RowMerger(2, descending=False)
    assert sorted(merger.wanting) == [0, 1]
    merger.add(0, [key(1), key(9)], [b"1", b"9"], last=True)
    assert merger.wanting == [1]
    merger.add(1, [key(2), key(3)], [b"2", b"3"], last=False)
    assert merger.take()[0] == [b"1", b"2", b"3"]
    assert not merger.done
