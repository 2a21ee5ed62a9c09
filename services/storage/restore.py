"""Makes a data directory from a full backup and the incremental ones that go on from it, as of any time in them.

The records of the incremental backups are made again on top of the full one. An earlier time is reached from there by
undoing the newest records, since each holds the document before it, too.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from photondb.api.catalogue import CatalogueChange, DropDatabase, DropIndex, DropTable, RestartCopy
from photondb.config import StartupError
from services.storage import catalog, catalog_state, layout
from services.storage.archive import Manifest, Progress, extract, read_manifest, read_rows, verify
from services.storage.backup import StartProgress
from services.storage.check import check_store
from services.storage.log import decode_record
from services.storage.repair import require_new
from services.storage.replay import replay
from services.storage.rocks import Batch, Store, StoreError
from services.storage.tables import Table
from services.storage.views import View

BATCH_BYTES = 4 << 20


@dataclass(frozen=True)
class Missing:
    """A table that was dropped between two backups, so that its last documents are in neither."""

    name: str
    last: Path
    """The backup that still has it."""


def backups_until(backups: Sequence[Path], at_us: int | None) -> list[Path]:
    """Those of the backups that are needed for a time, in microseconds since 1970: up to the first one made after it.
    All of them without one. Raises StartupError when they end before."""
    chain = _chain({path: read_manifest(path) for path in backups})
    if at_us is None:
        return [path for path, _ in chain]
    for count, (_, manifest) in enumerate(chain, 1):
        if manifest.taken_us >= at_us:
            return [path for path, _ in chain[:count]]
    raise StartupError(_ends_before(chain))


def restore(backups: Sequence[Path], target: Path, at_us: int | None, start_progress: StartProgress) -> list[Missing]:
    """Restore the backups (a full one, and incremental ones in any order) to the new directory `target`.

    With `at_us` (microseconds since 1970) documents are what they were then, and databases, tables and indexes that
    were made later are left out. What was dropped before the last of the backups is not in it: the tables that the one
    before it had are returned then. What comes out is checked as `photondb check` does. Raises StartupError, and then
    `target` does not exist.
    """
    require_new(target)
    chain = _chain({path: read_manifest(path) for path in backups})
    if at_us is not None and chain[-1][1].taken_us < at_us:
        raise StartupError(_ends_before(chain))
    stored = sum(file.stored_size for _, manifest in chain for file in manifest.files)
    progress = start_progress("verifying", stored)
    for path, manifest in chain:
        verify(path, manifest, progress)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        missing = _restore(chain, partial, at_us, start_progress)
        if target.exists():
            target.rmdir()
        partial.rename(target)
        return missing
    except StoreError as error:
        raise StartupError(f"the restore failed: {error}") from None
    except OSError as error:
        raise StartupError(f"the restored data cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _chain(manifests: dict[Path, Manifest]) -> list[tuple[Path, Manifest]]:
    """The backups in their order. Raises StartupError when one is missing or does not belong to the others."""
    full = [(path, manifest) for path, manifest in manifests.items() if manifest.kind == "full"]
    if len(full) != 1:
        raise StartupError(f"one full backup is needed, and {len(full)} were given")
    chain = full
    following = {manifest.base: (path, manifest) for path, manifest in manifests.items() if manifest.base is not None}
    while (found := following.pop(chain[-1][1].id, None)) is not None:
        chain.append(found)
    if len(chain) < len(manifests):
        left = next(str(path) for path in manifests if path not in {known for known, _ in chain})
        raise StartupError(f"{left} does not go on from the other backups: give the ones in between, too")
    return chain


def _ends_before(chain: list[tuple[Path, Manifest]]) -> str:
    return f"the backups end at {_shown(chain[-1][1].taken_us)}: choose a time before that"


def _restore(
    chain: list[tuple[Path, Manifest]], directory: Path, at_us: int | None, start_progress: StartProgress
) -> list[Missing]:
    directory.mkdir(mode=0o700, parents=True)
    path, full = chain[0]
    progress = start_progress("restoring", sum(file.size for file in full.files))
    for file in full.files:
        if "/" in file.name or file.name.startswith("."):
            raise StartupError(f"the backup {path} holds a file of the impossible name {file.name!r}")
        extract(path, file, directory / file.name)
        progress(file.size)
    store = Store.open(directory)
    try:
        before = catalog_state.State()
        for path, manifest in chain[1:]:
            before = catalog_state.load(store) or before
            _apply(store, path, manifest, start_progress)
        missing = []
        if at_us is not None:
            missing = [Missing(name, chain[-2][0]) for name in _dropped(before, catalog_state.load(store) or before)]
            _leave_out_newer(store, at_us)
            _undo(store, at_us)
        _begin_copies_anew(store)
        store.sync()
        start_progress("checking", 0)
        for problem in check_store(store):
            raise StartupError(f"the restored data is not sound: {problem}")
        return missing
    finally:
        store.close()


def _apply(store: Store, path: Path, manifest: Manifest, start_progress: StartProgress) -> None:
    """Make the changes of an incremental backup."""
    (file,) = manifest.files
    progress = start_progress("making changes again", file.size)
    before = catalog_state.load(store) or catalog_state.State()
    changes = read_rows(path, file)
    batch = Batch()
    batch.delete_range(layout.META, layout.end_of(layout.META))
    first: tuple[bytes, bytes] | None = None
    for key, value in changes:
        if not key.startswith(layout.META):
            first = key, value
            break
        batch.put(key, value)
        progress(len(key) + len(value))
    store.write(batch)
    _adopt_catalogue(store, before)
    if first is not None:
        _make_again(store, first, changes, progress)


def _adopt_catalogue(store: Store, before: catalog_state.State) -> None:
    """Remove what was dropped, and have the indexes that are new to the store built when it is next served."""
    state = catalog_state.load(store) or catalog_state.State()
    batch = Batch()
    for table_id, record in before.tables.items():
        now = state.tables.get(table_id)
        ranges = layout.table_ranges(table_id) if now is None else []
        if now is not None:
            kept = {index.id for index in now.info.indexes}
            for index in record.info.indexes:
                if index.id not in kept:
                    ranges += layout.index_ranges(table_id, index.id)
        for low, high in ranges:
            batch.delete_range(low, high)
    for table_id, record in state.tables.items():
        earlier = before.tables.get(table_id)
        built = {index.id for index in earlier.info.indexes if index.ready} if earlier is not None else set()
        for index in record.info.indexes:
            if index.ready and index.id not in built:
                outcome = catalog.mark_unready(state, table_id, index.id)
                outcome.write_to(batch, store)
                state = outcome.state
    store.write(batch)


def _make_again(
    store: Store, first: tuple[bytes, bytes], others: Iterator[tuple[bytes, bytes]], progress: Progress
) -> None:
    tables = _tables(store)
    batch = Batch()
    size = 0
    for key, value in itertools.chain([first], others):
        record = decode_record(key, value)
        replay(batch, tables[layout.table_of(key)], record.key, record.old, record.new)
        batch.put(key, value)
        progress(len(key) + len(value))
        size += len(value)
        if size > BATCH_BYTES:
            store.write(batch)
            batch, size = Batch(), 0
    store.write(batch)


def _begin_copies_anew(store: Store) -> None:
    """Throw away what was copied of tables that were being divided anew: the nodes were backed up one after another, so
    that they do not have what home had noted. The others hear of that from home."""
    state = catalog_state.load(store) or catalog_state.State()
    if state.counters.node != catalog_state.HOME:
        return
    for copy in state.copies():
        outcome = catalog.carry_out(state, RestartCopy(copy.info.id))
        batch = Batch()
        outcome.write_to(batch, store)
        store.write(batch)
        state = outcome.state


def _dropped(before: catalog_state.State, after: catalog_state.State) -> list[str]:
    """The names of tables that were there before, and are not any more."""
    gone = [record.info for table, record in before.tables.items() if table not in after.tables]
    return sorted(f"{info.database}.{info.name}" for info in gone)


def _leave_out_newer(store: Store, at_us: int) -> None:
    """Drop the databases, tables and indexes that were made after `at_us`."""
    state = catalog_state.load(store) or catalog_state.State()
    infos = [record.info for record in state.tables.values()]
    changes: list[CatalogueChange] = [
        DropDatabase(database.name) for database in state.databases.values() if database.created_us > at_us
    ]
    dropped = {change.name for change in changes if isinstance(change, DropDatabase)}
    infos = [info for info in infos if info.database not in dropped]
    changes += [DropTable(info.database, info.name) for info in infos if info.created_us > at_us]
    changes += [
        DropIndex(info.database, info.name, index.name)
        for info in infos
        for index in info.indexes
        if info.created_us <= at_us < index.created_us
    ]
    for change in changes:
        outcome = catalog.carry_out(state, change)
        if state.counters.node != catalog_state.HOME:  # home's is the newer version, and will be adopted
            outcome.state = replace(outcome.state, counters=state.counters)
        batch = Batch()
        outcome.write_to(batch, store)
        store.write(batch)
        state = outcome.state


def _undo(store: Store, at_us: int) -> None:
    """Undo everything after `at_us`."""
    for table in _tables(store).values():
        batch = Batch()
        size = 0
        reached = False
        sequence = table.position.sequence
        view = View(store)
        with view.read(table.log_prefix, layout.end_of(table.log_prefix), descending=True) as reader:
            while not reader.done and not reached:
                for key, value in reader.take(100):
                    record = decode_record(key, value)
                    if record.time_us <= at_us:
                        reached = True
                        break
                    replay(batch, table, record.key, record.new, record.old)
                    batch.delete(key)
                    sequence = record.sequence - 1
                    size += len(value)
                if size > BATCH_BYTES:
                    store.write(batch)
                    batch, size = Batch(), 0
        if sequence and not reached:
            name = f"{table.info.database}.{table.info.name}"
            raise StartupError(f"the backups do not go back to {_shown(at_us)} for table {name}")
        store.write(batch)


def _tables(store: Store) -> dict[int, Table]:
    state = catalog_state.load(store) or catalog_state.State()
    return {table: Table.load(View(store), record.info) for table, record in state.tables.items()}


def _shown(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1_000_000, UTC).isoformat()
