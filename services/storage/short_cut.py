"""Short cuts: an index leads to the documents that a query can want, which are then read in the order of the table.

Where they are so many that to read the table is quicker, the index is left.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter

from photondb.api.storage import Scan
from photondb.datum.keys import after_prefix, end_of_key
from services.storage.indexes import Index
from services.storage.scan_blocks import BLOCK_BYTES, ScanBlocks
from services.storage.tables import Table

SLICE_S = 0.002
"""How long entries are gathered before others go on."""

ENTRIES_AT_A_TIME = 512

MAX_SHORT_CUT_SHARE = 0.3
MIN_SHORT_CUT_DOCUMENTS = 1000
MAX_SHORT_CUT_DOCUMENTS = 1_000_000
"""An index is left for the table when it leads to more than this share of the table's documents, unless they are few,
or to more than can be put in order."""

GiveWay = Callable[[], Awaitable[None]]
"""Lets others go on."""


def comes_in_primary_order(index: Index | None, scan: Scan) -> bool:
    """Whether the entries are in the order of the primary key already, because all have one value, and so need not
    be gathered for a query that may not want all of them."""
    if index is None:
        return True
    if index.info.multi or scan.limit is None or len(scan.ranges) != 1 or scan.others:
        return False
    (only,) = scan.ranges
    return bool(only.low) and only.high == after_prefix(only.low) and end_of_key(only.low) == len(only.low)


async def take_short_cut(
    blocks: ScanBlocks, table: Table, scan: Scan, give_way: GiveWay, most: int = MAX_SHORT_CUT_DOCUMENTS
) -> None:
    """Put the documents that the index leads to in the order of their primary keys. Where they are too many for that
    to pay, or more than `most`, read the table."""
    assert blocks.index is not None
    most = min(max(MIN_SHORT_CUT_DOCUMENTS, int(table.position.rows * MAX_SHORT_CUT_SHARE)), most)
    every = scan.every and bool(scan.others)
    found: set[bytes] = set()
    if not await _gather(blocks, blocks.index, found, MAX_SHORT_CUT_DOCUMENTS if every else most, give_way):
        return
    for part in scan.others:
        index = table.index(part.index)
        if index is None:  # it was dropped meanwhile
            blocks.leave_index()
            return
        blocks.use(index, part.ranges)
        also: set[bytes] = set() if every else found
        if not await _gather(blocks, index, also, MAX_SHORT_CUT_DOCUMENTS if every else most, give_way):
            return
        found = found & also if every else also
    if len(found) > most:
        blocks.leave_index()
    else:
        blocks.look_up(found)


async def _gather(blocks: ScanBlocks, index: Index, found: set[bytes], most: int, give_way: GiveWay) -> bool:
    """Add the primary keys of all entries that are to be read. Leaves the index, and gives False, when there are more
    than `most`."""
    slice_end = perf_counter() + SLICE_S
    while (reader := blocks.reader()) is not None:
        found.update(map(index.primary_of, reader.take_values(ENTRIES_AT_A_TIME, BLOCK_BYTES)))
        if reader.done:
            blocks.close_range()
        if len(found) > most:
            blocks.leave_index()
            return False
        if perf_counter() > slice_end:
            await give_way()
            slice_end = perf_counter() + SLICE_S
    return True
