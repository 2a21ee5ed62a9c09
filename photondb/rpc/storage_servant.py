"""What stubs of `storage` call: the servant that carries their calls out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from photondb.api.storage import (
    ScanCursor,
    StorageApi,
)
from photondb.datum.json import dumps
from photondb.reql.chunk import Chunk
from photondb.reql.measures import write_measures
from photondb.rpc import schema
from photondb.rpc.admission import Admission
from photondb.rpc.catalogue_messages import read_catalogue, read_change, write_catalogue
from photondb.rpc.limits import REPLY_BYTES
from photondb.rpc.payload import write_payload
from photondb.rpc.servant import DEFAULT_MAX_CALLS, Call, ClosableHandlers, Handlers, Servant, servant
from photondb.rpc.short_scans import read_scans, run_scans
from photondb.rpc.storage import SERVICE
from photondb.rpc.storage_messages import (
    read_isolation,
    read_keys,
    read_scan,
    read_statements,
    write_documents,
    write_outcomes,
    write_records,
    write_transaction,
)


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
