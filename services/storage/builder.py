"""Builds new secondary indexes in the background while writes go on.

From the moment that an index is in the catalogue every write keeps its entries up to date. The builder goes through the
documents in the order of their keys and adds the entries of those that are there. Each step reads some documents and
writes their entries with nothing in between, so that no write can make them out of date; and an entry that a write has
put already is put once more, to no effect. How far the builder got is written in the same batch, so that it goes on
there after a restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from struct import Struct
from time import perf_counter

from photondb.api.storage_status import IndexStatus
from photondb.datum.errors import DatumError
from photondb.datum.json import loads_stored
from photondb.reql.pipeline import field_decoder
from services.storage import layout
from services.storage.indexes import MAX_INDEX_KEY_BYTES, Index
from services.storage.pressure import wait_for_relief
from services.storage.rocks import Batch, Store, StoreError
from services.storage.tables import Table
from services.storage.views import View

log = logging.getLogger(__name__)

STEP_ROWS = 64
STEP_BYTES = 1 << 20
"""How many documents are indexed in one go, and of how many bytes about."""

SLICE_S = 0.001
"""How long a build works before it lets others go on."""

RETRY_S = 1.0
"""How long a build waits when the disk does not take its entries, or a document cannot be indexed: it goes on by itself
when there is room, or when that document is another one."""

_DONE = Struct(">Q")
"""How many documents are done; the key of the last one follows."""

Finish = Callable[[Table, Index, Batch], None]
"""Writes the last entries, and in the same batch that the index is ready."""


class IndexBuilder:
    """All builds of a store."""

    def __init__(self, store: Store, finish: Finish) -> None:
        self._store = store
        self._finish = finish
        self._tasks: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._progress: dict[tuple[int, int], float] = {}
        self._problems: dict[tuple[int, int], str] = {}
        """Why builds do not get on, where they do not."""

    def __len__(self) -> int:
        """How many builds are under way."""
        return len(self._tasks)

    def start(self, table: Table, index: Index) -> None:
        """Begin, or after a restart go on, to build `index`, if that is not being done already."""
        key = (table.id, index.id)
        if key in self._tasks:
            return
        task = asyncio.get_running_loop().create_task(self._build(table, index))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def stop(self) -> None:
        """End all builds where they are."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def status(self, table: Table, index: Index) -> IndexStatus:
        """How far the build of `index` is."""
        if index.info.ready:
            return IndexStatus(index.info.name, True, 1.0)
        key = (table.id, index.id)
        return IndexStatus(index.info.name, False, self._progress.get(key, 0.0), self._problems.get(key, ""))

    async def _build(self, table: Table, index: Index) -> None:
        done = False
        key = (table.id, index.id)
        while not done:
            await wait_for_relief(self._store)
            if not _wanted(table, index):  # nothing may come between this and what is written
                break
            try:
                start = perf_counter()
                while not done and perf_counter() < start + SLICE_S:
                    done = self._step(table, index)
                self._problems.pop(key, None)
                # At most half of the time is for builds, because those who wait for an answer come first.
                await asyncio.sleep(perf_counter() - start)
            except (StoreError, DatumError) as error:
                reason = str(error)
                if self._problems.get(key) != reason:
                    log.warning("an index cannot be built", extra={"index": index.info.name, "reason": reason})
                self._problems[key] = reason
                await asyncio.sleep(RETRY_S)
        self._progress.pop(key, None)
        self._problems.pop(key, None)

    def _step(self, table: Table, index: Index) -> bool:
        """Index some more documents. Returns whether these were the last."""
        progress_key = layout.build_key(table.id, index.id)
        saved = self._store.get(progress_key)
        done, low = 0, table.document_prefix
        if saved is not None:
            (done,) = _DONE.unpack_from(saved)
            low += saved[_DONE.size :] + b"\0"
        with View(self._store).read(low, layout.end_of(table.document_prefix)) as reader:
            rows = reader.take(STEP_ROWS, STEP_BYTES)
            last = reader.done
        decode = loads_stored if index.fields is None else field_decoder(index.fields)
        start = len(table.document_prefix)
        batch = Batch()
        for key, document in rows:
            primary = key[start:]
            value = decode(document)
            for entry, entry_value in index.entries(primary, value, document).items():
                if len(entry) > MAX_INDEX_KEY_BYTES:
                    index.check_length(primary, value)
                batch.put(entry, entry_value)
        if last:
            batch.delete(progress_key)
            self._finish(table, index, batch)
            return True
        done += len(rows)
        batch.put(progress_key, _DONE.pack(done) + rows[-1][0][start:])
        self._store.write(batch)
        # The table may have grown since, or the last step may be still to come: it is ready only when it is.
        self._progress[table.id, index.id] = min(done / max(table.position.rows, 1), 0.999)
        return False


def _wanted(table: Table, index: Index) -> bool:
    return not table.dropped and table.index(index.id) is index
