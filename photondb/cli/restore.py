"""`photondb restore`: a new data directory from backups, as of their end or of any time in them."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from photondb.cli.node_directories import node_directory, node_numbers
from photondb.cli.progress import ProgressLines
from photondb.config import StartupError


def add_restore(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "restore",
        help="make a new data directory from backups",
        description="Make a new data directory from a full backup and the incremental ones that go on from it. The "
        "backups are verified first, and what comes out is checked.",
    )
    parser.add_argument("backups", type=Path, nargs="+", metavar="BACKUP", help="directories of backups, in any order")
    parser.add_argument("--to", type=Path, required=True, metavar="NEWDIR", help="new directory for the data")
    parser.add_argument(
        "--at",
        type=moment,
        metavar="TIME",
        help="restore documents as of this time, 2026-01-31T12:00:00+00:00 or seconds since 1970",
    )
    parser.set_defaults(run=_restore)


def moment(text: str) -> int:
    """A time in microseconds since 1970, from ISO 8601 (local time when it names no zone) or seconds since 1970.

    Raises ValueError.
    """
    try:
        return round(float(text) * 1_000_000)
    except ValueError:
        return round(datetime.fromisoformat(text).timestamp() * 1_000_000)


def _restore(arguments: argparse.Namespace) -> int:
    missing = restore_nodes(arguments.backups, arguments.to, arguments.at)
    for name, last in missing:
        print(f"without the table {name}, which was dropped after the backup {last}: restore up to that one to have it")
    print(f"restored to {arguments.to}")
    return 0


def restore_nodes(backups: Sequence[Path], target: Path, at_us: int | None) -> list[tuple[str, Path]]:
    """Restore all storage nodes that are in the backups. Raises StartupError, and then `target` does not exist.

    Returns the names of tables that may have been there at `at_us` and are missing, because they were dropped before
    the first backup made after it, with the last backup that has them.
    """
    from services.storage.repair import require_new
    from services.storage.restore import backups_until, restore

    require_new(target)
    numbers = sorted({number for backup in backups for number in node_numbers(backup)})
    of_nodes = {
        number: {node_directory(backup, number): backup for backup in backups if number in node_numbers(backup)}
        for number in numbers
    }
    # Of all nodes the same backups: they are made one after another, and a time may lie in between.
    needed = {of_node[path] for of_node in of_nodes.values() for path in backups_until([*of_node], at_us)}
    if numbers == [0]:
        found = restore([backup for backup in backups if backup in needed], target, at_us, ProgressLines().start)
        return [(table.name, table.last) for table in found]
    partial = target.with_name(f".{target.name}.nodes")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        missing: dict[str, Path] = {}
        for number, of_node in of_nodes.items():
            chosen = [path for path, backup in of_node.items() if backup in needed]
            found = restore(chosen, node_directory(partial, number), at_us, ProgressLines().start)
            missing.update((table.name, of_node[table.last]) for table in found)
        if target.exists():
            target.rmdir()
        partial.rename(target)
        return sorted(missing.items())
    except OSError as error:
        raise StartupError(f"the restored data cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
