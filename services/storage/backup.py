"""Makes backups of a data directory, while it is served or not.

A served one belongs to its server, which is asked for a checkpoint over the socket in the directory: a copy of the
store at one moment that shares its table files. All the work on it is done here, in another process than the server's.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from photondb.config import StartupError
from services.storage import catalog_state, layout
from services.storage.archive import (
    CHANGES,
    PIECE_BYTES,
    BackupFile,
    Manifest,
    Mark,
    Progress,
    Writer,
    read_manifest,
    verify,
    write_manifest,
)
from services.storage.check import CHUNK_BYTES, CHUNK_ROWS, rows
from services.storage.log import Position, decode_position, last_position, oldest_sequence
from services.storage.repair import require_new
from services.storage.rocks import Store, StoreError
from services.storage.views import View

StartProgress = Callable[[str, int], Progress]
"""Begins to show the progress of a step: what it is, and how many bytes it has to deal with."""

_NOT_DATA = ("LOCK", "LOG")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in a directory, to be removed by who has it made. What is not in it was committed after `taken_us`,
    in microseconds since 1970."""

    path: Path
    taken_us: int

    @classmethod
    def take(cls, make: Callable[[], Path]) -> Checkpoint:
        """Have one made."""
        taken_us = time.time_ns() // 1000
        return cls(make(), taken_us)

    def remove(self) -> None:
        """Remove what is left of it."""
        shutil.rmtree(self.path, ignore_errors=True)


def back_up(
    take_checkpoint: Callable[[], Path], target: Path, base: Path | None, start_progress: StartProgress
) -> Manifest:
    """Make a backup in the new directory `target`: all data, or with `base` what changed since that backup was made.

    `take_checkpoint` makes a checkpoint, which is removed when all is done. Raises StartupError, and then there is no
    backup.
    """
    require_new(target)
    before = None if base is None else read_manifest(base)
    checkpoint = Checkpoint.take(take_checkpoint)
    try:
        return write_backup(checkpoint, target, before, start_progress)
    finally:
        checkpoint.remove()


def write_backup(taken: Checkpoint, target: Path, before: Manifest | None, start_progress: StartProgress) -> Manifest:
    """Make a backup of a checkpoint in `target`, which has no backup yet: all of it, or what changed since `before`.
    Raises StartupError, and then there is nothing in `target`."""
    checkpoint = taken.path
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            files = [] if before is not None else _write_files(checkpoint, target, start_progress)
            store = Store.open(checkpoint)
            try:
                state = catalog_state.load(store) or catalog_state.State()
                positions = {table: last_position(View(store), table) for table in state.tables}
                if before is not None:
                    files = [_write_changes(store, state, positions, before, target, start_progress)]
            finally:
                store.close()
            marks = {table: Mark(position.sequence, position.time_us) for table, position in positions.items()}
            manifest = Manifest(
                kind="full" if before is None else "incremental",
                id=str(uuid.uuid4()),
                node_id=state.counters.node_id,
                taken_us=taken.taken_us,
                marks=marks,
                files=files,
                base=None if before is None else before.id,
            )
            verify(target, manifest, start_progress("verifying", sum(file.stored_size for file in files)))
            write_manifest(target, manifest)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
    except StoreError as error:
        raise StartupError(f"the backup failed: {error}") from None
    except OSError as error:
        raise StartupError(f"the backup cannot be written: {error.strerror or error}") from None
    return manifest


def require_whole_tables(home: Checkpoint, marks: Mapping[int, Mapping[int, Mark]]) -> None:
    """See that what was backed up of other nodes has the parts of tables that home's catalogue says they were filled
    with; `marks` are those of the nodes' backups. Raises StartupError."""
    store = Store.open(home.path)
    try:
        state = catalog_state.load(store) or catalog_state.State()
    finally:
        store.close()
    for record in state.tables.values():
        info = record.info
        for node, start in zip(info.nodes, info.starts, strict=False):
            if node in marks and marks[node].get(info.id, Mark(0, 0)).sequence < start:
                raise StartupError(
                    f"table {info.database}.{info.name} was divided anew while the backup was made: make it again"
                )


def _write_files(checkpoint: Path, target: Path, start_progress: StartProgress) -> list[BackupFile]:
    paths = sorted(path for path in checkpoint.iterdir() if not path.name.startswith(_NOT_DATA))
    progress = start_progress("copying", sum(path.stat().st_size for path in paths))
    files = []
    for path in paths:
        writer = Writer(target, path.name)
        with path.open("rb") as source:
            while piece := source.read(PIECE_BYTES):
                writer.write(piece)
                progress(len(piece))
        files.append(writer.finish())
    return files


def _write_changes(
    store: Store,
    state: catalog_state.State,
    positions: dict[int, Position],
    base: Manifest,
    target: Path,
    start_progress: StartProgress,
) -> BackupFile:
    """Write the catalogue and the records since the base. Raises StartupError when the log does not have them all."""
    if state.counters.node_id != base.node_id:
        raise StartupError("the base is a backup of other data: make a full backup")
    view = View(store)
    starts = {}
    for table, position in positions.items():
        mark = base.marks.get(table, Mark(0, 0))
        if not _goes_on_from(store, view, table, position, mark):
            info = state.tables[table].info
            raise StartupError(
                f"the change log of table {info.database}.{info.name} does not go back to the base: make a full backup"
            )
        starts[table] = mark.sequence + 1
    start_bytes = {table: _log_bytes_before(store, table, start) for table, start in starts.items()}
    total = sum(positions[table].log_bytes - start_bytes[table] for table in positions)
    progress = start_progress("copying changes", total)
    writer = Writer(target, CHANGES)
    for key, value in rows(view, layout.META):
        writer.write_row(key, value)
    for table, start in starts.items():
        low, high = layout.record_key(table, layout.SHARD, start), layout.end_of(layout.log_prefix(table))
        with view.read(low, high, bulk=True) as reader:
            while not reader.done:
                for key, value in reader.take(CHUNK_ROWS, CHUNK_BYTES):
                    writer.write_row(key, value)
                    progress(len(value))
    return writer.finish()


def _goes_on_from(store: Store, view: View, table: int, position: Position, mark: Mark) -> bool:
    """Whether the log has every record after the mark, and is the log that the mark was set in."""
    if position.sequence < mark.sequence:
        return False
    if position.sequence > mark.sequence and oldest_sequence(view, table) > mark.sequence + 1:
        return False
    record = store.get(layout.record_key(table, layout.SHARD, mark.sequence))
    return record is None or decode_position(mark.sequence, record).time_us == mark.time_us


def _log_bytes_before(store: Store, table: int, start: int) -> int:
    record = store.get(layout.record_key(table, layout.SHARD, start))
    return 0 if record is None else decode_position(start, record).log_bytes - len(record)
