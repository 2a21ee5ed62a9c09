"""`changefeed` from afar: a stub with the interface of `ChangefeedApi`, and the servant that such stubs call."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from photondb.api.changefeed import ChangefeedApi, Feed, FeedRequest
from photondb.api.context import CallContext
from photondb.datum.json import dumps, loads_stored
from photondb.reql.chunk import Chunk
from photondb.reql.errors import op_failed
from photondb.reql.pipeline import aggregate_from_wire
from photondb.rpc import schema
from photondb.rpc.admission import Admission
from photondb.rpc.client import RpcClient
from photondb.rpc.connect import DEFAULT_OPTIONS, ConnectOptions
from photondb.rpc.payload import read_payload, write_payload
from photondb.rpc.remote import Method, Remote, RemoteObject
from photondb.rpc.servant import DEFAULT_MAX_CALLS, Call, ClosableHandlers, Handlers, Servant, servant
from photondb.rpc.storage_messages import read_ranges, read_steps, write_ranges, write_steps

SERVICE = "changefeed"

_OPEN = Method("open")
_NEXT = Method("next")


class ChangefeedStub(ChangefeedApi):
    """The changefeed service at `address` (`unix:/path` or `tcp:host:port`)."""

    def __init__(self, address: str, options: ConnectOptions = DEFAULT_OPTIONS) -> None:
        self._client = RpcClient(SERVICE, schema.CHANGEFEED.Changefeed, address, options)

    async def close(self) -> None:
        """Close the connection, which closes all feeds."""
        await self._client.close()

    async def open(self, context: CallContext, request: FeedRequest) -> FeedStub:
        response = await self._client.call(_OPEN, context, request=_write_request(request))
        return FeedStub(Remote(response.ok, SERVICE), context)


class FeedStub(RemoteObject, Feed):
    """A feed in the changefeed service. Its calls have the context that it was opened with, but not the deadline."""

    def __init__(self, remote: Remote, context: CallContext) -> None:
        super().__init__(remote)
        self._context = msgspec.structs.replace(context, deadline=None)
        self._pending: asyncio.Task[Chunk] | None = None

    async def next(self, max_changes: int) -> Chunk:
        """The next changes. A cancelled call goes on by itself, and the next one takes what it got."""
        if self._pending is None:
            self._pending = asyncio.create_task(_next_changes(self.remote, self._context, max_changes))
        pending = self._pending
        try:
            await asyncio.wait([pending])
            self._pending = None
            if pending.cancelled():
                raise op_failed("The feed was closed.")
            return pending.result()
        finally:
            del pending  # its exception's traceback leads here, and would make a cycle

    def drop(self) -> None:
        """Close the feed without waiting."""
        super().drop()
        if self._pending is not None:
            self._pending.cancel()

    def __del__(self) -> None:
        self.drop()  # else the call that nobody waits for any more would keep the feed open


async def _next_changes(remote: Remote, context: CallContext, max_changes: int) -> Chunk:
    # Not a method: its task would keep the stub alive, and with it the feed.
    changes = (await remote.call(_NEXT, context, maxChanges=max_changes)).ok
    count = changes.count
    return Chunk.of_blob(await read_payload(changes.rows, context, SERVICE), count)


def changefeed_servant(changefeed: ChangefeedApi, max_calls: int = DEFAULT_MAX_CALLS) -> Servant:
    """The capability through which stubs call `changefeed`. It carries out `max_calls` calls at a time, not counting
    those that wait for changes."""
    return servant(schema.CHANGEFEED.Changefeed, _ChangefeedHandlers(SERVICE, Admission(max_calls), changefeed))


class _ChangefeedHandlers(Handlers):
    def __init__(self, service: str, admission: Admission, changefeed: ChangefeedApi) -> None:
        super().__init__(service, admission)
        self._changefeed = changefeed

    async def open(self, call: Call) -> None:
        feed = await self._changefeed.open(call.context, _read_request(call.params.request))
        call.results.ok = servant(schema.CHANGEFEED.Feed, _FeedHandlers(self, feed))


class _FeedHandlers(ClosableHandlers):
    unlimited = frozenset({"next", "close"})

    def __init__(self, owner: Handlers, feed: Feed) -> None:
        super().__init__(owner, feed)
        self._feed = feed

    async def next(self, call: Call) -> None:
        max_changes = call.params.maxChanges
        call.release_params()
        chunk = await self._feed.next(max_changes)
        changes = call.results.init("ok")
        changes.count = len(chunk)
        write_payload(changes.init("rows"), chunk.json(), self)


def _write_request(request: FeedRequest) -> dict[str, Any]:
    """`FeedRequest` of changefeed.capnp."""
    squash = request.squash
    return {
        "table": request.table,
        "tableUuid": request.table_uuid,
        "key": request.key or b"",
        "index": -1 if request.index is None else request.index,
        "ranges": write_ranges(request.ranges),
        "steps": write_steps(request.steps),
        "limit": -1 if request.limit is None else request.limit,
        "descending": request.descending,
        "includeInitial": request.include_initial,
        "includeStates": request.include_states,
        "includeTypes": request.include_types,
        "includeOffsets": request.include_offsets,
        "squash": squash is not False,
        "squashSeconds": 0.0 if isinstance(squash, bool) else float(squash),
        "queueSize": request.queue_size,
        "includePosition": request.include_position,
        "resume": request.resume or "",
        "sinceUs": -1 if request.since_us is None else request.since_us,
        "aggregate": b"" if request.aggregate is None else dumps(request.aggregate.to_wire()),
        "group": request.group or "",
        "groupTimeoutSeconds": request.group_timeout_s,
    }


def _read_request(reader: Any) -> FeedRequest:
    """What a `FeedRequest` holds."""
    index, limit, seconds = reader.index, reader.limit, reader.squashSeconds
    return FeedRequest(
        table=reader.table,
        table_uuid=reader.tableUuid,
        key=reader.key or None,
        index=None if index < 0 else index,
        ranges=read_ranges(reader.ranges),
        steps=read_steps(reader.steps),
        limit=None if limit < 0 else limit,
        descending=reader.descending,
        include_initial=reader.includeInitial,
        include_states=reader.includeStates,
        include_types=reader.includeTypes,
        include_offsets=reader.includeOffsets,
        squash=(seconds or True) if reader.squash else False,
        queue_size=reader.queueSize,
        include_position=reader.includePosition,
        resume=reader.resume or None,
        since_us=None if reader.sinceUs < 0 else reader.sinceUs,
        aggregate=aggregate_from_wire(loads_stored(reader.aggregate)) if reader.aggregate else None,
        group=reader.group or None,
        group_timeout_s=reader.groupTimeoutSeconds,
    )
