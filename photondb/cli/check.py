"""`photondb check`: proves that the documents, indexes, change logs and catalogue of a data directory agree."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from photondb.cli.node_directories import heading, node_directory, node_numbers


def add_check(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "check",
        help="prove that the data of a stopped database is sound",
        description="Read all data of a stopped database, and prove that documents, indexes and change logs agree, on "
        "each of its storage nodes that has its data in that directory. The exit status is 0 when they do; else "
        "standard error says what does not.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the data directory, or a restored one")
    parser.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    from services.storage.check import check_directory

    numbers = node_numbers(arguments.directory)
    statuses = []
    for number in numbers:
        if len(numbers) > 1:
            print(heading(arguments.directory, number), flush=True)
        statuses.append(check_directory(node_directory(arguments.directory, number)))
    return max(statuses)
