"""`photondb restore`: a new data directory from backups, as of their end or of any time in them."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path
from typing import Any

from photondb.cli.progress import ProgressLines


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
    from services.storage.restore import restore

    restore(arguments.backups, arguments.to, arguments.at, ProgressLines().start)
    print(f"restored to {arguments.to}")
    return 0
