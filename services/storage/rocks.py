"""RocksDB, with the rules that keep its binding (rocksdict) from losing data or lying about it.

What this module enforces, so that nothing else has to know:

- one column family, raw bytes, and the same options whenever an existing database is opened;
- write-ahead log recovery that refuses damage instead of dropping what follows it (a batch that a crash cut short at
  the end of the log is dropped, as it must be);
- ordered reads compare their lower bound in Python, keep their upper bound alive as long as the iterator, and check
  the iterator's status when it ends, because rocksdict's iterators end without a word when a file is damaged;
- no snapshots for ordered reads (rocksdict ignores them): an iterator is the point-in-time view, see `View`;
- every error is a `StoreError` with a kind.

Everything here blocks. Reads and `write` take microseconds and hold the interpreter lock, so they are called inline;
`sync` waits for the disk without that lock and belongs in a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self, cast

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    WriteBatch,
)

from photondb.config import StartupError

DEFAULT_CACHE_BYTES = 256 << 20
WRITE_BUFFER_BYTES = 64 << 20
MAX_WAL_BYTES = 512 << 20
MAX_OPEN_FILES = 500

_FORMAT_KEY = b"\x00format"
_FORMAT = b"photondb-1"

StoreErrorKind = Literal["full", "corrupt", "io"]


class StoreError(Exception):
    """RocksDB refused an operation: the disk is full, a file is damaged, or the disk failed otherwise."""

    def __init__(self, kind: StoreErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _store_error(error: Exception) -> StoreError:
    """The bare Exception that rocksdict raises, by its text."""
    text = str(error)
    lowered = text.lower()
    if "no space left" in lowered or "disk quota" in lowered:
        return StoreError("full", "No space is left on the disk that holds the data directory.")
    if "corruption" in lowered or "checksum" in lowered:
        return StoreError("corrupt", f"A file of the data directory is damaged: {text}")
    return StoreError("io", f"The data directory cannot be used: {text}")


class Batch:
    """Changes that `Store.write` makes all at once or not at all. It can be written once."""

    __slots__ = ("_batch", "delete", "put")

    def __init__(self) -> None:
        self._batch = WriteBatch(raw_mode=True)
        self.put = self._batch.put
        self.delete = self._batch.delete

    def __len__(self) -> int:
        return len(self._batch)

    def delete_range(self, low: bytes, high: bytes) -> None:
        """Delete the keys from `low` (inclusive) to `high` (exclusive), whatever their number, in constant time."""
        self._batch.delete_range(low, high)


class Store:
    """One RocksDB database. Only one process can have it open."""

    def __init__(self, database: Rdict, path: Path, cache_bytes: int) -> None:
        self._database = database
        self.path = path
        self.cache_bytes = cache_bytes
        self.writes = 0
        """How many batches were written: two equal readings mean that nothing changed in between."""

    @classmethod
    def open(cls, path: Path, *, cache_bytes: int = DEFAULT_CACHE_BYTES, salvage: bool = False) -> Store:
        """Open the database in the directory `path`, or make a new one there.

        `salvage` accepts a damaged write-ahead log and drops everything behind the damage: only for a person who has
        decided so. Raises StartupError when the directory is in use, cannot be used, or is damaged.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            exists = (path / "CURRENT").exists()
            next(path.iterdir(), None)
        except OSError as error:
            raise StartupError(f"the data directory {path} cannot be used: {error.strerror}") from None
        options = _options(cache_bytes, salvage)
        try:
            families = dict.fromkeys(Rdict.list_cf(str(path), options), options) if exists else None
            store = cls(Rdict(str(path), options, families), path, cache_bytes)
        except Exception as error:
            raise _startup_error(path, error) from None
        store._check_format(new=not exists)
        return store

    def _check_format(self, *, new: bool) -> None:
        found = self.get(_FORMAT_KEY)
        if found == _FORMAT:
            return
        if not new and self.has_keys(b"", b"\xff"):
            self.close()
            raise StartupError(f"the data directory {self.path} holds no data of this version of PhotonDB")
        batch = Batch()
        batch.put(_FORMAT_KEY, _FORMAT)
        self.write(batch)
        self.sync()

    def close(self) -> None:
        """Write everything out and let go of the directory. Views must be closed before: an open one keeps the lock.

        Raises StoreError when the memory tables cannot be written out; then the write-ahead log still has them.
        """
        try:
            self._database.close()
        except Exception as error:
            raise _store_error(error) from None
        finally:
            del self._database  # it keeps the lock after an error, until it is freed

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._database.get(key)
        except Exception as error:
            raise _store_error(error) from None
        return value

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """The values of `keys`, in their order, None where there is none."""
        try:
            values = cast("list[bytes | None]", self._database.get(cast("Any", keys)))
        except Exception as error:
            raise _store_error(error) from None
        return values

    def write(self, batch: Batch) -> None:
        """Apply `batch`. It survives the death of this process from now on, and that of the machine after `sync`."""
        self.writes += 1
        try:
            self._database.write(batch._batch)
        except Exception as error:
            raise _store_error(error) from None

    def sync(self) -> None:
        """Wait until everything written so far is on the disk. Takes milliseconds: call it in a thread."""
        try:
            self._database.flush_wal(True)
        except Exception as error:
            raise _store_error(error) from None

    def flush(self) -> None:
        """Write the memory tables out to table files. Takes up to seconds: call it in a thread."""
        try:
            self._database.flush(True)
        except Exception as error:
            raise _store_error(error) from None

    def has_keys(self, low: bytes, high: bytes) -> bool:
        """Whether there is a key from `low` (inclusive) to `high` (exclusive)."""
        with View(self).read(low, high, keys_only=True) as reader:
            return bool(reader.take_keys(1))


def _options(cache_bytes: int, salvage: bool) -> Options:
    table = BlockBasedOptions()
    table.set_block_cache(Cache(cache_bytes))
    table.set_block_size(4096)
    table.set_bloom_filter(10, False)
    table.set_format_version(5)
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(table)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_level_compaction_dynamic_level_bytes(True)
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_max_write_buffer_number(3)
    options.set_max_total_wal_size(MAX_WAL_BYTES)
    options.set_max_background_jobs(2)
    options.set_max_open_files(MAX_OPEN_FILES)
    options.set_bytes_per_sync(1 << 20)
    options.set_keep_log_file_num(5)
    options.set_max_log_file_size(16 << 20)
    if salvage:
        options.set_wal_recovery_mode(DBRecoveryMode.point_in_time())
    else:
        options.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
    return options


def _startup_error(path: Path, error: Exception) -> StartupError:
    text = str(error)
    lowered = text.lower()
    if "lock" in lowered and "corruption" not in lowered:
        return StartupError(
            f"the data directory {path} is in use by another process: stop it, or choose another directory"
        )
    if "corruption" in lowered or "checksum" in lowered:
        return StartupError(
            f"the data directory {path} is damaged ({text}): restore it from a backup, or run `photondb check "
            f"--salvage {path}`, which drops every write behind the damage and reports what is left"
        )
    if "permission denied" in lowered:
        return StartupError(f"the data directory {path} cannot be used: Permission denied")
    return StartupError(f"the data directory {path} cannot be opened: {text}")


class View:
    """The store at one point in time.

    A view costs nothing until it is pinned, and is the present state as long as nothing is written: so it is good until
    the caller next gives up control. `pin` makes it last, by iterators that RocksDB keeps at that point in time; they
    hold memory and files until `close`. One reader at a time can be used of a pinned view.
    """

    __slots__ = ("_points", "_ranges", "_store", "_writes")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._writes = store.writes
        self._ranges: RdictIter | None = None
        self._points: RdictIter | None = None

    @property
    def pinned(self) -> bool:
        return self._ranges is not None

    def pin(self) -> None:
        """Keep this point in time beyond the next write."""
        if self._ranges is None:
            assert self._writes == self._store.writes, "the view was pinned after a write"
            self._ranges = self._store._database.iter()
            self._points = self._store._database.iter()

    def close(self) -> None:
        """Let go of what was pinned."""
        self._ranges = self._points = None

    def read(
        self, low: bytes, high: bytes, *, descending: bool = False, keys_only: bool = False, bulk: bool = False
    ) -> Reader:
        """Read the keys from `low` (inclusive) to `high` (exclusive) in order.

        `bulk` leaves the cache to what others read, as is right for more than fits into it.
        """
        if self._ranges is not None:
            return PinnedReader(self._ranges, low, high, descending)
        assert self._writes == self._store.writes, "the view was used after a write"
        return DirectReader(self._store._database, low, high, descending, keys_only, bulk)

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """The values of `keys`, in their order, None where there is none."""
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


class Reader:
    """An ordered read of one range. Fewer rows than asked for come only at its end, and then `done` is set.

    It must be closed, since RocksDB's iterators keep files and the lock of the directory.
    """

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def take(self, count: int) -> list[tuple[bytes, bytes]]:
        """The next keys with their values."""
        raise NotImplementedError

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

    def take(self, count: int) -> list[tuple[bytes, bytes]]:
        try:
            rows: list[tuple[bytes, bytes]] = list(islice(self._items, count))
        except Exception as error:
            raise _store_error(error) from None
        if len(rows) < count:
            self._finish(rows[-1][0] if rows else self._last)
        elif rows:
            self._last = rows[-1][0]
        if self._low is not None and rows and rows[-1][0] < self._low:
            low = self._low
            self.done = True
            return [row for row in rows if row[0] >= low]
        return rows

    def take_keys(self, count: int) -> list[bytes]:
        try:
            keys: list[bytes] = list(islice(self._items, count))
        except Exception as error:
            raise _store_error(error) from None
        if len(keys) < count:
            self._finish(keys[-1] if keys else self._last)
        elif keys:
            self._last = keys[-1]
        if self._low is not None and keys and keys[-1] < self._low:
            low = self._low
            self.done = True
            return [key for key in keys if key >= low]
        return keys

    def close(self) -> None:
        self.done = True
        self._items = iter(())

    def _finish(self, last: bytes) -> None:
        """The iterator has ended: because the range has, or because a file is damaged? It does not tell, so an iterator
        with a status is moved over the same place."""
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
    """A read by the iterator of a pinned view, which it moves and therefore has to itself."""

    __slots__ = ("_descending", "_high", "_iterator", "_low")

    def __init__(self, iterator: RdictIter, low: bytes, high: bytes, descending: bool) -> None:
        super().__init__()
        self._iterator = iterator
        self._low = low
        self._high = high
        self._descending = descending
        if descending:
            iterator.seek_for_prev(high)
            if iterator.valid() and iterator.key() == high:
                iterator.prev()
        else:
            iterator.seek(low)

    def take(self, count: int) -> list[tuple[bytes, bytes]]:
        rows: list[tuple[bytes, bytes]] = []
        iterator = self._iterator
        valid, key, value = iterator.valid, iterator.key, iterator.value
        step = iterator.prev if self._descending else iterator.next
        low, high = self._low, self._high
        while len(rows) < count:
            if not valid():
                _check(iterator)
                self.done = True
                break
            found = key()
            if not low <= found < high:
                self.done = True
                break
            rows.append((found, value()))
            step()
        return rows

    def take_keys(self, count: int) -> list[bytes]:
        keys: list[bytes] = []
        iterator = self._iterator
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
        return keys

    def close(self) -> None:
        self.done = True


def _check(iterator: RdictIter) -> None:
    """Raise what made `iterator` end, if it was not the end of the data."""
    try:
        iterator.status()
    except Exception as error:
        raise _store_error(error) from None
