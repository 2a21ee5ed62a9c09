"""`storage` from afar: a stub with the interface of `StorageApi`, and the servant that such stubs call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from photondb.api.catalogue import Catalogue, CatalogueChange
from photondb.api.context import CallContext
from photondb.api.storage import (
    DivisionStatus,
    EngineStats,
    IndexStatus,
    LogRecord,
    PausedPart,
    Positions,
    Scan,
    ScanCursor,
    ScanReply,
    StorageApi,
    TableStatistics,
    TableStats,
    Write,
    WriteSummary,
)
from photondb.api.transactions import Isolation, TransactionInfo
from photondb.datum.json import dumps, loads_stored
from photondb.reql.chunk import Chunk
from photondb.reql.measures import read_measures, write_measures
from photondb.rpc import schema
from photondb.rpc.admission import Admission
from photondb.rpc.catalogue_messages import read_catalogue, read_change, write_catalogue, write_change
from photondb.rpc.client import RpcClient
from photondb.rpc.connect import DEFAULT_OPTIONS, ConnectOptions
from photondb.rpc.limits import BULK_BYTES, REPLY_BYTES
from photondb.rpc.payload import read_payload, write_payload
from photondb.rpc.remote import Method, Remote, RemoteObject
from photondb.rpc.servant import DEFAULT_MAX_CALLS, Call, ClosableHandlers, Handlers, Servant, servant
from photondb.rpc.short_scans import MAX_ROWS, Columns, ShortScans, is_short, read_scans, run_scans
from photondb.rpc.storage_messages import (
    read_documents,
    read_isolation,
    read_keys,
    read_outcomes,
    read_records,
    read_scan,
    read_statements,
    read_transaction,
    write_documents,
    write_keys,
    write_outcomes,
    write_records,
    write_scan,
    write_statements,
    write_transaction,
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


def storage_servant(storage: StorageApi, max_calls: int = DEFAULT_MAX_CALLS) -> Servant:
    """The capability through which stubs call `storage`. It carries out `max_calls` calls at a time."""
    return servant(schema.STORAGE.Storage, StorageHandlers(SERVICE, Admission(max_calls), storage))


class StorageHandlers(Handlers):
    eager = frozenset({"get", "write", "scan", "short_scans", "positions"})

    def __init__(self, service: str, admission: Admission, storage: StorageApi) -> None:
        super().__init__(service, admission)
        self._storage = storage

    async def catalogue(self, call: Call) -> None:
        catalogue = await self._storage.catalogue(call.context)
        write_payload(call.results.init("ok"), write_catalogue(catalogue), self)

    async def change_catalogue(self, call: Call) -> None:
        catalogue = await self._storage.change_catalogue(call.context, read_change(call.params.change))
        write_payload(call.results.init("ok"), write_catalogue(catalogue), self)

    async def adopt_catalogue(self, call: Call) -> None:
        await self._storage.adopt_catalogue(call.context, read_catalogue(call.params.catalogue))
        call.results.ok = None

    async def split_points(self, call: Call) -> None:
        points = await self._storage.split_points(call.context, call.params.table, call.params.shards or None)
        call.results.ok = list(points)

    async def fill(self, call: Call) -> None:
        params = call.params
        documents = [document or None for document in params.documents]
        await self._storage.fill(call.context, params.table, params.attempt, list(params.keys), documents)
        call.results.ok = None

    async def pause_writes(self, call: Call) -> None:
        params = call.params
        paused = await self._storage.pause_writes(
            call.context, params.table, params.pause, params.timeoutMs, params.afterUs
        )
        call.results.ok = msgspec.json.encode(paused)

    async def pause_reads(self, call: Call) -> None:
        await self._storage.pause_reads(call.context, call.params.table, call.params.pause)
        call.results.ok = None

    async def end_pause(self, call: Call) -> None:
        await self._storage.end_pause(call.context, call.params.table, call.params.pause)
        call.results.ok = None

    async def divisions(self, call: Call) -> None:
        call.results.ok = msgspec.json.encode(await self._storage.divisions(call.context))

    async def get(self, call: Call) -> None:
        params = call.params
        keys = read_keys(params)
        packed = bool(params.packed)
        documents = await self._storage.get(call.context, keys)
        fitting = _fitting([len(document) if document else 0 for document in documents])
        write_documents(call.results, documents[:fitting], packed)

    async def write(self, call: Call) -> None:
        outcomes = await self._storage.write(call.context, read_statements(call.params))
        write_payload(call.results.init("ok"), write_outcomes(outcomes, self.service, call.context.request_id), self)

    async def scan(self, call: Call) -> None:
        reply = await self._storage.scan(call.context, read_scan(call.params.scan))
        ok = call.results.init("ok")
        if reply.chunk is None:
            write_payload(ok.init("partial"), dumps(reply.partial), self)
            ok.measures = write_measures(reply.measures)
            return
        _write_chunk(ok.init("chunk"), reply.chunk, last=reply.cursor is None)
        if reply.cursor is not None:
            ok.cursor = servant(schema.STORAGE.ScanCursor, _CursorHandlers(self, reply.cursor))

    async def short_scans(self, call: Call) -> None:
        scans, traces = read_scans(call.params.scans)
        rows, counts, keys = await run_scans(self._storage, call.context, scans, traces, self.service)
        call.results.ok = {"rows": rows, "counts": counts, "keys": keys}

    async def sync(self, call: Call) -> None:
        await self._storage.sync(call.context, call.params.table)
        call.results.ok = None

    async def index_status(self, call: Call) -> None:
        statuses = await self._storage.index_status(call.context, call.params.table)
        call.results.ok = [
            {"name": s.name, "ready": s.ready, "progress": s.progress, "problem": s.problem} for s in statuses
        ]

    async def read_log(self, call: Call) -> None:
        params = call.params
        records = await self._storage.read_log(call.context, params.table, params.shard, params.after, params.limit)
        records = records[: _fitting([len(record.old or b"") + len(record.new or b"") for record in records])]
        call.results.ok = {
            "sequences": [record.sequence for record in records],
            "timesUs": [record.time_us for record in records],
            "records": write_records(records),
        }

    async def log_position(self, call: Call) -> None:
        call.results.ok = await self._storage.log_position(call.context, call.params.table)

    async def table_stats(self, call: Call) -> None:
        stats = await self._storage.table_stats(call.context, call.params.table)
        call.results.ok = {"rows": stats.rows, "bytes": stats.bytes}

    async def shard_rows(self, call: Call) -> None:
        call.results.ok = await self._storage.shard_rows(call.context, call.params.table)

    async def positions(self, call: Call) -> None:
        call.results.ok = msgspec.json.encode(await self._storage.positions(call.context, list(call.params.tables)))

    async def statistics(self, call: Call) -> None:
        call.results.ok = msgspec.json.encode(await self._storage.statistics(call.context, call.params.table))

    async def engine_stats(self, call: Call) -> None:
        call.results.ok = msgspec.json.encode(await self._storage.engine_stats(call.context))

    async def checkpoint(self, call: Call) -> None:
        call.results.ok = await self._storage.checkpoint(call.context)

    async def begin_transaction(self, call: Call) -> None:
        params = call.params
        begun = await self._storage.begin_transaction(
            call.context, params.id, read_isolation(params.isolation), params.readOnly, params.timeoutMs
        )
        call.results.ok = write_transaction(begun)

    async def commit_transaction(self, call: Call) -> None:
        call.results.ok = write_transaction(await self._storage.commit_transaction(call.context, call.params.id))

    async def abort_transaction(self, call: Call) -> None:
        params = call.params
        call.results.ok = write_transaction(
            await self._storage.abort_transaction(call.context, params.id, params.reason)
        )

    async def transactions(self, call: Call) -> None:
        call.results.ok = list(map(write_transaction, await self._storage.transactions(call.context, call.params.id)))


class _CursorHandlers(ClosableHandlers):
    eager = frozenset({"next"})

    def __init__(self, owner: Handlers, cursor: ScanCursor) -> None:
        super().__init__(owner, cursor)
        self._cursor = cursor

    async def next(self, call: Call) -> None:
        chunk, last = await self._cursor.next()
        _write_chunk(call.results.init("ok"), chunk, last)


def _read_chunk(reader: Any, keyed: bool) -> Chunk:
    chunk = Chunk.of_blob(reader.rows, reader.count)
    chunk.measures = read_measures(reader.measures)
    if keyed:
        chunk.keys = list(reader.keys)
    return chunk


def _write_chunk(builder: Any, chunk: Chunk, last: bool) -> None:
    builder.rows = chunk.json()
    builder.count = len(chunk)
    builder.last = last
    if chunk.keys is not None:
        builder.keys = chunk.keys
    if chunk.measures is not None:
        builder.measures = write_measures(chunk.measures)


def _fitting(sizes: Sequence[int]) -> int:
    """How many things of these sizes go into one reply: one at least, where there is one."""
    if sum(sizes) <= REPLY_BYTES:
        return len(sizes)
    count = total = 0
    for size in sizes:
        total += size
        if count and total > REPLY_BYTES:
            break
        count += 1
    return count
