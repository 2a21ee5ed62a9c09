"""The catalogue: which databases, tables and indexes exist. Immutable snapshots, replaced as a whole on a change."""

from __future__ import annotations

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


class TableSettings(msgspec.Struct, frozen=True):
    """How long a table keeps its past, in seconds and bytes. None is none for the history, in which reads as of then
    are exact, and the default for the change log."""

    history_s: int | None = None
    changelog_s: int | None = None
    changelog_bytes: int | None = None


class TableInfo(msgspec.Struct, frozen=True):
    """A table. `id` prefixes its keys in the store; `uuid` is the id that users see and that names it on the
    bus; `database` is the name of its database. `split_points` are the encoded primary keys at which its second and
    each further shard begins, in order. `nodes` are the numbers of the storage nodes that have it: node `nodes[i]` has
    part i. With several parts there are no split points: the parts are the shards.
    `created_us` is as that of an index."""

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
    been there yet.
    """

    version: int
    databases: dict[str, DatabaseInfo]
    tables: dict[tuple[str, str], TableInfo]
    node_id: str = ""
    nodes: tuple[str, ...] = ()

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
    """Divide a table into `shards` with equally many documents each.

    A table that has so many already is left as it is: None divides it anew into as many as it has. With fewer
    documents than shards it is divided as is right for uuids, or left as it is where the number stays. `points` are the
    split points, which who has the table knows (`StorageApi.split_points`); None where that is who is asked. The parts
    of a table that is spread over several storage nodes stay as they are."""

    database: str
    name: str
    shards: int | None = None
    points: tuple[bytes, ...] | None = None


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
    | CreateIndex
    | DropIndex
    | RenameIndex
    | IndexBuilt
    | JoinNode
)
"""Storage carries these out one at a time. Errors are ReqlError of kind OP_FAILED with RethinkDB's texts."""
