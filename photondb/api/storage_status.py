"""What storage tells about itself: how far indexes and divisions of tables are, sizes, statistics, positions."""

from __future__ import annotations

import msgspec


class IndexStatus(msgspec.Struct, frozen=True):
    """How far an index is built: `progress` from 0 to 1, 1 when `ready`. `problem` says why it does not get on."""

    name: str
    ready: bool
    progress: float
    problem: str = ""


class TableStats(msgspec.Struct, frozen=True):
    """Estimates for planning and status pages."""

    rows: int
    bytes: int


class IndexStatistics(msgspec.Struct, frozen=True):
    """Estimates about a secondary index, as of the table's change `sequence`: how many entries and different values it
    has, and the encoded values (perhaps cut) at equal distances among its entries, the first one among them. `apart`
    counts the documents that a complete index lists apart, by the names of `photondb.reql.index_values.Apart`."""

    entries: int
    distinct: int
    bounds: tuple[bytes, ...]
    apart: dict[str, int]
    sequence: int


class Positions(msgspec.Struct, frozen=True):
    """The version of the catalogue, and of some tables the sequence of the last change of each shard. As long as they
    are the same, whatever is read of these tables is, too."""

    catalogue: int
    tables: tuple[tuple[int, ...], ...]


class TableStatistics(msgspec.Struct, frozen=True):
    """What the planner wants to know of a table: how many documents it has, their size in bytes, and what is known of
    its indexes, by their ids. Of an index that is new nothing may be known yet."""

    rows: int
    bytes: int
    indexes: dict[int, IndexStatistics]


class DivisionStatus(msgspec.Struct, frozen=True):
    """How far a table is, by its uuid, that is being divided anew: the numbers of the storage nodes that have its parts
    and of those that will, how many documents are copied of how many, and since when (microseconds since 1970) this has
    been worked on without interruption."""

    table: str
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    copied: int
    documents: int
    started_us: int

    @property
    def progress(self) -> float:
        """Which part of the documents is copied, from 0 to 1."""
        return self.copied / self.documents if self.documents else 0.0


class TableSizes(msgspec.Struct):
    """How many bytes a table takes in files on the disk, about: its documents, its change log, and each of its indexes
    by id."""

    documents: int = 0
    change_log: int = 0
    indexes: dict[int, int] = msgspec.field(default_factory=dict)


class EngineStats(msgspec.Struct, frozen=True):
    """What a node's store holds and has done since it was opened, its cache of blocks, compactions, write-ahead log and
    table files. Sizes are in bytes; those of `tables` are by table id, as is how many documents were read by their keys
    (`reads`)."""

    cache_bytes: int
    cache_used_bytes: int
    cache_hits: int
    cache_misses: int
    compactions_running: int
    compaction_pending_bytes: int
    compaction_read_bytes: int
    compaction_written_bytes: int
    writes_stopped: bool
    log_written_bytes: int
    log_syncs: int
    memory_table_bytes: int
    table_file_bytes: int
    tables: dict[int, TableSizes] = {}
    reads: dict[int, int] = {}
