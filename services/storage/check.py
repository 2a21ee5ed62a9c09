"""Checks that a store is consistent: that documents, index entries, change log and catalogue say the same.

It reads the whole store, so it takes minutes for a large one, and needs it for itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from photondb.config import StartupError
from photondb.datum.json import loads_stored
from photondb.datum.keys import primary_key
from photondb.sharding.placement import part_of
from services.storage import catalog_state, layout
from services.storage.indexes import Entries, Index
from services.storage.log import HEADER, Position, decode_record, last_position
from services.storage.rocks import Store, StoreError
from services.storage.tables import Table
from services.storage.views import View

CHUNK_ROWS = 500
CHUNK_BYTES = 4 << 20
"""How much is read at a time."""


def check_directory(path: Path) -> int:
    """Check the store in a data directory that no server has open, and print what is found.

    Returns the exit status: 0 when nothing is wrong. Raises StartupError when the directory cannot be used.
    """
    if not (path / "CURRENT").exists():
        raise StartupError(f"there is no PhotonDB data in {path}")
    store = Store.open(path)
    problems = 0
    try:
        for line in summary(store):
            print(line)
        for problem in check_store(store):
            problems += 1
            print(problem, file=sys.stderr)
    except (StoreError, msgspec.MsgspecError) as error:
        problems += 1
        print(f"The catalogue cannot be read: {error}", file=sys.stderr)
    finally:
        store.close()
    return 1 if problems else 0


def check_store(store: Store) -> Iterator[str]:
    """What is wrong in the store, a sentence each. Raises StoreError when the catalogue cannot be read."""
    state = catalog_state.load(store)
    if state is None:
        yield "There is no catalogue."
        return
    view = View(store)
    for record in state.tables_here().values():
        table = Table.load(view, record.info, state.counters.node)
        if record.info.id >= state.counters.next_table:
            yield f"Table {record.info.name}: its id would be given to another table, too."
        try:
            yield from check_table(view, table)
        except StoreError as error:  # the other tables may be sound
            yield f"Table {record.info.database}.{record.info.name}: {error}"
    yield from _check_strays(view, state)


def check_table(view: View, table: Table) -> Iterator[str]:
    """What is wrong in one table. Raises StoreError for a damaged file."""
    name = f"Table {table.info.database}.{table.info.name}"
    count = size = 0
    expected: dict[int, int] = {index.id: 0 for index in table.indexes}
    for key, value in rows(view, table.document_prefix):
        primary = key[len(table.document_prefix) :]
        count += 1
        size += len(value)
        try:
            document = loads_stored(value)
        except ValueError:
            yield f"{name}: the document {primary!r} is not JSON."
            continue
        if type(document) is not dict or table.primary_key not in document:
            yield f"{name}: the document {primary!r} has no primary key."
            continue
        if primary_key(document[table.primary_key]) != primary:
            yield f"{name}: the document {primary!r} has another primary key."
        if table.info.is_spread and part_of(primary, len(table.info.nodes)) != table.part:
            yield f"{name}: the document {primary!r} belongs to another storage node."
        for index in table.indexes:
            if not index.info.ready:
                continue
            for entry, wanted in index.entries(primary, document, value).items():
                expected[index.id] += 1
                (found,) = view.get_many([entry])
                if found != wanted:
                    yield f"{name}: index {index.info.name} lacks an entry of the document {primary!r}."
    for index in table.indexes:
        yield from _check_index(view, table, index, expected[index.id])
    yield from _check_log(view, table, count, size)


def _check_index(view: View, table: Table, index: Index, expected: int) -> Iterator[str]:
    """Every entry must be one of its document. That no entry lacks was seen from the documents."""
    name = f"Table {table.info.database}.{table.info.name}: index {index.info.name}"
    count = 0
    for key, value in rows(view, index.prefix):
        count += 1
        primary = index.primary_of(value)
        (raw,) = view.get_many([table.document_prefix + primary])
        if raw is None:
            yield f"{name} has an entry of the document {primary!r}, which does not exist."
        elif _entries(index, primary, raw).get(key) != value:
            yield f"{name} has an entry that the document {primary!r} should not have."
    if index.info.ready and count != expected:
        yield f"{name} has {count} entries where {expected} are right."


def _entries(index: Index, primary: bytes, raw: bytes) -> Entries:
    try:
        return index.entries(primary, loads_stored(raw), raw)
    except ValueError:  # that it is not JSON was said before
        return {}


def _check_log(view: View, table: Table, documents: int, size: int) -> Iterator[str]:
    name = f"Table {table.info.database}.{table.info.name}: the change log"
    last: Position | None = None
    newest: dict[bytes, int] = {}  # hashes, because the log may be larger than memory
    for key, value in rows(view, table.log_prefix):
        record = decode_record(key, value)
        time_us, row_total, byte_total, log_total, *_ = HEADER.unpack_from(value)
        if last is not None:
            if record.sequence != last.sequence + 1:
                yield f"{name} lacks the records from {last.sequence + 1} to {record.sequence - 1}."
            if time_us < last.time_us:
                yield f"{name} goes back in time at record {record.sequence}."
            grown = (record.old is None) - (record.new is None)
            if row_total != last.rows + grown or log_total != last.log_bytes + len(value):
                yield f"{name} has wrong totals in record {record.sequence}."
            if newest.get(record.key, hash(record.old)) != hash(record.old):
                yield f"{name}: the old document of record {record.sequence} is not what was there."
        last = Position(record.sequence, time_us, row_total, byte_total, log_total)
        newest[record.key] = hash(record.new)
    if last is not None and (last.rows != documents or last.document_bytes != size):
        yield (
            f"{name} counts {last.rows} documents of {last.document_bytes} bytes, "
            f"but there are {documents} of {size} bytes."
        )
    if last is None and documents:
        yield f"{name} is empty, but there are {documents} documents."
    for key, document in newest.items():
        (found,) = view.get_many([table.document_prefix + key])
        if hash(found) != document:
            yield f"{name}: the document {key!r} is not what its last record says."


def _check_strays(view: View, state: catalog_state.State) -> Iterator[str]:
    """Keys of tables and indexes that do not exist."""
    here = state.tables_here()
    kept = state.kept_logs()
    for kind in (b"d", b"i", b"l", b"b"):
        low = kind
        while True:
            with view.read(low, layout.end_of(kind), keys_only=True) as reader:
                keys = reader.take_keys(1)
            if not keys:
                break
            table = int.from_bytes(keys[0][1:5], "big")
            record = here.get(table)
            if record is None and not (kind == b"l" and table in kept):
                yield f"There are keys of the kind {kind.decode()} of a table {table} that does not exist."
            prefix = keys[0][:5]
            if kind in (b"i", b"b") and record is not None:
                index = int.from_bytes(keys[0][5:9], "big")
                if index not in {found.id for found in record.info.indexes}:
                    yield f"Table {record.info.name}: there are keys of an index {index} that does not exist."
                prefix = keys[0][:9]
            low = layout.end_of(prefix)


def rows(view: View, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All keys that start with `prefix`, and their values. Raises StoreError."""
    with view.read(prefix, layout.end_of(prefix)) as reader:
        while not reader.done:
            yield from reader.take(CHUNK_ROWS, CHUNK_BYTES)


def summary(store: Store) -> Iterator[str]:
    """What is in the store, a line for each table."""
    state = catalog_state.load(store) or catalog_state.State()
    view = View(store)
    for record in sorted(state.tables_here().values(), key=lambda record: (record.info.database, record.info.name)):
        position = last_position(view, record.info.id)
        yield (
            f"{record.info.database}.{record.info.name}: {position.rows:,} documents of {position.document_bytes:,} "
            f"bytes, change {position.sequence:,}"
        )
