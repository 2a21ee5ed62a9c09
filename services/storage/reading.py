"""Documents by their keys: as they are, as a transaction sees them, or as they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from photondb.api.context import CallContext
from photondb.api.storage import TableGone
from services.storage import layout
from services.storage.clock import CommitClock
from services.storage.failures import reql_error, reql_errors
from services.storage.history import documents_then
from services.storage.rocks import Store, StoreError
from services.storage.tables import Table, find_table
from services.storage.transactions import Transactions


class DocumentReader:
    """Answers reads of documents whose table and primary key are known."""

    def __init__(
        self, store: Store, tables: Mapping[int, Table], transactions: Transactions, clock: CommitClock
    ) -> None:
        self._store = store
        self._tables = tables
        self._transactions = transactions
        self._clock = clock

    async def get(self, context: CallContext, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        """The documents of these tables and keys, None for each where there is none. Raises TableGone, ReqlError."""
        if context.transaction:
            with reql_errors():
                return self._transactions.get(context, keys)
        if context.as_of_us is not None:
            return await self._get_as_of(context.as_of_us, keys)
        try:
            store_keys = self._store_keys(keys)
        except KeyError:
            raise TableGone from None
        try:
            return self._store.documents.read(store_keys)
        except StoreError as error:
            raise reql_error(error) from None

    def _store_keys(self, keys: Sequence[tuple[int, bytes]]) -> list[bytes]:
        """The keys in the store, counted as reads of their tables. Raises KeyError for a table that is not there."""
        if not keys:
            return []
        first = keys[0][0]
        table = self._tables[first]
        prefix = table.document_prefix
        store_keys = [prefix + key for key_table, key in keys if key_table == first]
        if len(store_keys) == len(keys):  # nearly always
            table.reads += len(keys)
            return store_keys
        store_keys = []
        for key_table, key in keys:
            table = self._tables[key_table]
            table.reads += 1
            store_keys.append(table.document_prefix + key)
        return store_keys

    async def _get_as_of(self, as_of_us: int, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        self._clock.commit_after(as_of_us)
        wanted: dict[int, list[bytes]] = {}
        for table_id, key in keys:
            wanted.setdefault(table_id, []).append(find_table(self._tables, table_id).document_prefix + key)
        found: dict[bytes, bytes | None] = {}
        with reql_errors():
            for table_id, store_keys in wanted.items():
                table = find_table(self._tables, table_id)
                documents = await documents_then(self._store, table, store_keys, as_of_us)
                found.update(zip(store_keys, documents, strict=True))
        return [found[layout.document_prefix(table_id) + key] for table_id, key in keys]
