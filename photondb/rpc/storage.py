"""`storage` from afar: a stub with the interface of `StorageApi`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from photondb.api.catalogue import Catalogue, CatalogueChange
from photondb.api.context import CallContext
from photondb.api.storage import LogRecord, PausedPart, Scan, ScanReply, StorageApi, Write, WriteSummary
from photondb.api.storage_status import DivisionStatus, EngineStats, IndexStatus, Positions, TableStatistics, TableStats
from photondb.api.transactions import Isolation, TransactionInfo
from photondb.datum.json import loads_stored
from photondb.reql.chunk import Chunk
from photondb.reql.measures import read_measures
from photondb.rpc import schema
from photondb.rpc.catalogue_messages import read_catalogue, write_catalogue, write_change
from photondb.rpc.client import RpcClient
from photondb.rpc.connect import DEFAULT_OPTIONS, ConnectOptions
from photondb.rpc.limits import BULK_BYTES
from photondb.rpc.payload import read_payload
from photondb.rpc.remote import Method, Remote, RemoteObject
from photondb.rpc.short_scans import MAX_ROWS, Columns, ShortScans, is_short
from photondb.rpc.storage_messages import (
    read_documents,
    read_outcomes,
    read_records,
    read_transaction,
    write_keys,
    write_scan,
    write_statements,
)
from photondb.rpc.versions import CONSTANTS, PACKED_KEYS

SERVICE = "storage"

_CATALOGUE = Method("catalogue")
_CHANGE_CATALOGUE = Method("changeCatalogue", effects=True)
_GET = Method("get")
_WRITE = Method("write", effects=True)
_SCAN = Method("scan")
_SHORT_SCANS = Method("shortScans")
_SYNC = Method("sync")
_INDEX_STATUS = Method("indexStatus")
_READ_LOG = Method("readLog")
_LOG_POSITION = Method("logPosition")
_TABLE_STATS = Method("tableStats")
_SHARD_ROWS = Method("shardRows")
_BEGIN_TRANSACTION = Method("beginTransaction")
_COMMIT_TRANSACTION = Method("commitTransaction", effects=True)
_ABORT_TRANSACTION = Method("abortTransaction")
_TRANSACTIONS = Method("transactions")
_POSITIONS = Method("positions")
_ADOPT_CATALOGUE = Method("adoptCatalogue")
_SPLIT_POINTS = Method("splitPoints")
_FILL = Method("fill", effects=True)
_PAUSE_WRITES = Method("pauseWrites")
_PAUSE_READS = Method("pauseReads")
_END_PAUSE = Method("endPause")
_DIVISIONS = Method("divisions")
_STATISTICS = Method("statistics")
_ENGINE_STATS = Method("engineStats")
_CHECKPOINT = Method("checkpoint", effects=True)
_NEXT = Method("next")


class StorageStub(StorageApi):
    """The storage service at `address` (`unix:/path` or `tcp:host:port`)."""

    def __init__(self, address: str, options: ConnectOptions = DEFAULT_OPTIONS) -> None:
        self._client = RpcClient(SERVICE, schema.STORAGE.Storage, address, options)
        self._short_scans = ShortScans(self._send_short_scans)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    async def catalogue(self, context: CallContext) -> Catalogue:
        response = await self._client.call(_CATALOGUE, context)
        return read_catalogue(await read_payload(response.ok, context, SERVICE))

    async def change_catalogue(self, context: CallContext, change: CatalogueChange) -> Catalogue:
        response = await self._client.call(_CHANGE_CATALOGUE, context, change=write_change(change))
        return read_catalogue(await read_payload(response.ok, context, SERVICE))

    async def adopt_catalogue(self, context: CallContext, catalogue: Catalogue) -> None:
        await self._client.call(_ADOPT_CATALOGUE, context, catalogue=write_catalogue(catalogue))

    async def split_points(self, context: CallContext, table: int, shards: int | None) -> tuple[bytes, ...]:
        return tuple((await self._client.call(_SPLIT_POINTS, context, table=table, shards=shards or 0)).ok)

    async def fill(
        self, context: CallContext, table: int, attempt: int, keys: Sequence[bytes], documents: Sequence[bytes | None]
    ) -> None:
        raws = [document or b"" for document in documents]
        await self._client.call(
            _FILL, context, bulk=True, table=table, keys=list(keys), documents=raws, attempt=attempt
        )

    async def pause_writes(
        self, context: CallContext, table: int, pause: int, timeout_ms: int, after_us: int
    ) -> PausedPart:
        response = await self._client.call(
            _PAUSE_WRITES, context, table=table, pause=pause, timeoutMs=timeout_ms, afterUs=after_us
        )
        return msgspec.json.decode(response.ok, type=PausedPart)

    async def pause_reads(self, context: CallContext, table: int, pause: int) -> None:
        await self._client.call(_PAUSE_READS, context, table=table, pause=pause)

    async def end_pause(self, context: CallContext, table: int, pause: int) -> None:
        await self._client.call(_END_PAUSE, context, table=table, pause=pause)

    async def divisions(self, context: CallContext) -> list[DivisionStatus]:
        response = await self._client.call(_DIVISIONS, context)
        return msgspec.json.decode(response.ok, type=list[DivisionStatus])

    async def get(self, context: CallContext, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        documents: list[bytes | None] = []
        while len(documents) < len(keys):
            rest = keys[len(documents) :] if documents else keys
            connection = await self._client.connection(context)
            parameters = write_keys(rest, packed=connection.version >= PACKED_KEYS)
            documents += read_documents(await connection.call(_GET, context, **parameters))
        return documents

    async def write(self, context: CallContext, writes: Sequence[Write]) -> list[WriteSummary | Exception]:
        parameters = write_statements(writes)
        connection = await self._client.connection(context, bulk=len(parameters["documents"]) >= BULK_BYTES)
        if connection.version < CONSTANTS:
            parameters = write_statements(writes, constants=False)
        response = await connection.call(_WRITE, context, **parameters)
        return read_outcomes(await read_payload(response.ok, context, SERVICE))

    async def scan(self, context: CallContext, scan: Scan) -> ScanReply:
        if is_short(scan, context):
            short = await self._short_scans.scan(context, scan)
            if short is not None:
                return short
        bulk = scan.limit is None or scan.limit > MAX_ROWS
        reply = (await self._client.call(_SCAN, context, bulk=bulk, scan=write_scan(scan))).ok
        if reply.which() == "partial":
            measures = read_measures(reply.measures)
            partial = loads_stored(await read_payload(reply.partial, context, SERVICE))
            return ScanReply(partial=partial, measures=measures)
        chunk = reply.chunk
        cursor = None if chunk.last else ScanCursorStub(Remote(reply.cursor, SERVICE), context, scan.keyed)
        return ScanReply(_read_chunk(chunk, scan.keyed), cursor=cursor)

    async def _send_short_scans(self, context: CallContext, scans: bytes, keyed: bool) -> Columns:
        found = (await self._client.call(_SHORT_SCANS, context, scans=scans)).ok
        return list(found.rows), list(found.counts), list(map(list, found.keys)) if keyed else ()

    async def sync(self, context: CallContext, table: int) -> None:
        await self._client.call(_SYNC, context, table=table)

    async def index_status(self, context: CallContext, table: int) -> list[IndexStatus]:
        response = await self._client.call(_INDEX_STATUS, context, table=table)
        return [IndexStatus(index.name, index.ready, index.progress, index.problem) for index in response.ok]

    async def read_log(self, context: CallContext, table: int, shard: int, after: int, limit: int) -> list[LogRecord]:
        response = await self._client.call(
            _READ_LOG, context, bulk=True, table=table, shard=shard, after=after, limit=limit
        )
        part = response.ok
        return read_records(part.records, part.sequences, part.timesUs)

    async def log_position(self, context: CallContext, table: int) -> list[int]:
        return list((await self._client.call(_LOG_POSITION, context, table=table)).ok)

    async def table_stats(self, context: CallContext, table: int) -> TableStats:
        stats = (await self._client.call(_TABLE_STATS, context, table=table)).ok
        return TableStats(stats.rows, stats.bytes)

    async def shard_rows(self, context: CallContext, table: int) -> list[int]:
        return list((await self._client.call(_SHARD_ROWS, context, table=table)).ok)

    async def positions(self, context: CallContext, tables: Sequence[int]) -> Positions:
        response = await self._client.call(_POSITIONS, context, tables=list(tables))
        return msgspec.json.decode(response.ok, type=Positions)

    async def statistics(self, context: CallContext, table: int) -> TableStatistics:
        response = await self._client.call(_STATISTICS, context, table=table)
        return msgspec.json.decode(response.ok, type=TableStatistics)

    async def engine_stats(self, context: CallContext) -> EngineStats:
        response = await self._client.call(_ENGINE_STATS, context)
        return msgspec.json.decode(response.ok, type=EngineStats)

    async def checkpoint(self, context: CallContext) -> str:
        return str((await self._client.call(_CHECKPOINT, context)).ok)

    async def begin_transaction(
        self, context: CallContext, id: str, isolation: Isolation, read_only: bool, timeout_ms: int
    ) -> TransactionInfo:
        response = await self._client.call(
            _BEGIN_TRANSACTION, context, id=id, isolation=isolation, readOnly=read_only, timeoutMs=timeout_ms
        )
        return read_transaction(response.ok)

    async def commit_transaction(self, context: CallContext, id: str) -> TransactionInfo:
        return read_transaction((await self._client.call(_COMMIT_TRANSACTION, context, id=id)).ok)

    async def abort_transaction(self, context: CallContext, id: str, reason: str = "") -> TransactionInfo:
        return read_transaction((await self._client.call(_ABORT_TRANSACTION, context, id=id, reason=reason)).ok)

    async def transactions(self, context: CallContext, id: str = "") -> list[TransactionInfo]:
        return list(map(read_transaction, (await self._client.call(_TRANSACTIONS, context, id=id)).ok))


class ScanCursorStub(RemoteObject):
    """A cursor in the storage service. Its calls have the scan's context, but not its deadline."""

    def __init__(self, remote: Remote, context: CallContext, keyed: bool) -> None:
        super().__init__(remote)
        self._context = msgspec.structs.replace(context, deadline=None)
        self._keyed = keyed

    async def next(self) -> tuple[Chunk, bool]:
        chunk = (await self.remote.call(_NEXT, self._context)).ok
        last: bool = chunk.last
        if last:
            self.drop()
        return _read_chunk(chunk, self._keyed), last


def _read_chunk(reader: Any, keyed: bool) -> Chunk:
    chunk = Chunk.of_blob(reader.rows, reader.count)
    chunk.measures = read_measures(reader.measures)
    if keyed:
        chunk.keys = list(reader.keys)
    return chunk
