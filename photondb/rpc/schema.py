"""The Cap'n Proto schemas of `schemas/`, loaded once.

Each constant is the module that pycapnp makes of a file: `schema.STORAGE.Storage` is an interface, for instance. A
mistake in a schema aborts the whole process, so schemas are checked by a test, in a process of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import capnp

DIRECTORY = Path(__file__).parent / "schemas"
"""Where the files are. In the repository this is a link to the folder at its top."""

capnp.remove_import_hook()  # it would look for a schema for every import of any module


def load(path: Path) -> Any:
    """Load the schema at `path`. Other schemas that it imports are next to it, or are named from the root: pycapnp's
    own as "/capnp/...", these as "/common.capnp"."""
    return capnp.load(str(path), imports=[str(Path(capnp.__file__).parent.parent), str(DIRECTORY)])


COMMON = load(DIRECTORY / "common.capnp")
EVENTS = load(DIRECTORY / "events.capnp")
STORAGE = load(DIRECTORY / "storage.capnp")
QUERY = load(DIRECTORY / "query.capnp")
AUTH = load(DIRECTORY / "auth.capnp")
CHANGEFEED = load(DIRECTORY / "changefeed.capnp")
