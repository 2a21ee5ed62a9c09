"""Documents that a service keeps for itself: a table in the database `rethinkdb` that users do not see.

The language shows its own system tables under that database's name, so what stands there in storage is out of sight.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from photondb.api.catalogue import Catalogue, CreateDatabase, CreateTable, Durability, TableInfo
from photondb.api.context import INTERNAL
from photondb.api.storage import Scan, StorageApi, TableGone, Write, WriteSummary
from photondb.datum.keys import primary_key
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.function import Func, literal_term
from photondb.reql.names import SYSTEM_DATABASE
from photondb.reql.wire import Term

T = TypeVar("T", bound=msgspec.Struct)


class HiddenTable(Generic[T]):
    """The documents of type `kind`, which has a field `id`, in the hidden table `name`. It is made at the first write.

    All methods raise ReqlError where storage does not answer.
    """

    def __init__(self, storage: StorageApi, name: str, kind: type[T]) -> None:
        self._storage = storage
        self._name = name
        self._kind = kind
        self._table: TableInfo | None = None

    async def get(self, id: str) -> T | None:
        """The document with that id."""
        table = await self._find()
        if table is None:
            return None
        (raw,) = await self._storage.get(INTERNAL, [(table.id, primary_key(id))])
        return None if raw is None else msgspec.json.decode(raw, type=self._kind)

    async def all(self) -> list[T]:
        """All documents, by id."""
        table = await self._find()
        if table is None:
            return []
        reply = await self._storage.scan(INTERNAL, Scan(table.id))
        chunk, cursor = reply.chunk, reply.cursor
        assert chunk is not None
        rows = list(chunk.rows())
        last = cursor is None
        while not last:
            assert cursor is not None
            chunk, last = await cursor.next()
            rows += chunk.rows()
        return [msgspec.json.decode(row, type=self._kind) for row in rows]

    async def put(self, document: T, durability: Durability = "hard") -> None:
        """Keep a document, in place of the one with its id."""
        documents = [msgspec.to_builtins(document)]
        await self._write(Write(0, "insert", documents=documents, conflict="replace", durability=durability))

    async def update(self, id: str, durability: Durability = "hard", **fields: Any) -> bool:
        """Change fields of a document; False where it is not there any more."""
        patch = msgspec.to_builtins(fields)
        function = Func.from_wire([Term.FUNC.value, [[Term.MAKE_ARRAY.value, [1]], literal_term(patch)]])
        write = Write(0, "update", keys=[primary_key(id)], function=function, durability=durability)
        return not (await self._write(write)).skipped

    async def delete(self, id: str) -> bool:
        """Keep a document no longer; False where there was none."""
        return bool((await self._write(Write(0, "delete", keys=[primary_key(id)], durability="hard"))).deleted)

    async def version(self) -> list[int]:
        """What differs when a document has changed since."""
        table = await self._find()
        return [] if table is None else await self._storage.log_position(INTERNAL, table.id)

    async def _write(self, write: Write) -> WriteSummary:
        write.table = (await self._open()).id
        (summary,) = await self._storage.write(INTERNAL, [write])
        if isinstance(summary, TableGone):
            self._table = None
            raise ReqlError(ErrorKind.OP_FAILED, f"The table `{SYSTEM_DATABASE}.{self._name}` is gone.")
        if isinstance(summary, Exception):
            raise summary
        if summary.first_error is not None:
            raise ReqlError(ErrorKind.OP_FAILED, summary.first_error)
        return summary

    async def _find(self) -> TableInfo | None:
        if self._table is None:
            catalogue = await self._storage.catalogue(INTERNAL)
            self._table = catalogue.tables.get((SYSTEM_DATABASE, self._name))
        return self._table

    async def _open(self) -> TableInfo:
        table = await self._find()
        if table is None:
            catalogue = await self._storage.catalogue(INTERNAL)
            if SYSTEM_DATABASE not in catalogue.databases:
                catalogue = await self._create(CreateDatabase(SYSTEM_DATABASE))
            try:
                catalogue = await self._create(CreateTable(SYSTEM_DATABASE, self._name))
            except ReqlError:  # somebody else was faster
                catalogue = await self._storage.catalogue(INTERNAL)
            table = self._table = catalogue.tables[SYSTEM_DATABASE, self._name]
        return table

    async def _create(self, change: CreateDatabase | CreateTable) -> Catalogue:
        return await self._storage.change_catalogue(INTERNAL, change)
