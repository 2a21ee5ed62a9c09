"""Scans of tables of several parts: each part is scanned by its node, and what comes is put together here.

All nodes begin before the scan has begun for its caller. Each part is seen as of one moment; the moments are not the
same for all parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from math import ceil, sqrt
from operator import itemgetter
from typing import Any, TypeAlias

import msgspec

from photondb.api.catalogue import TableInfo
from photondb.api.context import CallContext
from photondb.api.storage import KeyRange, Scan, ScanCursor, ScanReply
from photondb.datum.keys import primary_key
from photondb.reql.accumulators import Aggregate, KeyedAccumulator
from photondb.reql.chunk import EMPTY, Chunk
from photondb.reql.errors import ReqlError
from photondb.reql.measures import ScanMeasures
from photondb.reql.steps import keeps_count
from photondb.rpc.eager import together
from photondb.sharding.merging import RowMerger
from photondb.sharding.nodes import Node, gathered
from photondb.sharding.placement import in_order, ranges_of_parts

Begun: TypeAlias = tuple[Chunk, ScanCursor | None]
"""A part's first chunk, and the cursor for the rest of it."""

MIN_CHUNK_ROWS = 16
"""How few rows a node is asked for at a time, at least."""


MAX_SHARED_ROWS = 100
"""Limits up to this are asked for in shares."""

MAX_SHARE = 0.7
"""... where a share is no more of the limit than this."""


def parts_of_scan(scan: Scan, info: TableInfo) -> dict[int, Sequence[KeyRange]]:
    """By the number of its node, the ranges that each part is to be scanned for; one part at least."""
    nodes = info.nodes
    if len(nodes) == 1:
        return {nodes[0]: scan.ranges}
    if scan.index is not None:
        return dict.fromkeys(nodes, scan.ranges)
    divided = ranges_of_parts(scan.ranges, len(nodes))
    return {nodes[part]: ranges for part, ranges in divided.items()} or {nodes[0]: scan.ranges}


async def scan_parts(
    context: CallContext, scan: Scan, info: TableInfo, asked: Sequence[tuple[Node, Sequence[KeyRange]]]
) -> ScanReply:
    """Begin a scan of several parts, on their nodes. Raises what they raise."""
    wanted = [_scan_of_part(scan, info, ranges, len(asked)) for _, ranges in asked]
    nodes = [node for node, _ in asked]
    if has_shares(wanted[0], len(nodes)):
        chunk = await _in_shares(context, nodes, wanted)
        if chunk is not None:
            return ScanReply(chunk)
    replies = await _begin(context, nodes, wanted)
    if scan.aggregate is not None and all(reply.chunk is None for reply in replies):
        measures = sum_of_measures([reply.measures for reply in replies]) if scan.measured else None
        partials = in_primary_order(scan, info, [reply.partial for reply in replies])
        return ScanReply(partial=merged_partial(scan.aggregate, partials), measures=measures)
    if wanted[0].keyed and not scan.measured and all(reply.cursor is None for reply in replies):
        return ScanReply(merged_chunk([reply.chunk for reply in replies if reply.chunk is not None], scan))
    cursor_type = MergedCursor if wanted[0].keyed else ChainedCursor
    cursor = cursor_type(nodes, list(map(_first_chunk, replies)), scan)
    chunk, last = await cursor.next()
    return ScanReply(chunk, cursor=None if last else cursor)


async def _begin(context: CallContext, nodes: Sequence[Node], scans: Sequence[Scan]) -> list[ScanReply]:
    """The replies of nodes to a scan each. Raises the first error."""
    begun = await together(
        [
            node.ask(lambda api, scan=scan: api.scan(context, scan))  # type: ignore[misc]
            for node, scan in zip(nodes, scans, strict=True)
        ]
    )
    replies = [reply for reply in begun if isinstance(reply, ScanReply)]
    for reply in begun:
        if isinstance(reply, BaseException):
            await _close([reply.cursor for reply in replies])
            raise reply
    return replies


def merged_chunk(chunks: Sequence[Chunk], scan: Scan) -> Chunk:
    """The rows of parts that are complete in their first chunks, in the order of their keys."""
    keyed = [(key, row) for chunk in chunks for key, row in zip(chunk.keys or (), chunk.rows(), strict=True)]
    keyed.sort(key=itemgetter(0), reverse=scan.places_descend)
    chosen = keyed[: scan.limit]
    return _chunk_of([row for _, row in chosen], [key for key, _ in chosen], scan)


def _chunk_of(rows: Sequence[bytes], keys: Sequence[bytes], scan: Scan) -> Chunk:
    """Rows of several parts, with their places where the scan asks for them."""
    chunk = Chunk.of_raw(rows)
    if scan.keyed:
        chunk.keys = keys
    return chunk


def share_of(limit: int, parts: int) -> int:
    """How many of the first rows of all a part hardly ever has more than, as keys are spread evenly: the average and
    three standard deviations."""
    average = limit / parts
    return ceil(average + 3 * sqrt(average))


def has_shares(scan: Scan, parts: int) -> bool:
    """Whether each part is to be asked for its share of the limit first."""
    limit = scan.limit
    return (
        limit is not None
        and scan.keyed
        and not scan.measured
        and keeps_count(scan.steps)
        and limit <= min(MAX_SHARED_ROWS, scan.chunk_rows, scan.first_chunk_rows or MAX_SHARED_ROWS)
        and share_of(limit, parts) <= limit * MAX_SHARE
    )


async def _in_shares(context: CallContext, nodes: Sequence[Node], scans: Sequence[Scan]) -> Chunk | None:
    """The rows of a scan with a limit, of which each part is asked for its share at first. A part that may have more of
    the rows is asked again, for as many as there may be, so that all of its rows are as of one moment. None where the
    rows are too long for a chunk."""
    scan = scans[0]
    assert scan.limit is not None
    share = share_of(scan.limit, len(nodes))
    chunks: list[Chunk] = [EMPTY] * len(nodes)
    wanted = list(range(len(nodes)))
    limit, unread = share, set(wanted)
    while wanted:
        parts = [msgspec.structs.replace(scans[part], limit=limit) for part in wanted]
        replies = await _begin(context, [nodes[part] for part in wanted], parts)
        if any(reply.cursor is not None or reply.chunk is None for reply in replies):
            await _close([reply.cursor for reply in replies])
            return None
        for part, reply in zip(wanted, replies, strict=True):
            assert reply.chunk is not None
            chunks[part] = reply.chunk
        if limit == share:  # the first time: the others have no more rows
            unread = {part for part in wanted if len(chunks[part]) >= share}
        if not unread:
            break
        keys = sorted([key for chunk in chunks for key in chunk.keys or ()], reverse=scan.places_descend)
        wanted = [part for part in unread if _may_go_on(chunks[part], keys[: scan.limit], scan)]
        limit = scan.limit
        unread.difference_update(wanted)
    return merged_chunk(chunks, scan)


def _may_go_on(chunk: Chunk, first: Sequence[bytes], scan: Scan) -> bool:
    """Whether what follows a chunk in its part may be among the first rows of all, whose keys are `first` as far as is
    known."""
    assert chunk.keys
    if len(first) < (scan.limit or 0):
        return True
    last, end = chunk.keys[-1], first[-1]
    return last > end if scan.places_descend else last < end


def _first_chunk(reply: ScanReply) -> Begun:
    """The first chunk of a reply, and the cursor for the rest. Of a part that has but one partial aggregate, where
    others have several, it is the only row."""
    if reply.chunk is not None:
        return reply.chunk, reply.cursor
    chunk = Chunk.of_values([reply.partial])
    chunk.measures = reply.measures
    return chunk, None


def _scan_of_part(scan: Scan, info: TableInfo, ranges: Sequence[KeyRange], parts: int) -> Scan:
    """What one part's node is asked for. Its chunks are smaller, because as many as there are parts make one; but a
    scan that is done with one chunk stays so."""
    rows, first_rows = scan.chunk_rows, scan.first_chunk_rows
    if scan.limit is None or scan.limit > min(rows, first_rows or rows):
        rows = _share(rows, parts)
        first_rows = None if first_rows is None else _share(first_rows, parts)
    ordered = None if _without_order(scan, info) else list(ranges) if scan.by_value else in_order(ranges)
    return msgspec.structs.replace(
        scan,
        ranges=ranges if ordered is None else ordered,
        keyed=ordered is not None and scan.aggregate is None,
        chunk_rows=rows,
        chunk_bytes=max(1, scan.chunk_bytes // parts),
        first_chunk_rows=first_rows,
    )


def _share(rows: int, parts: int) -> int:
    return min(rows, max(MIN_CHUNK_ROWS, -(-rows // parts)))


def _without_order(scan: Scan, info: TableInfo) -> bool:
    """Whether rows come in no order: as from a geo index, which has cells for its keys."""
    if scan.index is None or scan.primary_order:
        return False
    return any(index.id == scan.index and index.geo for index in info.indexes)


def in_primary_order(scan: Scan, info: TableInfo, partials: Sequence[Any]) -> Sequence[Any]:
    """The partial results of an aggregate that chooses rows (the first ones of an order) as one, with its rows as they
    come from the table: of equal ones the first is chosen. Others as they are."""
    chooses = scan.aggregate is not None and isinstance(scan.aggregate.start(), KeyedAccumulator)
    of_the_table = scan.index is None or scan.primary_order
    if not chooses or not of_the_table or any(step.replaces_rows for step in scan.steps):
        return partials
    rows = [row for partial in partials for row in partial]
    rows.sort(key=lambda row: primary_key(row[info.primary_key]), reverse=scan.descending)
    return [rows]


def merged_partial(aggregate: Aggregate, partials: Sequence[Any]) -> Any:
    """The partial result of an aggregate, from those of the parts."""
    accumulator = aggregate.start()
    for partial in partials:
        accumulator.merge(partial)
    return accumulator.partial()


def sum_of_measures(parts: Sequence[ScanMeasures | None]) -> ScanMeasures | None:
    """What came of a scan, from what came of its parts: seconds are those of all nodes together."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    total = ScanMeasures.of_steps(len(known[0].steps))
    for part in known:
        total.read += part.read
        total.seconds += part.seconds
        total.left_index = total.left_index or part.left_index
        for step, measure in enumerate(part.steps):
            total.note(step, measure.rows, measure.seconds)
    return total


class _PartsCursor:
    """The rest of a scan of several parts; implements ScanCursor."""

    def __init__(self, nodes: Sequence[Node], begun: Sequence[Begun], scan: Scan) -> None:
        self._nodes = nodes
        self._cursors = [cursor for _, cursor in begun]
        self._remaining = scan.limit
        self._measures: list[ScanMeasures | None] = [None] * len(begun)
        self._measured = scan.measured
        self._closed = False

    async def next(self) -> tuple[Chunk, bool]:
        """The next chunk, and whether it was the last one."""
        if self._closed:
            return Chunk.of_raw(()), True
        try:
            chunk, last = await self._next()
        except BaseException:
            await self.close()
            raise
        if self._remaining is not None:
            chunk = chunk.head(self._remaining)
            self._remaining -= len(chunk)
            last = last or self._remaining <= 0
        if self._measured:
            chunk.measures = sum_of_measures(self._measures)
        if last:
            await self.close()
        return chunk, last

    async def _next(self) -> tuple[Chunk, bool]:
        raise NotImplementedError

    async def _read(self, part: int) -> tuple[Chunk, bool]:
        """The next chunk of a part, and whether it is its last one."""
        cursor = self._cursors[part]
        assert cursor is not None
        chunk, last = await self._nodes[part].ask(lambda api: cursor.next())
        self._note(part, chunk)
        if last:
            self._cursors[part] = None
        return chunk, last

    def _note(self, part: int, chunk: Chunk) -> None:
        if chunk.measures is not None:
            self._measures[part] = chunk.measures

    async def close(self) -> None:
        """Free the views of all nodes."""
        self._closed = True
        cursors, self._cursors = self._cursors, [None] * len(self._cursors)
        await _close(cursors)


class MergedCursor(_PartsCursor):
    """The rest of a scan whose parts come in the order of their keys."""

    def __init__(self, nodes: Sequence[Node], begun: Sequence[Begun], scan: Scan) -> None:
        super().__init__(nodes, begun, scan)
        self._scan = scan
        self._merger = RowMerger(len(nodes), scan.places_descend)
        for part, (chunk, cursor) in enumerate(begun):
            self._note(part, chunk)
            self._merger.add(part, chunk.keys or (), chunk.rows(), cursor is None)

    async def _next(self) -> tuple[Chunk, bool]:
        merger = self._merger
        while True:
            wanting = merger.wanting
            if wanting:
                chunks = await gathered([self._read(part) for part in wanting])
                for part, (chunk, last) in zip(wanting, chunks, strict=True):
                    merger.add(part, chunk.keys or (), chunk.rows(), last)
                continue
            rows, keys = merger.take()
            if rows or merger.done:
                return _chunk_of(rows, keys, self._scan), merger.done


class ChainedCursor(_PartsCursor):
    """The rest of a scan whose parts have no order: one comes after the other."""

    def __init__(self, nodes: Sequence[Node], begun: Sequence[Begun], scan: Scan) -> None:
        super().__init__(nodes, begun, scan)
        self._first: list[Chunk | None] = [chunk for chunk, _ in begun]
        self._part = 0

    async def _next(self) -> tuple[Chunk, bool]:
        part = self._part
        chunk, self._first[part] = self._first[part], None
        if chunk is None:
            chunk, _ = await self._read(part)
        else:
            self._note(part, chunk)
        if self._cursors[part] is None:
            self._part += 1
        return chunk, self._part == len(self._cursors)


async def _close(cursors: Sequence[ScanCursor | None]) -> None:
    """Free cursors. A node that is gone has none any more."""
    for cursor in cursors:
        if cursor is not None:
            with suppress(ReqlError):
                await cursor.close()
