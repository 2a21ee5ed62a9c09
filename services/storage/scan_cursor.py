"""What is left of a scan, for whoever goes on reading it."""

from __future__ import annotations

from photondb.reql.chunk import EMPTY, Chunk
from photondb.reql.errors import op_failed
from photondb.rpc.context import CURRENT
from photondb.telemetry import tracing
from photondb.telemetry.operations import SCAN
from services.storage.cursors import OpenScans
from services.storage.failures import reql_errors
from services.storage.scan import ScanRun


class Cursor:
    """The rest of a scan; implements ScanCursor."""

    __slots__ = ("_open", "_rows", "_run", "_running")

    def __init__(self, run: ScanRun, rows: int, open_runs: OpenScans) -> None:
        self._run: ScanRun | None = run
        self._rows = rows
        self._open = open_runs
        self._running = False

    async def next(self) -> tuple[Chunk, bool]:
        run = self._run
        if run is None:
            return EMPTY, True
        if self._running:
            raise op_failed("The cursor is already being read from.")
        self._running = True
        last = True
        call = CURRENT.get()
        try:
            with tracing.span(SCAN, call if call.spans else run.context), reql_errors():
                chunk, last = await run.chunk(self._rows)
        finally:
            self._running = False
            if last:
                await self.close()
        return chunk, last

    async def close(self) -> None:
        if self._run is not None:
            self._run.abort()
            self._open.discard(self._run)
            self._run = None
