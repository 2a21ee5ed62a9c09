"""What is left of a scan, for whoever goes on reading it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from photondb.api.context import CURRENT
from photondb.api.storage import Scan
from photondb.reql.chunk import EMPTY, Chunk
from photondb.reql.errors import op_failed
from photondb.telemetry import tracing
from photondb.telemetry.operations import SCAN
from services.storage.failures import reql_errors
from services.storage.scan import ScanRun

if TYPE_CHECKING:
    from services.storage.scanning import Scanner


class Cursor:
    """The rest of a scan; implements ScanCursor."""

    __slots__ = ("_run", "_running", "_scan", "_scanner")

    def __init__(self, run: ScanRun, scan: Scan, scanner: Scanner) -> None:
        self._run: ScanRun | None = run
        self._scan = scan
        self._scanner = scanner
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
                if self._scan.aggregate is None:
                    chunk, last = await run.chunk(self._scan.chunk_rows)
                else:
                    chunk, last = await run.partials(self._scanner.memory)
                    self._scanner.parts += 1
        finally:
            self._running = False
            if last:
                await self.close()
        return chunk, last

    async def close(self) -> None:
        if self._run is not None:
            self._run.abort()
            self._scanner.runs.discard(self._run)
            self._run = None
