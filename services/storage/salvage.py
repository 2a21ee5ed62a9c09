"""Saves what can be read of a store whose table files are damaged, into a new store.

RocksDB refuses to read a block that is damaged, and with it everything else from there on. Where the block ends is
known from the table files (`services.storage.table_file`), so that reading goes on behind it: what is lost is a range
of keys, about 4 KB of them. A file whose index is damaged is lost as a whole, and RocksDB makes a store of those that
are not. Documents in what is lost are made again from the change log, which has them if they were written since it
begins. What does not agree then, indexes and logs, is mended as ever (`services.storage.repair`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from photondb.datum.keys import decode_key
from photondb.datum.text import print_datum
from services.storage import catalog_state, layout
from services.storage.log import Position, decode_record, last_position
from services.storage.rocks import Batch, Store, StoreError, rebuild
from services.storage.table_file import TableFileDamaged, read_blocks
from services.storage.tables import Table
from services.storage.views import View

Report = Callable[[str], None]

BATCH_BYTES = 4 << 20


class Lost(NamedTuple):
    """Keys that cannot be read: those greater than `after` (None: from the beginning of what was read) and smaller than
    `before` (None: to its end), which can be read again."""

    after: bytes | None
    before: bytes | None

    def has(self, key: bytes) -> bool:
        """Whether a key is in the range."""
        return (self.after is None or key > self.after) and (self.before is None or key < self.before)


def is_readable(store: Store) -> bool:
    """Whether all of the store can be read. It takes as long as that takes."""
    try:
        with View(store).read(b"", b"\xff", bulk=True) as reader:
            while not reader.done:
                reader.take(1000)
    except StoreError:
        return False
    return True


def salvage(damaged: Store, target: Store, report: Report) -> None:
    """Copy what can be read of `damaged` to the new store `target`, and tell what cannot.

    Raises StoreError when the catalogue cannot be read: without it nothing makes sense.
    """
    copier = _Copier(damaged, target)
    if copier.copy(layout.META).lost:
        raise StoreError("corrupt", "The catalogue, which says what tables there are, is damaged.")
    state = catalog_state.load(target) or catalog_state.State()
    for record in state.tables.values():
        _salvage_table(copier, Table(record.info, Position(), 1), report)


def leave_out_lost_files(path: Path, report: Report) -> None:
    """Make the store in `path` one without the table files that cannot be opened, if there are such, and tell what was
    in them. Other files that are damaged are lost with them. Raises StartupError or StoreError."""
    names = {file.name for file in path.glob("*.sst") if not _can_be_opened(file)}
    if not names:
        return
    store = Store.open(path, recovery="skip_damage")
    try:
        ranges = [(name, first, last) for name, _, first, last in store.table_files() if name in names]
    finally:
        store.close()
    rebuild(path)
    store = Store.open(path, recovery="salvage")
    try:
        state = catalog_state.load(store) or catalog_state.State()
        for name, first, last in ranges:
            report(f"lost: the table file {name} cannot be opened; what is behind that is told next")
            for record in state.tables.values():
                _leave_out(store, Table(record.info, Position(), 1), first, last, report)
    finally:
        store.close()


def _can_be_opened(file: Path) -> bool:
    try:
        read_blocks(file)
    except TableFileDamaged:
        return False
    return True


def _leave_out(store: Store, table: Table, first: bytes, last: bytes, report: Report) -> None:
    """Put right, from the change log, what there is of a table in the place of a file that is lost, and tell it."""
    prefix, end = table.document_prefix, layout.end_of(table.document_prefix)
    if last < prefix or first >= end:
        return
    name = f"table {table.info.database}.{table.info.name}"
    gap = Lost(first if first >= prefix else None, last if last < end else None)
    report(f"lost: changes of documents of {name} {_documents_in(gap, len(prefix))}: earlier versions may be there now")
    around = Lost(None if gap.after is None else gap.after[:-1], None if gap.before is None else gap.before + b"\0")
    saved = _make_again(store, table, [around])
    report(f"saved: {saved:,} documents of {name} there are as its change log, as far as it is left, says")


def _salvage_table(copier: _Copier, table: Table, report: Report) -> None:
    name = f"table {table.info.database}.{table.info.name}"
    documents = copier.copy(table.document_prefix)
    for index in table.indexes:
        if copier.copy(index.prefix).lost:
            report(f"found: a part of index {index.info.name} of {name} cannot be read")
        copier.copy(layout.build_key(table.id, index.id))
    changes = copier.copy(table.log_prefix)
    for gap in changes.lost:
        report(f"lost: changes of {name}, {_changes_in(gap)}")
    if not documents.lost:
        return
    for gap in documents.lost:
        report(f"found: documents of {name} {_documents_in(gap, len(table.document_prefix))} cannot be read")
    saved = _make_again(copier.target, table, documents.lost)
    doubt = " (not all of its changes can be read, so that these may not be the last ones)" if changes.lost else ""
    report(f"saved: {saved:,} of these documents of {name}, which its change log has{doubt}")
    total = last_position(View(copier.target), table.id).rows
    if changes.lost and changes.lost[-1].before is None:
        report(f"lost: the other documents of {name} there; how many they are cannot be told")
    else:
        report(f"lost: {max(0, total - documents.rows - saved):,} documents of {name} there")


def _make_again(target: Store, table: Table, lost: list[Lost]) -> int:
    """Put the documents of the last changes in the lost ranges where they were. Returns how many these are."""
    last: dict[bytes, bytes | None] = {}
    with View(target).read(table.log_prefix, layout.end_of(table.log_prefix), bulk=True) as records:
        while not records.done:
            for key, value in records.take(100):
                record = decode_record(key, value)
                store_key = table.document_prefix + record.key
                if record.key and any(gap.has(store_key) for gap in lost):
                    last[store_key] = record.new
    batch = Batch()
    made = 0
    for store_key, document in last.items():
        if document is None:
            batch.delete(store_key)
        else:
            batch.put(store_key, document)
            made += 1
    target.write(batch)
    return made


class _Copied(NamedTuple):
    """How many rows were copied, and the ranges of those that cannot be read."""

    rows: int
    lost: list[Lost]


class _Copier:
    """Copies key spaces of a damaged store to another one."""

    def __init__(self, damaged: Store, target: Store) -> None:
        self._damaged = damaged
        self.target = target
        self._ends = _ends_of_blocks(damaged)

    def copy(self, prefix: bytes) -> _Copied:
        """Copy the keys that start with `prefix`."""
        lost: list[Lost] = []
        rows = size = 0
        batch = Batch()
        for found in self._read(prefix, layout.end_of(prefix)):
            if isinstance(found, Lost):
                lost.append(found)
                continue
            key, value = found
            batch.put(key, value)
            rows += 1
            size += len(key) + len(value)
            if size > BATCH_BYTES:
                self.target.write(batch)
                batch, size = Batch(), 0
        self.target.write(batch)
        return _Copied(rows, lost)

    def _read(self, low: bytes, high: bytes) -> Iterator[tuple[bytes, bytes] | Lost]:
        """All rows from `low` to `high` that can be read, and where some cannot."""
        last: bytes | None = None
        place: bytes | None = low
        gap = False
        while place is not None:
            iterator = self._damaged.database.iter()
            iterator.seek(place)
            while iterator.valid():
                key = iterator.key()
                if key >= high:
                    break
                if gap:
                    yield Lost(last, key)
                    gap = False
                yield key, iterator.value()
                last = place = key
                iterator.next()
            if iterator.valid() or _is_at_end(iterator):
                break
            gap = True
            place = self._next_end(place, high)
        if gap:
            yield Lost(last, None)

    def _next_end(self, place: bytes, high: bytes) -> bytes | None:
        """The next key at which some block may have ended, where reading may go on; None when that is not before
        `high`."""
        number = bisect_right(self._ends, place)
        return self._ends[number] if number < len(self._ends) and self._ends[number] < high else None


def _is_at_end(iterator: object) -> bool:
    """Whether an iterator that is not valid has come to the end of the store, and not upon damage."""
    try:
        iterator.status()  # type: ignore[attr-defined]
    except Exception:  # rocksdict raises nothing more precise
        return False
    return True


def _ends_of_blocks(store: Store) -> list[bytes]:
    """The smallest keys behind each block of all table files, in order."""
    ends: set[bytes] = set()
    for name, _, _, last in store.table_files():
        ends.add(last + b"\0")
        ends.update(block.last + b"\0" for block in read_blocks(store.path / name))
    return sorted(ends)


def _documents_in(gap: Lost, start: int) -> str:
    """Where documents are lost, in words."""
    after = None if gap.after is None else _shown(gap.after[start:])
    before = None if gap.before is None else _shown(gap.before[start:])
    if after is None and before is None:
        return "with any primary key"
    if after is None:
        return f"with primary keys before {before}"
    if before is None:
        return f"with primary keys after {after}"
    return f"with primary keys between {after} and {before}"


def _changes_in(gap: Lost) -> str:
    first = "from the first one" if gap.after is None else f"from number {layout.sequence_of(gap.after) + 1:,}"
    last = "to the last one" if gap.before is None else f"to {layout.sequence_of(gap.before) - 1:,}"
    return f"{first} {last}"


def _shown(primary: bytes) -> str:
    try:
        return print_datum(decode_key(primary))
    except ValueError:
        return repr(primary)
