"""Ordered reads: ranges of the primary key or of an index, chunk by chunk, with the pushed-down part of the query.

What is read is the matter of `scan_blocks.py`, how an index leads to documents in the order of the table that of
`short_cut.py`.

A scan sees one point in time. A range that is being read is held by its own iterator, which is such a view already;
documents that an index points to, and ranges that come later, are read from a `View`, which is pinned before control is
given up for the first time. A scan that is done in one go, as most are, pins nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from time import perf_counter
from typing import Any, cast

from photondb.api.context import CallContext
from photondb.api.storage import TOO_MANY_READ, Scan
from photondb.reql.aggregates import Count
from photondb.reql.chunk import EMPTY, Chunk, joined
from photondb.reql.errors import ErrorKind, ReqlError, op_failed
from photondb.reql.measures import ScanMeasures
from photondb.reql.memory import Holding, MemoryBudget
from photondb.reql.pipeline import Pipeline
from photondb.reql.suspend import Evaluation
from services.storage.indexes import Index
from services.storage.rocks import Store
from services.storage.scan_blocks import BLOCK_BYTES, ScanBlocks
from services.storage.short_cut import MAX_SHORT_CUT_DOCUMENTS, comes_in_primary_order, take_short_cut
from services.storage.tables import Table
from services.storage.views import ReadView, View

SLICE_S = 0.002
"""How long a scan works before it lets others go on."""

MAX_BLOCK_ROWS = 512
"""How many documents are read at a time, unless they are long."""

AGGREGATED_BLOCK_ROWS = 2048
AGGREGATED_BLOCK_BYTES = 1 << 20
"""The same where an aggregate takes them in: what it costs to begin with a block is divided among more documents."""

MIN_STEP_ROWS = 64
"""How many documents are read for a chunk of fewer rows when steps may leave many of them out."""

FEW_DOCUMENTS_SHARE = 0.01
"""To look up this share of a table's documents takes as long as to go through the columns of all that are cached."""

MAX_CACHE_SHARE = 0.25
MAX_CACHED_BYTES = 64 << 20
"""A scan without a limit leaves the cache alone when the table is larger than this share of it, or than so many bytes:
it would push out what point reads need, and a table of that size is read from the files nearly as fast."""


class ScanRun:
    """A scan under way."""

    __slots__ = (
        "__weakref__",
        "_aborted",
        "_blocks",
        "_limit",
        "_measures",
        "_pipeline",
        "_scan",
        "_short_cut",
        "_table",
        "_unread",
        "_view",
        "context",
    )

    def __init__(
        self,
        store: Store,
        table: Table,
        index: Index | None,
        scan: Scan,
        context: CallContext,
        view: ReadView | None = None,
    ) -> None:
        self._view: ReadView = View(store) if view is None else view
        self._table = table
        self._scan = scan
        self.context = context
        self._short_cut = scan.primary_order and not comes_in_primary_order(index, scan)
        """Whether it is to begin with a short cut."""
        self._aborted: str | None = None
        self._limit = scan.limit
        self._unread = scan.most_read
        self._pipeline: Pipeline | None = None
        self._measures = ScanMeasures.of_steps(len(scan.steps)) if scan.measured else None
        if scan.steps or scan.aggregate is not None:
            self._pipeline = Pipeline(scan.steps, scan.aggregate, scan.limit, self._measures)
        cached_bytes = min(store.cache_bytes * MAX_CACHE_SHARE, MAX_CACHED_BYTES)
        self._blocks = ScanBlocks(
            self._view,
            table,
            index,
            scan,
            needed=None if self._pipeline is None else self._pipeline.looks_at,
            keys_suffice=type(scan.aggregate) is Count and not scan.steps,
            bulk=scan.limit is None and table.position.document_bytes > cached_bytes,
            measures=self._measures,
        )

    @property
    def exhausted(self) -> bool:
        """Whether everything was read."""
        return self._blocks.exhausted

    def close(self) -> None:
        """Let go of the view. What is left of the scan is lost."""
        self._blocks.close()
        self._view.close()

    def abort(self, reason: str = "The scan was ended before it was done.") -> None:
        """The same, in the middle of a chunk too: whoever waits for it, or asks for more, gets an error."""
        self._aborted = reason
        self.close()

    @property
    def of_the_present(self) -> bool:
        """Whether it reads the store as it is, and neither a transaction nor the past."""
        return isinstance(self._view, View)

    @property
    def measures(self) -> ScanMeasures | None:
        """What has come of it so far, if that was asked for."""
        return self._measures

    async def partials(self, budget: MemoryBudget) -> tuple[Chunk, bool]:
        """The next partial result of the aggregate, as the one row of a chunk, and whether it is the last one."""
        self._check_aborted()
        partial, last = await self.aggregate(budget)
        chunk = Chunk.of_values([partial])
        chunk.measures = self._measures
        return chunk, last

    async def chunk(self, rows: int) -> tuple[Chunk, bool]:
        """The next chunk, of at most about `rows` rows, and whether it is the last one."""
        if self._measures is None:
            return await self._chunk(rows)
        began = perf_counter()
        chunk, last = await self._chunk(rows)
        self._measures.seconds += perf_counter() - began
        chunk = chunk if chunk is not EMPTY else Chunk.of_raw(())
        chunk.measures = self._measures
        return chunk, last

    async def _chunk(self, rows: int) -> tuple[Chunk, bool]:
        self._check_aborted()
        max_bytes = self._scan.chunk_bytes
        if self._limit is not None and self._pipeline is None:
            rows = min(rows, self._limit)
        blocks = self._blocks
        found: list[bytes] = []
        keys: list[bytes] = []
        chunks: list[Chunk] = []
        count = size = 0
        slice_end = perf_counter() + SLICE_S
        last = False
        # With a limit the first rows may be enough.
        most = MAX_BLOCK_ROWS if self._limit is None else max(self._limit, MIN_STEP_ROWS)
        if self._short_cut:
            await self._take_short_cut()
        while True:
            wanted = rows - count if self._pipeline is None else max(rows - count, MIN_STEP_ROWS)
            block = blocks.read(min(wanted, most, MAX_BLOCK_ROWS), BLOCK_BYTES)
            most *= 2
            size += blocks.size
            self._note_read(len(block))
            if self._pipeline is None:
                found += block
                keys += blocks.keys or ()
                count = len(found)
            else:
                chunk = await self._feed(self._pipeline, block)
                assert chunk is not None
                if chunk:
                    chunks.append(chunk)
                    count += len(chunk)
                last = self._pipeline.done
            if last or self.exhausted:
                last = True
                break
            if count >= rows or (size >= max_bytes and count):
                break
            if perf_counter() > slice_end:
                await self._give_way()
                slice_end = perf_counter() + SLICE_S
        if self._limit is not None and self._pipeline is None:
            self._limit -= count
            last = last or self._limit <= 0
        if last:
            self.close()
        else:
            self._keep_view()
        if self._pipeline is not None:
            return joined(chunks, self._pipeline.filters_only), last
        if not found:
            return EMPTY, last
        whole = Chunk.of_raw(found)
        if blocks.keys is not None:
            whole.keys = keys
        return whole, last

    def _note_read(self, documents: int) -> None:
        if self._unread is not None:
            self._unread -= documents
            if self._unread < 0:
                raise op_failed(TOO_MANY_READ)

    async def aggregate(self, budget: MemoryBudget | None = None) -> tuple[Any, bool]:
        """Read everything into the aggregate, and return its partial result, and that it is the last one. With a
        `budget` it may be that of the first rows only, and so on: when there is not enough memory for all groups."""
        began = perf_counter()
        partial = await self._aggregate(budget)
        if self._measures is not None:
            self._measures.seconds += perf_counter() - began
        return partial, self.exhausted

    async def _aggregate(self, budget: MemoryBudget | None) -> Any:
        pipeline = self._pipeline
        assert pipeline is not None
        pipeline.begin_aggregate()
        held = None if budget is None else Holding(budget)
        if type(self._scan.aggregate) is Count and not self._scan.steps and self._blocks.is_whole_table:
            # All documents of the table are counted: their number is known.
            pipeline.feed(cast("Sequence[bytes]", range(self._view.rows_of(self._table))))
            self.close()
            return pipeline.partial()
        if self._short_cut:
            await self._take_short_cut()
        slice_end = perf_counter() + SLICE_S
        while not self.exhausted:
            block = self._blocks.read(AGGREGATED_BLOCK_ROWS, AGGREGATED_BLOCK_BYTES)
            if block:
                await self._feed(pipeline, block)
                if held is not None and not held.fits(pipeline.weight) and not self.exhausted:
                    self._keep_view()
                    return pipeline.partial()
            if perf_counter() > slice_end:
                await self._give_way()
                slice_end = perf_counter() + SLICE_S
        self.close()
        return pipeline.partial()

    async def leads_to_few(self, only_few: bool) -> bool:
        """Whether a short cut leads to so few documents that there is nothing better than to look them up. With
        `only_few` it is given up, for a scan of the table, as soon as they are more."""
        few = int(self._table.position.rows * FEW_DOCUMENTS_SHARE)
        if self._short_cut:
            await self._take_short_cut(few if only_few else MAX_SHORT_CUT_DOCUMENTS)
        return self._blocks.index is not None and self._blocks.found <= few

    async def _take_short_cut(self, most: int = MAX_SHORT_CUT_DOCUMENTS) -> None:
        self._short_cut = False
        await take_short_cut(self._blocks, self._table, self._scan, self._give_way, most)

    def _keep_view(self) -> None:
        """Make the view last. A range that is being read needs nothing: its iterator is the view."""
        if self._blocks.needs_view:
            self._view.pin()

    async def _feed(self, pipeline: Pipeline, block: list[bytes]) -> Chunk | None:
        """Put documents through the pushed-down part of the query, whole ones again where it fails upon what entries of
        an index carry, because its message may show them."""
        without_documents = self._blocks.without_documents
        if not without_documents:
            return await self._run(pipeline, block)
        remaining = pipeline.remaining
        try:
            return await self._run(pipeline, block)
        except ReqlError:
            self._check_aborted()
            pipeline.remaining = remaining
            return await self._run(pipeline, self._blocks.documents(without_documents))

    async def _run(self, pipeline: Pipeline, block: list[bytes]) -> Chunk | None:
        """Put documents through the pushed-down part of the query. A function that takes long lets others go on."""
        evaluation = Evaluation().begin(pipeline.feed, block, self._blocks.keys)
        if evaluation.finished:
            return evaluation.result()  # type: ignore[no-any-return]
        self._keep_view()
        chunk: Chunk | None = await evaluation.complete()
        self._check_aborted()
        return chunk

    async def _give_way(self) -> None:
        self._keep_view()
        deadline = self.context.deadline
        if deadline is not None and time.monotonic() > deadline:
            raise ReqlError(ErrorKind.RESOURCE_LIMIT, "The query took longer than its time limit.")
        await asyncio.sleep(0)
        self._check_aborted()

    def _check_aborted(self) -> None:
        if self._aborted is not None:
            raise ReqlError(ErrorKind.OP_FAILED, self._aborted)
