"""Accounts as documents of a table in storage.

The table stands in a database named `rethinkdb`, which the language shows as the system database: its own rules decide
what of it users see, and this table is not among that.
"""

from __future__ import annotations

import asyncio

import msgspec

from photondb.api.catalogue import Catalogue, CreateDatabase, CreateTable, TableInfo
from photondb.api.context import INTERNAL
from photondb.api.storage import Scan, StorageApi, TableGone, Write
from photondb.datum.keys import primary_key
from photondb.reql.errors import ErrorKind, ReqlError
from services.auth.accounts import Account

DATABASE = "rethinkdb"
TABLE = "_accounts"

POLL_INTERVAL_MS = 1_000
"""How often the table is looked at for changes that somebody else made."""


class AccountTable:
    """An AccountStore. The table is made at the first use."""

    def __init__(self, storage: StorageApi) -> None:
        self._storage = storage
        self._table: TableInfo | None = None
        self._seen: list[int] | None = None

    async def load(self) -> dict[str, Account]:
        """All accounts, by name."""
        table = await self._open()
        self._seen = await self._storage.log_position(INTERNAL, table.id)
        reply = await self._storage.scan(INTERNAL, Scan(table.id))
        rows: list[bytes] = []
        cursor = reply.cursor
        chunk, is_last = reply.chunk, cursor is None
        while True:
            if chunk is not None and len(chunk):
                rows.append(chunk.json())
            if is_last:
                break
            assert cursor is not None
            chunk, is_last = await cursor.next()
        accounts = msgspec.json.decode(b"[" + b",".join(rows) + b"]", type=list[Account])
        return {account.name: account for account in accounts}

    async def put(self, account: Account) -> None:
        """Keep an account, in place of the one of that name."""
        document = msgspec.to_builtins(account)
        await self._write(Write(0, "insert", documents=[document], conflict="replace", durability="hard"))

    async def delete(self, name: str) -> None:
        """Keep an account no longer."""
        await self._write(Write(0, "delete", keys=[primary_key(name)], durability="hard"))

    async def changed(self) -> None:
        """Return when the table's change log has grown since the last `load`."""
        while True:
            table = await self._open()
            try:
                if await self._storage.log_position(INTERNAL, table.id) != self._seen:
                    return
            except TableGone:
                self._table = None
                return
            await asyncio.sleep(POLL_INTERVAL_MS / 1000)

    async def _write(self, write: Write) -> None:
        try:
            await self._write_once(write)
        except TableGone:
            self._table = None
            await self._write_once(write)

    async def _write_once(self, write: Write) -> None:
        write.table = (await self._open()).id
        (summary,) = await self._storage.write(INTERNAL, [write])
        if isinstance(summary, Exception):
            raise summary
        if summary.first_error is not None:
            raise ReqlError(ErrorKind.OP_FAILED, summary.first_error)

    async def _open(self) -> TableInfo:
        if self._table is None:
            self._table = await self._find_or_create()
        return self._table

    async def _find_or_create(self) -> TableInfo:
        catalogue = await self._storage.catalogue(INTERNAL)
        if DATABASE not in catalogue.databases:
            catalogue = await self._create(CreateDatabase(DATABASE))
        if (DATABASE, TABLE) not in catalogue.tables:
            catalogue = await self._create(CreateTable(DATABASE, TABLE))
        return catalogue.tables[DATABASE, TABLE]

    async def _create(self, change: CreateDatabase | CreateTable) -> Catalogue:
        return await self._storage.change_catalogue(INTERNAL, change)
