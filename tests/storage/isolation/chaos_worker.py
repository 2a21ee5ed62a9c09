"""A process that runs generated transactions until it is killed, and says on standard output what they do.

A line is a transaction: written before it begins to change anything, before it is to be committed, and when
it has ended. The line "ready" says that the first one begins.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from photondb.bus import LocalBus
from services.storage.service import Storage
from tests.storage.isolation.workload import Tables, Workload, as_line

CLIENTS = 6
ENDLESS = 1_000_000


async def main(path: Path, number: int, level: str) -> None:
    storage = Storage(path, LocalBus())
    await storage.start()
    tables = await Tables.make(storage)
    workload = Workload(
        storage,
        tables,
        number,
        "snapshot" if level == "snapshot" else "serializable",
        seed=number,
        note=lambda transaction: _say(as_line(transaction)),
    )
    workload.durability = "hard"
    _say(b"ready")
    await workload.run(CLIENTS, ENDLESS)


def _say(line: bytes) -> None:
    os.write(1, line + b"\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
