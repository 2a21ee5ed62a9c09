"""Feeds on `eq_join`: what changes in the pairs of two sides, whichever side changes.

Two feeds tell what happens on the sides. The left one counts change by change, so the rows of the left side are
remembered. Of the right one only the keys count: the pairs of the left rows with these keys are looked up anew, and the
reader is told how they differ from those that he knows. So what he is told adds up to the join as it is, and a document
on the right that changes twice in a moment may be told of once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.changefeed import Feed
from photondb.datum.errors import DatumError
from photondb.datum.json import dumps_computed
from photondb.reql.accumulators import Accumulator, Aggregate
from photondb.reql.chunk import Chunk
from photondb.reql.errors import ReqlError, op_failed, resource_limit
from photondb.reql.feed_notices import change_notice, initial_notice, state_notice
from photondb.reql.feed_streams import FeedSource, ReaderOfChunks, ready_readers
from photondb.reql.steps import Step
from photondb.reql.stream import Stream
from photondb.reql.suspend import wait

if TYPE_CHECKING:
    from photondb.reql.runtime import Runtime

Shown = tuple[bytes, ...]
"""The pairs of a left row after the steps, as JSON."""

ROWS = 500
"""How many changes are taken from a side at a time."""


class Join(Protocol):
    """How rows find their partners in the table `right`."""

    right: TableInfo
    index: IndexInfo | None

    def key(self, row: Any) -> Any:
        """What a row looks for; None for nothing."""
        ...

    def place(self, key: Any) -> bytes:
        """Where that is found: a key as it is stored."""
        ...

    def places(self, document: Any) -> list[bytes]:
        """Where a document of the right side is found."""
        ...

    def pairs(self, runtime: Runtime, wanted: list[tuple[Any, Any]]) -> Iterator[list[dict[str, Any]]]:
        """The pairs of rows, given with their keys: {left, right}."""
        ...


class _LeftRow:
    """A row of the left side, how often it is there, and what the reader knows of each of its pairs."""

    __slots__ = ("count", "key", "place", "shown", "value")

    def __init__(self, value: Any, key: Any, place: bytes | None) -> None:
        self.value = value
        self.key = key
        self.place = place
        self.count = 0
        self.shown: Shown = ()


class JoinedRows:
    """The pairs that the reader knows of, and how they change."""

    def __init__(self, join: Join, steps: Sequence[Step]) -> None:
        self._join = join
        self._steps = steps
        self._rows: dict[bytes, _LeftRow] = {}
        self._by_place: dict[bytes, dict[bytes, None]] = {}

    def add(self, runtime: Runtime, values: list[Any]) -> Iterator[bytes]:
        """Take rows that are there at the beginning, and give their pairs."""
        added = [self._enter(runtime, value) for value in values]
        self._look_up(runtime, list(dict.fromkeys(added)))
        for row in added:
            row.count += 1
            yield from row.shown

    def left_changed(self, runtime: Runtime, old: Any, new: Any) -> Iterator[tuple[bytes | None, bytes | None]]:
        """A row of the left side has changed; None is no row. Gives what that changes among the pairs."""
        before = () if old is None else self._remove(old)
        after: Shown = ()
        if new is not None:
            row = self._enter(runtime, new)
            if not row.count:
                self._look_up(runtime, [row])
            row.count += 1
            after = row.shown
        return _differences(before, after)

    def right_changed(self, runtime: Runtime, documents: list[Any]) -> Iterator[tuple[bytes | None, bytes | None]]:
        """These documents were on the right, or are. Gives what that changes among the pairs."""
        places = dict.fromkeys(place for document in documents for place in self._join.places(document))
        rows = [self._rows[name] for place in places for name in self._by_place.get(place, ())]
        before = [row.shown for row in rows]
        self._look_up(runtime, rows)
        for row, shown in zip(rows, before, strict=True):
            for difference in _differences(shown, row.shown):
                yield from [difference] * row.count

    def _enter(self, runtime: Runtime, value: Any) -> _LeftRow:
        name = dumps_computed(value)
        row = self._rows.get(name)
        if row is None:
            if len(self._rows) >= runtime.array_limit:
                raise resource_limit(
                    f"A feed on `eq_join` remembers the rows of its left side, and there are more than the array size "
                    f"limit `{runtime.array_limit}`."
                )
            key = self._join.key(value)
            row = self._rows[name] = _LeftRow(value, key, None if key is None else self._join.place(key))
            if row.place is not None:
                self._by_place.setdefault(row.place, {})[name] = None
        return row

    def _remove(self, value: Any) -> Shown:
        name = dumps_computed(value)
        row = self._rows[name]
        row.count -= 1
        if not row.count:
            del self._rows[name]
            if row.place is not None:
                names = self._by_place[row.place]
                del names[name]
                if not names:
                    del self._by_place[row.place]
        return row.shown

    def _look_up(self, runtime: Runtime, rows: list[_LeftRow]) -> None:
        """Learn what pairs rows have now."""
        wanted = [(row.key, row) for row in rows if row.place is not None]
        found: dict[_LeftRow, list[bytes]] = {row: [] for _, row in wanted}
        if wanted:
            for pairs in self._join.pairs(runtime, wanted):
                for pair in pairs:
                    row = pair["left"]
                    found[row] += self._after_steps({**pair, "left": row.value})
        for row, shown in found.items():
            row.shown = tuple(shown)

    def _after_steps(self, pair: Any) -> list[bytes]:
        values = [pair]
        try:
            for step in self._steps:
                values = step.apply(values)
        except (ReqlError, DatumError):
            return []  # as in other feeds
        return [dumps_computed(value) for value in values if value is not None]


def _differences(before: Shown, after: Shown) -> Iterator[tuple[bytes | None, bytes | None]]:
    if before == after:
        return iter(())
    gone, come = Counter(before) - Counter(after), Counter(after) - Counter(before)
    return iter(list(zip_longest(gone.elements(), come.elements())))


class JoinFeedSource:
    """The changes of a join, from two feeds that have been opened: the left one with initial values and states. It can
    be read once, and closes the feeds then."""

    about: tuple[Hashable, ...] = ()
    inputs: Sequence[Any] = ()

    def __init__(
        self,
        runtime: Runtime,
        join: Join,
        steps: Sequence[Step],
        left: Feed,
        right: Feed,
        *,
        include_initial: bool,
        include_states: bool,
        include_types: bool,
    ) -> None:
        self._left = left
        self._right = right
        self._types = include_types
        self._rows = JoinedRows(join, steps)
        initial = self._read_initial(runtime)
        notices: list[bytes] = []
        if include_initial:
            if include_states:
                notices.append(state_notice("initializing", include_types))
            notices += [initial_notice(value, include_types) for value in initial]
        if include_states:
            notices.append(state_notice("ready", include_types))
        self._beginning = notices

    def _read_initial(self, runtime: Runtime) -> list[bytes]:
        """All pairs as they are now. Changes of the right side wait already, so that none is missed."""
        pairs: list[bytes] = []
        while True:
            notices = wait(self._left.next(ROWS)).values()
            values = [notice["new_val"] for notice in notices if "new_val" in notice]
            pairs += self._rows.add(runtime, values)
            if notices[-1].get("state") == "ready":
                return pairs
            runtime.checkpoint()

    def chunks(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        for notices in self._notices(runtime):
            for start in range(0, len(notices), rows):
                values = Chunk.of_raw(notices[start : start + rows]).values()
                for step in steps:
                    values = step.apply(values)
                if limit is not None:
                    values = values[:limit]
                    limit -= len(values)
                if values:
                    yield Chunk.of_values(values)
                if limit == 0:
                    return

    def aggregate(self, runtime: Runtime, steps: Sequence[Step], aggregate: Aggregate) -> Accumulator:
        raise AssertionError("a stream without end has no aggregate")

    def _notices(self, runtime: Runtime) -> Iterator[list[bytes]]:
        left = ReaderOfChunks(Stream(FeedSource(self._left)).chunks(runtime, None, ROWS))
        right = ReaderOfChunks(Stream(FeedSource(self._right)).chunks(runtime, None, ROWS))
        try:
            if self._beginning:
                yield self._beginning
                self._beginning = []
            while True:
                for reader in ready_readers([left, right]):
                    chunk = reader.take()
                    assert chunk is not None, "a feed has no end"
                    changed = self._left_changes if reader is left else self._right_changes
                    yield [
                        change_notice(old, new, self._types) for old, new in changed(runtime, _checked(chunk.values()))
                    ]
                runtime.checkpoint()
        finally:
            left.close()
            right.close()

    def _left_changes(self, runtime: Runtime, notices: list[Any]) -> Iterator[tuple[bytes | None, bytes | None]]:
        for notice in notices:
            yield from self._rows.left_changed(runtime, notice["old_val"], notice["new_val"])

    def _right_changes(self, runtime: Runtime, notices: list[Any]) -> Iterator[tuple[bytes | None, bytes | None]]:
        documents = [notice[side] for notice in notices for side in ("old_val", "new_val")]
        return self._rows.right_changed(runtime, [document for document in documents if document is not None])


def _checked(notices: list[Any]) -> list[Any]:
    """The changes of a side. Raises where some were dropped, so that what the reader knows cannot be kept up to
    date."""
    if any("error" in notice for notice in notices):
        raise op_failed("Changefeed aborted: its reader was so slow that changes were lost. Begin again.")
    return notices
