"""How a transaction is committed: others' changes since it began are looked through, then all of its own are made.

What takes long is done while others go on: looking through the change log, and working out index entries. Only the last
stretch of the log and the commit itself are done with nothing in between, which is what makes the outcome right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter

from photondb.api.storage import LogGap
from photondb.api.transactions import TransactionConflict
from photondb.datum.errors import DatumError
from photondb.datum.json import loads_stored
from photondb.reql.errors import op_failed
from services.storage import layout
from services.storage.commit import Commit, CommitPath
from services.storage.indexes import EntryChanges, entry_changes
from services.storage.rocks import Store
from services.storage.tables import Table
from services.storage.transaction import Transaction

SLICE_S = 0.002
"""How long one step works before it lets others go on."""

BLOCK_RECORDS = 200
"""How many records of the log are looked at between two looks at the clock; with no more left, the commit is next."""

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
                raise TransactionConflict(f"Table `{touched.name}`, which transaction `{name}` uses, was dropped.")
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


class Change:
    """A document that is to be changed, and the index entries that go and come with that."""

    __slots__ = ("entries", "indexes", "key", "new", "old", "table")

    def __init__(self, table: Table, key: bytes, old: bytes | None, new: bytes | None) -> None:
        self.table = table
        self.key = key
        self.old = old
        self.new = new
        self.prepare()

    def prepare(self) -> None:
        """Work out the entries for the indexes that the table has now. Raises ReqlError for a key that is too long."""
        self.indexes = self.table.indexes
        self.entries: EntryChanges | None = None
        if not self.indexes:
            return
        old_value = None if self.old is None else loads_stored(self.old)
        new_value = None if self.new is None else loads_stored(self.new)
        try:
            self.entries = entry_changes(self.indexes, self.key, old_value, new_value)
        except DatumError as error:  # of an index that is younger than the write
            raise op_failed(f"{error.message} Nothing of the transaction was saved.") from None

    def add_to(self, commit: Commit) -> None:
        """Put it into a commit."""
        if self.indexes is not self.table.indexes:
            self.prepare()
        commit.change(self.table, self.key, self.old, self.new)
        if self.entries is not None:
            commit.change_entries(self.entries)


async def changes_of(transaction: Transaction) -> list[Change]:
    """What a transaction comes to: one change for each document that is not as it was."""
    changes = []
    slice_end = perf_counter() + SLICE_S
    for touched in list(transaction.tables.values()):
        for key, written in touched.writes.items():
            if written.old != written.new:
                changes.append(Change(touched.table, key, written.old, written.new))
            if perf_counter() > slice_end:
                await asyncio.sleep(0)
                transaction.check_open()
                slice_end = perf_counter() + SLICE_S
    return changes


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
    changes: Sequence[Change],
    validation: Validation,
    time_us: int,
    traceparent: str = "",
) -> asyncio.Future[None] | None:
    """Look at the last changes of others and make all `changes` of the transaction, with nothing in between.

    Returns what a durable commit must wait for. Raises TransactionConflict or StoreError; then nothing has happened.
    """
    validation.check_block()
    while validation.left:
        validation.check_block()
    commit = Commit(store, time_us, traceparent)
    for change in changes:
        change.add_to(commit)
    return path.append(commit, transaction.hard) if commit.changes else None
