"""The processes that run whole-table aggregates beside storage (`services.storage.scan_worker`), and what they get.

They are started when there is something for them, and started again when they die. Only idle ones are asked. Whenever
one fails, storage scans by itself, so that nobody sees more of it than the time that it takes.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from photondb.api.context import CallContext, SpanNames
from photondb.api.storage import KeyRange, Scan
from photondb.child_process import spawn_child
from photondb.datum.json import dumps, loads_stored
from photondb.reql.accumulators import Aggregate
from photondb.reql.aggregates import Count
from photondb.telemetry import catalogue, tracing
from photondb.telemetry.operations import SCAN_PART
from photondb.telemetry.scrape import Scrape
from services.storage.rocks import Store, StoreError
from services.storage.scan_worker import LENGTH, READY
from services.storage.shards import even_split_points
from services.storage.tables import Table

log = logging.getLogger(__name__)

MIN_BYTES = 16 << 20
"""A table of fewer bytes of documents is scanned by storage itself, in some dozens of milliseconds."""

MIN_BYTES_PER_WORKER = 8 << 20
"""How much each of several workers should get at least."""

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""How long to wait before a worker that has died is started again; longer each time, until it has answered."""

STALE_PART = 0.2
"""How large a part of a table may have changed in number before it is divided anew."""


SCRATCH = "scan-workers"
"""The folder of the data directory for what RocksDB has to say about the workers' instances."""


class WorkerFailed(Exception):
    """A worker has died or could not do it."""


class Worker:
    """One worker: its process, and the connection to it while there is one."""

    def __init__(self, path: Path, scratch: Path) -> None:
        self._path = path
        self._scratch = scratch
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._pause_s = FIRST_PAUSE_S
        self.process: asyncio.subprocess.Process | None = None
        self.busy = False
        self.deaths = 0
        self._task = asyncio.create_task(self._run())

    @property
    def running(self) -> bool:
        """Whether its process is there and has its store open."""
        return self._connection is not None

    @property
    def idle(self) -> bool:
        """Whether it can be asked."""
        return self._connection is not None and not self.busy

    async def stop(self) -> None:
        """End the process."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def ask(self, request: dict[str, Any], spans: SpanNames = ()) -> Any:
        """The partial aggregate, as a part of these spans. Raises WorkerFailed. The worker is busy until it has
        answered, even for nobody."""
        with tracing.span_of(SCAN_PART, spans) as span:
            if self.process is not None:
                span.note("process.pid", self.process.pid)
            return await self._ask(request)

    async def _ask(self, request: dict[str, Any]) -> Any:
        self.busy = True
        try:
            if self._connection is None:  # since it was chosen
                raise WorkerFailed("it has died")
            reader, writer = self._connection
            body = dumps(request)
            writer.write(LENGTH.pack(len(body)) + body)
            (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            reply: Any = loads_stored(await reader.readexactly(length))
        except (OSError, asyncio.IncompleteReadError) as error:
            raise WorkerFailed("it has died") from error
        finally:
            self.busy = False
        self._pause_s = FIRST_PAUSE_S
        if "failed" in reply:
            raise WorkerFailed(reply["failed"])
        return reply["partial"]

    async def _run(self) -> None:
        """Keep a process running, for ever."""
        while True:
            try:
                await self._run_once()
            except OSError as error:
                log.warning("a scan worker could not be started", extra={"reason": str(error)})
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    async def _run_once(self) -> None:
        mine, its = socket.socketpair()
        self._scratch.mkdir(parents=True, exist_ok=True)
        arguments = [str(its.fileno()), str(self._path), str(self._scratch)]
        command = [sys.executable, "-m", "services.storage.scan_worker", *arguments]
        reader, writer = await asyncio.open_connection(sock=mine)
        try:
            with its:
                process = self.process = await spawn_child(command, pass_fds=[its.fileno()])
            try:
                if await reader.read(len(READY)) == READY:
                    self._connection = reader, writer
                status = await process.wait()
                self.deaths += 1
                log.warning("a scan worker has died", extra={"status": status})
            finally:
                self._connection = None
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        finally:
            writer.close()


class ScanWorkers:
    """`count` workers of a node."""

    def __init__(self, store: Store, count: int) -> None:
        self._store = store
        self._count = count
        self._workers: list[Worker] = []
        self._points: dict[tuple[int, int], tuple[int, tuple[bytes, ...] | None]] = {}
        self._dividing: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._asked: set[asyncio.Task[Any]] = set()
        self.answered = 0
        """How many scans were carried out by workers."""
        self._requests = self._failures = self._rows = 0

    @property
    def processes(self) -> list[int]:
        """The workers' process ids."""
        return [worker.process.pid for worker in self._workers if worker.process is not None]

    def collect(self, scrape: Scrape) -> None:
        """Write what is counted into a reading."""
        scrape.add(catalogue.SCAN_WORKERS_RUNNING, sum(worker.running for worker in self._workers))
        scrape.add(catalogue.SCAN_WORKERS_BUSY, sum(worker.running and worker.busy for worker in self._workers))
        scrape.add(catalogue.SCAN_WORKER_DEATHS, sum(worker.deaths for worker in self._workers))
        scrape.add(catalogue.SCAN_WORKER_REQUESTS, self._requests)
        scrape.add(catalogue.SCAN_WORKER_FAILURES, self._failures)
        scrape.add(catalogue.SCAN_WORKER_ROWS, self._rows)

    async def stop(self) -> None:
        """End all workers."""
        tasks = [*self._asked, *self._dividing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *(worker.stop() for worker in self._workers), return_exceptions=True)

    def take(self, table: Table, scan: Scan) -> bool:
        """Whether a scan of the present state is one for workers, and there are idle ones."""
        if not self._count or scan.aggregate is None or scan.index is not None or scan.descending:
            return False
        if table.position.document_bytes < MIN_BYTES or list(scan.ranges) != [KeyRange()]:
            return False
        if type(scan.aggregate) is Count and not scan.steps:
            return False
        while len(self._workers) < self._count:
            scratch = self._store.path / SCRATCH / str(len(self._workers))
            self._workers.append(Worker(self._store.path, scratch))
        return any(worker.idle for worker in self._workers)

    async def aggregate(self, table: Table, scan: Scan, context: CallContext, spans: SpanNames = ()) -> Any:
        """The partial aggregate of a scan that `take` has accepted, as a part of these spans. Raises WorkerFailed."""
        aggregate = scan.aggregate
        assert aggregate is not None
        idle = [worker for worker in self._workers if worker.idle]
        ranges = self._ranges(table, min(len(idle), table.position.document_bytes // MIN_BYTES_PER_WORKER))
        request = {
            "table": table.id,
            "sequence": table.position.sequence,
            "steps": [step.to_wire() for step in scan.steps],
            "aggregate": aggregate.to_wire(),
            "remaining_ms": context.remaining_ms(),
        }
        tasks = []
        for worker, (low, high) in zip(idle, ranges, strict=False):
            task = asyncio.create_task(worker.ask({**request, "low": low.hex(), "high": high.hex()}, spans))
            worker.busy = True
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)
            tasks.append(task)
        rows = table.position.rows
        self._requests += len(tasks)
        partials = await asyncio.shield(asyncio.gather(*tasks, return_exceptions=True))
        failures = [partial for partial in partials if isinstance(partial, BaseException)]
        if failures:
            self._failures += len(failures)
            log.info("a scan worker failed", extra={"reason": str(failures[0])})
            raise WorkerFailed(str(failures[0]))
        self.answered += 1
        self._rows += rows
        return partials[0] if len(partials) == 1 else _merged(aggregate, partials)

    def _ranges(self, table: Table, parts: int) -> list[tuple[bytes, bytes]]:
        """The primary keys in ranges with about equally many documents, if it is known where to divide them."""
        whole = KeyRange()
        if parts < 2:
            return [(whole.low, whole.high)]
        rows = table.position.rows
        points = table.info.split_points if len(table.info.split_points) == parts - 1 else None
        if points is None:
            known_rows, points = self._points.get((table.id, parts), (0, None))
            if abs(rows - known_rows) > rows * STALE_PART:
                self._divide(table, parts)
        return list(pairwise((whole.low, *(points or ()), whole.high)))

    def _divide(self, table: Table, parts: int) -> None:
        key = table.id, parts
        if key in self._dividing:
            return

        async def divide() -> None:
            try:
                rows = table.position.rows
                self._points[key] = rows, await even_split_points(self._store, table, parts)
            except StoreError as error:
                log.error("a table could not be divided", extra={"reason": str(error)})
            finally:
                del self._dividing[key]

        self._dividing[key] = asyncio.create_task(divide())

    def forget(self, table: int) -> None:
        """The table was dropped."""
        for key in [key for key in self._points if key[0] == table]:
            del self._points[key]


def _merged(aggregate: Aggregate, partials: list[Any]) -> Any:
    accumulator = aggregate.start()
    for partial in partials:
        accumulator.merge(partial)
    return accumulator.partial()
