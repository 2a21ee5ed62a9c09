"""Spans are found as by looking at all of them, in few steps."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.changefeed.spans import Spans, _Node

keys = st.integers(0, 12).map(lambda number: b"%02d" % number)
span = st.tuples(keys, keys, st.integers(0, 3))


@given(st.lists(st.tuples(st.booleans(), span), max_size=60))
def test_what_lies_on_a_key(changes: list[tuple[bool, tuple[bytes, bytes, int]]]) -> None:
    spans: Spans[int] = Spans()
    there: set[tuple[bytes, bytes, int]] = set()
    for adds, one in changes:
        if adds:
            spans.add(*one)
            there.add(one)
        elif there:
            gone = min(there, key=lambda other: (other < one, other))
            there.remove(gone)
            spans.remove(*gone)
        assert bool(spans) == bool(there)
        for key in (b"%02d" % number for number in range(-1, 14)):
            assert Counter(spans.at(key)) == Counter(item for low, high, item in there if low <= key < high)


def depth(node: _Node[int] | None) -> int:
    return 0 if node is None else 1 + max(depth(node.before), depth(node.after))


def test_the_tree_is_flat_in_whatever_order_spans_come_and_go() -> None:
    spans: Spans[int] = Spans()
    for number in range(4000):
        spans.add(b"%05d" % number, b"%05d" % (number + 1), number)
    for number in range(0, 4000, 2):
        spans.remove(b"%05d" % number, b"%05d" % (number + 1), number)
    assert depth(spans._root) < 60  # about 2.5 times the logarithm; a list would be 2,000 deep
    assert list(spans.at(b"00101")) == [101]
    assert list(spans.at(b"00102")) == []
