"""Deletes the documents that have expired, in the background: those with times in the index that the table's settings
name (`Expiry`) that are long enough ago.

They are found by the index and deleted as any other document is, so that indexes, history and feeds know of it; only
the write hook is not asked. A document that gets another time while it is being found stays: the function of the index
decides once more where it is written.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from photondb.api.context import INTERNAL
from photondb.api.storage import KeyRange, Scan, StorageApi, TableGone, Write
from photondb.datum.keys import encode_key, primary_key
from photondb.datum.time import make_time
from photondb.datum.types import normalise_number
from photondb.reql.errors import ReqlError
from photondb.reql.function import Func
from photondb.reql.wire import Term
from services.storage.indexes import Index
from services.storage.tables import Table

log = logging.getLogger(__name__)

INTERVAL_S = 2.0
"""How long documents stay at least between two looks for those that have expired."""

BATCH_DOCUMENTS = 1_000
"""How many are deleted at a time."""

_EARLIEST = encode_key(make_time(-(2**53), "+00:00"))


class Expiring:
    """Looks after the tables of one storage node."""

    def __init__(self, storage: StorageApi, tables: Mapping[int, Table]) -> None:
        self._storage = storage
        self._tables = tables

    async def run(self) -> None:
        """Delete what expires, for ever."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.expire_all(time.time())

    async def expire_all(self, now: float) -> None:
        """Delete what has expired at `now`, in seconds since 1970, in all tables. What fails is tried again later."""
        for table in list(self._tables.values()):
            expire = table.info.settings.expire
            if expire is None or table.info.copy_of:  # a copy follows its table
                continue
            index = next((index for index in table.indexes if index.info.name == expire.index), None)
            if index is None or not index.info.ready:
                continue
            try:
                deleted = BATCH_DOCUMENTS
                while deleted == BATCH_DOCUMENTS:
                    deleted = await self._expire_some(table, index, now - expire.after_s)
            except TableGone:
                continue
            except ReqlError as error:
                log.warning(
                    "documents that have expired cannot be deleted",
                    extra={"table": table.info.uuid, "reason": error.message},
                )

    async def _expire_some(self, table: Table, index: Index, until: float) -> int:
        """Delete up to BATCH_DOCUMENTS with a time before `until`, and return how many were."""
        end = make_time(normalise_number(until), "+00:00")
        scan = Scan(
            table.info.id,
            index.info.id,
            [KeyRange(_EARLIEST, encode_key(end))],
            limit=BATCH_DOCUMENTS,
            chunk_rows=BATCH_DOCUMENTS,
        )
        reply = await self._storage.scan(INTERNAL, scan)
        keys = []
        try:
            chunk, last = reply.chunk, reply.cursor is None
            while chunk is not None:
                keys += [primary_key(document[table.info.primary_key]) for document in chunk.values()]
                if last or reply.cursor is None:
                    break
                chunk, last = await reply.cursor.next()
        finally:
            if reply.cursor is not None:
                await reply.cursor.close()
        if not keys:
            return 0
        write = Write(
            table.info.id,
            "replace",
            keys=keys,
            function=_without_expired(index, end),
            durability="soft",
            ignore_write_hook=True,
        )
        (summary,) = await self._storage.write(INTERNAL, [write])
        if isinstance(summary, Exception):
            raise summary
        return summary.deleted


def _without_expired(index: Index, end: object) -> Func:
    """The function that replaces a document by nothing where the index has a time before `end` for it, and by itself
    otherwise."""
    document = [Term.VAR.value, [1]]
    found = [Term.DEFAULT.value, [[Term.FUNCALL.value, [index.info.function, document]], None]]
    is_time = [Term.EQ.value, [[Term.TYPE_OF.value, [found]], "PTYPE<TIME>"]]
    expired = [Term.AND.value, [is_time, [Term.LT.value, [found, end]]]]
    return Func.from_wire(
        [Term.FUNC.value, [[Term.MAKE_ARRAY.value, [1]], [Term.BRANCH.value, [expired, None, document]]]]
    )
