"""The catalogue as a storage node has it, what a change to it comes to, and how both are kept in the store.

The store holds a record for each database (``m d uuid``), for each table (``m t id``), and the counters (``m c``).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from photondb.api.auth import SYSTEM_DATABASE_UUID
from photondb.api.catalogue import Catalogue, DatabaseInfo, EndedLog, IndexInfo, TableInfo
from photondb.reql.errors import op_failed
from services.storage import layout
from services.storage.rocks import Batch, Store
from services.storage.views import View, has_keys

HOME = 0
"""The number of the node that has the truth about the catalogue."""

SYSTEM_DATABASE = "rethinkdb"
"""The database of system tables. A new store has it, and it can be neither dropped nor renamed."""

FIRST_DATABASE = "test"
"""The other database of a new store, as RethinkDB's has."""

_COUNTERS = layout.META + b"c"
_DATABASE = layout.META + b"d"
_TABLE = layout.META + b"t"


class Counters(msgspec.Struct, frozen=True):
    """The catalogue's version, the next table id, and the node's id, which is made once with the store; its number, and
    the id of home where that is another node. Where there are several, `nodes` are the ids of all by their numbers, ""
    for one that has not been there yet, and `drained` the numbers of those that get no more tables."""

    version: int = 0
    next_table: int = 1
    node_id: str = ""
    node: int = 0
    home_id: str = ""
    nodes: tuple[str, ...] = ()
    drained: tuple[int, ...] = ()


class CopyProgress(msgspec.Struct, frozen=True):
    """How far a copy is filled, as far as that is on the disks of its nodes: for each part of the table the first key
    that is not copied (None where all are), and the record up to which its log is carried over; for each part of the
    copy its last record. `documents` were copied in all."""

    lows: tuple[bytes | None, ...]
    positions: tuple[int, ...]
    filled: tuple[int, ...]
    documents: int = 0


class TableRecord(msgspec.Struct, frozen=True):
    """A table as the store keeps it: what everybody sees, the next index id, and at home how far a copy is filled."""

    info: TableInfo
    next_index: int = 1
    progress: CopyProgress | None = None


@dataclass(frozen=True)
class State:
    """The whole catalogue as storage has it."""

    counters: Counters = field(default_factory=Counters)
    databases: dict[str, DatabaseInfo] = field(default_factory=dict)
    tables: dict[int, TableRecord] = field(default_factory=dict)

    def catalogue(self) -> Catalogue:
        """What others see of it."""
        infos = [record.info for record in self.tables.values()]
        return Catalogue(
            self.counters.version,
            dict(self.databases),
            {(info.database, info.name): info for info in infos if not info.copy_of},
            self.counters.home_id or self.counters.node_id,
            self.counters.nodes,
            tuple(info for info in infos if info.copy_of),
            self.counters.drained,
        )

    def is_here(self, info: TableInfo) -> bool:
        """Whether this node has the table, or a part of it."""
        return self.counters.node in info.nodes

    def tables_here(self) -> dict[int, TableRecord]:
        """The tables of which this node has a part."""
        return {table: record for table, record in self.tables.items() if self.is_here(record.info)}

    def copies(self) -> list[TableRecord]:
        """The tables that are being filled to take the place of others."""
        return [record for record in self.tables.values() if record.info.copy_of]

    def kept_logs(self) -> dict[int, EndedLog]:
        """The logs of former parts of tables that this node keeps, by the id that the table had then."""
        return {
            ended.table: ended
            for record in self.tables.values()
            for ended in record.info.ended
            if ended.kept and ended.node == self.counters.node
        }

    def find(self, database: str, name: str) -> TableRecord:
        """A table by name. Raises ReqlError."""
        self.database(database)
        record = self.lookup(database, name)
        if record is None:
            raise op_failed(f"Table `{database}.{name}` does not exist.")
        return record

    def lookup(self, database: str, name: str) -> TableRecord | None:
        """A table by name, or None where there is none."""
        for record in self.tables.values():
            if record.info.name == name and record.info.database == database and not record.info.copy_of:
                return record
        return None

    def database(self, name: str) -> DatabaseInfo:
        """A database by name. Raises ReqlError."""
        if name not in self.databases:
            raise op_failed(f"Database `{name}` does not exist.")
        return self.databases[name]


@dataclass
class Outcome:
    """What a change comes to: the state after it, and what has to be written for it."""

    state: State
    databases: list[DatabaseInfo] = field(default_factory=list)
    tables: list[TableRecord] = field(default_factory=list)
    dropped_databases: list[DatabaseInfo] = field(default_factory=list)
    dropped_tables: list[int] = field(default_factory=list)
    dropped_indexes: list[tuple[int, int]] = field(default_factory=list)
    dropped_logs: list[tuple[int, int | None]] = field(default_factory=list)
    """Of which tables, by id, the log goes: all of it, or what comes before a record."""
    kept_logs: set[int] = field(default_factory=set)
    """The dropped tables whose log stays."""
    deleted_ranges: list[tuple[bytes, bytes]] = field(default_factory=list)
    """What `write_to` has deleted."""

    def keep_logs(self, before: State) -> None:
        """Let the logs of former parts stay as long as the catalogue says so, and a table's log begin where it became
        the table's."""
        kept = self.state.kept_logs()
        self.kept_logs = {table for table in self.dropped_tables if table in kept}
        self.dropped_logs = [(table, None) for table in before.kept_logs() if table not in kept]
        for record in self.tables:
            info, known = record.info, before.tables.get(record.info.id)
            if info.starts and self.state.is_here(info) and (known is None or known.info.copy_of):
                self.dropped_logs.append((info.id, info.starts[info.nodes.index(self.state.counters.node)]))

    def write_to(self, batch: Batch, store: Store) -> None:
        """Put everything into `batch`. Ranges are deleted only where `store` has keys, since each slows reads a little
        until it is compacted away."""
        for database in self.databases:
            batch.put(_DATABASE + database.uuid.encode(), msgspec.json.encode(database))
        for record in self.tables:
            batch.put(_table_key(record.info.id), msgspec.json.encode(record))
        for database in self.dropped_databases:
            batch.delete(_DATABASE + database.uuid.encode())
        for table in self.dropped_tables:
            batch.delete(_table_key(table))
        self.deleted_ranges = [(low, high) for low, high in self._dropped_ranges() if has_keys(store, low, high)]
        for low, high in self.deleted_ranges:
            batch.delete_range(low, high)
        batch.put(_COUNTERS, msgspec.json.encode(self.state.counters))

    def _dropped_ranges(self) -> list[tuple[bytes, bytes]]:
        ranges = [
            keys
            for table in self.dropped_tables
            for keys in layout.table_ranges(table)
            if table not in self.kept_logs or not keys[0].startswith(layout.log_prefix(table)[:-1])
        ]
        for table, first_kept in self.dropped_logs:
            low = layout.log_prefix(table)
            ranges.append((low, layout.end_of(low) if first_kept is None else layout.record_key(table, 0, first_kept)))
        return ranges + [keys for table, index in self.dropped_indexes for keys in layout.index_ranges(table, index)]


def first_state() -> Outcome:
    """The catalogue of a new store."""
    databases = [DatabaseInfo(SYSTEM_DATABASE_UUID, SYSTEM_DATABASE), DatabaseInfo(str(uuid.uuid4()), FIRST_DATABASE)]
    counters = Counters(version=1, node_id=str(uuid.uuid4()))
    return Outcome(State(counters, {database.name: database for database in databases}), databases=databases)


def with_node_id(state: State) -> Outcome:
    """The catalogue of a store from before nodes had ids, with an id."""
    return Outcome(replaced(state, counters=msgspec.structs.replace(state.counters, node_id=str(uuid.uuid4()))))


def load(store: Store) -> State | None:
    """The catalogue in the store, or None where there is none yet."""
    raw = store.get(_COUNTERS)
    if raw is None:
        return None
    counters = msgspec.json.decode(raw, type=Counters)
    databases = {}
    for value in _values(store, _DATABASE):
        database = msgspec.json.decode(value, type=DatabaseInfo)
        databases[database.name] = database
    tables = {}
    for value in _values(store, _TABLE):
        record = msgspec.json.decode(value, type=TableRecord)
        tables[record.info.id] = record
    return State(counters, databases, tables)


def _values(store: Store, prefix: bytes) -> list[bytes]:
    values: list[bytes] = []
    with View(store).read(prefix, layout.end_of(prefix)) as reader:
        while not reader.done:
            values += [value for _, value in reader.take(1000)]
    return values


def _table_key(table: int) -> bytes:
    return _TABLE + table.to_bytes(4, "big")


def replaced(
    state: State,
    *,
    counters: Counters | None = None,
    databases: dict[str, DatabaseInfo] | None = None,
    tables: dict[int, TableRecord] | None = None,
) -> State:
    """The state with other counters, databases or tables."""
    return State(
        counters or state.counters,
        state.databases if databases is None else databases,
        state.tables if tables is None else tables,
    )


def with_table(state: State, record: TableRecord) -> Outcome:
    """The change that a table is as `record` says."""
    return Outcome(replaced(state, tables={**state.tables, record.info.id: record}), tables=[record])


def with_indexes(record: TableRecord, indexes: Sequence[IndexInfo]) -> TableRecord:
    """The table with these indexes."""
    return msgspec.structs.replace(record, info=msgspec.structs.replace(record.info, indexes=tuple(indexes)))


def without_table(state: State, table: int) -> Outcome:
    """The change that there is no table of that id any more."""
    tables = {id: record for id, record in state.tables.items() if id != table}
    return Outcome(replaced(state, tables=tables), dropped_tables=[table])


def as_next_version(outcome: Outcome) -> Outcome:
    """The same change, as a version of the catalogue of its own."""
    counters = outcome.state.counters
    outcome.state = replaced(outcome.state, counters=msgspec.structs.replace(counters, version=counters.version + 1))
    return outcome
