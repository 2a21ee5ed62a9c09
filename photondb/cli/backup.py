"""`photondb backup`: a consistent copy of all data, or of what changed since an earlier one, while it is served."""

from __future__ import annotations

import argparse
import shutil
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from photondb.api.context import CallContext
from photondb.cli.node_directories import node_directory, node_numbers
from photondb.cli.progress import ProgressLines
from photondb.config import Settings, StartupError
from photondb.hosting.serving import control_address
from photondb.reql.errors import ReqlError
from photondb.rpc.loop import run
from photondb.rpc.storage import StorageStub

if TYPE_CHECKING:
    from services.storage.archive import Manifest

CHECKPOINT_TIMEOUT_S = 120.0
"""A checkpoint waits for what is in memory to be written out."""


def add_backup(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "backup",
        help="back the data up, while it is served or not",
        description="Make a backup of all data at one moment, compressed and with checksums, on the machine that has "
        "the data directory and as the user who owns it. The database may be running. Of several storage nodes those "
        "are backed up that have their data in that directory, each at a moment of its own, milliseconds apart.",
    )
    parser.add_argument("--to", type=Path, required=True, metavar="BACKUP", help="new directory for the backup")
    parser.add_argument(
        "--incremental", type=Path, metavar="BASE", help="back up only what changed since the backup in this directory"
    )
    parser.add_argument("--data-dir", metavar="DIR", help="directory that holds the data (default: ./data)")
    parser.set_defaults(run=_backup)


def _backup(arguments: argparse.Namespace) -> int:
    settings = Settings.load({} if arguments.data_dir is None else {"data_dir": arguments.data_dir})
    manifest, size = back_up_nodes(settings.data_dir, arguments.to, arguments.incremental)
    print(f"{manifest.kind} backup of {size / 1e6:,.1f} MB in {arguments.to}")
    return 0


def back_up_nodes(data_dir: Path, target: Path, base: Path | None) -> tuple[Manifest, int]:
    """Back up all storage nodes that have their data in a directory. Gives the manifest of node 0's backup, and how
    many bytes all take. Raises StartupError, and then there is no backup.

    Node 0 is the last one at both: its catalogue knows then all that the others have adopted, and without its manifest
    what there is so far is no backup. A node that the base does not have yet is backed up as a whole.
    """
    from services.storage.archive import read_manifest
    from services.storage.backup import Checkpoint, require_whole_tables, write_backup
    from services.storage.repair import require_new

    require_new(target)
    numbers = list(reversed(node_numbers(data_dir)))
    bases = {}
    for number in numbers:
        earlier = None if base is None else node_directory(base, number)
        bases[number] = read_manifest(earlier) if earlier is not None and (number == 0 or earlier.is_dir()) else None
    checkpoints = {}
    try:
        for number in numbers:
            checkpoints[number] = Checkpoint.take(partial(take_checkpoint, node_directory(data_dir, number)))
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        size = 0
        marks = {}
        for number in numbers:
            to = node_directory(target, number)
            manifest = write_backup(checkpoints[number], to, bases[number], ProgressLines().start)
            marks[number] = manifest.marks
            size += sum(file.stored_size for file in manifest.files)
        require_whole_tables(checkpoints[numbers[-1]], marks)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    finally:
        for checkpoint in checkpoints.values():
            checkpoint.remove()
    return manifest, size


def take_checkpoint(data_dir: Path) -> Path:
    """Make a checkpoint of a data directory: its server does if there is one. Raises StartupError."""
    from services.storage.repair import require_data, require_unused
    from services.storage.rocks import Store
    from services.storage.service import CHECKPOINTS

    require_data(data_dir)
    try:
        require_unused(data_dir)
    except StartupError:
        return _ask_server(data_dir)
    path = data_dir / CHECKPOINTS / f"{time.time_ns()}"
    path.parent.mkdir(exist_ok=True)
    store = Store.open(data_dir)
    try:
        store.checkpoint(path)
    finally:
        store.close()
    return path


def _ask_server(data_dir: Path) -> Path:
    paths: list[Path] = []

    async def ask() -> None:
        with control_address(data_dir) as address:
            stub = StorageStub(address)
            try:
                context = CallContext(deadline=time.monotonic() + CHECKPOINT_TIMEOUT_S)
                paths.append(Path(await stub.checkpoint(context)))
            finally:
                await stub.close()

    try:
        run(ask())
    except ReqlError as error:
        raise StartupError(f"the server of {data_dir} makes no checkpoint: {error.message}") from None
    return paths[0]
