"""The catalogue: which databases, tables and indexes exist. Immutable snapshots, replaced as a whole on a change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

Durability = Literal["hard", "soft"]


class IndexInfo(msgspec.Struct, frozen=True):
    """A secondary index.

    `id` is part of the index entries' keys and never used again within its table. `function` is the wire term
    (a FUNC) that maps a document to what it is indexed by; `ready` says that the background build has finished.
    A `complete` index also lists, apart from the others, the documents whose value has no place in its order, or for
    which the function fails (`photondb.reql.index_values.Apart`): so a filter may be answered by it.
    One that `lists_lacking` lists those without a value, too: then every document is somewhere in it.
    The entries of a covering index carry the fields `include` of their document, or with `include_all` all of it, so
    that queries which need no others need no second look.
    `built` are the storage nodes that have finished their part of the build: it is ready when all have.
    `created_us` is when it was made, in microseconds since 1970; 0 where that was not noted yet.
    """

    id: int
    name: str
    function: list[Any]
    multi: bool = False
    geo: bool = False
    ready: bool = False
    complete: bool = False
    include: tuple[str, ...] = ()
    include_all: bool = False
    built: tuple[int, ...] = ()
    lists_lacking: bool = False
    created_us: int = 0

    @property
    def outdated(self) -> bool:
        """Whether an earlier version made it, and one that is made anew would list more documents."""
        plain = not self.geo and not self.multi
        return (plain and not self.lists_lacking) or (not (self.geo and self.multi) and not self.complete)


class Expiry(msgspec.Struct, frozen=True):
    """When documents expire: so many seconds after the time that the index of that name has for them."""

    index: str
    after_s: int = 0


class TableSettings(msgspec.Struct, frozen=True):
    """How long a table keeps its documents and its past, in seconds and bytes. None is for ever for the documents, none
    for the history, in which reads as of then are exact, and the default for the change log."""

    history_s: int | None = None
    changelog_s: int | None = None
    changelog_bytes: int | None = None
    expire: Expiry | None = None


class EndedLog(msgspec.Struct, frozen=True):
    """The change log of a part that a table had before it was divided anew: it was on storage node `node`, which has it
    under the id `table`, began after the record `start`, and ended with the record `end` at `at_us` (microseconds since
    1970). Where it is not `kept` any more, its records are gone."""

    table: int
    node: int
    start: int
    end: int
    at_us: int
    kept: bool = True


class TableInfo(msgspec.Struct, frozen=True):
    """A table. `id` prefixes its keys in the store; `uuid` is the id that users see and that names it on the
    bus; `database` is the name of its database. `split_points` are the encoded primary keys at which its second and
    each further shard begins, in order. `nodes` are the numbers of the storage nodes that have it: node `nodes[i]` has
    part i. With several parts there are no split points: the parts are the shards.
    `created_us` is as that of an index.

    A table that is divided anew among storage nodes gets another `id`, and keeps its `uuid`. While its new parts are
    filled they are a table of their own, with `copy_of` as the id of the one that users see: 0 for any other. `ended`
    are the change logs of former parts, in the order of the divisions: they are numbered before those of the present
    parts, so that part i has the log number `len(ended) + i`, from the record after `starts[i]` on (after 0 where there
    are no `starts`). The records before are those by which it was filled. `attempt` numbers the attempts to fill a
    copy: what belongs to an earlier one counts no more."""

    id: int
    uuid: str
    name: str
    database: str
    primary_key: str = "id"
    durability: Durability = "hard"
    indexes: tuple[IndexInfo, ...] = ()
    write_hook: list[Any] | None = None
    settings: TableSettings = TableSettings()
    split_points: tuple[bytes, ...] = ()
    nodes: tuple[int, ...] = (0,)
    created_us: int = 0
    copy_of: int = 0
    ended: tuple[EndedLog, ...] = ()
    starts: tuple[int, ...] = ()
    attempt: int = 0

    def log_start(self, log: int) -> int:
        """The last record of a log, by its number, that is from before the log was the table's."""
        part = log - len(self.ended)
        if part < 0:
            return self.ended[log].start
        return self.starts[part] if self.starts else 0

    def add_logs(self, positions: list[int]) -> None:
        """Let positions in the logs that the table had earlier go on with those that have come since."""
        positions += map(self.log_start, range(len(positions), len(self.ended) + len(self.nodes)))

    def logs_from(self, first: int) -> range:
        """The numbers of the logs that belong together with the log `first`, the first one after a division."""
        ended = self.ended
        if first >= len(ended):
            return range(first, first + len(self.nodes))
        end = first
        while end < len(ended) and ended[end].table == ended[first].table:
            end += 1
        return range(first, end)

    def open_logs(self, positions: Sequence[int]) -> range:
        """The numbers of the logs that whoever has read up to `positions` is to read next: those of one division at a
        time, so that the changes of a document stay in order."""
        logs = self.logs_from(0)
        while logs.stop <= len(self.ended) and all(positions[log] >= self.ended[log].end for log in logs):
            logs = self.logs_from(logs.stop)
        return logs

    def may_know(self, logs: int) -> bool:
        """Whether the table had so many logs once, so that somebody may have positions in them."""
        first = 0
        while first < logs:
            first = self.logs_from(first).stop
        return 0 < first == logs <= len(self.ended) + len(self.nodes)

    @property
    def shards(self) -> int:
        """How many shards it has."""
        return len(self.nodes) if self.is_spread else len(self.split_points) + 1

    @property
    def is_spread(self) -> bool:
        """Whether several storage nodes have a part of it."""
        return len(self.nodes) > 1

    def index(self, name: str) -> IndexInfo | None:
        """The index of that name, or None."""
        for index in self.indexes:
            if index.name == name:
                return index
        return None


class DatabaseInfo(msgspec.Struct, frozen=True):
    """A database. `uuid` is the id that users see; `node` the number of the storage node that has its tables, those
    that are not spread over several. `created_us` is as that of an index."""

    uuid: str
    name: str
    node: int = 0
    created_us: int = 0


class Catalogue(msgspec.Struct, frozen=True):
    """All databases by name, and all tables by (database name, table name). `version` grows with each change.

    `node_id` is the id of the storage node, for as long as its data lives: users see it as the server's. Where there
    are several nodes it is that of node 0, and `nodes` has the ids of all by their numbers, "" for one that has not
    been there yet. `copies` are the tables that are being filled (`TableInfo.copy_of`), and `drained` the numbers of
    the nodes that get no more tables.
    """

    version: int
    databases: dict[str, DatabaseInfo]
    tables: dict[tuple[str, str], TableInfo]
    node_id: str = ""
    nodes: tuple[str, ...] = ()
    copies: tuple[TableInfo, ...] = ()
    drained: tuple[int, ...] = ()

    @property
    def all_tables(self) -> list[TableInfo]:
        """The tables, and the copies that are being filled."""
        return [*self.tables.values(), *self.copies]

    @property
    def usable_nodes(self) -> list[int]:
        """The numbers of the nodes that have been there and may get tables."""
        return [number for number, id in enumerate(self.nodes) if id and number not in self.drained] or [0]

    def copy_of(self, info: TableInfo) -> TableInfo | None:
        """What is being filled to take the place of a table, if it is being divided anew."""
        return next((copy for copy in self.copies if copy.copy_of == info.id), None)

    def tables_of(self, database: str) -> list[TableInfo]:
        """The tables of a database, sorted by name."""
        return [self.tables[key] for key in sorted(self.tables) if key[0] == database]


class CreateDatabase(msgspec.Struct, frozen=True, tag=True):
    name: str


class DropDatabase(msgspec.Struct, frozen=True, tag=True):
    name: str


class RenameDatabase(msgspec.Struct, frozen=True, tag=True):
    name: str
    new_name: str


class CreateTable(msgspec.Struct, frozen=True, tag=True):
    """Where there are several storage nodes, a table of several shards is spread over as many of them; one of a single
    shard is on the node of its database."""

    database: str
    name: str
    primary_key: str = "id"
    durability: Durability = "hard"
    shards: int = 1


class DropTable(msgspec.Struct, frozen=True, tag=True):
    database: str
    name: str


class AlterTable(msgspec.Struct, frozen=True, tag=True):
    """Change what a table's config holds; None leaves a field as it is. `write_hook` [] removes the hook."""

    database: str
    name: str
    new_name: str | None = None
    durability: Durability | None = None
    write_hook: list[Any] | None = None
    settings: TableSettings | None = None


class SplitTable(msgspec.Struct, frozen=True, tag=True):
    """Divide a table into `shards`.

    Where there are several storage nodes these are parts on different nodes, and one shard is a table on the node of
    its database: where that is not what is, a copy begins to be filled. None leaves a spread table as it is.

    On one node shards have equally many documents each. A table that has so many already is left as it is: None divides
    it anew into as many as it has. With fewer documents than shards it is divided as is right for uuids, or left as it
    is where the number stays. `points` are the split points, which who has the table knows
    (`StorageApi.split_points`); None where that is who is asked."""

    database: str
    name: str
    shards: int | None = None
    points: tuple[bytes, ...] | None = None


class FinishCopy(msgspec.Struct, frozen=True, tag=True):
    """The copy, by its id, takes the place of its table, which nobody writes to or reads any more, as the attempt that
    has filled it says. `ends` are the last records of the table's logs by part, `starts` those of the copy's."""

    copy: int
    attempt: int
    ends: tuple[int, ...]
    starts: tuple[int, ...]
    at_us: int


class RestartCopy(msgspec.Struct, frozen=True, tag=True):
    """Something has happened by which a copy may lack documents: it is thrown away, and another one begun. One that no
    longer exists is ignored."""

    copy: int


class ResumeCopy(msgspec.Struct, frozen=True, tag=True):
    """Something may have happened to the attempt to fill a copy, as it may have to a node that has started again: it is
    over, and another one goes on from what was noted of it. A copy that no longer exists is ignored."""

    copy: int


class ForgetLogs(msgspec.Struct, frozen=True, tag=True):
    """The logs of former parts of a table, by its id, that ended at `before_us` or earlier are not needed any more."""

    table: int
    before_us: int


class DrainNode(msgspec.Struct, frozen=True, tag=True):
    """A storage node gets no more tables, and those that it has are moved to others; or, with `drained` False, it may
    get some again."""

    node: int
    drained: bool = True


class CreateIndex(msgspec.Struct, frozen=True, tag=True):
    database: str
    table: str
    name: str
    function: list[Any]
    multi: bool = False
    geo: bool = False
    include: tuple[str, ...] = ()
    include_all: bool = False


class DropIndex(msgspec.Struct, frozen=True, tag=True):
    database: str
    table: str
    name: str


class RenameIndex(msgspec.Struct, frozen=True, tag=True):
    database: str
    table: str
    name: str
    new_name: str
    overwrite: bool = False


class IndexBuilt(msgspec.Struct, frozen=True, tag=True):
    """A storage node has finished its part of an index, both by their ids. What no longer exists is ignored."""

    table: int
    index: int
    node: int


class JoinNode(msgspec.Struct, frozen=True, tag=True):
    """A storage node is there. `id` is in its data: another one under the same number is refused."""

    node: int
    id: str


CatalogueChange = (
    CreateDatabase
    | DropDatabase
    | RenameDatabase
    | CreateTable
    | DropTable
    | AlterTable
    | SplitTable
    | FinishCopy
    | RestartCopy
    | ResumeCopy
    | ForgetLogs
    | DrainNode
    | CreateIndex
    | DropIndex
    | RenameIndex
    | IndexBuilt
    | JoinNode
)
"""Storage carries these out one at a time. Errors are ReqlError of kind OP_FAILED with RethinkDB's texts."""
