"""`photondb repair`: makes a damaged data directory usable again, and says what that costs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from photondb.cli.node_directories import heading, node_directory, node_numbers


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
    from services.storage.repair import repair_directory, require_data, require_new, require_unused

    source, target = arguments.directory, arguments.to
    numbers = node_numbers(source)
    for number in numbers:  # before anything is done to one of them
        require_data(node_directory(source, number))
        require_unused(node_directory(source, number))
    if target is not None:
        require_new(target)
    statuses = []
    for number in numbers:
        if len(numbers) > 1:
            _report(heading(source, number))
        to = None if target is None else node_directory(target, number)
        statuses.append(repair_directory(node_directory(source, number), to, _report))
    return max(statuses)


def _report(line: str) -> None:
    print(line, flush=True)
