"""The interface of `storage`: documents, indexes, the commit path and the change log of one node.

Reads and writes name a table by its catalogue id and a document by its encoded primary key (`photondb.datum.keys`).
A table id that no longer exists raises `TableGone`: the caller looks at the catalogue again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from photondb.api.catalogue import Catalogue, CatalogueChange, Durability
from photondb.api.context import CallContext
from photondb.api.storage_status import (
    DivisionStatus,
    EngineStats,
    IndexStatus,
    Positions,
    TableStatistics,
    TableStats,
)
from photondb.api.transactions import Isolation, TransactionInfo
from photondb.reql.measures import ScanMeasures

if TYPE_CHECKING:
    from photondb.reql.function import Func
    from photondb.reql.pipeline import Aggregate, Chunk, Step

CATALOGUE_SUBJECT = "photondb.catalogue"
"""Where storage announces a new catalogue; the payload is its version in decimal."""

CHANGES_SUBJECT = "photondb.changes.{table_uuid}.{shard}"
"""Where storage announces a commit's records; the payload is a `ChangeBatch` of schemas/events.capnp."""


class TableGone(Exception):
    """The table was dropped after the caller looked at the catalogue."""


class Write(msgspec.Struct):
    """One write statement: the same operation on some documents, each atomic by itself.

    `keys` (encoded) for update, replace and delete; `documents` (validated, with primary key) for insert.
    `function` maps the old document to a patch (update) or to the new document (replace). `conflict` is what an
    insert does when the key exists: a word, or a function of (id, old, new). `trace` is which of the traces of its call
    it belongs to, where it is one of several queries' statements and traced.
    """

    table: int
    kind: Literal["insert", "update", "replace", "delete"]
    keys: Sequence[bytes] = ()
    documents: Sequence[dict[str, Any]] = ()
    function: Func | None = None
    conflict: Func | Literal["error", "ignore", "replace", "update"] = "error"
    durability: Durability | None = None
    return_changes: bool | Literal["always"] = False
    ignore_write_hook: bool = False
    trace: int | None = None


class WriteSummary(msgspec.Struct):
    """What a write did, as RethinkDB counts it. `changes` are JSON objects {new_val, old_val}, in order."""

    deleted: int = 0
    errors: int = 0
    inserted: int = 0
    replaced: int = 0
    skipped: int = 0
    unchanged: int = 0
    first_error: str | None = None
    changes: list[bytes] | None = None
    warnings: tuple[str, ...] = ()
    generated_keys: list[Any] | None = None


class KeyRange(msgspec.Struct, frozen=True, gc=False):
    """Encoded keys from `low` (inclusive) to `high` (exclusive), without any table or index prefix.

    `repeat` is how often each row is returned: `get_all("a", "a")` gives every match twice.
    """

    low: bytes = b""
    high: bytes = b"\xff"
    repeat: int = 1


class IndexPart(msgspec.Struct, frozen=True):
    """Ranges of one of the indexes that lead to the rows of a scan together."""

    index: int
    ranges: Sequence[KeyRange]


class Scan(msgspec.Struct):
    """An ordered read: ranges of the primary key or of an index, with the part of the query that was pushed down.

    The view is one point in time for the whole scan. Rows go through `steps` in order; `limit` stops after that many
    results. With an `aggregate` the reply has one partial aggregate instead of rows, or several as the rows of chunks
    where all groups (and so on) would be too large for one: they are to be merged one after the other. `chunk_rows` and
    `chunk_bytes` bound each chunk, `first_chunk_rows` the first one.

    With `primary_order` the index is a short cut to some rows of the table, which come once each, in the order of the
    primary key, as if the whole table were read: and so it is where the index cannot be used, or would not pay. Steps
    must leave out what the index does not lead to. With `others` the short cut is made of several indexes: it leads to
    what `every` one of them leads to, or to what any of them does. A `measured` scan tells what came of it.

    Chunks of a `keyed` scan have the place of each row in the scan's order (`Chunk.keys`), so that the scans of several
    nodes can be merged: the encoded primary key, or in a scan in the order of an index, what the index has for the
    document followed by it. Rows that steps make of one document have the same place.

    A scan `by_value` gives the documents of an index as a sort by its values would: equal ones in the order of the
    primary key, also where it is `descending`. Its ranges are read one after the other as they are given, at most 256,
    and the places of its rows, which begin with the number of the range, ascend in either direction. One that needs to
    read more documents than `most_read` fails (`TOO_MANY_READ`).
    """

    table: int
    index: int | None = None
    ranges: Sequence[KeyRange] = (KeyRange(),)
    descending: bool = False
    steps: Sequence[Step] = ()
    aggregate: Aggregate | None = None
    limit: int | None = None
    chunk_rows: int = 1000
    chunk_bytes: int = 1_000_000
    first_chunk_rows: int | None = None
    primary_order: bool = False
    measured: bool = False
    keyed: bool = False
    others: Sequence[IndexPart] = ()
    every: bool = True
    by_value: bool = False
    most_read: int | None = None

    @property
    def places_descend(self) -> bool:
        """Whether the places of its rows descend."""
        return self.descending and not self.by_value

    def without_index(self) -> Scan:
        """The scan of the whole table that one in primary order is a short cut for."""
        return msgspec.structs.replace(self, index=None, ranges=(KeyRange(),), primary_order=False, others=())


TOO_MANY_READ = "The scan would have to read more documents than it may."


class ScanCursor(Protocol):
    """The rest of a scan. It holds a view of the store open until `close` (or until it is dropped)."""

    async def next(self) -> tuple[Chunk, bool]:
        """The next chunk, and whether it was the last one (which closes the cursor)."""
        ...

    async def close(self) -> None:
        """Free the view. Closing twice is allowed."""
        ...


class ScanReply(msgspec.Struct):
    """The first chunk (or the partial aggregate), and the cursor for the rest: None when there is no more. What came of
    a measured scan so far is in its chunks, or in `measures` with a partial aggregate."""

    chunk: Chunk | None = None
    partial: Any = None
    cursor: ScanCursor | None = None
    measures: ScanMeasures | None = None


class LogRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One committed change of one document. `time_us` is microseconds since 1970. None is an absent document."""

    sequence: int
    time_us: int
    key: bytes
    old: bytes | None
    new: bytes | None


class LogGap(Exception):
    """The change log no longer holds what was asked for; `oldest` is the first sequence that it has."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"the change log starts at sequence {oldest}")
        self.oldest = oldest


class PausedPart(msgspec.Struct, frozen=True):
    """A part of a table to which nobody writes: its last change, how many documents it has, their bytes, and the time
    of the node's last commit in microseconds since 1970."""

    sequence: int
    rows: int
    bytes: int
    time_us: int


class StorageApi(Protocol):
    """One storage node, or several that are seen as one. Every method may raise ReqlError; nothing else, save TableGone
    and LogGap, leaves it.

    A suite may have several nodes, numbered from 0. All have the same catalogue, of which node 0, called home, has the
    truth. A table of which a node has no part is one that no longer exists, if you ask that node.
    """

    async def catalogue(self, context: CallContext) -> Catalogue:
        """The catalogue as of now."""
        ...

    async def change_catalogue(self, context: CallContext, change: CatalogueChange) -> Catalogue:
        """Carry out a change durably and return the catalogue after it. Only home does."""
        ...

    async def adopt_catalogue(self, context: CallContext, catalogue: Catalogue) -> None:
        """Make the node's tables and indexes follow the catalogue of home, durably. An older one than it has is
        ignored. Home itself ignores it always."""
        ...

    async def split_points(self, context: CallContext, table: int, shards: int | None) -> tuple[bytes, ...]:
        """The split points that divide a table of this node into so many shards (None: as many as it has), as
        `SplitTable` wants it."""
        ...

    async def fill(
        self, context: CallContext, table: int, attempt: int, keys: Sequence[bytes], documents: Sequence[bytes | None]
    ) -> None:
        """Let documents of a copy (`TableInfo.copy_of`) be these, by their encoded primary keys, None for those that
        are not to be there. They are on the disk when `sync` says so. Raises TableGone where it is no copy, or where
        its attempt is another one."""
        ...

    async def pause_writes(
        self, context: CallContext, table: int, pause: int, timeout_ms: int, after_us: int
    ) -> PausedPart:
        """Let those who want to write to the node's part of a table or a copy wait until `end_pause` with the same
        number `pause`, and later commits of the node be no older than `after_us`. Who writes already is let finish;
        where that takes longer than the timeout there is no pause, and ReqlError is raised. A pause that nobody ends
        lasts until the node has found out from home what the table has become; the attempt at a copy that is not
        finished then is over."""
        ...

    async def pause_reads(self, context: CallContext, table: int, pause: int) -> None:
        """Let those wait, too, who want to read from the node's part of a table whose writes are paused by `pause`: the
        table may be elsewhere from now on. Raises ReqlError where that pause is over."""
        ...

    async def end_pause(self, context: CallContext, table: int, pause: int) -> None:
        """Let them go on, unless it is another pause."""
        ...

    async def divisions(self, context: CallContext) -> list[DivisionStatus]:
        """The tables that are being divided anew, as home knows it."""
        ...

    async def get(self, context: CallContext, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        """The documents (wire JSON) at (table id, encoded primary key), None where there is none. One multi-get."""
        ...

    async def write(self, context: CallContext, writes: Sequence[Write]) -> list[WriteSummary | Exception]:
        """Carry out the statements in order, as one commit, answered when all are as durable as they ask.

        Calls that change more than 32 documents, or many megabytes, may become several commits, with room for others
        in between: each document is atomic by itself all the same. A statement that fails as a whole (TableGone,
        ReqlError) gives its exception in its place.
        """
        ...

    async def scan(self, context: CallContext, scan: Scan) -> ScanReply:
        """Begin a scan."""
        ...

    async def sync(self, context: CallContext, table: int) -> None:
        """Return when every write acknowledged so far is on disk."""
        ...

    async def index_status(self, context: CallContext, table: int) -> list[IndexStatus]:
        """The state of the table's indexes, by name."""
        ...

    async def read_log(self, context: CallContext, table: int, shard: int, after: int, limit: int) -> list[LogRecord]:
        """Up to `limit` records with a sequence greater than `after`, in order. Raises LogGap when trimmed away."""
        ...

    async def log_position(self, context: CallContext, table: int) -> list[int]:
        """The sequence of the last record of each shard (0 when there is none)."""
        ...

    async def table_stats(self, context: CallContext, table: int) -> TableStats:
        """Estimated row count and size."""
        ...

    async def shard_rows(self, context: CallContext, table: int) -> list[int]:
        """About how many documents each shard of the table has."""
        ...

    async def positions(self, context: CallContext, tables: Sequence[int]) -> Positions:
        """Where these tables stand."""
        ...

    async def statistics(self, context: CallContext, table: int) -> TableStatistics:
        """Statistics of a table and its indexes."""
        ...

    async def engine_stats(self, context: CallContext) -> EngineStats:
        """The state of the store below."""
        ...

    async def checkpoint(self, context: CallContext) -> str:
        """Make a consistent copy of all data at this moment in a new directory, and return its path on storage's
        machine. It shares the table files, so that it costs little; whoever asked for it removes it."""
        ...

    async def begin_transaction(
        self, context: CallContext, id: str, isolation: Isolation, read_only: bool, timeout_ms: int
    ) -> TransactionInfo:
        """Begin a transaction of the context's user, which sees the present state. Calls of `get`, `scan` and `write`
        whose context names it belong to it, until it is ended, or aborted after `timeout_ms` (0 for the usual time)."""
        ...

    async def commit_transaction(self, context: CallContext, id: str) -> TransactionInfo:
        """Make all changes of a transaction at once; returns when they are as durable as they ask.

        Raises TransactionConflict when it was aborted because of what others have written. After any other error it
        was aborted too, save OP_INDETERMINATE, which leaves open whether its changes are durable. With an `atomic`
        context it is aborted when any document could not be written.
        """
        ...

    async def abort_transaction(self, context: CallContext, id: str, reason: str = "") -> TransactionInfo:
        """End a transaction without any effect. `reason` is what later users of its id are told."""
        ...

    async def transactions(self, context: CallContext, id: str = "") -> list[TransactionInfo]:
        """The user's transactions (everybody's for `admin`): open ones, and those that have ended lately; or only the
        one with this id, if it is among them."""
        ...
