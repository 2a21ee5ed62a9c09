"""Ordered reads: ranges of the primary key or of an index, chunk by chunk, with the pushed-down part of the query.

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
from photondb.api.storage import KeyRange, Scan
from photondb.datum.keys import after_prefix, end_of_key
from photondb.geo.cells import found_once
from photondb.reql.aggregates import Count
from photondb.reql.chunk import EMPTY, Chunk, joined
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.measures import ScanMeasures
from photondb.reql.memory import Holding, MemoryBudget
from photondb.reql.pipeline import Pipeline
from photondb.reql.suspend import Evaluation
from services.storage.indexes import Index
from services.storage.rocks import Store, StoreError
from services.storage.tables import Table
from services.storage.views import Reader, ReadView, View

SLICE_S = 0.002
"""How long a scan works before it lets others go on."""

MAX_BLOCK_ROWS = 512
BLOCK_BYTES = 256 << 10
"""How much is read at a time: the last document makes up so many bytes, or that many rows."""

AGGREGATED_BLOCK_ROWS = 2048
AGGREGATED_BLOCK_BYTES = 1 << 20
"""The same where an aggregate takes them in: what it costs to begin with a block is divided among more documents."""

LOOKED_UP_AT_A_TIME = 16
"""How many documents that an index leads to are read before their size is looked at."""

MIN_STEP_ROWS = 64
"""How many documents are read for a chunk of fewer rows when steps may leave many of them out."""

MAX_RANGES_PER_BLOCK = 64

MAX_SHORT_CUT_SHARE = 0.3
MIN_SHORT_CUT_DOCUMENTS = 1000
MAX_SHORT_CUT_DOCUMENTS = 1_000_000
"""An index is left for the table when it leads to more than this share of the table's documents, unless they are few,
or to more than can be put in order."""

FEW_DOCUMENTS_SHARE = 0.01
"""To look up this share of a table's documents takes as long as to go through the columns of all that are cached."""

MAX_SEEN_DOCUMENTS = 1_000_000
"""How many documents a scan of a geo index remembers in order not to give any of them twice."""

MAX_CACHE_SHARE = 0.25
MAX_CACHED_BYTES = 64 << 20
"""A scan without a limit leaves the cache alone when the table is larger than this share of it, or than so many bytes:
it would push out what point reads need, and a table of that size is read from the files nearly as fast."""


class ScanRun:
    """A scan under way."""

    __slots__ = (
        "__weakref__",
        "_aborted",
        "_block_bytes",
        "_bulk",
        "_carried",
        "_entry_places",
        "_index",
        "_keys",
        "_keys_suffice",
        "_last_read",
        "_limit",
        "_measures",
        "_pipeline",
        "_prefix",
        "_primaries",
        "_ranges",
        "_reader",
        "_repeat",
        "_scan",
        "_seen",
        "_short_cut",
        "_table",
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
        self._index = index
        self._scan = scan
        self.context = context
        self._prefix = table.document_prefix if index is None else index.prefix
        ranges: Sequence[KeyRange] = scan.ranges
        # Taken from the end.
        self._ranges: list[KeyRange] = list(ranges if scan.descending else reversed(ranges))
        self._reader: Reader | None = None
        cached_bytes = min(store.cache_bytes * MAX_CACHE_SHARE, MAX_CACHED_BYTES)
        self._bulk = scan.limit is None and table.position.document_bytes > cached_bytes
        self._repeat = 1
        self._seen: set[bytes] | None = set() if index is not None and index.info.geo else None
        self._short_cut = scan.primary_order and not self._comes_in_primary_order()
        self._primaries: list[bytes] = []
        """The primary keys that the index has led to, and whose documents are still to be read: those of a whole short
        cut, in order, or of a few entries. Those to be read first stand at the end."""
        self._aborted: str | None = None
        self._limit = scan.limit
        self._pipeline: Pipeline | None = None
        self._keys_suffice = False
        self._measures = ScanMeasures.of_steps(len(scan.steps)) if scan.measured else None
        if scan.steps or scan.aggregate is not None:
            self._pipeline = Pipeline(scan.steps, scan.aggregate, scan.limit, self._measures)
            self._keys_suffice = type(scan.aggregate) is Count and not scan.steps
        needed = None if self._pipeline is None else self._pipeline.looks_at
        self._carried = index is not None and not self._keys_suffice and index.covers(needed)
        """Whether the entries of the index carry all that is needed of the documents."""
        self._last_read: list[bytes] = []
        """The primary keys of documents of which only what entries carry has been read since `_read` was called."""
        self._keys: list[bytes] | None = [] if scan.keyed and scan.aggregate is None else None
        """The places of the documents that were read last, where the rows are wanted with theirs."""
        self._entry_places: list[bytes] = []
        """The places of the documents that are still to be read, where they are others than their primary keys."""
        self._block_bytes = 0
        """The size of the block that was read last."""

    @property
    def exhausted(self) -> bool:
        """Whether everything was read."""
        return self._reader is None and not self._ranges and not self._primaries

    def close(self) -> None:
        """Let go of the view. What is left of the scan is lost."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self._ranges.clear()
        self._primaries.clear()
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
        found: list[bytes] = []
        keys: list[bytes] = []
        chunks: list[Chunk] = []
        count = size = 0
        slice_end = perf_counter() + SLICE_S
        last = False
        if self._short_cut:
            await self._take_short_cut()
        while True:
            wanted = rows - count if self._pipeline is None else max(rows - count, MIN_STEP_ROWS)
            block = self._read(min(wanted, MAX_BLOCK_ROWS))
            size += self._block_bytes
            if self._pipeline is None:
                found += block
                keys += self._keys or ()
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
        if self._keys is not None:
            whole.keys = keys
        return whole, last

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
        if self._keys_suffice and self._index is None and self._ranges == [KeyRange()]:
            # All documents of the table are counted: their number is known.
            pipeline.feed(cast("Sequence[bytes]", range(self._view.rows_of(self._table))))
            self.close()
            return pipeline.partial()
        if self._short_cut:
            await self._take_short_cut()
        slice_end = perf_counter() + SLICE_S
        while not self.exhausted:
            block = self._read(AGGREGATED_BLOCK_ROWS, AGGREGATED_BLOCK_BYTES)
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
        return self._index is not None and len(self._primaries) <= few

    def _comes_in_primary_order(self) -> bool:
        """Whether the entries are in the order of the primary key already, because all have one value, and so need not
        be gathered for a query that may not want all of them."""
        index, scan = self._index, self._scan
        if index is None:
            return True
        if index.info.multi or scan.limit is None or len(scan.ranges) != 1 or scan.others:
            return False
        (only,) = scan.ranges
        return bool(only.low) and only.high == after_prefix(only.low) and end_of_key(only.low) == len(only.low)

    async def _take_short_cut(self, most: int = MAX_SHORT_CUT_DOCUMENTS) -> None:
        """Put the documents that the index leads to in the order of their primary keys. Where they are too many for
        that to pay, or more than `most`, read the table."""
        self._short_cut = False
        assert self._index is not None
        rows = self._table.position.rows
        most = min(max(MIN_SHORT_CUT_DOCUMENTS, int(rows * MAX_SHORT_CUT_SHARE)), most)
        every = self._scan.every and bool(self._scan.others)
        found: set[bytes] = set()
        if not await self._gather(self._index, found, MAX_SHORT_CUT_DOCUMENTS if every else most):
            return
        for part in self._scan.others:
            index = self._table.index(part.index)
            if index is None:  # it was dropped meanwhile
                self._leave_index()
                return
            self._prefix, self._ranges = index.prefix, list(reversed(part.ranges))
            also: set[bytes] = set() if every else found
            if not await self._gather(index, also, MAX_SHORT_CUT_DOCUMENTS if every else most):
                return
            found = found & also if every else also
        if len(found) > most:
            self._leave_index()
            return
        self._primaries = sorted(found, reverse=not self._scan.descending)
        self._repeat = 1

    async def _gather(self, index: Index, found: set[bytes], most: int) -> bool:
        """Add the primary keys of all entries that are to be read. Leaves the index, and gives False, when there are
        more than `most`."""
        slice_end = perf_counter() + SLICE_S
        while (reader := self._reader or self._next_range()) is not None:
            found.update(map(index.primary_of, reader.take_values(MAX_BLOCK_ROWS, BLOCK_BYTES)))
            if reader.done:
                reader.close()
                self._reader = None
            if len(found) > most:
                self._leave_index()
                return False
            if perf_counter() > slice_end:
                await self._give_way()
                slice_end = perf_counter() + SLICE_S
        return True

    def _leave_index(self) -> None:
        """Go on as a scan of the whole table. Nothing was given to anybody yet."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._measures is not None:
            self._measures.left_index = True
        self._index = None
        self._carried = False
        self._prefix = self._table.document_prefix
        self._ranges = [KeyRange()]

    def _read(self, rows: int, max_bytes: int = BLOCK_BYTES) -> list[bytes]:
        """The next documents: as many as make a block, at most `rows`."""
        self._last_read.clear()
        if self._keys is not None:
            self._keys = []
        documents: list[bytes] = []
        room = max_bytes
        for _ in range(MAX_RANGES_PER_BLOCK):
            wanted = rows - len(documents)
            if self._primaries:
                found = self._look_up(wanted, room)
            else:
                reader = self._reader or self._next_range()
                if reader is None:
                    break
                found = self._take(reader, wanted, room)
                if reader.done:
                    reader.close()
                    self._reader = None
            documents += found
            room -= sum(map(len, found))
            if len(documents) >= rows or room <= 0:
                break
        self._block_bytes = max_bytes - room
        if self._measures is not None:
            self._measures.read += len(documents)
        return documents

    def _next_range(self) -> Reader | None:
        if not self._ranges:
            return None
        wanted = self._ranges.pop()
        self._repeat = wanted.repeat
        keys_only = self._keys_suffice and self._index is None
        self._reader = self._view.read(
            self._prefix + wanted.low,
            self._prefix + wanted.high,
            descending=self._scan.descending,
            keys_only=keys_only,
            bulk=self._bulk,
        )
        return self._reader

    def _take(self, reader: Reader, count: int, max_bytes: int) -> list[bytes]:
        index = self._index
        if index is None and self._keys_suffice:
            return self._repeated(reader.take_keys(count))
        places: list[bytes] = []
        if self._seen is None and self._keys is None:
            values = reader.take_values(count, max_bytes)
        else:
            rows = reader.take(count, max_bytes)
            if self._seen is not None:
                rows = self._not_seen(rows)
            if self._keys is not None:
                places = self._places(rows)
            values = [value for _, value in rows]
        if index is None or self._keys_suffice or self._carried:
            if self._keys is not None:
                self._keys += self._repeated(places)
            if index is None or self._keys_suffice:
                return self._repeated(values)
            self._last_read += self._repeated(list(map(index.primary_of, values)))
            return self._repeated(list(map(index.carried_in, values)))
        primaries = list(map(index.primary_of, values)) if index.covering else values
        self._primaries, self._entry_places = primaries[::-1], places[::-1]
        return self._look_up(count, max_bytes)

    def _places(self, rows: list[tuple[bytes, bytes]]) -> list[bytes]:
        """The places of documents, or of those of entries, in the order of the scan."""
        if self._index is not None and self._scan.primary_order:
            return [self._index.primary_of(value) for _, value in rows]
        start = len(self._prefix)
        return [key[start:] for key, _ in rows]

    def _look_up(self, count: int, max_bytes: int) -> list[bytes]:
        """The next documents of those that the index has led to."""
        found: list[bytes] = []
        primaries = self._primaries
        while primaries and len(found) < count and max_bytes > 0:
            at_a_time = min(LOOKED_UP_AT_A_TIME, count - len(found))
            some = self._documents(primaries[: -at_a_time - 1 : -1])
            if self._keys is not None:
                places = self._entry_places or primaries
                self._keys += self._repeated(places[: -at_a_time - 1 : -1])
                del self._entry_places[-at_a_time:]
            del primaries[-at_a_time:]
            max_bytes -= sum(map(len, some))
            found += some
        return self._repeated(found)

    def _repeated(self, rows: list[bytes]) -> list[bytes]:
        """Rows as often as the range that is being read asks for each."""
        return rows if self._repeat == 1 else [row for row in rows for _ in range(self._repeat)]

    def _not_seen(self, entries: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The entries of a geo index whose documents, which may have several, are met for the first time."""
        assert self._seen is not None
        assert self._index is not None
        start = len(self._prefix)
        first_ones = []
        for key, value in entries:
            if not found_once(key, start):
                primary = self._index.primary_of(value)
                if primary in self._seen:
                    continue
                if len(self._seen) >= MAX_SEEN_DOCUMENTS:
                    raise ReqlError(
                        ErrorKind.RESOURCE_LIMIT, "Array size limit exceeded during geospatial index traversal."
                    )
                self._seen.add(primary)
            first_ones.append((key, value))
        return first_ones

    def _documents(self, primaries: list[bytes]) -> list[bytes]:
        prefix = self._table.document_prefix
        documents = []
        for document in self._view.documents([prefix + primary for primary in primaries]):
            if document is None:
                assert self._index is not None
                raise StoreError("corrupt", f"The index `{self._index.info.name}` has an entry without a document.")
            documents.append(document)
        return documents

    def _keep_view(self) -> None:
        """Make the view last. A range that is being read needs nothing: its iterator is the view."""
        if self._index is not None or self._ranges or self._primaries:
            self._view.pin()

    async def _feed(self, pipeline: Pipeline, block: list[bytes]) -> Chunk | None:
        """Put documents through the pushed-down part of the query, whole ones again where it fails upon what entries of
        an index carry, because its message may show them."""
        if not self._last_read:
            return await self._run(pipeline, block)
        remaining = pipeline.remaining
        try:
            return await self._run(pipeline, block)
        except ReqlError:
            self._check_aborted()
            pipeline.remaining = remaining
            return await self._run(pipeline, self._documents(self._last_read))

    async def _run(self, pipeline: Pipeline, block: list[bytes]) -> Chunk | None:
        """Put documents through the pushed-down part of the query. A function that takes long lets others go on."""
        evaluation = Evaluation().begin(pipeline.feed, block, self._keys)
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
