"""Where everything lies in the store's one ordered key space.

====================================================== =====================================================
key                                                    value
====================================================== =====================================================
``d`` table shard primary-key                          a document: its wire JSON
``i`` table index shard index-key primary-key [repeat] an entry of a secondary index: the primary key
``l`` table shard sequence                             a record of the change log (`services.storage.log`)
``b`` table index                                      how far an index is built (`services.storage.builder`)
``m`` ...                                              the catalogue (`services.storage.catalog`)
====================================================== =====================================================

Numbers are big-endian: table and index 4 bytes, shard 1, sequence 8, repeat 4. Primary keys and index keys are those
of `photondb.datum.keys`, which delimit themselves and keep the order of values. `repeat` tells apart the entries of a
multi index whose array holds a value more than once; the first has none. The index keys of a geo index are those of
`photondb.geo.cells`, and what they find is compared exactly by a step of the query (`photondb.reql.geo_steps`).

Documents whose value has no place in an index stand behind all values, under the letters of
`photondb.reql.index_values.Apart`, where only the planner's scans get to.

All other index keys are stored whole, unlike RethinkDB's, which are cut to fit a page: so an entry's place is exact and
what is read from an index needs no second look. A document with one that is too long is refused (`indexes`).

All that a node has of a table is in shard 0, of a table that is spread over several nodes too: a node has one part of
it at most, and the part's number is told to others only (`services.storage.tables`). What users know as shards of a
table on one node are ranges of primary keys within it (`services.storage.shards`).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

SHARD: Final = 0
"""The only one in a store."""

_DOCUMENTS = Struct(">cIB")
_ENTRIES = Struct(">cIIB")
_RECORD = Struct(">cIBQ")
_TABLE = Struct(">cI")
_INDEX = Struct(">cII")

META = b"m"


def document_prefix(table: int, shard: int = SHARD) -> bytes:
    """What the keys of a shard's documents start with."""
    return _DOCUMENTS.pack(b"d", table, shard)


def entry_prefix(table: int, index: int, shard: int = SHARD) -> bytes:
    """What the keys of an index's entries in a shard start with."""
    return _ENTRIES.pack(b"i", table, index, shard)


def log_prefix(table: int, shard: int = SHARD) -> bytes:
    """What the keys of a shard's change log start with; the sequence number follows, in 8 bytes."""
    return _DOCUMENTS.pack(b"l", table, shard)


def record_key(table: int, shard: int, sequence: int) -> bytes:
    """The key of one record of the change log."""
    return _RECORD.pack(b"l", table, shard, sequence)


def table_of(key: bytes) -> int:
    """The table in a key of any kind but the catalogue's."""
    return int.from_bytes(key[1:5], "big")


def sequence_of(key: bytes) -> int:
    """The sequence number in the key of a record."""
    return int.from_bytes(key[-8:], "big")


def table_ranges(table: int) -> list[tuple[bytes, bytes]]:
    """All keys that belong to a table."""
    return [(_TABLE.pack(kind, table), end_of(_TABLE.pack(kind, table))) for kind in (b"d", b"i", b"l", b"b")]


def index_ranges(table: int, index: int) -> list[tuple[bytes, bytes]]:
    """All keys that belong to an index."""
    return [(_INDEX.pack(kind, table, index), end_of(_INDEX.pack(kind, table, index))) for kind in (b"i", b"b")]


def build_key(table: int, index: int) -> bytes:
    """The key under which the progress of an index's build is kept."""
    return _INDEX.pack(b"b", table, index)


def end_of(prefix: bytes) -> bytes:
    """The smallest key that is greater than all that start with `prefix`."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes((trimmed[-1] + 1,))
