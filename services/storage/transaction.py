"""One transaction: a point in time, what was read of it, and what was written on top of it.

Nothing here waits, and nothing outside changes: writes stay in memory until `services.storage.committing` makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from weakref import WeakSet

import msgspec

from photondb.api.storage import LogRecord
from photondb.api.transactions import TransactionConflict, TransactionInfo
from photondb.datum.json import loads_stored
from photondb.datum.text import print_datum
from photondb.reql.errors import ReqlError, op_failed
from services.storage import catalog_state
from services.storage.commit import MAX_COMMIT_S, Commit
from services.storage.indexes import Index
from services.storage.log import last_position
from services.storage.overlay import FrozenOverlay, MergedReader, Overlay
from services.storage.read_set import RangeSet, TableReads, TrackedReader
from services.storage.rocks import Store
from services.storage.scan import ScanRun
from services.storage.tables import Table
from services.storage.views import Reader, View


class Written:
    """A document that the transaction has changed: how it found it, and how it leaves it. None is no document."""

    __slots__ = ("new", "old")

    def __init__(self, old: bytes | None) -> None:
        self.old = old
        self.new = old


class TouchedTable:
    """What a transaction has to do with one table."""

    __slots__ = ("indexes", "reads", "rows", "start", "table", "writes")

    def __init__(self, table: Table, start: int, rows: int, indexes: frozenset[int]) -> None:
        self.table = table
        self.start = start
        """The sequence number of the last change that the transaction sees."""
        self.rows = rows
        """How many documents the transaction sees, its own among them."""
        self.indexes = indexes
        """The indexes that were ready when it began."""
        self.reads = TableReads(table)
        self.writes: dict[bytes, Written] = {}
        """By primary key, in the order in which they were first written."""

    @property
    def name(self) -> str:
        """The table's name as messages show it."""
        return f"{self.table.info.database}.{self.table.info.name}"

    def describe(self, record: LogRecord) -> str:
        """The document of a change, as messages name it."""
        document = record.new or record.old
        assert document is not None, "a change of nothing to nothing"
        return f"{print_datum(loads_stored(document)[self.table.primary_key])} of table `{self.name}`"

    def meets(self, record: LogRecord) -> bool:
        """Whether somebody else's change is one of what the transaction has written or (if that counts) read."""
        return record.key in self.writes or self.reads.meets(record)


class Transaction:
    """A transaction that is open."""

    def __init__(self, store: Store, state: catalog_state.State, info: TransactionInfo) -> None:
        self._store = store
        self._state = state
        self.info = info
        self.tracked = info.isolation == "serializable" and not info.read_only
        """Whether what it reads is remembered. A transaction that writes nothing needs no look at that when it ends: it
        has the effect of one that was carried out at the moment that it sees."""
        self.tables: dict[int, TouchedTable] = {}
        self.overlay = Overlay()
        self.runs: WeakSet[ScanRun] = WeakSet()
        self.bytes = 0
        """What its writes hold in memory, about."""
        self.hard = False
        """Whether any write is to be durable when the transaction is."""
        self.refused = 0
        """How many documents could not be written ..."""
        self.refusal: str | None = None
        """... and why not, for the first of them."""
        self.writing = 0
        """How many write calls are being carried out."""
        self.ended: ReqlError | None = None
        """What to tell whoever uses it any more."""
        self.view = View(store)
        self.view.pin()

    @property
    def writes(self) -> int:
        """How many documents it has changed."""
        return sum(len(touched.writes) for touched in self.tables.values())

    def progress(self) -> TransactionInfo:
        """What is told of it now."""
        reads = sum(len(touched.reads) for touched in self.tables.values())
        return msgspec.structs.replace(self.info, reads=reads, writes=self.writes)

    def check_open(self) -> None:
        """Raise when it has ended."""
        if self.ended is not None:
            raise self.ended

    def end(self, why: ReqlError) -> None:
        """Free everything. Who is using it, or does so later, is told `why`."""
        self.ended = why
        for run in list(self.runs):
            run.abort(why.message)
        self.view.close()
        self.overlay = Overlay()
        self.tables = {}

    def touch(self, table: Table) -> TouchedTable:
        """The table as the transaction has it. Raises ReqlError when it is too young."""
        self.check_open()
        touched = self.tables.get(table.id)
        if touched is None:
            record = self._state.tables.get(table.id)
            if table.info.ended and (record is None or record.info.copy_of):
                raise TransactionConflict(
                    f"Table `{table.info.database}.{table.info.name}` was divided anew after transaction "
                    f"`{self.info.id}` had begun. Nothing of the transaction was saved. Begin again."
                )
            if record is None:
                raise op_failed(
                    f"Table `{table.info.database}.{table.info.name}` was created after transaction "
                    f"`{self.info.id}` had begun: begin again."
                )
            position = last_position(self.view, table.id)
            ready = frozenset(index.id for index in record.info.indexes if index.ready)
            touched = self.tables[table.id] = TouchedTable(table, position.sequence, position.rows, ready)
        return touched

    def ready_index(self, touched: TouchedTable, index: Index | None) -> None:
        """Raise ReqlError unless the index can be used: its entries must have been complete from the beginning."""
        if index is not None and index.id not in touched.indexes:
            raise op_failed(
                f"Index `{index.info.name}` on table `{touched.name}` was not ready when transaction "
                f"`{self.info.id}` began: begin again."
            )

    def get(self, touched: TouchedTable, keys: list[bytes]) -> list[bytes | None]:
        """The documents under store keys of one table."""
        if self.tracked:
            touched.reads.add_keys(keys)
        return self.look_up(keys)

    def look_up(self, keys: list[bytes], overlay: FrozenOverlay | None = None) -> list[bytes | None]:
        """The documents under store keys, without remembering that they were read."""
        self.check_open()
        values = overlay.values if overlay is not None else self.overlay.values
        if not values:
            return self.view.documents(keys)
        missing = [key for key in keys if key not in values]
        found = dict(zip(missing, self.view.documents(missing), strict=True)) if missing else {}
        return [values[key] if key in values else found[key] for key in keys]

    def scan_view(self, touched: TouchedTable, indexes: Sequence[Index]) -> TransactionView:
        """What a scan of a table, or of indexes, reads from."""
        return TransactionView(self, touched, [touched.reads.ranges(index) for index in (None, *indexes)])

    def written(self, table: Table, key: bytes, old: bytes | None, new: bytes | None) -> None:
        """Note that a document was changed, from `old`, which is how the transaction has it until now."""
        touched = self.touch(table)
        self.overlay.put(table.document_prefix + key, new)
        written = touched.writes.get(key)
        if written is None:
            written = touched.writes[key] = Written(old)
            self.bytes += len(key) + len(old or b"")
        else:
            self.bytes -= len(written.new or b"")
        written.new = new
        self.bytes += len(new or b"")
        touched.rows += (new is not None) - (old is not None)


class TransactionView:
    """A `ReadView` of what a transaction sees at one moment. `ranges`, of the table and of indexes, are told what is
    read of them, if the transaction remembers that."""

    __slots__ = ("_frozen", "_ranges", "_touched", "_transaction")

    def __init__(self, transaction: Transaction, touched: TouchedTable, ranges: Sequence[RangeSet]) -> None:
        self._transaction = transaction
        self._touched = touched
        self._ranges = ranges
        self._frozen: FrozenOverlay | None = transaction.overlay.frozen()

    def pin(self) -> None:
        """It lasts as long as the transaction does."""

    def close(self) -> None:
        if self._frozen is not None:
            self._frozen.readers -= 1
            self._frozen = None

    def read(
        self, low: bytes, high: bytes, *, descending: bool = False, keys_only: bool = False, bulk: bool = False
    ) -> Reader:
        self._transaction.check_open()
        assert self._frozen is not None, "the view was used after it was closed"
        reader = self._transaction.view.read(low, high, descending=descending)
        if self._frozen.values:
            reader = MergedReader(reader, self._frozen, low, high, descending)
        if self._transaction.tracked:
            (ranges,) = [ranges for ranges in self._ranges if low.startswith(ranges.prefix)]
            reader = TrackedReader(reader, ranges, low, high, descending)
        return reader

    def documents(self, keys: list[bytes]) -> list[bytes | None]:
        # That the documents were read needs no mention: the entries that led to them were.
        return self._transaction.look_up(keys, self._frozen)

    def rows_of(self, table: Table) -> int:
        if self._transaction.tracked:
            self._touched.reads.add_all()
        return self._touched.rows


class Draft(Commit):
    """What a write statement changes instead of a `Commit` when it is part of a transaction."""

    __slots__ = ("_touched", "_transaction")

    def __init__(self, transaction: Transaction, touched: TouchedTable, store: Store, time_us: int) -> None:
        super().__init__(store, time_us)
        self._transaction = transaction
        self._touched = touched
        self.batch = _EntryChanges(transaction)  # type: ignore[assignment]

    def read(self, keys: list[bytes]) -> None:
        self.documents.update(zip(keys, self._transaction.get(self._touched, keys), strict=True))
        self._deadline = perf_counter() + MAX_COMMIT_S

    def change(self, table: Table, key: bytes, old: bytes | None, new: bytes | None) -> None:
        self.documents[table.document_prefix + key] = new
        self._transaction.written(table, key, old, new)
        self.size += len(key) + len(old or b"") + len(new or b"")


class _EntryChanges:
    """Takes changes of index entries as a `Batch` does, and puts them into a transaction's overlay."""

    __slots__ = ("_put", "_transaction")

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._put: Callable[[bytes, bytes | None], None] = transaction.overlay.put

    def put(self, key: bytes, value: bytes) -> None:
        self._put(key, value)
        self._transaction.bytes += len(key) + len(value)

    def delete(self, key: bytes) -> None:
        self._put(key, None)
        self._transaction.bytes += len(key)
