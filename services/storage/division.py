"""How home divides tables anew: it fills copies with other parts while the tables are used (`copying.py`), and lets
them take over (`switching.py`).

Until a copy takes over nothing of it counts, and nothing is lost with it. Whenever something may have happened to what
was filled (a node or home has started again, a call was not answered, a pause was left alone), the attempt to fill it
is over, and the next one goes on from what was noted of it (`ResumeCopy`). Where that is not enough, because the copy
lacks documents or the logs do not reach back, the copy is thrown away and another one begun, by its id, so that nobody
can finish it (`RestartCopy`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence

from photondb.api.catalogue import ForgetLogs, RestartCopy, ResumeCopy, TableInfo
from photondb.api.storage import LogGap, StorageApi, TableGone
from photondb.api.storage_status import DivisionStatus
from photondb.reql.errors import ReqlError
from photondb.sharding.nodes import Node
from photondb.sharding.placement import HOME
from photondb.telemetry import catalogue
from photondb.telemetry.scrape import Scrape
from services.storage.copying import Copier, LostProgress
from services.storage.live_catalogue import LiveCatalogue
from services.storage.log import MAX_AGE_S
from services.storage.rocks import StoreError
from services.storage.switching import Differs, Switch, TooSlow

log = logging.getLogger(__name__)

FEW_RECORDS = 200
"""With no more left than this the table is paused for the rest."""

PAUSE_MS = 100
MAX_PAUSE_MS = 1_000
"""How long a table is paused for an attempt to switch. The next one may take twice as long, up to the second one: a
table to which large writes are made all the time has no other end."""

RETRY_S = 0.5
"""How long to wait before the next attempt, and after a failure."""

LOOK_EVERY_S = 5.0
"""How often it is seen whether logs of former parts can go."""

DRAINED_LOG_S = 10.0
"""How long a node that is to be emptied keeps the logs of former parts: feeds that are open need them no longer."""


class Divisions:
    """The copies of home's catalogue, `live`. `others` are the other storage nodes, from node 1 on."""

    def __init__(self, live: LiveCatalogue, home: StorageApi, others: Sequence[StorageApi]) -> None:
        self._live = live
        self._home = home
        self._others = others
        self._running: dict[tuple[int, int], Division] = {}
        """By copy and attempt."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._forgetting: asyncio.Task[None]
        self._results: Counter[str] = Counter()
        self._copied_documents = self._copied_bytes = 0

    def start(self) -> None:
        """Begin to fill the copies that there are, and all that will be."""
        self._live.changed = self._look
        self._forgetting = asyncio.get_running_loop().create_task(self._forget_for_ever())
        self._look()

    async def stop(self) -> None:
        """Leave all copies as they are."""
        self._live.changed = lambda: None
        tasks = [self._forgetting, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def statuses(self) -> list[DivisionStatus]:
        """How far the tables are that are being divided anew."""
        return [division.status for division in self._running.values()]

    def collect(self, scrape: Scrape) -> None:
        """Write what is counted into a reading."""
        running = [division.copier for division in self._running.values()]
        scrape.add(catalogue.STORAGE_DIVISIONS_RUNNING, len(running))
        for result, count in self._results.items():
            scrape.add(catalogue.STORAGE_DIVISIONS, count, result)
        documents = self._copied_documents + sum(copier.written_documents for copier in running)
        bytes_ = self._copied_bytes + sum(copier.written_bytes for copier in running)
        scrape.add(catalogue.STORAGE_DIVISION_DOCUMENTS, documents)
        scrape.add(catalogue.STORAGE_DIVISION_BYTES, bytes_)

    def _look(self) -> None:
        for copy in self._live.catalogue.copies:
            key = copy.id, copy.attempt
            if key not in self._running:
                nodes = [Node(HOME, self._home, None)]
                nodes += [Node(number, api, self._home) for number, api in enumerate(self._others, HOME + 1)]
                self._running[key] = division = Division(self._live, nodes, copy)
                task = asyncio.get_running_loop().create_task(self._run(key, division))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _run(self, key: tuple[int, int], division: Division) -> None:
        try:
            self._results[await division.run()] += 1
        finally:
            del self._running[key]
            self._copied_documents += division.copier.written_documents
            self._copied_bytes += division.copier.written_bytes

    async def _forget_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._forget_logs()
            except (ReqlError, StoreError) as error:
                log.warning("the change logs of former parts of tables are not forgotten", extra={"reason": str(error)})

    async def _forget_logs(self) -> None:
        """Let the logs of former parts go that are older than those of a table may become."""
        now_us = time.time_ns() // 1000
        catalogue = self._live.catalogue
        for info in catalogue.tables.values():
            age_s = MAX_AGE_S if info.settings.changelog_s is None else info.settings.changelog_s
            over = [
                ended.at_us
                for ended in info.ended
                if ended.kept
                and now_us - ended.at_us > 1_000_000 * (DRAINED_LOG_S if ended.node in catalogue.drained else age_s)
            ]
            if over:
                await self._live.change(ForgetLogs(info.id, max(over)))


class Division:
    """One attempt to divide a table anew: fills `copy`, and lets it take over. `nodes` are all storage nodes."""

    def __init__(self, live: LiveCatalogue, nodes: Sequence[Node], copy: TableInfo) -> None:
        self._live = live
        self._nodes = nodes
        self._copy = copy.id
        self._attempt = copy.attempt
        self._targets = copy.nodes
        self._uuid = copy.uuid
        self._started = time.time()
        self.copier = Copier(live, nodes, copy.id, copy.attempt)
        self._pause_ms = PAUSE_MS
        self._spoilt = ""
        self._result = ""
        self._problem = ""

    @property
    def status(self) -> DivisionStatus:
        """How far it is."""
        infos = self._infos()
        sources = () if infos is None else infos[0].nodes
        copied, total = self.copier.documents, self.copier.total
        return DivisionStatus(self._uuid, sources, self._targets, copied, max(copied, total), int(self._started * 1e6))

    async def run(self) -> str:
        """Go on until the copy has taken over, this attempt is over, or the copy is thrown away. Returns which of these
        it was."""
        while self._infos() is not None:
            try:
                await self._work()
                self._problem = ""
            except TooSlow:
                self._pause_ms = min(2 * self._pause_ms, MAX_PAUSE_MS)
                await asyncio.sleep(RETRY_S)
            except LogGap:
                self._spoilt = "records of the change log were trimmed before they were carried over"
            except LostProgress:
                self._spoilt = "a node does not have any more what it had"
            except Differs:
                self._spoilt = "it does not have the same documents"
            except TableGone:  # dropped, or thrown away
                await asyncio.sleep(RETRY_S)
            except (ReqlError, StoreError) as error:
                self._complain(error.message if isinstance(error, ReqlError) else str(error))
                await asyncio.sleep(RETRY_S)
            except Exception:
                log.exception("a table cannot be divided anew", extra={"table": self._uuid})
                await asyncio.sleep(RETRY_S)
        if not self._result:
            is_filled = any(copy.id == self._copy for copy in self._live.catalogue.copies)
            self._result = "resumed" if is_filled else "given up"
            log.info("an attempt to divide a table anew is over", extra={"table": self._uuid, "result": self._result})
        return self._result

    def _infos(self) -> tuple[TableInfo, TableInfo] | None:
        """The table and its copy; None when that is no copy any more, or this attempt is over."""
        live = self._live.catalogue
        copy = next((copy for copy in live.copies if copy.id == self._copy), None)
        if copy is None or copy.attempt != self._attempt:
            return None
        return next(info for info in live.tables.values() if info.id == copy.copy_of), copy

    async def _work(self) -> None:
        """Copy everything, carry over what has changed meanwhile, and switch."""
        infos = self._infos()
        if infos is None:
            return
        info, copy = infos
        if self._spoilt:
            log.error("the copy of a table is thrown away", extra={"table": self._uuid, "reason": self._spoilt})
            await self._live.change(RestartCopy(self._copy))
            self._result = "begun anew"
            return
        if self.copier.is_unsure:
            await self._live.change(ResumeCopy(self._copy))
            return
        await self._live.sync()  # the nodes must not hear of a copy that home may forget
        if not self.copier.has_begun:
            resumed = await self.copier.begin(info, copy)
            log.info(
                "a table is being divided anew",
                extra={
                    "table": self._uuid,
                    "nodes": list(copy.nodes),
                    "documents": self.copier.total,
                    "copied_before": self.copier.documents if resumed else 0,
                },
            )
        await self.copier.copy_everything(info, copy)
        while await self.copier.follow(info, copy) > FEW_RECORDS:
            pass
        if not self._is_indexed():
            await asyncio.sleep(RETRY_S)
            return
        await Switch(self._live, self._nodes, info, copy).carry_out(self.copier, self._pause_ms)
        self._result = "finished"
        log.info(
            "a table was divided anew",
            extra={
                "table": self._uuid,
                "nodes": list(copy.nodes),
                "documents": self.copier.documents,
                "seconds": round(time.time() - self._started, 3),
            },
        )

    def _is_indexed(self) -> bool:
        """Whether the copy has all indexes that can be used on the table."""
        infos = self._infos()
        if infos is None:
            return False
        info, copy = infos
        built = {index.id for index in copy.indexes if index.ready}
        return all(index.id in built for index in info.indexes if index.ready)

    def _complain(self, reason: str) -> None:
        if reason != self._problem:
            self._problem = reason
            log.warning("a table cannot be divided anew yet", extra={"table": self._uuid, "reason": reason})
