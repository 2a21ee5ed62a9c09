"""Carries out calls of write statements outside of transactions, in commits that leave room for others in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from photondb.api.context import CallContext, SpanNames
from photondb.api.storage import TableGone, Write, WriteSummary
from photondb.telemetry import tracing
from photondb.telemetry.operations import COMMIT, SYNC
from services.storage.commit import MIN_COMMIT_DOCUMENTS, Commit, CommitPath
from services.storage.failures import indeterminate, write_error
from services.storage.pauses import TablePauses
from services.storage.plain_writes import PlainWrite, begin
from services.storage.pressure import wait_for_relief
from services.storage.rocks import Store, StoreError
from services.storage.tables import Table
from services.storage.writes import Statement

MAX_COMMIT_DOCUMENTS = 256
"""A call that writes more documents is carried out in several commits, with room for others in between."""


class WriteStatements:
    """All write statements of a storage node but those of transactions. `now_us` gives the time of a commit."""

    def __init__(
        self,
        store: Store,
        path: CommitPath,
        tables: Mapping[int, Table],
        pauses: TablePauses,
        now_us: Callable[[], int],
        max_document_bytes: int,
    ) -> None:
        self._store = store
        self._path = path
        self._tables = tables
        self._pauses = pauses
        self._now_us = now_us
        self._max_document_bytes = max_document_bytes

    async def carry_out(self, context: CallContext, writes: Sequence[Write]) -> list[WriteSummary | Exception]:
        """Carry out the statements in order, and return when all are as durable as they ask. The error of one that
        fails as a whole stands in its place."""
        if self._pauses:
            await self._pauses.wait_to_write(write.table for write in writes)
        results: list[WriteSummary | Exception] = []
        statements: list[tuple[int, Statement | PlainWrite]] = []
        for write in writes:
            table = self._tables.get(write.table)
            if table is None:
                results.append(TableGone())
                continue
            statement = begin(write, table, self._max_document_bytes)
            if not statement.done:
                statements.append((len(results), statement))
            results.append(statement.summary)
        written = {statement.table for _, statement in statements}
        for table in written:
            self._pauses.begin_write(table)
        try:
            durable = await self._commit_all(context, statements, results)
        finally:
            for table in written:
                self._pauses.end_write(table)
        if durable is not None:
            try:
                with tracing.span(SYNC, context):
                    await asyncio.shield(durable)
            except StoreError as error:
                for place, statement in statements:
                    if statement.hard and results[place] is statement.summary:
                        results[place] = indeterminate(error)
        return results

    async def _commit_all(
        self,
        context: CallContext,
        statements: list[tuple[int, Statement | PlainWrite]],
        results: list[WriteSummary | Exception],
    ) -> asyncio.Future[None] | None:
        """Carry out statements in as many commits as it takes. Returns what a hard write must wait for."""
        durable: asyncio.Future[None] | None = None
        large = any(statement.documents > MIN_COMMIT_DOCUMENTS for _, statement in statements)
        position = 0
        while position < len(statements):
            # Only this statement can have been begun before.
            begun, done = position, statements[position][1].done_documents
            if begun or done:
                await asyncio.sleep(0)
            if large:
                await wait_for_relief(self._store)
            try:
                position, waiting = self._commit_some(context, statements, begun, results)
            except StoreError as error:
                for place, statement in statements[begun:]:
                    if results[place] is statement.summary:
                        results[place] = write_error(error, done)
                    done = 0
                break
            durable = waiting or durable
        return durable

    def _commit_some(
        self,
        context: CallContext,
        statements: list[tuple[int, Statement | PlainWrite]],
        start: int,
        results: list[WriteSummary | Exception],
    ) -> tuple[int, asyncio.Future[None] | None]:
        """Carry out statements from `start` on, as many as fit into one commit.

        Returns which statement is the next, and what a hard write must wait for. Raises StoreError: then none of them
        has changed anything in this commit.
        """
        commit = Commit(self._store, self._now_us())
        began_ns = time.time_ns() if context.spans else 0
        keys: list[bytes] = []
        end = start
        while end < len(statements) and len(keys) < MAX_COMMIT_DOCUMENTS:
            place, statement = statements[end]
            if statement.table.dropped:
                results[place] = TableGone()
            else:
                keys += statement.prepare(MAX_COMMIT_DOCUMENTS - len(keys))
            end += 1
        if keys:
            commit.read(keys)
        hard = False
        position = start
        while position < end and not commit.full:
            place, statement = statements[position]
            if results[place] is statement.summary:
                hard = hard or statement.hard
                if not statement.run(commit):
                    break
            position += 1
        if not commit.changes:
            return position, None
        parents = _parents(statements, start, position, context) if context.spans else ()
        with tracing.span_of(COMMIT, parents, began_ns) as span:
            commit.spans = span.names
            return position, self._path.append(commit, hard)


def _parents(
    statements: list[tuple[int, Statement | PlainWrite]], start: int, position: int, context: CallContext
) -> SpanNames:
    """The spans of the statements in a commit: those from `start` to before `position`, and the one at `position` if
    it has been begun. Where no statement of the call says of which trace it is, the call is all one query's."""
    if all(statement.write.trace is None for _, statement in statements):
        return context.spans
    if position < len(statements) and statements[position][1].done_documents:
        position += 1
    numbers = [statement.write.trace for _, statement in statements[start:position]]
    return tuple([context.spans[number] for number in numbers if number is not None])
