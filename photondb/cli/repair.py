"""`photondb repair`: makes a damaged data directory usable again, and says what that costs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_repair(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "repair",
        help="save what can be saved of damaged data, and say what is lost",
        description="Save what can be saved of the damaged data of a stopped database, and say what is lost. Writes "
        "behind the damage of a write-ahead log are dropped; damaged table files are read around the damage, and what "
        "they lack is taken from the change log; indexes that do not fit the documents are built again.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the damaged data directory")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--to", type=Path, metavar="NEWDIR", help="repair a copy in this new directory")
    where.add_argument("--in-place", action="store_true", help="repair the directory itself, of which nothing is kept")
    parser.set_defaults(run=_repair)


def _repair(arguments: argparse.Namespace) -> int:
    from services.storage.repair import repair_directory

    return repair_directory(arguments.directory, arguments.to, _report)


def _report(line: str) -> None:
    print(line, flush=True)
