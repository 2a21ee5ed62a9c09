"""A process that runs whole-table aggregates beside storage, on a core of its own.

It has a secondary instance of storage's RocksDB open, which reads the same files and catches up with the write-ahead
log. A request names the change of the table after which it is to be seen. The instance may have caught up with later
ones: these are taken back by the change log. So the answer is that of storage's own scan at that moment.

    python -m services.storage.scan_worker SOCKET_FD DATA_DIR SCRATCH_DIR

Requests and answers are JSON with their length before it. One is worked on at a time.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import time
from pathlib import Path
from struct import Struct
from typing import Any

from photondb.api.catalogue import TableInfo
from photondb.api.context import CallContext
from photondb.api.storage import KeyRange, Scan
from photondb.datum.json import dumps, loads_stored
from photondb.reql.pipeline import aggregate_from_wire, steps_from_wire
from services.storage.history import PastView
from services.storage.rocks import Store
from services.storage.scan import ScanRun
from services.storage.tables import Table
from services.storage.views import View

LENGTH = Struct(">I")

READY = LENGTH.pack(0)
"""What a worker sends when it can be asked."""

CACHE_BYTES = 32 << 20
"""For blocks. Scans of tables that are worth a process read them from the files."""


async def answer(store: Store, request: dict[str, Any]) -> Any:
    """The partial aggregate that is asked for. Raises whatever is in the way: then storage does it by itself."""
    store.catch_up()
    table = Table.load(View(store), TableInfo(request["table"], "", "", ""))
    wanted = request["sequence"]
    if table.position.sequence < wanted:
        raise RuntimeError("the log has not been caught up with")
    view = None if table.position.sequence == wanted else await PastView.after(store, table, wanted)
    scan = Scan(
        table.id,
        ranges=[KeyRange(bytes.fromhex(request["low"]), bytes.fromhex(request["high"]))],
        steps=steps_from_wire(request["steps"]),
        aggregate=aggregate_from_wire(request["aggregate"]),
    )
    remaining_ms = request["remaining_ms"]
    deadline = None if remaining_ms is None else time.monotonic() + remaining_ms / 1000
    partial, _ = await ScanRun(store, table, None, scan, CallContext(deadline=deadline), view).aggregate()
    return partial


async def serve(connection: socket.socket, store: Store) -> None:
    """Answer requests until the connection ends."""
    reader, writer = await asyncio.open_connection(sock=connection)
    writer.write(READY)
    while True:
        try:
            (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            request: Any = loads_stored(await reader.readexactly(length))
        except asyncio.IncompleteReadError:
            return
        try:
            reply = dumps({"partial": await answer(store, request)})
        except Exception as error:
            reply = dumps({"failed": f"{type(error).__name__}: {error}"})
        writer.write(LENGTH.pack(len(reply)) + reply)
        await writer.drain()


def main() -> None:
    """Serve until whoever has the other end of the socket closes it."""
    fd, data_dir, scratch_dir = sys.argv[1:]
    store = Store.open_secondary(Path(data_dir), Path(scratch_dir), cache_bytes=CACHE_BYTES)
    gc.freeze()
    asyncio.run(serve(socket.socket(fileno=int(fd)), store))


if __name__ == "__main__":
    main()
