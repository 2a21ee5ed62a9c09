"""A table as storage has it in memory: compiled functions, key prefixes, and where its change log stands."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

import photondb.reql.terms  # noqa: F401  # functions are compiled here, which may use any term
from photondb.api.catalogue import TableInfo
from photondb.api.storage import CHANGES_SUBJECT, TableGone
from photondb.reql.function import Func
from services.storage import layout
from services.storage.indexes import Index
from services.storage.log import Position, last_position, oldest_sequence
from services.storage.views import View


class Table:
    """One table. The object lives as long as the table does; `update` takes in a changed `TableInfo`."""

    __slots__ = (
        "document_prefix",
        "dropped",
        "hard",
        "id",
        "indexes",
        "info",
        "log_prefix",
        "node",
        "oldest",
        "position",
        "primary_key",
        "reads",
        "scans",
        "shard",
        "subject",
        "watchers",
        "write_hook",
        "writers",
        "writes",
    )

    info: TableInfo
    indexes: tuple[Index, ...]
    write_hook: Func | None
    hard: bool
    subject: str
    """Where its changes are published."""
    shard: int
    """Under which number others know the log of the part that this node has."""

    def __init__(self, info: TableInfo, position: Position, oldest: int, node: int = 0) -> None:
        self.node = node
        self.id = info.id
        self.primary_key = info.primary_key
        self.document_prefix = layout.document_prefix(info.id)
        self.log_prefix = layout.log_prefix(info.id)
        self.position = position
        self.oldest = oldest
        """The first sequence that the change log still has."""
        self.dropped = False
        self.reads = self.scans = self.writes = 0
        """How many documents were read by key, scans made, and documents written since storage was started."""
        self.writers = 0
        """How many calls are writing to it."""
        self.watchers: tuple[set[bytes], ...] = ()
        """What collects the primary keys of the documents that commits change."""
        self.indexes = ()
        self.update(info)

    @classmethod
    def load(cls, view: View, info: TableInfo, node: int = 0) -> Table:
        """The table, or the part of it that is on `node`, as the store has it."""
        return cls(info, last_position(view, info.id), oldest_sequence(view, info.id), node)

    def update(self, info: TableInfo) -> None:
        """Take in a change of the table's configuration."""
        compiled = {index.id: index for index in self.indexes}
        indexes = []
        for wanted in info.indexes:
            index = compiled.get(wanted.id)
            if index is None:
                index = Index(info.id, wanted)
            # Ready is what is built here: the other nodes' parts are theirs.
            built = self.node in wanted.built and not wanted.ready
            index.info = msgspec.structs.replace(wanted, ready=True) if built else wanted
            indexes.append(index)
        self.indexes = tuple(indexes)
        self.info = info
        part = info.nodes.index(self.node) if self.node in info.nodes else 0
        self.shard = len(info.ended) + part
        if info.starts:
            self.oldest = max(self.oldest, info.starts[part])
        self.subject = CHANGES_SUBJECT.format(table_uuid=info.uuid, shard=self.shard)
        self.hard = info.durability == "hard"
        self.write_hook = Func.from_wire(info.write_hook) if info.write_hook else None

    def index(self, index_id: int) -> Index | None:
        """The index of that id, or None."""
        for index in self.indexes:
            if index.id == index_id:
                return index
        return None

    @property
    def part(self) -> int:
        """Which part of the table this node has."""
        return self.shard - len(self.info.ended)

    def has_ready(self, index_id: int | None) -> bool:
        """Whether there is an index of that id, with its build finished."""
        index = None if index_id is None else self.index(index_id)
        return index is not None and index.info.ready


def find_table(tables: Mapping[int, Table], table_id: int) -> Table:
    """The table of that id. Raises TableGone."""
    table = tables.get(table_id)
    if table is None:
        raise TableGone
    return table
