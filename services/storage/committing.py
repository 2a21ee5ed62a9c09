"""How a transaction is committed: others' changes since it began are looked through, then all of its own are made.

What takes long is done while others go on: looking through the change log, working out index entries, and putting all
of them into a batch. Only the last stretch of the log and the commit itself are done with nothing in between, which is
what makes the outcome right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from operator import itemgetter
from time import perf_counter

from photondb.api.context import SpanNames
from photondb.api.storage import LogGap
from photondb.api.transactions import TransactionConflict
from photondb.datum.errors import DatumError
from photondb.datum.json import loads_stored
from photondb.reql.errors import op_failed
from services.storage import layout
from services.storage.commit import Commit, CommitPath, PreparedRecords
from services.storage.indexes import Index, entry_changes
from services.storage.overlay import sorting
from services.storage.rocks import Batch, Store
from services.storage.tables import Table
from services.storage.transaction import Transaction

SLICE_S = 0.002
"""How long one step works before it lets others go on."""

BLOCK_RECORDS = 200
"""How many records are dealt with between two looks at the clock; with no more left to check, the commit is next."""

TRY_AGAIN = "Nothing of the transaction was saved. Begin again: it may well succeed then."


class Validation:
    """Looks whether others have changed what a transaction has read or written."""

    def __init__(self, path: CommitPath, transaction: Transaction) -> None:
        self._path = path
        self._transaction = transaction
        self._seen = {touched.table.id: touched.start for touched in transaction.tables.values()}
        for touched in transaction.tables.values():
            touched.reads.finish()

    @property
    def left(self) -> int:
        """How many changes are still to be looked at."""
        tables = self._transaction.tables.values()
        return sum(touched.table.position.sequence - self._seen[touched.table.id] for touched in tables)

    def check_block(self) -> None:
        """Look at the next changes of each table. Raises TransactionConflict."""
        for touched in self._transaction.tables.values():
            table = touched.table
            name = self._transaction.info.id
            if table.dropped:
                raise TransactionConflict(
                    f"Table `{touched.name}`, which transaction `{name}` uses, was dropped or divided anew."
                )
            seen = self._seen[table.id]
            if table.position.sequence == seen:
                continue
            try:
                records = self._path.read(table.id, layout.SHARD, seen, BLOCK_RECORDS)
            except LogGap:
                raise TransactionConflict(
                    f"The change log of table `{touched.name}` does not go back any more to when transaction `{name}` "
                    f"began, so that nobody can tell whether it conflicts with other writes. {TRY_AGAIN}"
                ) from None
            for record in records:
                if touched.meets(record):
                    raise TransactionConflict(
                        f"Transaction `{name}` conflicts with another write: document {touched.describe(record)} was "
                        f"changed after the transaction had begun. {TRY_AGAIN}"
                    )
            self._seen[table.id] = records[-1].sequence


class PreparedChanges:
    """What a transaction comes to: a batch with its documents and index entries, and the records that are still to be
    put into the change log."""

    def __init__(self) -> None:
        self.batch = Batch()
        self.documents: dict[bytes, bytes | None] = {}
        """The documents by store key, as they will be."""
        self.records: dict[Table, PreparedRecords] = {}
        self._values: list[tuple[bytes, bytes | None]] = []
        self._indexes: dict[Table, tuple[Index, ...]] = {}

    @property
    def in_line(self) -> bool:
        """Whether the tables still have the indexes that the entries are for."""
        return all(table.indexes is indexes for table, indexes in self._indexes.items())

    def add(self, table: Table, key: bytes, old: bytes | None, new: bytes | None) -> None:
        """Add the change of a document. Raises ReqlError for an index key that is too long."""
        records = self.records.get(table)
        if records is None:
            records = self.records[table] = PreparedRecords(table)
        records.add(key, old, new)
        store_key = table.document_prefix + key
        self.documents[store_key] = new
        self._values.append((store_key, new))
        indexes = self._indexes.setdefault(table, table.indexes)
        if not indexes:
            return
        old_value = None if old is None else loads_stored(old)
        new_value = None if new is None else loads_stored(new)
        try:
            entries = entry_changes(indexes, key, old_value, new_value, old, new)
        except DatumError as error:  # of an index that is younger than the write
            raise op_failed(f"{error.message} Nothing of the transaction was saved.") from None
        self._values += [(entry, None) for entry in entries.gone]
        self._values += entries.put

    def fill_batch(self) -> Iterator[None]:
        """Put the documents and entries into the batch, some with each step: in the order of their keys, which takes
        RocksDB half as long to write."""
        yield from sorting(self._values, itemgetter(0))
        for start in range(0, len(self._values), BLOCK_RECORDS):
            for key, value in self._values[start : start + BLOCK_RECORDS]:
                if value is None:
                    self.batch.delete(key)
                else:
                    self.batch.put(key, value)
            yield
        self._values.clear()


async def prepare(transaction: Transaction) -> PreparedChanges:
    """Work out what a transaction comes to: one change for each document that is not as it was."""
    changes = PreparedChanges()
    for _ in _slices(changes, transaction):
        await asyncio.sleep(0)
        transaction.check_open()
    return changes


def _slices(changes: PreparedChanges, transaction: Transaction) -> Iterator[None]:
    """Do the work of `prepare`, with a step whenever others should have a turn."""
    slice_end = perf_counter() + SLICE_S
    for touched in list(transaction.tables.values()):
        for key, written in touched.writes.items():
            if written.old != written.new:
                changes.add(touched.table, key, written.old, written.new)
            if perf_counter() > slice_end:
                yield
                slice_end = perf_counter() + SLICE_S
    for _ in changes.fill_batch():
        if perf_counter() > slice_end:
            yield
            slice_end = perf_counter() + SLICE_S


async def validate(path: CommitPath, transaction: Transaction) -> Validation:
    """Look through what others have changed, until there is little left. Raises TransactionConflict, and whatever ended
    the transaction meanwhile."""
    validation = Validation(path, transaction)
    slice_end = perf_counter() + SLICE_S
    while validation.left > BLOCK_RECORDS:
        validation.check_block()
        if perf_counter() > slice_end:
            await asyncio.sleep(0)
            transaction.check_open()
            slice_end = perf_counter() + SLICE_S
    return validation


def commit_now(
    store: Store,
    path: CommitPath,
    transaction: Transaction,
    changes: PreparedChanges,
    validation: Validation,
    time_us: int,
    spans: SpanNames = (),
) -> asyncio.Future[None] | None:
    """Look at the last changes of others and make all `changes` of the transaction, with nothing in between.

    They must be in line with the indexes. Returns what a durable commit must wait for. Raises TransactionConflict or
    StoreError; then nothing has happened.
    """
    validation.check_block()
    while validation.left:
        validation.check_block()
    commit = Commit(store, time_us, spans, changes.batch)
    commit.documents = changes.documents
    for records in changes.records.values():
        commit.record_all(records)
    return path.append(commit, transaction.hard) if commit.changes else None
