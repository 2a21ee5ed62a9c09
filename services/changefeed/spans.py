"""Finds, among many spans of keys, those that a key is in: an interval tree, kept in shape as a treap.

To add, to remove and to look up take about as many steps as the logarithm of how many spans there are.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class _Node(Generic[T]):
    """A span, from `low` to before `high`, with what lies on it, above the spans that come before and after it.
    `latest` is the greatest `high` in its part of the tree. Priorities fall downwards."""

    __slots__ = ("after", "before", "high", "items", "latest", "low", "priority")

    def __init__(self, low: bytes, high: bytes, item: T) -> None:
        self.low = low
        self.high = self.latest = high
        self.items: dict[T, None] = {item: None}
        self.priority = random.random()
        self.before: _Node[T] | None = None
        self.after: _Node[T] | None = None

    def update(self) -> None:
        """Learn `latest` from the nodes right below."""
        latest = self.high
        if self.before is not None and self.before.latest > latest:
            latest = self.before.latest
        if self.after is not None and self.after.latest > latest:
            latest = self.after.latest
        self.latest = latest


class Spans(Generic[T]):
    """Things that lie on spans of keys."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Node[T] | None = None

    def __bool__(self) -> bool:
        return self._root is not None

    def add(self, low: bytes, high: bytes, item: T) -> None:
        """Put `item` on the keys from `low` (inclusive) to `high` (exclusive)."""
        self._root = _added(self._root, low, high, item)

    def remove(self, low: bytes, high: bytes, item: T) -> None:
        """Take away what was put there."""
        self._root = _removed(self._root, low, high, item)

    def at(self, key: bytes) -> Iterator[T]:
        """What lies on a key; once for each span of it."""
        waiting = [self._root]
        while waiting:
            node = waiting.pop()
            if node is None or node.latest <= key:
                continue
            waiting.append(node.before)
            if node.low <= key:
                waiting.append(node.after)
                if key < node.high:
                    yield from node.items


def _added(node: _Node[T] | None, low: bytes, high: bytes, item: T) -> _Node[T]:
    if node is None:
        return _Node(low, high, item)
    if (low, high) == (node.low, node.high):
        node.items[item] = None
        return node
    if (low, high) < (node.low, node.high):
        below = node.before = _added(node.before, low, high, item)
        if below.priority > node.priority:
            node.before, below.after = below.after, node
            node.update()
            node = below
    else:
        below = node.after = _added(node.after, low, high, item)
        if below.priority > node.priority:
            node.after, below.before = below.before, node
            node.update()
            node = below
    node.update()
    return node


def _removed(node: _Node[T] | None, low: bytes, high: bytes, item: T) -> _Node[T] | None:
    assert node is not None, "nothing lies on that span"
    if (low, high) == (node.low, node.high):
        del node.items[item]
        return node if node.items else _joined(node.before, node.after)
    if (low, high) < (node.low, node.high):
        node.before = _removed(node.before, low, high, item)
    else:
        node.after = _removed(node.after, low, high, item)
    node.update()
    return node


def _joined(before: _Node[T] | None, after: _Node[T] | None) -> _Node[T] | None:
    """One tree of two, all spans of the first of which come first."""
    if before is None or after is None:
        return before or after
    if before.priority > after.priority:
        before.after = _joined(before.after, after)
        before.update()
        return before
    after.before = _joined(before, after.before)
    after.update()
    return after
