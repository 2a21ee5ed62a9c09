"""Makes a damaged store usable again, and says what that costs.

Three kinds of damage can be mended. A damaged write-ahead log loses every write behind the damage: how many, and to
which tables, is found out from a copy in which the log is read on beyond it. Of damaged table files everything is saved
that can be read around the damage, and more of it from the change log (`services.storage.salvage`). Where documents,
indexes and the change log of a table do not agree then, the documents are taken for true: the indexes are built again,
and the log starts anew, so that live queries begin again and history is lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from photondb.api.catalogue import TableInfo
from photondb.config import StartupError
from photondb.datum.errors import DatumError
from photondb.datum.json import loads_stored
from photondb.datum.keys import primary_key
from services.storage import catalog, catalog_state, layout
from services.storage.check import check_store, check_table, rows
from services.storage.log import HEADER, last_position
from services.storage.rocks import Batch, Store, StoreError
from services.storage.salvage import is_readable, leave_out_lost_files, salvage
from services.storage.tables import Table
from services.storage.views import View

Report = Callable[[str], None]

BEYOND_REPAIR = "This cannot be mended: restore a backup."


def repair_directory(source: Path, target: Path | None, report: Report) -> int:
    """Repair a copy of `source` in the new directory `target`, or `source` itself when that is None.

    Each thing that is lost or mended is told to `report`. Returns the exit status: 0 when the result is sound, 1 when
    it is not. Raises StartupError when the directories cannot be used.
    """
    require_data(source)
    require_unused(source)
    if target is not None:
        require_new(target)
        report(f"copying {source} to {target}")
        copy_data(source, target)
    path = source if target is None else target
    after_damage = _positions_beyond_damage(path)
    try:
        leave_out_lost_files(path, report)
        store = Store.open(path, recovery="salvage")
    except StoreError as error:
        report(f"{error} {BEYOND_REPAIR}")
        return 1
    try:
        if not is_readable(store):
            store = _replace_by_what_is_readable(store, report)
        _report_lost_changes(store, after_damage, report)
        _mend(store, report)
        problems = list(check_store(store))
        for problem in problems:
            report(f"not mended: {problem}")
        store.sync()
    except StoreError as error:
        report(f"{error} {BEYOND_REPAIR}")
        return 1
    finally:
        store.close()
    return 1 if problems else 0


def require_data(path: Path) -> None:
    """Raise StartupError when there is no store in `path`."""
    if not (path / "CURRENT").exists():
        raise StartupError(f"there is no PhotonDB data in {path}")


def require_unused(path: Path) -> None:
    """Raise StartupError when a process has the store in `path` open."""
    try:
        with open(path / "LOCK", "a") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StartupError(f"the data directory {path} is in use by another process: stop it first") from None
    except OSError as error:
        raise StartupError(f"the data directory {path} cannot be used: {error.strerror}") from None


def require_new(path: Path) -> None:
    """Raise StartupError when there is anything in `path` already: nothing is ever overwritten."""
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise StartupError(f"{path} exists already: choose a new directory")
    except OSError as error:
        raise StartupError(f"{path} cannot be used: {error.strerror}") from None


def copy_data(source: Path, target: Path, *, link_tables: bool = False) -> None:
    """Copy the files of a store. With `link_tables` its table files, which never change, are shared."""
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for entry in sorted(source.iterdir()):
        if entry.name == "LOCK" or not entry.is_file():
            continue
        if link_tables and entry.suffix == ".sst":
            with contextlib.suppress(OSError):  # a file system without links
                os.link(entry, target / entry.name)
                continue
        shutil.copy2(entry, target / entry.name)


def _positions_beyond_damage(path: Path) -> dict[int, int] | None:
    """The last sequence of each table when the write-ahead log is read on beyond its damage, as far as it can be; None
    when it cannot."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        copy_data(path, scratch, link_tables=True)
        store = Store.open(scratch, recovery="skip_damage")
        try:
            return _positions(store)
        finally:
            store.close()
    except (StartupError, StoreError, msgspec.MsgspecError):
        return None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)  # RocksDB may still be removing files itself


def _positions(store: Store) -> dict[int, int]:
    """The last sequence of each table, as far as the change logs can be read."""
    state = catalog_state.load(store) or catalog_state.State()
    view = View(store)
    positions = {}
    for table in state.tables:
        with contextlib.suppress(StoreError):
            positions[table] = last_position(view, table).sequence
    return positions


def _replace_by_what_is_readable(store: Store, report: Report) -> Store:
    """Put a new store, with what can be read, in the place of one with damaged table files. Raises StoreError when
    there is no making sense of it; then nothing has changed."""
    path = store.path
    report("found: table files are damaged; what can be read around the damage is copied")
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        saved = Store.open(scratch)
        try:
            salvage(store, saved, report)
        finally:
            saved.close()
        store.close()
        for entry in path.iterdir():
            if entry.is_file() and entry.name != "LOCK":
                entry.unlink()
        for entry in scratch.iterdir():
            if entry.name != "LOCK":
                entry.rename(path / entry.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Store.open(path, recovery="salvage")


def _report_lost_changes(store: Store, after_damage: dict[int, int] | None, report: Report) -> None:
    state = catalog_state.load(store) or catalog_state.State()
    if after_damage is None:
        report("what was behind the damage of the write-ahead log is lost; how much that is cannot be told")
        return
    for table, sequence in _positions(store).items():
        last = after_damage.pop(table, sequence)
        if last > sequence:
            info = state.tables[table].info
            report(f"lost: {last - sequence:,} changes of {_name(info)}, numbers {sequence + 1:,} to {last:,} at least")
    for table, last in after_damage.items():
        report(f"lost: a table with the number {table}, and its {last:,} changes")


def _mend(store: Store, report: Report) -> None:
    state = catalog_state.load(store)
    if state is None:
        return
    for table_id in sorted(state.tables):
        table = Table.load(View(store), state.tables[table_id].info)
        problems = list(check_table(View(store), table))
        if problems:
            for problem in problems:
                report(f"found: {problem}")
            _remove_bad_documents(store, table, report)
            _restart_log(store, table)
            state = _reset_indexes(store, state, table)
            report(f"mended: {_name(table.info)} has a new change log; its indexes are built when it is next served")
    _remove_strays(store, state, report)


def _remove_bad_documents(store: Store, table: Table, report: Report) -> None:
    """Remove what is no document, and tell all of it, since this is the last that is seen of it."""
    batch = Batch()
    for key, value in rows(View(store), table.document_prefix):
        primary = key[len(table.document_prefix) :]
        try:
            document = loads_stored(value)
            good = type(document) is dict and primary_key(document.get(table.primary_key)) == primary
        except (ValueError, DatumError):
            good = False
        if not good:
            report(f"lost: {_name(table.info)} had {value!r} under the key {primary!r}")
            batch.delete(key)
    if len(batch):
        store.write(batch)


def _restart_log(store: Store, table: Table) -> None:
    """Replace the log by one record that changes nothing and has the right totals.

    Its number leaves a gap, so that whoever reads on from an old one learns that changes are missing.
    """
    count = size = 0
    for _, value in rows(View(store), table.document_prefix):
        count += 1
        size += len(value)
    time_us = max(time.time_ns() // 1000, table.position.time_us)
    record = HEADER.pack(time_us, count, size, HEADER.size, 0, 0, 0)
    batch = Batch()
    batch.delete_range(table.log_prefix, layout.end_of(table.log_prefix))
    batch.put(layout.record_key(table.id, layout.SHARD, table.position.sequence + 2), record)
    store.write(batch)


def _reset_indexes(store: Store, state: catalog_state.State, table: Table) -> catalog_state.State:
    """Delete the entries of the table's indexes, and have them built anew."""
    for index in table.indexes:
        batch = Batch()
        for low, high in layout.index_ranges(table.id, index.id):
            batch.delete_range(low, high)
        outcome = catalog.mark_unready(state, table.id, index.id)
        outcome.write_to(batch, store)
        store.write(batch)
        state = outcome.state
    return state


def _remove_strays(store: Store, state: catalog_state.State, report: Report) -> None:
    """Remove what belongs to tables and indexes that do not exist."""
    batch = Batch()
    for kind in (b"d", b"i", b"l", b"b"):
        low = kind
        while True:
            with View(store).read(low, layout.end_of(kind), keys_only=True) as reader:
                keys = reader.take_keys(1)
            if not keys:
                break
            prefix = keys[0][:5]
            record = state.tables.get(int.from_bytes(prefix[1:], "big"))
            stray = record is None
            if record is not None and kind in (b"i", b"b"):
                prefix = keys[0][:9]
                stray = int.from_bytes(prefix[5:], "big") not in {index.id for index in record.info.indexes}
            if stray:
                batch.delete_range(prefix, layout.end_of(prefix))
                report(f"removed: keys of the kind {kind.decode()} that belong to nothing")
            low = layout.end_of(prefix)
    if len(batch):
        store.write(batch)


def _name(info: TableInfo) -> str:
    return f"table {info.database}.{info.name}"
