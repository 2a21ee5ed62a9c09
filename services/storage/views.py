"""Ordered reads, and the store at one point in time.

What this module enforces besides the rules of `services.storage.rocks`: lower bounds are compared in Python and not set
in RocksDB, upper bounds are kept alive as long as the iterator that points to them, and the status of an iterator is
checked when it ends, because rocksdict's iterators end without a word when a file is damaged.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, Self

from rocksdict import Rdict, RdictIter, ReadOptions

from services.storage.rocks import Store, store_error

if TYPE_CHECKING:
    from services.storage.tables import Table


UNBOUNDED = sys.maxsize


class ReadView(Protocol):
    """Something that can be read like the store at one point in time."""

    def pin(self) -> None:
        """Make it last beyond the next write."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...

    def read(
        self, low: bytes, high: bytes, *, descending: bool = False, keys_only: bool = False, bulk: bool = False
    ) -> Reader:
        """Read the keys from `low` (inclusive) to `high` (exclusive) in order."""
        ...

    def documents(self, keys: list[bytes]) -> list[bytes | None]:
        """The documents under the store keys, in their order, None where there is none."""
        ...

    def rows_of(self, table: Table) -> int:
        """How many documents a table has."""
        ...


class View:
    """The store at one point in time.

    A view costs nothing until it is pinned, and is the present state as long as nothing is written: so it is good until
    the caller next gives up control. `pin` makes it last, by iterators that RocksDB keeps at that point in time; they
    hold memory and files until `close`. The readers of a pinned view share one of them, in turns.
    """

    __slots__ = ("_points", "_ranges", "_reader", "_store", "_writes")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._writes = store.writes
        self._ranges: RdictIter | None = None
        self._points: RdictIter | None = None
        self._reader: PinnedReader | None = None

    @property
    def pinned(self) -> bool:
        return self._ranges is not None

    def pin(self) -> None:
        """Keep this point in time beyond the next write."""
        if self._ranges is None:
            assert self._writes == self._store.writes, "the view was pinned after a write"
            self._ranges = self._store.database.iter()
            self._points = self._store.database.iter()

    def close(self) -> None:
        """Let go of what was pinned."""
        self._ranges = self._points = self._reader = None

    def range_iterator(self, reader: PinnedReader) -> tuple[RdictIter, bool]:
        """The iterator for ranges, and whether another reader has moved it since `reader` had it last."""
        assert self._ranges is not None, "the view was used after it was closed"
        moved = self._reader is not reader
        self._reader = reader
        return self._ranges, moved

    def read(
        self, low: bytes, high: bytes, *, descending: bool = False, keys_only: bool = False, bulk: bool = False
    ) -> Reader:
        """Read the keys from `low` (inclusive) to `high` (exclusive) in order.

        `bulk` leaves the cache to what others read, as is right for more than fits into it.
        """
        if self._ranges is not None:
            return PinnedReader(self, low, high, descending)
        assert self._writes == self._store.writes, "the view was used after a write"
        return DirectReader(self._store.database, low, high, descending, keys_only, bulk)

    def documents(self, keys: list[bytes]) -> list[bytes | None]:
        if self._writes == self._store.writes:
            return self._store.documents.read(keys)
        return self.get_many(keys)

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """The values of keys of any kind, in their order, None where there is none."""
        if self._writes == self._store.writes:
            return self._store.get_many(keys)
        assert self._points is not None, "the view was used after a write"
        points = self._points
        values: list[bytes | None] = []
        for key in keys:
            points.seek(key)
            if points.valid():
                values.append(points.value() if points.key() == key else None)
            else:
                _check(points)
                values.append(None)
        return values

    def rows_of(self, table: Table) -> int:
        """How many documents a table has. Only good before the next write."""
        assert self._writes == self._store.writes, "the view was used after a write"
        return table.position.rows


class Reader:
    """An ordered read of one range. Fewer rows than asked for come at its end, and then `done` is set, or when those
    that have come make up `max_bytes` of values: so there is one at least, and what is read is bounded however long
    the rows are.

    It must be closed, since RocksDB's iterators keep files and the lock of the directory.
    """

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def take(self, count: int, max_bytes: int = UNBOUNDED) -> list[tuple[bytes, bytes]]:
        """The next keys with their values."""
        raise NotImplementedError

    def take_values(self, count: int, max_bytes: int) -> list[bytes]:
        """The values of the next keys."""
        return [value for _, value in self.take(count, max_bytes)]

    def take_keys(self, count: int) -> list[bytes]:
        """The next keys."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the store. Nothing can be read any more."""
        raise NotImplementedError


class DirectReader(Reader):
    """A read by rocksdict's own iterators, which is twice as fast as moving an iterator from Python.

    It is a point-in-time view by itself, so it stays good after writes. Made with `keys_only` it has no values.
    """

    __slots__ = ("_database", "_high", "_items", "_last", "_low", "_options")

    def __init__(self, database: Rdict, low: bytes, high: bytes, descending: bool, keys_only: bool, bulk: bool) -> None:
        super().__init__()
        self._database = database
        self._low = low if descending else None
        self._last = high if descending else low
        # The iterator keeps pointers into the options and the bound: they must live as long as it does.
        self._high = high
        self._options = ReadOptions()
        self._options.set_iterate_upper_bound(high)
        if bulk:
            self._options.fill_cache(False)  # type: ignore[call-arg]  # rocksdict's stub lacks the argument
        make = database.keys if keys_only else database.items
        self._items: Iterator[Any] = make(backwards=descending, from_key=self._last, read_opt=self._options)

    def take(self, count: int, max_bytes: int = UNBOUNDED) -> list[tuple[bytes, bytes]]:
        rows: list[tuple[bytes, bytes]] = []
        room = max_bytes
        try:
            if max_bytes == UNBOUNDED:
                rows += islice(self._items, count)
            else:
                for row in islice(self._items, count):
                    rows.append(row)
                    room -= len(row[1])
                    if room <= 0:
                        break
        except Exception as error:
            raise store_error(error) from None
        self._passed(rows[-1][0] if rows else self._last, ended=room > 0 and len(rows) < count)
        if self._low is not None and rows and rows[-1][0] < self._low:
            low = self._low
            self.done = True
            return [row for row in rows if row[0] >= low]
        return rows

    def take_values(self, count: int, max_bytes: int) -> list[bytes]:
        if self._low is not None:
            return super().take_values(count, max_bytes)
        if max_bytes == UNBOUNDED:
            return [value for _, value in self.take(count)]
        values: list[bytes] = []
        add, room, key = values.append, max_bytes, self._last
        try:
            for key, value in islice(self._items, count):  # noqa: B007 - the last one is needed below
                add(value)
                room -= len(value)
                if room <= 0:
                    break
        except Exception as error:
            raise store_error(error) from None
        self._passed(key, ended=room > 0 and len(values) < count)
        return values

    def take_keys(self, count: int) -> list[bytes]:
        try:
            keys: list[bytes] = list(islice(self._items, count))
        except Exception as error:
            raise store_error(error) from None
        self._passed(keys[-1] if keys else self._last, ended=len(keys) < count)
        if self._low is not None and keys and keys[-1] < self._low:
            low = self._low
            self.done = True
            return [key for key in keys if key >= low]
        return keys

    def close(self) -> None:
        self.done = True
        self._items = iter(())

    def _passed(self, last: bytes, ended: bool) -> None:
        """Everything up to the key `last` has been read. Has the iterator `ended` there because the range has, or
        because a file is damaged? It does not tell, so an iterator with a status is moved over the same place."""
        self._last = last
        if not ended:
            return
        self.done = True
        iterator = self._database.iter(self._options)
        if self._low is None:
            iterator.seek(last)
            if iterator.valid() and iterator.key() == last:
                iterator.next()
        else:
            iterator.seek_for_prev(last)
            if iterator.valid() and iterator.key() == last:
                iterator.prev()
        try:
            _check(iterator)
        finally:
            del iterator  # an error's traceback would keep it


class PinnedReader(Reader):
    """A read by the iterator of a pinned view. It remembers where it is, since others move that iterator, too."""

    __slots__ = ("_descending", "_high", "_low", "_view")

    def __init__(self, view: View, low: bytes, high: bytes, descending: bool) -> None:
        super().__init__()
        self._view = view
        self._low = low
        self._high = high
        self._descending = descending

    def _iterator(self) -> RdictIter:
        """The iterator, at the first key that is still to be read."""
        iterator, moved = self._view.range_iterator(self)
        if not moved:
            return iterator
        if self._descending:
            iterator.seek_for_prev(self._high)
            if iterator.valid() and iterator.key() == self._high:
                iterator.prev()
        else:
            iterator.seek(self._low)
        return iterator

    def _passed(self, key: bytes) -> None:
        """Everything up to `key`, and `key` itself, has been read."""
        if self._descending:
            self._high = key
        else:
            self._low = key + b"\0"

    def take(self, count: int, max_bytes: int = UNBOUNDED) -> list[tuple[bytes, bytes]]:
        rows: list[tuple[bytes, bytes]] = []
        if self.done:
            return rows
        iterator = self._iterator()
        valid, key, value = iterator.valid, iterator.key, iterator.value
        step = iterator.prev if self._descending else iterator.next
        low, high, room = self._low, self._high, max_bytes
        while len(rows) < count and room > 0:
            if not valid():
                _check(iterator)
                self.done = True
                break
            found = key()
            if not low <= found < high:
                self.done = True
                break
            row = found, value()
            rows.append(row)
            room -= len(row[1])
            step()
        if rows:
            self._passed(rows[-1][0])
        return rows

    def take_keys(self, count: int) -> list[bytes]:
        keys: list[bytes] = []
        if self.done:
            return keys
        iterator = self._iterator()
        valid, key = iterator.valid, iterator.key
        step = iterator.prev if self._descending else iterator.next
        low, high = self._low, self._high
        while len(keys) < count:
            if not valid():
                _check(iterator)
                self.done = True
                break
            found = key()
            if not low <= found < high:
                self.done = True
                break
            keys.append(found)
            step()
        if keys:
            self._passed(keys[-1])
        return keys

    def close(self) -> None:
        self.done = True


def _check(iterator: RdictIter) -> None:
    """Raise what made `iterator` end, if it was not the end of the data."""
    try:
        iterator.status()
    except Exception as error:
        raise store_error(error) from None


def has_keys(store: Store, low: bytes, high: bytes) -> bool:
    """Whether there is a key from `low` (inclusive) to `high` (exclusive)."""
    with View(store).read(low, high, keys_only=True) as reader:
        return bool(reader.take_keys(1))
