"""RocksDB, with the rules that keep its binding (rocksdict) from losing data or lying about it.

What this module enforces, so that nothing else has to know:

- one column family, raw bytes, and the same options whenever an existing database is opened;
- write-ahead log recovery that refuses damage instead of dropping what follows it (a batch that a crash cut short at
  the end of the log is dropped, as it must be);
- no snapshots, which rocksdict ignores in ordered reads: those are the matter of `services.storage.views`;
- every error is a `StoreError` with a kind.

Everything here blocks. Reads and `write` take microseconds and hold the interpreter lock, so they are called inline;
`sync` waits for the disk without that lock and belongs in a thread.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    Checkpoint,
    CompactOptions,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    Rdict,
    WriteBatch,
)

from photondb.config import StartupError
from services.storage.document_cache import DocumentCache

DEFAULT_CACHE_BYTES = 256 << 20
MIN_WRITE_BUFFER_BYTES = 16 << 20
MAX_WRITE_BUFFER_BYTES = 64 << 20
WRITE_BUFFERS = 6
"""How many memory tables there may be: the one that is written to, and full ones that wait to be written to a file.
When all are full RocksDB stops every writer ..."""

PRESSED_WRITE_BUFFERS = 2
"""... so those who write much wait from so many full ones on (`services.storage.pressure`)."""

SLOWDOWN_FILES = 48
STOP_FILES = 64
"""With so many files that are still to be compacted RocksDB slows down and stops every writer ..."""

PRESSED_FILES = 20
"""... and those who write much wait from so many on."""

BACKGROUND_JOBS = 4
"""One thread for flushes, which writers may come to wait for, and three for compactions, so that a long one does not
keep short ones waiting."""

MAX_WAL_BYTES = 512 << 20
MAX_OPEN_FILES = 500

_FORMAT_KEY = b"\x00format"
_FORMAT = b"photondb-1"

Recovery = Literal["strict", "salvage", "skip_damage"]
"""What becomes of a damaged write-ahead log when it is opened: it is refused; everything behind the damage is dropped;
or only what is damaged is dropped, which can tear batches, and is fit for finding out what there was. Then damaged
table files are no reason to refuse either, and are left for whoever reads them."""

StoreErrorKind = Literal["full", "corrupt", "io"]


class StoreError(Exception):
    """RocksDB refused an operation: the disk is full, a file is damaged, or the disk failed otherwise."""

    def __init__(self, kind: StoreErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def store_error(error: Exception) -> StoreError:
    """What a bare Exception of rocksdict means, by its text."""
    text = str(error)
    lowered = text.lower()
    if "no space left" in lowered or "disk quota" in lowered:
        return StoreError("full", "No space is left on the disk that holds the data directory.")
    if "corruption" in lowered or "checksum" in lowered:
        return StoreError("corrupt", f"A file of the data directory is damaged: {text}")
    return StoreError("io", f"The data directory cannot be used: {text}")


def _is_of_rethinkdb(path: Path) -> bool:
    """Whether a directory has RethinkDB's metadata, a file that begins with its name."""
    try:
        with (path / "metadata").open("rb") as file:
            return file.read(9) == b"RethinkDB"
    except (FileNotFoundError, IsADirectoryError):
        return False


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

    def __init__(
        self, database: Rdict, path: Path, cache_bytes: int, settings: Options, document_cache_bytes: int = 0
    ) -> None:
        self.database = database
        self._settings = settings
        self._beside_others = CompactOptions()
        self._beside_others.set_exclusive_manual_compaction(False)
        self.path = path
        self.cache_bytes = cache_bytes
        self.writes = 0
        """How many batches were written: two equal readings mean that nothing changed in between."""
        self.documents = DocumentCache(self.get_many, document_cache_bytes)
        """Documents by store key. Whoever writes some must note them here."""

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        document_cache_bytes: int = 0,
        mmap_reads: bool = False,
        recovery: Recovery = "strict",
    ) -> Store:
        """Open the database in the directory `path`, or make a new one there.

        `cache_bytes` are for blocks of table files, `document_cache_bytes` for documents besides.
        Anything but a strict `recovery` is only for a person who has decided so. Raises StartupError when the directory
        is in use, cannot be used, or is damaged.
        """
        try:
            path.mkdir(0o700, parents=True, exist_ok=True)
            exists = (path / "CURRENT").exists()
            next(path.iterdir(), None)
            is_of_rethinkdb = not exists and _is_of_rethinkdb(path)
        except OSError as error:
            raise StartupError(f"the data directory {path} cannot be used: {error.strerror}") from None
        if is_of_rethinkdb:
            raise StartupError(
                f"the data directory {path} is one of RethinkDB: choose another, and bring the data over with "
                "`rethinkdb dump` and `rethinkdb restore`"
            )
        options = _options(cache_bytes, recovery)
        _never_stall(options, cache_bytes)
        options.set_allow_mmap_reads(mmap_reads)
        options.set_disable_auto_compactions(recovery != "strict")  # damaged files cannot be rewritten
        options.set_paranoid_checks(recovery != "skip_damage")
        try:
            families = dict.fromkeys(Rdict.list_cf(str(path), options), options) if exists else None
            store = cls(Rdict(str(path), options, families), path, cache_bytes, options, document_cache_bytes)
        except Exception as error:
            raise _startup_error(path, error) from None
        if recovery != "skip_damage":
            store._check_format(new=not exists)
        return store

    @classmethod
    def open_secondary(cls, path: Path, scratch: Path, *, cache_bytes: int) -> Store:
        """Open a store that another process has open, for reading: as it was when it was opened, or has been caught up
        with last. `scratch` is a directory for what RocksDB has to say about it. Raises StoreError."""
        options = _options(cache_bytes, "strict")
        options.set_max_open_files(-1)  # a secondary instance must have all files open, since they may be removed
        try:
            access = AccessType.secondary(str(scratch))
            families = dict.fromkeys(Rdict.list_cf(str(path), options), options)
            store = cls(Rdict(str(path), options, families, access), path, cache_bytes, options)
        except Exception as error:
            raise store_error(error) from None
        return store

    def catch_up(self) -> None:
        """Let a secondary store see what the other process has written. Raises StoreError."""
        self.writes += 1
        try:
            self.database.try_catch_up_with_primary()
        except Exception as error:
            raise store_error(error) from None

    def _check_format(self, *, new: bool) -> None:
        found = self.get(_FORMAT_KEY)
        if found == _FORMAT:
            return
        if not new and next(iter(self.database.keys()), None) is not None:
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
            self.database.close()
        except Exception as error:
            raise store_error(error) from None
        finally:
            del self.database  # it keeps the lock after an error, until it is freed

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self.database.get(key)
        except Exception as error:
            raise store_error(error) from None
        return value

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """The values of `keys`, in their order, None where there is none."""
        try:
            values = cast("list[bytes | None]", self.database.get(cast("Any", keys)))
        except Exception as error:
            raise store_error(error) from None
        return values

    def write(self, batch: Batch) -> None:
        """Apply `batch`. It survives the death of this process from now on, and that of the machine after `sync`."""
        self.writes += 1
        try:
            self.database.write(batch._batch)
        except Exception as error:
            raise store_error(error) from None

    def sync(self) -> None:
        """Wait until everything written so far is on the disk. Takes milliseconds: call it in a thread."""
        try:
            self.database.flush_wal(True)
        except Exception as error:
            raise store_error(error) from None

    def flush(self) -> None:
        """Write the memory tables out to table files. Takes up to seconds: call it in a thread."""
        try:
            self.database.flush(True)
        except Exception as error:
            raise store_error(error) from None

    def property(self, name: str) -> int:
        """A number that RocksDB keeps about itself, by its name without the prefix ``rocksdb.``; 0 for unknown ones."""
        try:
            return int(self.database.property_int_value(f"rocksdb.{name}") or 0)
        except Exception as error:
            raise store_error(error) from None

    def table_files(self) -> list[tuple[str, int, bytes, bytes]]:
        """The (name, size, first key, last key) of each table file."""
        try:
            files = self.database.live_files()
        except Exception as error:
            raise store_error(error) from None
        return [(file["name"].lstrip("/"), file["size"], file["start_key"], file["end_key"]) for file in files]

    def counters(self) -> dict[str, int]:
        """What RocksDB has counted since the store was opened, by its names without the prefix ``rocksdb.``."""
        counts = {}
        for line in (self._settings.get_statistics() or "").splitlines():
            name, _, count = line.partition(" COUNT : ")
            if count.isdigit():
                counts[name.removeprefix("rocksdb.")] = int(count)
        return counts

    def is_pressed(self) -> bool:
        """Whether flushes or compactions fall behind what is written, so that RocksDB might stop all writers soon."""
        number = self.database.property_int_value("rocksdb.num-immutable-mem-table") or 0
        files = self.database.property_value("rocksdb.num-files-at-level0") or 0
        return number >= PRESSED_WRITE_BUFFERS or int(files) >= PRESSED_FILES

    def report(self) -> dict[str, str]:
        """What RocksDB says about its levels and files, and about stalls, in its own words."""
        names = ("stats", "levelstats", "sstables")
        return {name: self.database.property_value(f"rocksdb.{name}") or "" for name in names}

    def compact(self, low: bytes, high: bytes) -> None:
        """Free what was deleted from `low` to `high`. Takes up to minutes: call it in a thread.

        What RocksDB has to compact of its own accord goes on meanwhile.
        """
        try:
            self.database.compact_range(low, high, self._beside_others)
        except Exception as error:
            raise store_error(error) from None

    def checkpoint(self, path: Path) -> None:
        """Make a copy of the store in the new directory `path`, which shares the table files.

        Takes milliseconds after a `flush`, and else as long as one, with the interpreter's lock held.
        """
        try:
            Checkpoint(self.database).create_checkpoint(str(path))
        except Exception as error:
            raise store_error(error) from None


def rebuild(path: Path) -> None:
    """Make a store of the table files in `path` that can be read from their beginning to their end, without the others.

    Raises StoreError.
    """
    try:
        Rdict.repair(str(path), _options(DEFAULT_CACHE_BYTES, "salvage"))
    except Exception as error:
        raise store_error(error) from None
    shutil.rmtree(path / "lost", ignore_errors=True)  # where RocksDB puts the others


def _options(cache_bytes: int, recovery: Recovery) -> Options:
    table = BlockBasedOptions()
    table.set_block_cache(Cache(cache_bytes))
    table.set_block_size(4096)
    table.set_bloom_filter(10, False)
    table.set_format_version(5)
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.enable_statistics()
    options.set_block_based_table_factory(table)
    options.set_compression_type(DBCompressionType.lz4())
    # Where most of the data is, and is seldom written.
    options.set_bottommost_compression_type(DBCompressionType.zstd())
    options.set_level_compaction_dynamic_level_bytes(True)
    options.set_max_total_wal_size(MAX_WAL_BYTES)
    options.set_max_open_files(MAX_OPEN_FILES)
    options.set_bytes_per_sync(1 << 20)
    options.set_keep_log_file_num(5)
    options.set_max_log_file_size(16 << 20)
    options.set_wal_recovery_mode(_RECOVERY_MODES[recovery]())
    return options


def _never_stall(options: Options, cache_bytes: int) -> None:
    """Give writers so much room that flushes and compactions are never waited for, and leave all that takes long to the
    threads in the background."""
    buffer_bytes = max(MIN_WRITE_BUFFER_BYTES, min(MAX_WRITE_BUFFER_BYTES, cache_bytes // 4))
    options.set_write_buffer_size(buffer_bytes)
    options.set_max_write_buffer_number(WRITE_BUFFERS)
    options.set_level_zero_slowdown_writes_trigger(SLOWDOWN_FILES)
    options.set_level_zero_stop_writes_trigger(STOP_FILES)
    options.set_max_background_jobs(BACKGROUND_JOBS)
    options.set_avoid_unnecessary_blocking_io(True)  # files and memory tables are freed in the background


_RECOVERY_MODES: dict[Recovery, Callable[[], DBRecoveryMode]] = {
    "strict": DBRecoveryMode.tolerate_corrupted_tail_records,
    "salvage": DBRecoveryMode.point_in_time,
    "skip_damage": DBRecoveryMode.skip_any_corrupted_record,
}


def _startup_error(path: Path, error: Exception) -> StartupError:
    text = str(error)
    lowered = text.lower()
    if "lock" in lowered and "corruption" not in lowered:
        return StartupError(
            f"the data directory {path} is in use by another process: stop it, or choose another directory"
        )
    if "corruption" in lowered or "checksum" in lowered:
        return StartupError(
            f"the data directory {path} is damaged ({text}): restore a backup (`photondb restore`), or run "
            f"`photondb repair {path} --to NEWDIR`, which saves what it can and says what is lost"
        )
    if "permission denied" in lowered:
        return StartupError(f"the data directory {path} cannot be used: Permission denied")
    return StartupError(f"the data directory {path} cannot be opened: {text}")
