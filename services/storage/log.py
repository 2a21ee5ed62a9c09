"""The change log of a shard: one record for each committed change of one document, numbered from 1 without a gap.

A record holds the document before and after, so that a reader needs nothing else, and four running totals, so that the
last record tells the state of the shard (it is never trimmed) and any record the size of the log up to it.
"""

from __future__ import annotations

from struct import Struct

import msgspec

from photondb.api.storage import LogGap, LogRecord
from services.storage import layout
from services.storage.rocks import Batch, Store
from services.storage.views import View

MAX_AGE_S = 24 * 3600
"""How long records are kept."""

MAX_BYTES = 1_000_000_000
"""How many bytes of records are kept for a table, before compression."""

MIN_TRIMMED_RECORDS = 1000
"""Trimming waits until there is this much to trim, because each range deletion slows reads a little for a while."""

MIN_TRIMMED_BYTES = 64 << 20
"""... or this many bytes, which a few documents may come to."""

READ_CHUNK_RECORDS = 100

HEADER = Struct(">QQQQHII")
"""time in microseconds, rows, bytes of documents, bytes of records, length of key, of the old and of the new document.

The totals are those after the change. A length of 0 means that there is no document. Key and documents follow."""

TOTALS, LENGTHS = Struct(">QQQQ"), Struct(">HII")
"""The two parts of a header: what depends on when the change is committed, and what does not."""


class Position(msgspec.Struct, gc=False):
    """Where a shard stands: its last record's sequence and time, and the totals."""

    sequence: int = 0
    time_us: int = 0
    rows: int = 0
    document_bytes: int = 0
    log_bytes: int = 0

    def copy(self) -> Position:
        """An independent copy."""
        return Position(self.sequence, self.time_us, self.rows, self.document_bytes, self.log_bytes)


def last_position(view: View, table: int, shard: int = layout.SHARD) -> Position:
    """Where the shard stands, from its last record."""
    low = layout.log_prefix(table, shard)
    with view.read(low, layout.end_of(low), descending=True) as reader:
        last = reader.take(1)
    return decode_position(layout.sequence_of(last[0][0]), last[0][1]) if last else Position()


def oldest_sequence(view: View, table: int, shard: int = layout.SHARD) -> int:
    """The first sequence that is still there; 1 when there has been none yet."""
    low = layout.log_prefix(table, shard)
    with view.read(low, layout.end_of(low), keys_only=True) as reader:
        first = reader.take_keys(1)
    return layout.sequence_of(first[0]) if first else 1


def read(view: View, table: int, after: int, limit: int, max_bytes: int, shard: int = layout.SHARD) -> list[LogRecord]:
    """Up to `limit` records with a sequence greater than `after`, in order; fewer when they come to `max_bytes`.

    Raises LogGap when records in between were trimmed.
    """
    records: list[LogRecord] = []
    size = 0
    low, end = layout.record_key(table, shard, after + 1), layout.end_of(layout.log_prefix(table, shard))
    with view.read(low, end) as reader:
        while len(records) < limit and size < max_bytes and not reader.done:
            for key, value in reader.take(min(READ_CHUNK_RECORDS, limit - len(records))):
                records.append(decode_record(key, value))
                size += len(value)
    if records and records[0].sequence > after + 1:
        raise LogGap(records[0].sequence)
    return records


def decode_record(key: bytes, value: bytes) -> LogRecord:
    """The record under a key of the log."""
    time_us, _, _, _, key_length, old_length, new_length = HEADER.unpack_from(value)
    start = HEADER.size + key_length
    middle = start + old_length
    return LogRecord(
        sequence=layout.sequence_of(key),
        time_us=time_us,
        key=value[HEADER.size : start],
        old=value[start:middle] if old_length else None,
        new=value[middle:] if new_length else None,
    )


def decode_position(sequence: int, value: bytes) -> Position:
    """Where the shard stood after the record of that number."""
    time_us, rows, document_bytes, log_bytes, *_ = HEADER.unpack_from(value)
    return Position(sequence, time_us, rows, document_bytes, log_bytes)


def trim_point(
    store: Store,
    table: int,
    oldest: int,
    last: Position,
    keep_after_us: int,
    max_bytes: float,
    shard: int = layout.SHARD,
) -> int:
    """The first sequence to keep: the first that is young enough, with at most `max_bytes` from it on.

    Time and bytes only grow along the log, so that a binary search finds it. The last record is always kept.
    """
    low, high = oldest, last.sequence
    while low < high:
        middle = (low + high) // 2
        value = store.get(layout.record_key(table, shard, middle))
        assert value is not None, "the log has a hole"
        position = decode_position(middle, value)
        if position.time_us < keep_after_us or last.log_bytes - position.log_bytes + len(value) > max_bytes:
            low = middle + 1
        else:
            high = middle
    return low


def first_after(store: Store, table: int, oldest: int, last: Position, time_us: int, shard: int = layout.SHARD) -> int:
    """The sequence of the first record that is younger than `time_us`; beyond the last one when there is none."""
    low, high = oldest, last.sequence + 1
    while low < high:
        middle = (low + high) // 2
        value = store.get(layout.record_key(table, shard, middle))
        assert value is not None, "the log has a hole"
        if decode_position(middle, value).time_us <= time_us:
            low = middle + 1
        else:
            high = middle
    return low


def trim(batch: Batch, table: int, first_kept: int, shard: int = layout.SHARD) -> None:
    """Delete the records before `first_kept`."""
    batch.delete_range(layout.log_prefix(table, shard), layout.record_key(table, shard, first_kept))
