"""The commit path: how changes become durable, all at once and in order.

A `Commit` collects the changes of one or more write statements: documents, index entries and change-log records, all in
one batch. A `CommitPath` makes it so. `LocalCommitPath` does it on this machine: it writes the batch at once, and waits
for the disk once for all who ask at about the same time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Protocol

from photondb.api.context import SpanNames
from photondb.api.storage import LogRecord
from photondb.telemetry import catalogue
from photondb.telemetry.scrape import Scrape
from services.storage import layout
from services.storage.indexes import EntryChanges
from services.storage.log import HEADER, LENGTHS, TOTALS, read
from services.storage.metrics import CommitMetrics
from services.storage.rocks import Batch, Store
from services.storage.tables import Table
from services.storage.views import View

MAX_COMMIT_BYTES = 8 << 20
"""A call that changes many documents is carried out in several commits: each ends when it is this large ..."""

MAX_COMMIT_S = 0.005
"""... or has taken this long, so that others get their turn ..."""

MAX_UNSYNCED_BYTES = 8 << 20
"""After so much has been written softly the disk is asked to take it, so that no hard write has to wait for more."""

MIN_COMMIT_DOCUMENTS = 32
"""... unless there are no more than this many documents in it."""


class ShardChanges:
    """What a commit does to one shard: where it began, where it got to, and the (key, old, new) of each change."""

    __slots__ = ("position", "records", "start", "table")

    def __init__(self, table: Table) -> None:
        self.table = table
        self.start = table.position.sequence
        self.position = table.position.copy()
        self.records: list[tuple[bytes, bytes | None, bytes | None]] = []

    @property
    def first_sequence(self) -> int:
        """The sequence number of the first change."""
        return self.start + 1

    def log(self, batch: Batch, time_us: int) -> None:
        """Put a record of each change into the change log, and move the position on. They come one after another,
        which is where RocksDB keeps them."""
        position = self.position
        sequence, rows, document_bytes, log_bytes = (
            position.sequence,
            position.rows,
            position.document_bytes,
            position.log_bytes,
        )
        put, prefix, pack, header_bytes = batch.put, self.table.log_prefix, HEADER.pack, HEADER.size
        for key, old, new in self.records:
            sequence += 1
            if old is None:
                assert new is not None, "a document that is not there cannot be deleted"
                old_length, new_length = 0, len(new)
                rows += 1
                old = b""
            elif new is None:
                old_length, new_length = len(old), 0
                rows -= 1
                new = b""
            else:
                old_length, new_length = len(old), len(new)
            document_bytes += new_length - old_length
            log_bytes += header_bytes + len(key) + old_length + new_length
            header = pack(time_us, rows, document_bytes, log_bytes, len(key), old_length, new_length)
            put(prefix + sequence.to_bytes(8, "big"), b"".join((header, key, old, new)))
        position.sequence, position.time_us, position.rows = sequence, time_us, rows
        position.document_bytes, position.log_bytes = document_bytes, log_bytes


class PreparedRecords:
    """Records of changes of one table, made but for what depends on where the table stands when they are committed."""

    __slots__ = ("_document_bytes", "_rows", "bodies", "changes", "size", "table", "totals")

    def __init__(self, table: Table) -> None:
        self.table = table
        self.changes: list[tuple[bytes, bytes | None, bytes | None]] = []
        """The (key, old, new) of each change."""
        self.bodies: list[bytes] = []
        """Of each record what comes behind the totals."""
        self.totals: list[tuple[int, int, int]] = []
        """What each of them, with those before, adds to the number of documents, to their bytes and to the log's."""
        self.size = 0
        self._rows = 0
        self._document_bytes = 0

    def add(self, key: bytes, old: bytes | None, new: bytes | None) -> None:
        """Prepare the record of another change."""
        before, after = old or b"", new or b""
        self._rows += (new is not None) - (old is not None)
        self._document_bytes += len(after) - len(before)
        self.size += HEADER.size + len(key) + len(before) + len(after)
        self.changes.append((key, old, new))
        self.bodies.append(b"".join((LENGTHS.pack(len(key), len(before), len(after)), key, before, after)))
        self.totals.append((self._rows, self._document_bytes, self.size))


class Commit:
    """Changes to be made together. Nothing outside of it changes until a `CommitPath` takes it."""

    __slots__ = ("_deadline", "_store", "batch", "changes", "documents", "done", "size", "spans", "time_us")

    def __init__(self, store: Store, time_us: int, spans: SpanNames = (), batch: Batch | None = None) -> None:
        self._store = store
        self._deadline = perf_counter() + MAX_COMMIT_S
        self.time_us = time_us
        self.spans = spans
        """Those that make the commit, if it is traced."""
        self.batch = Batch() if batch is None else batch
        self.documents: dict[bytes, bytes | None] = {}
        """The documents that were read, by store key, as this commit leaves them."""
        self.changes: dict[int, ShardChanges] = {}
        self.done = 0
        """How many documents have been dealt with, of those that were read."""
        self.size = 0
        """Bytes of change-log records, which is about what the whole commit comes to."""

    @property
    def full(self) -> bool:
        """Whether no more should be added."""
        return self.size > MAX_COMMIT_BYTES or (self.done >= MIN_COMMIT_DOCUMENTS and perf_counter() > self._deadline)

    def read(self, keys: list[bytes]) -> None:
        """Read the documents that the statements are about, with one call. Raises StoreError."""
        self.documents.update(zip(keys, self._store.documents.read(keys), strict=True))
        self._deadline = perf_counter() + MAX_COMMIT_S

    def change(self, table: Table, key: bytes, old: bytes | None, new: bytes | None) -> None:
        """Put, replace or delete the document `key`. `old` is what `documents` has for it; None is no document."""
        store_key = table.document_prefix + key
        self.documents[store_key] = new
        size = HEADER.size + len(key)
        if old is not None:
            size += len(old)
        if new is None:
            self.batch.delete(store_key)
        else:
            self.batch.put(store_key, new)
            size += len(new)
        self.size += size
        changes = self.changes.get(table.id)
        if changes is None:
            changes = self.changes[table.id] = ShardChanges(table)
        changes.records.append((key, old, new))

    def log(self) -> None:
        """Put the records of all changes into the change log. Nothing can be changed any more."""
        for changes in self.changes.values():
            if changes.position.sequence == changes.start:  # those that were prepared are there
                changes.log(self.batch, self.time_us)

    def record_all(self, prepared: PreparedRecords) -> None:
        """Put prepared records of a table, of which there are none in the commit yet, into the change log. Nothing is
        done here that could have been done before."""
        changes = self.changes[prepared.table.id] = ShardChanges(prepared.table)
        position, time_us = changes.position, self.time_us
        first_rows, first_bytes, first_log_bytes = position.rows, position.document_bytes, position.log_bytes
        put, prefix, pack = self.batch.put, prepared.table.log_prefix, TOTALS.pack
        sequence = position.sequence
        for body, (rows, document_bytes, log_bytes) in zip(prepared.bodies, prepared.totals, strict=True):
            sequence += 1
            totals = pack(time_us, first_rows + rows, first_bytes + document_bytes, first_log_bytes + log_bytes)
            put(prefix + sequence.to_bytes(8, "big"), totals + body)
        rows, document_bytes, log_bytes = prepared.totals[-1]
        position.sequence, position.time_us = sequence, time_us
        position.rows, position.document_bytes = first_rows + rows, first_bytes + document_bytes
        position.log_bytes = first_log_bytes + log_bytes
        changes.records = prepared.changes
        self.size += prepared.size

    def change_entries(self, changes: EntryChanges) -> None:
        """Make the changes of index entries that go with a change of a document."""
        delete, put = self.batch.delete, self.batch.put
        for entry in changes.gone:
            delete(entry)
        for entry, value in changes.put:
            put(entry, value)


class PositionConflict(Exception):
    """Something else was appended to a shard's log after the commit was made: it must be made again."""


Follower = Callable[[Commit], None]


class CommitPath(Protocol):
    """The log that shards are kept by: append at an expected position, read from a position, follow."""

    def append(self, commit: Commit, durable: bool) -> asyncio.Future[None] | None:
        """Make the commit's changes, if no shard has moved on from where the commit found it.

        They are visible when this returns. What comes back is to be waited for before they are acknowledged, None when
        there is nothing to wait for; others wait for the same future, so it must not be cancelled. It gives StoreError
        when nobody knows whether the changes are on the disk. Raises PositionConflict, or StoreError; then nothing has
        happened.
        """
        ...

    def read(self, table: int, shard: int, after: int, limit: int) -> list[LogRecord]:
        """Up to `limit` records with a sequence greater than `after`. Raises LogGap."""
        ...

    def follow(self, follower: Follower) -> None:
        """Call `follower` with every commit from now on, in order, once it is as durable as it asked to be."""
        ...

    async def sync(self) -> None:
        """Return when everything appended so far is durable. Raises StoreError."""
        ...


MAX_READ_BYTES = 16_000_000
"""How much of the log one read gives at most, in bytes of records."""


class LocalCommitPath:
    """A `CommitPath` on this machine alone."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._followers: list[Follower] = []
        self.metrics = CommitMetrics()
        self._appended = 0
        self._unsynced_bytes = 0
        # Commits that followers have not seen, in order: (number of the commit, whether it must be durable first, it).
        self._unseen: deque[tuple[int, bool, Commit]] = deque()
        self._group = SyncGroup(store.sync, lambda: self._appended, self._synced, self.metrics)

    def append(self, commit: Commit, durable: bool) -> asyncio.Future[None] | None:
        for changes in commit.changes.values():
            table = changes.table
            if table.dropped or changes.start != table.position.sequence:
                raise PositionConflict(f"shard {layout.SHARD} of table {table.id}")
        commit.log()
        self._store.write(commit.batch)
        self._store.documents.note(commit.documents)
        documents = 0
        for changes in commit.changes.values():
            changes.table.position = changes.position
            changes.table.writes += len(changes.records)
            documents += len(changes.records)
            for changed in changes.table.watchers:
                changed.update([key for key, _, _ in changes.records])
        self.metrics.documents.observe(documents)
        self.metrics.bytes += commit.size
        self._appended += 1
        if durable or self._unseen:
            self._unseen.append((self._appended, durable, commit))
        else:
            self._show(commit)
        self._unsynced_bytes += commit.size
        if durable or self._unsynced_bytes > MAX_UNSYNCED_BYTES:
            self._unsynced_bytes = 0
            synced = self._group.wait()
            return synced if durable else None
        return None

    def read(self, table: int, shard: int, after: int, limit: int) -> list[LogRecord]:
        return read(View(self._store), table, after, limit, MAX_READ_BYTES, shard)

    def collect(self, scrape: Scrape) -> None:
        """Write what is counted into a reading."""
        self.metrics.collect(scrape)
        scrape.add(catalogue.COMMITS_UNSYNCED, len(self._unseen))

    def follow(self, follower: Follower) -> None:
        self._followers.append(follower)

    async def sync(self) -> None:
        await asyncio.shield(self._group.wait())

    async def close(self) -> None:
        """Make everything durable and end the thread that does it."""
        try:
            await self.sync()
        finally:
            self._group.close()

    def _synced(self, last: int) -> None:
        """All commits up to number `last` are durable (or, after an error, as durable as they will be)."""
        unseen = self._unseen
        while unseen and (unseen[0][0] <= last or not unseen[0][1]):
            self._show(unseen.popleft()[2])

    def _show(self, commit: Commit) -> None:
        for follower in self._followers:
            follower(commit)


class SyncGroup:
    """Lets many wait for the disk at the cost of one.

    `sync` runs in a thread, one at a time. Who asks before it starts is answered by it; who asks while it runs shares
    the next one, because it may have missed their writes. `mark` is read when a sync starts and `synced` is told of it
    when that sync is over. `metrics` counts the syncs.
    """

    def __init__(
        self,
        sync: Callable[[], None],
        mark: Callable[[], int],
        synced: Callable[[int], None],
        metrics: CommitMetrics,
    ) -> None:
        self._metrics = metrics
        self._last_mark = 0
        self._duration_s = 0.0
        self._sync = sync
        self._mark = mark
        self._synced = synced
        self._thread = ThreadPoolExecutor(1, "sync")
        self._next: asyncio.Future[None] | None = None
        self._running = False

    def wait(self) -> asyncio.Future[None]:
        """The end of a sync that begins after now, or the error that it raises. Many have the same future."""
        if self._next is None:
            loop = asyncio.get_running_loop()
            self._next = loop.create_future()
            if not self._running:
                # Not at once: the other writers of this turn of the loop come along.
                self._running = True
                loop.call_soon(self._start)
        return self._next

    def close(self) -> None:
        """End the thread. Nobody may be waiting."""
        self._thread.shutdown()

    def _start(self) -> None:
        waiting, mark = self._next, self._mark()
        assert waiting is not None
        self._next = None
        run = asyncio.get_running_loop().run_in_executor(self._thread, self._sync_timed)
        run.add_done_callback(lambda run: self._finish(run, waiting, mark))

    def _sync_timed(self) -> None:
        """Sync, in the thread, and note how long it took."""
        started = perf_counter()
        try:
            self._sync()
        finally:
            self._duration_s = perf_counter() - started

    def _finish(self, run: asyncio.Future[None], waiting: asyncio.Future[None], mark: int) -> None:
        error = run.exception()
        self._metrics.sync_duration.observe(self._duration_s)
        self._metrics.sync_commits.observe(mark - self._last_mark)
        self._metrics.sync_failures += error is not None
        self._last_mark = mark
        self._running = self._next is not None
        if self._running:
            self._start()
        self._synced(mark)
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(error)
            waiting.exception()  # whoever still waits gets it; that nobody does is no error
