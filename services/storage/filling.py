"""Fills copies of tables with documents as they come from elsewhere: nothing is checked, hooked or counted of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from photondb.api.storage import TableGone
from photondb.datum.errors import DatumError
from photondb.datum.json import loads_stored
from photondb.reql.errors import op_failed
from services.storage.commit import Commit, CommitPath
from services.storage.indexes import entry_changes
from services.storage.pressure import wait_for_relief
from services.storage.rocks import Store
from services.storage.tables import Table

STEP_DOCUMENTS = 64
"""How many documents are put into one commit, before others get their turn."""


class CopyFiller:
    """Fills the copies of which a node has parts. `now_us` gives the time of a commit."""

    def __init__(self, store: Store, path: CommitPath, now_us: Callable[[], int]) -> None:
        self._store = store
        self._path = path
        self._now_us = now_us

    async def fill(self, table: Table, attempt: int, keys: Sequence[bytes], documents: Sequence[bytes | None]) -> None:
        """Let the documents under these primary keys be these. Raises TableGone where the table is no copy, or another
        attempt has begun to fill it, ReqlError for a document that cannot be indexed, StoreError."""
        _check(table, attempt)
        for start in range(0, len(keys), STEP_DOCUMENTS):
            if start:
                await asyncio.sleep(0)
            await wait_for_relief(self._store)
            _check(table, attempt)
            self._step(table, keys[start : start + STEP_DOCUMENTS], documents[start : start + STEP_DOCUMENTS])

    def _step(self, table: Table, keys: Sequence[bytes], documents: Sequence[bytes | None]) -> None:
        commit = Commit(self._store, self._now_us())
        prefix = table.document_prefix
        commit.read([prefix + key for key in keys])
        for key, new in zip(keys, documents, strict=True):
            old = commit.documents[prefix + key]
            if old == new:
                continue
            if table.indexes:
                old_value = None if old is None else loads_stored(old)
                new_value = None if new is None else loads_stored(new)
                try:
                    commit.change_entries(entry_changes(table.indexes, key, old_value, new_value, old, new))
                except DatumError as error:
                    raise op_failed(f"The table cannot be divided anew: {error.message}") from None
            commit.change(table, key, old, new)
        if commit.changes:
            self._path.append(commit, durable=False)


def _check(table: Table, attempt: int) -> None:
    """Raise where what an attempt has read may be older than what is there."""
    if table.dropped or not table.info.copy_of or table.info.attempt != attempt:
        raise TableGone
