"""Queries that read a few documents by their keys, or by a stretch of an index, recognised at compile time.

    r.table("users").get_all("ada", "bob")
    r.table("users").get_all("Berlin", index="city").limit(50)
    r.table("users").between("a", "b").limit(50)

Storage's answer goes to the client as it is, without an evaluation. What is not complete at once, or wrong in any way,
is left to the evaluator, which reads it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from photondb.api.catalogue import TableInfo
from photondb.api.context import CallContext
from photondb.api.query import Answer, Request
from photondb.api.storage import KeyRange, Scan, ScanReply, StorageApi
from photondb.datum.errors import DatumError
from photondb.datum.extreme import MAXVAL, MINVAL
from photondb.datum.keys import key_range, primary_key
from photondb.reql import shape as shapes
from photondb.reql.chunk import Chunk
from photondb.reql.function import Frame
from photondb.reql.shape import Shape
from photondb.reql.wire import Term
from photondb.rpc.eager import start_eagerly
from services.query import responses
from services.query.batching import DEFAULT_BATCHING
from services.query.fastpaths import TableName, table_name
from services.query.running import count

if TYPE_CHECKING:
    import asyncio

    from services.query.channel import Channel

MAX_ROWS = 100
"""How many rows an answer has at most. Of queries without a limit one more is asked for, to see that it was all."""

MAX_BYTES = DEFAULT_BATCHING.first.max_bytes
"""What has more bytes goes to the client in several batches."""

Value = Callable[[Frame], Any]
Ranges = Callable[[Frame, bool], Sequence[KeyRange]]
"""The ranges of keys that a query asks for; the second argument says whether they are those of a secondary index."""


class Documents(NamedTuple):
    """A read of documents by their primary keys, at most `limit`: the (encoded) keys, with how often each is asked
    for."""

    table: int
    keys: dict[bytes, int]
    limit: int

    async def read(self, storage: StorageApi, context: CallContext) -> ScanReply:
        """What storage has, like the reply to a scan of the keys; no chunk where it is too much for one batch."""
        found = await storage.get(context, [(self.table, key) for key in self.keys])
        rows: list[bytes] = []
        for document, times in zip(found, self.keys.values(), strict=True):
            if document is not None:
                rows += [document] * times
        del rows[self.limit :]
        return ScanReply(Chunk.of_raw(rows) if sum(map(len, rows)) + len(rows) < MAX_BYTES else None)


class ShortRead:
    """A read of some documents by their keys, or of a stretch of a table or of an index."""

    __slots__ = ("_index", "_limit_slot", "_ranges", "_values", "table")

    def __init__(
        self,
        table: TableName,
        index: str | None,
        ranges: Ranges,
        values: Sequence[Value] | None,
        limit_slot: int | None,
    ) -> None:
        self.table = table
        self._index = index
        self._ranges = ranges
        self._values = values
        """Those that documents are asked for by, where it is no range."""
        self._limit_slot = limit_slot

    def wanted(self, frame: Frame, info: TableInfo) -> Scan | Documents | None:
        """What to ask of storage; None for a query that the evaluator must look at. Raises DatumError for values that
        cannot be keys."""
        limit = MAX_ROWS + 1
        if self._limit_slot is not None:
            limit = frame[self._limit_slot]
            if type(limit) is not int or not 0 < limit <= MAX_ROWS:
                return None
        if self._index is None or self._index == info.primary_key:
            if self._values is not None:
                keys: dict[bytes, int] = {}
                for value in self._values:
                    key = primary_key(_key(value(frame)))
                    keys[key] = keys.get(key, 0) + 1
                return Documents(info.id, keys, limit)
            return Scan(info.id, None, self._ranges(frame, False), limit=limit, chunk_bytes=MAX_BYTES)
        index = info.index(self._index)
        if index is None or index.geo or not index.ready:
            return None
        return Scan(info.id, index.id, self._ranges(frame, True), limit=limit, chunk_bytes=MAX_BYTES)

    def response(self, reply: ScanReply) -> bytes | None:
        """The answer to the query; None where storage's reply is not all of it."""
        chunk = reply.chunk
        if chunk is None or reply.cursor is not None or (self._limit_slot is None and len(chunk) > MAX_ROWS):
            return None
        return responses.last_rows(chunk)


def start_short_read(
    channel: Channel,
    request: Request,
    read: ShortRead,
    wanted: Scan | Documents,
    evaluate: Callable[[], Answer | None],
) -> Answer | None:
    """Ask storage: the query's answer, or None when that comes later. `evaluate` gives it where this way does not."""

    asked_at = time.monotonic()

    def finish(reply: ScanReply) -> Answer | None:
        payload = read.response(reply)
        if payload is not None:
            count(channel, "read", asked_at)
            channel.service.slow_queries.note(channel, request, asked_at)
            return Answer(request.session, request.token, payload)
        if reply.cursor is not None:
            channel.service.release(reply.cursor)
        return evaluate()

    def arrived(task: asyncio.Task[ScanReply]) -> None:
        if request.session not in channel.sessions:
            return
        failed = task.cancelled() or task.exception() is not None
        answer = evaluate() if failed else finish(task.result())
        if answer is not None:
            channel.send_later([answer])

    storage, context = channel.service.storage, request.context
    try:
        started = start_eagerly(
            storage.scan(context, wanted) if type(wanted) is Scan else wanted.read(storage, context)  # type: ignore[union-attr]
        )
    except Exception:  # the evaluator meets it, too, and says where
        return evaluate()
    if started.task is None:
        return finish(started.value)
    channel.service.keep(started.task)
    started.task.add_done_callback(arrived)
    return None


def short_read(shape: Shape) -> ShortRead | None:
    """The short read that a query is, if it is one."""
    limit_slot = None
    if shape[0] == Term.LIMIT and not shape[2] and len(shape[1]) == 2 and shape[1][1][0] == shapes.CONSTANT:
        limit_slot = 1 + shape[1][1][1]
        shape = shape[1][0]
    if shape[0] not in (Term.GET_ALL, Term.BETWEEN) or len(shape[1]) < 2:
        return None
    table = table_name(shape[1][0])
    options = {name: value[1] for name, value in shape[2] if value[0] == shapes.LITERAL}
    if table is None or len(options) < len(shape[2]):
        return None
    values = [_value(argument) for argument in shape[1][1:]]
    if None in values:
        return None
    index = options.pop("index", None)
    by_values = shape[0] == Term.GET_ALL
    ranges = (_equal if by_values else _between)(values, options)  # type: ignore[arg-type]
    if ranges is None:
        return None
    return ShortRead(table, index, ranges, values if by_values else None, limit_slot)  # type: ignore[arg-type]


def _value(shape: Shape) -> Value | None:
    if shape[0] == shapes.CONSTANT:
        slot = 1 + shape[1]
        return lambda frame: frame[slot]
    if shape == (Term.MINVAL, (), ()):
        return lambda frame: MINVAL
    if shape == (Term.MAXVAL, (), ()):
        return lambda frame: MAXVAL
    return None


def _key(value: Any) -> Any:
    if value is None or (type(value) is dict and value.get("$reql_type$") == "GEOMETRY"):
        raise DatumError("a key about which the evaluator says what is wrong")
    return value


def _equal(values: Sequence[Value], options: dict[str, Any]) -> Ranges | None:
    if options or len(values) > MAX_ROWS:
        return None

    def ranges(frame: Frame, secondary: bool) -> Sequence[KeyRange]:
        wanted: dict[tuple[bytes, bytes], int] = {}
        for value in values:
            key = _key(value(frame))
            bounds = key_range(key, key, "closed", "closed", secondary=secondary)
            wanted[bounds] = wanted.get(bounds, 0) + 1
        return [KeyRange(low, high, count) for (low, high), count in wanted.items()]

    return ranges


def _between(values: Sequence[Value], options: dict[str, Any]) -> Ranges | None:
    left_bound, right_bound = options.pop("left_bound", "closed"), options.pop("right_bound", "open")
    if options or len(values) != 2 or not {left_bound, right_bound} <= {"open", "closed"}:
        return None
    left, right = values

    def ranges(frame: Frame, secondary: bool) -> Sequence[KeyRange]:
        low, high = key_range(_key(left(frame)), _key(right(frame)), left_bound, right_bound, secondary=secondary)
        return (KeyRange(low, high),)

    return ranges
