"""Storage node 0 as a process that dies while it divides a table anew, in small steps, each of which it notes.

Arguments: the data directory, its own address, that of each other node with commas between them, and optionally a point
of POINTS with the number of times that it is passed before the process dies there. It says on standard output when it
is ready, and with how many documents copied before a division begins.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

from photondb.bus import LocalBus
from photondb.rpc.loop import run
from photondb.rpc.storage import StorageStub
from photondb.rpc.storage_servant import storage_servant
from services.storage import copying
from services.storage.copying import Copier
from services.storage.live_catalogue import LiveCatalogue
from services.storage.role import NodeRole
from services.storage.service import Storage
from services.storage.switching import Switch
from tests.chaos.crash_points import die_at
from tests.rpc.probe import served

READY = b"ready\n"
BEGUN = "copied before: "

POINTS: dict[str, tuple[type, str, bool]] = {
    "before an attempt begins": (Copier, "begin", False),
    "after an attempt has begun": (Copier, "begin", True),
    "after documents are copied": (Copier, "_copy_some", True),
    "before it is noted how far the copy is": (LiveCatalogue, "note_progress", False),
    "after it is noted how far the copy is": (LiveCatalogue, "note_progress", True),
    "before writes are paused": (Switch, "_pause", False),
    "before reads are paused": (Switch, "_pause_reads", False),
    "before the switch": (Switch, "_finish", False),
    "after the switch": (Switch, "_finish", True),
    "after nodes are told": (Switch, "_tell", True),
    "after the pause": (Switch, "_end_pause", True),
}
"""As those of `tests.chaos.crash_points`."""


class Teller(logging.Handler):
    """Says where divisions begin."""

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "copied_before"):
            os.write(1, f"{BEGUN}{record.copied_before}\n".encode())


async def main(path: Path, address: str, others: list[str]) -> None:
    copying.STEP_ROWS = 100
    copying.NOTE_EVERY_S = 0.0
    logger = logging.getLogger("services.storage.division")
    logger.setLevel(logging.INFO)
    logger.addHandler(Teller())
    stubs = [StorageStub(other) for other in others]
    storage = Storage(path, LocalBus(), role=NodeRole(0, 1 + len(others), None, others=stubs))
    await storage.start()
    async with served(storage_servant(storage), address):
        os.write(1, READY)
        await asyncio.Event().wait()


if __name__ == "__main__":
    if len(sys.argv) > 4:
        die_at(sys.argv[4], int(sys.argv[5]), POINTS)
    run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")))
