"""Where the changes of a feed wait for its reader: at most so many, and one per row where they are squashed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict, deque

from photondb.reql.feed_notices import skipped_notice, with_position
from services.changefeed.notices import Change
from services.changefeed.positions import Place, TokenMaker
from services.changefeed.selection import same


class ChangeQueue(ABC):
    """Changes that wait."""

    __slots__ = ("_include_types", "_limit", "_skipped")

    def __init__(self, limit: int, include_types: bool) -> None:
        self._limit = limit
        self._include_types = include_types
        self._skipped = 0

    @abstractmethod
    def push(self, change: Change) -> None:
        """Add a change."""
        ...

    @abstractmethod
    def _size(self) -> int: ...

    @abstractmethod
    def _pop(self) -> Change: ...

    @abstractmethod
    def _clear(self) -> None: ...

    def _tell(self, change: Change) -> bytes:
        """The notice of a change that the reader gets now."""
        return change.notice(self._include_types)

    def __len__(self) -> int:
        """How many notices wait."""
        return self._size() + (self._skipped > 0)

    @property
    def full(self) -> bool:
        """Whether as many changes wait as may."""
        return self._size() >= self._limit

    @property
    def nearly_full(self) -> bool:
        """Whether the reader had better come soon."""
        return self._skipped > 0 or self._size() > self._limit // 2

    def drop_if_too_many(self) -> int:
        """Drop all changes, and count them, when they are more than the limit: as RethinkDB does. Returns how many
        were dropped."""
        size = self._size()
        if size <= self._limit:
            return 0
        self._skipped += size
        self._clear()
        return size

    def take(self, count: int, max_bytes: int) -> list[bytes]:
        """Remove and return the first notices: at most `count`, and about `max_bytes`, but one at least where there is
        one. The first may be the one about dropped changes."""
        notices = []
        size = 0
        if self._skipped:
            notices.append(skipped_notice(self._skipped))
            self._skipped = 0
        while len(notices) < count and size < max_bytes and self._size():
            notice = self._tell(self._pop())
            notices.append(notice)
            size += len(notice)
        return notices


class PlainQueue(ChangeQueue):
    """All changes, in order."""

    __slots__ = ("_changes",)

    def __init__(self, limit: int, include_types: bool) -> None:
        super().__init__(limit, include_types)
        self._changes: deque[Change] = deque()

    def push(self, change: Change) -> None:
        self._changes.append(change)

    def _size(self) -> int:
        return len(self._changes)

    def _pop(self) -> Change:
        return self._changes.popleft()

    def _clear(self) -> None:
        self._changes.clear()


class PositionedQueue(PlainQueue):
    """All changes, in order, each told with the reader's position after it: `place` moves on with them."""

    __slots__ = ("_place", "_tokens")

    def __init__(self, limit: int, include_types: bool, place: Place, tokens: TokenMaker) -> None:
        super().__init__(limit, include_types)
        self._place = place
        self._tokens = tokens

    def _tell(self, change: Change) -> bytes:
        self._place.advance(change)
        return with_position(change.notice(self._include_types), self._tokens.token(self._place))


class SquashingQueue(ChangeQueue):
    """One change per row: from what the reader knows of it to what it is now."""

    __slots__ = ("_changes",)

    def __init__(self, limit: int, include_types: bool) -> None:
        super().__init__(limit, include_types)
        self._changes: OrderedDict[tuple[bytes, int], Change] = OrderedDict()

    def push(self, change: Change) -> None:
        row = (change.key, change.copy)
        waiting = self._changes.get(row)
        if waiting is None:
            self._changes[row] = change
            return
        old, new = waiting.old, change.new
        back_again = (old is None and new is None) or (old is not None and new is not None and same(old, new))
        if back_again:
            del self._changes[row]
        else:
            self._changes[row] = Change(change.key, change.copy, old, new)

    def _size(self) -> int:
        return len(self._changes)

    def _pop(self) -> Change:
        return self._changes.popitem(last=False)[1]

    def _clear(self) -> None:
        self._changes.clear()


def make_queue(squash: bool, limit: int, include_types: bool) -> ChangeQueue:
    """The queue for a feed."""
    return SquashingQueue(limit, include_types) if squash else PlainQueue(limit, include_types)
