"""Scans of a few rows, done in one go: they need nothing of what lets a scan be interrupted.

They are most of the scans that applications ask for (a page of a list, what belongs to a user), and are read as fast as
Python can.
"""

from __future__ import annotations

from photondb.api.context import CallContext
from photondb.api.storage import Scan
from photondb.reql.chunk import Chunk
from services.storage.indexes import Index
from services.storage.rocks import Store, StoreError
from services.storage.tables import Table
from services.storage.views import UNBOUNDED, DirectReader

MAX_ROWS = 128
MAX_BYTES = 1 << 20
"""How many rows a short scan may have, and about how many bytes."""

LOOKED_UP_AT_A_TIME = 64
"""How many documents that an index leads to are read before their size is looked at."""

MAX_RANGES = 128


def is_short(context: CallContext, scan: Scan, table: Table, index: Index | None) -> bool:
    """Whether a scan of the present state is short, by the average size of the table's documents."""
    limit = scan.limit
    if scan.primary_order or scan.by_value or scan.measured:
        return False
    if limit is None or limit > MAX_ROWS or scan.steps or scan.aggregate is not None or len(scan.ranges) > MAX_RANGES:
        return False
    if limit > scan.chunk_rows or (scan.first_chunk_rows is not None and limit > scan.first_chunk_rows):
        return False
    position = table.position
    if limit * position.document_bytes > min(MAX_BYTES, scan.chunk_bytes) * position.rows:
        return False
    return context.optimizations and (index is None or not index.info.geo)


def read_short(store: Store, table: Table, index: Index | None, scan: Scan) -> Chunk | None:
    """All rows of a short scan; None where these are much longer than the table's average said. Raises StoreError."""
    prefix = table.document_prefix if index is None else index.prefix
    room = scan.limit
    assert room is not None
    carried = index is not None and index.covers(None)
    rows: list[bytes] = []
    keys: list[bytes] | None = [] if scan.keyed else None
    size = 0
    for wanted in reversed(scan.ranges) if scan.descending else scan.ranges:
        if room <= 0:
            break
        reader = DirectReader(store.database, prefix + wanted.low, prefix + wanted.high, scan.descending, False, False)
        while room > 0 and not reader.done:
            some = room if index is None else min(room, LOOKED_UP_AT_A_TIME)
            if keys is None:
                # Entries that carry nothing are short, as keys are.
                entry_bytes = UNBOUNDED if index is not None and not index.covering else MAX_BYTES + 1 - size
                found = reader.take_values(some, entry_bytes)
            else:
                entries = reader.take(some, MAX_BYTES + 1 - size)
                keys += [key[len(prefix) :] for key, _ in entries for _ in range(wanted.repeat)]
                found = [value for _, value in entries]
            if index is not None:
                found = list(map(index.carried_in, found)) if carried else _documents(store, table, index, found)
            if wanted.repeat != 1:
                found = [document for document in found for _ in range(wanted.repeat)][:room]
            room -= len(found)
            rows += found
            size += sum(map(len, found))
            if size > MAX_BYTES:
                return None
    chunk = Chunk.of_raw(rows)
    if keys is not None:
        chunk.keys = keys[: len(rows)]
    return chunk


def _documents(store: Store, table: Table, index: Index, values: list[bytes]) -> list[bytes]:
    prefix = table.document_prefix
    primaries = map(index.primary_of, values) if index.covering else values
    documents = store.documents.read([prefix + primary for primary in primaries])
    if None in documents:
        raise StoreError("corrupt", f"The index `{index.info.name}` has an entry without a document.")
    return documents  # type: ignore[return-value]
