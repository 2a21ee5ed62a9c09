"""The transactions of a storage node: begun, used, ended, and never left over.

They are optimistic: nobody waits for anybody. A transaction reads one point in time and keeps its writes to itself
(`services.storage.transaction`); when it is to be committed, the change log tells whether others were in the way
(`services.storage.committing`). Until then there is nothing on the disk of it, so that a crash leaves nothing behind.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import msgspec

from photondb.api.auth import ADMIN
from photondb.api.context import CallContext
from photondb.api.storage import Scan, TableGone, Write, WriteSummary
from photondb.api.transactions import Isolation, TransactionConflict, TransactionInfo
from photondb.config import Settings
from photondb.reql.errors import ErrorKind, ReqlError, logic_error, op_failed, resource_limit
from photondb.telemetry import tracing
from photondb.telemetry.operations import SYNC
from services.storage import catalog_state
from services.storage.commit import CommitPath
from services.storage.committing import PreparedChanges, Validation, commit_now, prepare, validate
from services.storage.indexes import Index
from services.storage.pauses import TablePauses
from services.storage.pressure import wait_for_relief
from services.storage.rocks import Store, StoreError
from services.storage.scan import ScanRun
from services.storage.tables import Table, find_table
from services.storage.transaction import Draft, Transaction
from services.storage.writes import DEFAULT_MAX_DOCUMENT_BYTES, Statement

DEFAULT_TIMEOUT_MS = 60_000

MAX_REMEMBERED = 1000
"""How many transactions that have ended are remembered, to tell what became of them."""

CONFLICT = "others had changed what it has read or written"
"""The reason for which transactions are aborted through no fault of their own."""

DRAFT_DOCUMENTS = 256
"""How many documents of a statement are dealt with before others get their turn."""


class TransactionLimits(msgspec.Struct, frozen=True):
    """What transactions may take. Time in milliseconds, memory in bytes of documents and index entries."""

    max_timeout_ms: int = 600_000
    max_open: int = 1_000
    max_open_of_user: int = 500
    max_documents: int = 10_000
    max_bytes: int = 64 << 20
    max_bytes_of_all: int = 256 << 20
    max_document_bytes: int = DEFAULT_MAX_DOCUMENT_BYTES


DEFAULT_LIMITS = TransactionLimits()


def transaction_limits(settings: Settings) -> TransactionLimits:
    """The limits that an operator has set."""
    return TransactionLimits(
        max_timeout_ms=settings.max_transaction_seconds * 1000, max_document_bytes=settings.max_document_bytes
    )


class NotDurable(StoreError):
    """A transaction was committed, and nobody knows whether that is on the disk."""


class Transactions:
    """All transactions of a storage node. `now_us` gives the time of a commit."""

    def __init__(
        self,
        store: Store,
        path: CommitPath,
        tables: Mapping[int, Table],
        pauses: TablePauses,
        now_us: Callable[[], int],
        limits: TransactionLimits,
    ) -> None:
        self._store = store
        self._path = path
        self._tables = tables
        self._pauses = pauses
        self._now_us = now_us
        self.limits = limits
        self._open: dict[str, Transaction] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._ended: OrderedDict[str, TransactionInfo] = OrderedDict()
        self.outcomes = {"committed": 0, "conflict": 0, "aborted": 0}
        """How often they have ended how."""

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    # --- beginning and ending

    def begin(
        self,
        context: CallContext,
        state: catalog_state.State,
        id: str,
        isolation: Isolation,
        read_only: bool,
        timeout_ms: int,
    ) -> TransactionInfo:
        """Begin a transaction on the present state. Raises ReqlError."""
        limits = self.limits
        timeout_ms = timeout_ms or min(DEFAULT_TIMEOUT_MS, limits.max_timeout_ms)
        if not 0 < timeout_ms <= limits.max_timeout_ms:
            raise logic_error(
                f"A transaction's timeout must be more than 0 and at most {limits.max_timeout_ms / 1000:g} seconds, "
                f"not {timeout_ms / 1000:g}."
            )
        if id in self._open or id in self._ended:
            raise op_failed(f"There is a transaction `{id}` already.")
        if len(self._open) >= limits.max_open:
            raise resource_limit(
                f"Too many open transactions (the limit is {limits.max_open:,}). End some, or try again later."
            )
        if context.user != ADMIN and self._open_of(context.user) >= limits.max_open_of_user:
            raise resource_limit(
                f"Too many open transactions of the user `{context.user}` (the limit is {limits.max_open_of_user:,}). "
                "End some, or try again later."
            )
        info = TransactionInfo(id, context.user, isolation, read_only, timeout_ms, self._now_us())
        self._open[id] = Transaction(self._store, state, info)
        self._timers[id] = asyncio.get_running_loop().call_later(timeout_ms / 1000, self._time_out, id)
        return info

    async def commit(self, context: CallContext, id: str) -> TransactionInfo:
        """Make all changes of a transaction, or none of them. Raises TransactionConflict, ReqlError and StoreError
        (NotDurable when it was committed all the same)."""
        transaction = self._of_user(context, id)
        if transaction.writing:
            raise op_failed(f"Transaction `{id}` cannot be committed while a query of it is still running.")
        transaction.writing = 1  # nothing may be added any more
        try:
            if context.atomic and transaction.refused:
                raise op_failed(
                    f"Nothing was written, because the query is atomic and {transaction.refused:,} of its documents "
                    f"could not be written. The first error: {transaction.refusal}"
                )
            if transaction.writes:
                changes, validation = await self._prepare(transaction)
                durable = commit_now(
                    self._store, self._path, transaction, changes, validation, self._now_us(), context.spans
                )
            else:
                durable = None
        except BaseException as error:
            if id in self._open:
                self._end(id, "aborted", _reason(error))
            raise
        info = self._end(id, "committed")
        if durable is not None:
            try:
                with tracing.span(SYNC, context):
                    await asyncio.shield(durable)
            except StoreError as error:
                raise NotDurable(error.kind, str(error)) from None
        return info

    async def _prepare(self, transaction: Transaction) -> tuple[PreparedChanges, Validation]:
        """Do everything for a commit that may take long. Raises TransactionConflict and ReqlError."""
        while True:
            await wait_for_relief(self._store)
            changes = await prepare(transaction)
            validation = await validate(self._path, transaction)
            if self._pauses:
                await self._pauses.wait_to_write(transaction.tables)
            transaction.check_open()
            if changes.in_line:  # else an index was made or dropped meanwhile
                return changes, validation

    def abort(self, context: CallContext, id: str, reason: str = "") -> TransactionInfo:
        """End a transaction without any effect. Raises ReqlError when there is none."""
        self._of_user(context, id)
        return self._end(id, "aborted", reason or "its user aborted it")

    def visible(self, context: CallContext, id: str = "") -> list[TransactionInfo]:
        """The user's transactions, everybody's for `admin`; or only the one with this id."""
        if id:
            ended = [self._ended[id]] if id in self._ended else []
            running = [self._open[id]] if id in self._open else []
        else:
            ended, running = list(self._ended.values()), list(self._open.values())
        found = [*ended, *(transaction.progress() for transaction in running)]
        return [info for info in found if context.user in (info.user, ADMIN)]

    def close(self) -> None:
        """Abort all of them."""
        for id in list(self._open):
            self._end(id, "aborted", "storage was stopped")

    def _time_out(self, id: str) -> None:
        seconds = self._open[id].info.timeout_ms / 1000
        self._end(id, "aborted", f"it was not ended within its timeout of {seconds:g} seconds")

    def _end(self, id: str, state: str, reason: str = "") -> TransactionInfo:
        transaction = self._open.pop(id)
        self._timers.pop(id).cancel()
        word = "committed" if state == "committed" else "aborted"
        info = msgspec.structs.replace(transaction.progress(), state=word, reason=reason)
        self._ended[id] = info
        self.outcomes["conflict" if reason == CONFLICT else word] += 1
        if len(self._ended) > MAX_REMEMBERED:
            self._ended.popitem(last=False)
        transaction.end(_has_ended(info))
        return info

    # --- using one

    def _open_of(self, user: str) -> int:
        return sum(transaction.info.user == user for transaction in self._open.values())

    def _of_user(self, context: CallContext, id: str) -> Transaction:
        transaction = self._open.get(id)
        if transaction is not None and context.user in (transaction.info.user, ADMIN):
            return transaction
        ended = self._ended.get(id)
        if ended is not None and context.user in (ended.user, ADMIN):
            raise _has_ended(ended)
        raise op_failed(
            f"There is no transaction `{id}`: it was ended long ago, or before storage was started. Begin again."
        )

    def get(self, context: CallContext, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        """The documents, as the transaction of the context sees them."""
        transaction = self._of_user(context, context.transaction)
        if len(keys) == 1:
            ((table, key),) = keys
            found = find_table(self._tables, table)
            return transaction.get(transaction.touch(found), [found.document_prefix + key])
        return [document for one in keys for document in self.get(context, (one,))]

    def scan(self, context: CallContext, table: Table, index: Index | None, scan: Scan) -> ScanRun:
        """Begin a scan of what the transaction of the context sees."""
        transaction = self._of_user(context, context.transaction)
        touched = transaction.touch(table)
        others = [table.index(part.index) for part in scan.others]
        if scan.primary_order and any(one is None or one.id not in touched.indexes for one in (index, *others)):
            scan, index, others = scan.without_index(), None, []
        transaction.ready_index(touched, index)
        indexes = [one for one in (index, *others) if one is not None]
        run = ScanRun(self._store, table, index, scan, context, transaction.scan_view(touched, indexes))
        transaction.runs.add(run)
        return run

    async def write(self, context: CallContext, writes: Sequence[Write]) -> list[WriteSummary | Exception]:
        """Carry out statements within the transaction of the context. One that cannot be carried out to its end aborts
        the transaction."""
        id = context.transaction
        transaction = self._of_user(context, id)
        if transaction.info.read_only:
            raise op_failed(f"Transaction `{id}` is read-only.")
        if transaction.writing:
            raise op_failed(f"Another query of transaction `{id}` is still writing, or it is being committed.")
        transaction.writing += 1
        try:
            results: list[WriteSummary | Exception] = []
            for write in writes:
                table = self._tables.get(write.table)
                results.append(TableGone() if table is None else await self._carry_out(transaction, write, table))
            return results
        except BaseException as error:
            if id in self._open:
                self._end(id, "aborted", _reason(error))
            raise
        finally:
            transaction.writing -= 1

    async def _carry_out(self, transaction: Transaction, write: Write, table: Table) -> WriteSummary:
        touched = transaction.touch(table)
        statement = Statement(write, table, self.limits.max_document_bytes)
        while not statement.done:
            if statement.done_documents:
                await asyncio.sleep(0)
                transaction.check_open()
            draft = Draft(transaction, touched, self._store, self._now_us())
            draft.read(statement.prepare(DRAFT_DOCUMENTS))
            statement.run(draft)
            self._check_size(transaction)
        summary = statement.summary
        transaction.refused += summary.errors
        transaction.refusal = transaction.refusal or summary.first_error
        if statement.hard and (summary.inserted or summary.replaced or summary.deleted):
            transaction.hard = True
        return summary

    def _check_size(self, transaction: Transaction) -> None:
        limits = self.limits
        if transaction.writes > limits.max_documents:
            raise resource_limit(
                f"A transaction can change at most {limits.max_documents:,} documents. It was aborted: nothing of it "
                "was saved."
            )
        if transaction.bytes > limits.max_bytes:
            raise resource_limit(
                f"The changes of a transaction can take at most {limits.max_bytes:,} bytes. It was aborted: nothing of "
                "it was saved."
            )
        if sum(one.bytes for one in self._open.values()) > limits.max_bytes_of_all:
            raise resource_limit(
                f"The changes of all open transactions together can take at most {limits.max_bytes_of_all:,} bytes. "
                "This one was aborted: nothing of it was saved. Try again later."
            )


def _has_ended(info: TransactionInfo) -> ReqlError:
    """What a user of a transaction that is over is told."""
    if info.state == "committed":
        return op_failed(f"Transaction `{info.id}` is over: it was committed. Begin another one.")
    return op_failed(f"Transaction `{info.id}` is over: it was aborted, because {info.reason}. Begin again.")


def _reason(error: BaseException) -> str:
    if isinstance(error, TransactionConflict):
        return CONFLICT
    if isinstance(error, ReqlError) and error.kind is ErrorKind.RESOURCE_LIMIT:
        return "it became too large"
    if isinstance(error, (ReqlError, StoreError)):
        return "a query of it failed"
    return "a query of it was interrupted"
