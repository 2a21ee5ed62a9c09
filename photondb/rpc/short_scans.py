"""Short scans that are asked for in one turn of the loop, gathered into one call.

What a call costs is mostly the call itself: between two processes a range of 50 rows takes five times as long to ask
for as to read. Long scans travel alone, because an answer to many must wait for the slowest of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count as count_up
from itertools import repeat
from typing import Any, TypeAlias

import msgspec

from photondb.api.context import CallContext
from photondb.api.storage import KeyRange, Scan, ScanReply, StorageApi
from photondb.reql.chunk import Chunk
from photondb.reql.steps import keeps_count, steps_from_wire, steps_to_wire
from photondb.rpc.errors import WireError
from photondb.rpc.limits import PIECE_BYTES

MAX_ROWS = 100
"""A scan of at most so many rows is short."""

MAX_SCANS = 64
"""How many scans go into one call."""

MAX_CALLS = 2
"""How many calls are under way at a time. What is asked for meanwhile goes together into the next one, so that calls
grow with the load; with one scan at a time nothing waits."""


def is_short(scan: Scan, context: CallContext) -> bool:
    """Whether a scan reads a bounded number of documents, and may share its call with others."""
    return (
        scan.limit is not None
        and scan.limit <= min(MAX_ROWS, scan.chunk_rows, scan.first_chunk_rows or MAX_ROWS)
        and scan.aggregate is None
        and not scan.measured
        and not scan.primary_order
        and not scan.by_value
        and context.deadline is None
        and keeps_count(scan.steps)
    )


class _ShortScan(msgspec.Struct, omit_defaults=True):
    """A scan as a JSON object. Keys are in base64, as always where bytes are in JSON."""

    table: int
    limit: int
    lows: list[bytes]
    highs: list[bytes]
    repeats: list[int] | None = None
    index: int | None = None
    descending: bool = False
    steps: list[Any] | None = None
    chunk_bytes: int = 1_000_000
    trace: int | None = None
    keyed: bool = False


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[_ShortScan]).decode
_decode_error = msgspec.json.Decoder(WireError).decode


def write_scans(scans: Sequence[Scan], traces: Sequence[int | None] = ()) -> bytes:
    """Short scans as a JSON list. `traces` says of each, where any is traced, to which of the call's traces it belongs;
    None for those that are not traced."""
    return _encode([_short_scan(scan, trace) for scan, trace in zip(scans, traces or repeat(None), strict=False)])


def _short_scan(scan: Scan, trace: int | None) -> _ShortScan:
    assert scan.limit is not None
    ranges = scan.ranges
    return _ShortScan(
        scan.table,
        scan.limit,
        [range.low for range in ranges],
        [range.high for range in ranges],
        None if all(range.repeat == 1 for range in ranges) else [range.repeat for range in ranges],
        scan.index,
        scan.descending,
        steps_to_wire(scan.steps) if scan.steps else None,
        scan.chunk_bytes,
        trace,
        scan.keyed,
    )


def read_scans(blob: bytes) -> tuple[list[Scan], list[int | None]]:
    """What `write_scans` wrote."""
    read = _decode(blob)
    scans = [
        Scan(
            table=scan.table,
            index=scan.index,
            ranges=tuple(map(KeyRange, scan.lows, scan.highs, scan.repeats or [1] * len(scan.lows))),
            descending=scan.descending,
            steps=steps_from_wire(scan.steps) if scan.steps else (),
            limit=scan.limit,
            chunk_bytes=scan.chunk_bytes,
            keyed=scan.keyed,
        )
        for scan in read
    ]
    return scans, [scan.trace for scan in read]


NOT_DONE, FAILED = -1, -2
"""What stands in place of the number of rows: the rows are too long, so that the scan must be made by itself; it
failed."""


Columns = tuple[Sequence[bytes], Sequence[int], Sequence[Sequence[bytes]]]
"""What comes of short scans: rows as JSON joined by commas, how many these are, and their keys.

In place of rows there is an error's JSON where the number is FAILED, and nothing where it is NOT_DONE. There are no
keys at all where no scan is keyed."""


async def run_scans(
    storage: StorageApi, context: CallContext, scans: Sequence[Scan], traces: Sequence[int | None], service: str
) -> Columns:
    """Carry out short scans."""
    rows: list[bytes] = []
    counts: list[int] = []
    keys: list[Sequence[bytes]] = [()] * len(scans) if any(scan.keyed for scan in scans) else []
    room = PIECE_BYTES
    untraced = _untraced(context)
    for position, (scan, trace) in enumerate(zip(scans, traces, strict=True)):
        if room <= 0:
            rows.append(b"")
            counts.append(NOT_DONE)
            continue
        try:
            reply = await storage.scan(untraced if trace is None else untraced.traced((context.spans[trace],)), scan)
        except Exception as error:
            rows.append(_encode(WireError.of(error, service, context.request_id)))
            counts.append(FAILED)
            continue
        if reply.cursor is not None or reply.chunk is None:
            if reply.cursor is not None:
                await reply.cursor.close()
            rows.append(b"")
            counts.append(NOT_DONE)
            continue
        json = reply.chunk.json()
        room -= len(json)
        rows.append(json)
        counts.append(len(reply.chunk))
        if reply.chunk.keys is not None:
            keys[position] = reply.chunk.keys
    return rows, counts, keys


_Entry: TypeAlias = "tuple[CallContext, Scan, asyncio.Future[ScanReply | None]]"

Send = Callable[[CallContext, bytes, bool], Awaitable[Columns]]
"""Makes a call with scans (as `write_scans` writes them): the columns of its result, with keys if that is wanted."""


def _untraced(context: CallContext) -> CallContext:
    return context.traced(()) if context.spans else context


class ShortScans:
    """Gathers a client's short scans into calls."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: list[_Entry] = []
        self._scheduled = False
        self._under_way: set[asyncio.Task[None]] = set()

    def scan(self, context: CallContext, scan: Scan) -> asyncio.Future[ScanReply | None]:
        """The reply to a scan that `is_short`; None when it must be made by itself."""
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[ScanReply | None] = loop.create_future()
        self._waiting.append((context, scan, reply))
        self._schedule()
        return reply

    def _schedule(self) -> None:
        if self._waiting and not self._scheduled and len(self._under_way) < MAX_CALLS:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        """Make a call of what waits and has the context of the first one, apart from its trace."""
        self._scheduled = False
        waiting = [entry for entry in self._waiting if not entry[2].done()]
        self._waiting = []
        if not waiting:
            return
        context = _untraced(waiting[0][0])
        chosen: list[_Entry] = []
        for entry in waiting:
            asker = _untraced(entry[0])
            if len(chosen) < MAX_SCANS and (asker is context or asker == context):
                chosen.append(entry)
            else:
                self._waiting.append(entry)
        task = asyncio.get_running_loop().create_task(self._call(context, chosen))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        self._schedule()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._schedule()

    async def _call(self, context: CallContext, entries: Sequence[_Entry]) -> None:
        traced = tuple([span for asker, _, _ in entries for span in asker.spans[:1]])
        numbers = count_up()
        traces = [next(numbers) if asker.spans else None for asker, _, _ in entries] if traced else ()
        scans = [scan for _, scan, _ in entries]
        keyed = any(scan.keyed for scan in scans)
        if traced:
            context = context.traced(traced)
        try:
            rows, counts, keys = await self._send(context, write_scans(scans, traces), keyed)
        except BaseException as error:
            for _, _, reply in entries:
                if not reply.done():
                    if isinstance(error, Exception):
                        reply.set_exception(error)
                    else:
                        reply.cancel()
            if not isinstance(error, Exception):
                raise
            return
        for (_, scan, reply), json, count, places in zip(entries, rows, counts, keys or repeat(()), strict=False):
            if reply.done():
                continue
            if count >= 0:
                chunk = Chunk.of_blob(json, count)
                if scan.keyed:
                    chunk.keys = places
                reply.set_result(ScanReply(chunk))
            elif count == FAILED:
                reply.set_exception(_decode_error(json).exception())
            else:
                reply.set_result(None)
