"""Where the storage nodes of a suite on one machine have their data: node 0 in the data directory itself, the others in
directories within it. Backups are laid out in the same way."""

from __future__ import annotations

import re
from pathlib import Path

from photondb.config import StartupError

_NAME = re.compile(r"storage-([1-9][0-9]?)")


def storage_name(number: int) -> str:
    """The name of a storage node other than node 0, and of its directory."""
    return f"storage-{number}"


def node_directory(directory: Path, number: int) -> Path:
    """The directory of a node within that of its suite."""
    return directory / storage_name(number) if number else directory


def node_numbers(directory: Path) -> list[int]:
    """The nodes that have a directory there, node 0 first. Raises StartupError when it cannot be looked at."""
    try:
        found = [_NAME.fullmatch(entry.name) for entry in directory.iterdir() if entry.is_dir()]
    except FileNotFoundError:
        return [0]  # who uses it says what is missing
    except OSError as error:
        raise StartupError(f"{directory} cannot be read: {error.strerror}") from None
    return [0, *sorted(int(match[1]) for match in found if match)]


def heading(directory: Path, number: int) -> str:
    """What stands above the lines about a node where there are several."""
    return f"storage node {number}, in {node_directory(directory, number)}:"
