"""The catalogue: what changes to it mean, and how it is kept in the store.

A change is worked out on immutable values first (`carry_out`): the new catalogue, the records to write and the key
ranges to delete. `Storage` then writes them all in one batch. Table ids, and index ids within a table, are never used
again, so that keys of what was dropped can never be taken for keys of something new.

The store holds a record for each database (``m d uuid``), for each table (``m t id``), and the counters (``m c``).

Where there are several storage nodes, this is the catalogue of home, and that of the others is what they have adopted
of it (`services.storage.adoption`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from photondb.api.auth import SYSTEM_DATABASE_UUID
from photondb.api.catalogue import (
    AlterTable,
    Catalogue,
    CatalogueChange,
    CreateDatabase,
    CreateIndex,
    CreateTable,
    DatabaseInfo,
    DrainNode,
    DropDatabase,
    DropIndex,
    DropTable,
    EndedLog,
    FinishCopy,
    ForgetLogs,
    IndexBuilt,
    IndexInfo,
    JoinNode,
    RenameDatabase,
    RenameIndex,
    RestartCopy,
    TableInfo,
)
from photondb.reql.errors import ReqlError, op_failed
from photondb.reql.function import Func
from photondb.sharding.placement import nodes_for_shards
from services.storage import layout
from services.storage.node_choice import node_of_new_database, nodes_of_new_table
from services.storage.rocks import Batch, Store
from services.storage.shards import uuid_split_points
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


class TableRecord(msgspec.Struct, frozen=True):
    """A table as the store keeps it: what everybody sees, and the next index id."""

    info: TableInfo
    next_index: int = 1


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
        self._database(database)
        record = self._lookup(database, name)
        if record is None:
            raise op_failed(f"Table `{database}.{name}` does not exist.")
        return record

    def _lookup(self, database: str, name: str) -> TableRecord | None:
        for record in self.tables.values():
            if record.info.name == name and record.info.database == database and not record.info.copy_of:
                return record
        return None

    def _database(self, name: str) -> DatabaseInfo:
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
    return Outcome(_replaced(state, counters=msgspec.structs.replace(state.counters, node_id=str(uuid.uuid4()))))


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


def carry_out(state: State, change: CatalogueChange) -> Outcome:
    """Work a change out. Raises ReqlError of kind OP_FAILED where the catalogue forbids it, with RethinkDB's texts."""
    outcome = _CHANGES[type(change)](state, change)
    if outcome.state is state:
        return outcome
    _keep_copies_in_line(outcome)
    outcome.keep_logs(state)
    return _as_next_version(outcome)


def finish_index(state: State, table: int, index: int) -> Outcome:
    """The change that this node has finished its part of an index. At home that is a change of the catalogue; another
    node knows it of itself, and tells home."""
    node = state.counters.node
    if node == HOME:
        return carry_out(state, IndexBuilt(table, index, node))
    return _with_index(state, table, index, ready=True)


def mark_unready(state: State, table: int, index: int) -> Outcome:
    """The change that this node has its part of an index still to build."""
    found = next(found for found in state.tables[table].info.indexes if found.id == index)
    built = tuple(node for node in found.built if node != state.counters.node)
    outcome = _with_index(state, table, index, ready=False, built=built)
    return _as_next_version(outcome) if state.counters.node == HOME else outcome


def divide(state: State, table: int, nodes: tuple[int, ...]) -> Outcome:
    """The change by which a table begins to be divided anew into parts on these nodes; where it is so already, what is
    being filled is thrown away."""
    record = state.tables[table]
    outcome = Outcome(state)
    for copy in state.copies():
        if copy.info.copy_of == table:
            if copy.info.nodes == nodes:
                return Outcome(state)
            outcome = _without_table(state, copy.info.id)
    if nodes != record.info.nodes:
        outcome = _with_copy(outcome, record, nodes)
    if outcome.state is not state:
        _as_next_version(outcome)
    return outcome


def _with_copy(outcome: Outcome, record: TableRecord, nodes: tuple[int, ...]) -> Outcome:
    """Begin a copy of a table on these nodes."""
    counters = outcome.state.counters
    copy = _copy_in_line(
        record, TableRecord(msgspec.structs.replace(record.info, id=counters.next_table, nodes=nodes, indexes=()))
    )
    counters = msgspec.structs.replace(counters, next_table=counters.next_table + 1)
    outcome.state = _replaced(outcome.state, counters=counters, tables={**outcome.state.tables, copy.info.id: copy})
    outcome.tables.append(copy)
    return outcome


def _copy_in_line(record: TableRecord, copy: TableRecord) -> TableRecord:
    """The copy of a table as it has to be when the table is `record`."""
    built = {index.id: index for index in copy.info.indexes}
    indexes = []
    for index in record.info.indexes:
        known = built.get(index.id)
        ready, done = (False, ()) if known is None else (known.ready, known.built)
        indexes.append(msgspec.structs.replace(index, ready=ready, built=done))
    stays_whole = len(record.info.nodes) == len(copy.info.nodes) == 1
    info = msgspec.structs.replace(
        record.info,
        id=copy.info.id,
        nodes=copy.info.nodes,
        indexes=tuple(indexes),
        split_points=record.info.split_points if stays_whole else (),
        copy_of=record.info.id,
        ended=(),
        starts=(),
    )
    return TableRecord(info, record.next_index)


def _keep_copies_in_line(outcome: Outcome) -> None:
    """Let copies follow what has changed of their tables."""
    for copy in outcome.state.copies():
        record = outcome.state.tables.get(copy.info.copy_of)
        if record is None:
            gone = _without_table(outcome.state, copy.info.id)
            outcome.state = gone.state
            outcome.dropped_tables += gone.dropped_tables
            continue
        wanted = _copy_in_line(record, copy)
        if wanted != copy:
            kept = {index.id for index in wanted.info.indexes}
            outcome.dropped_indexes += [(copy.info.id, index.id) for index in copy.info.indexes if index.id not in kept]
            outcome.state = _replaced(outcome.state, tables={**outcome.state.tables, copy.info.id: wanted})
            outcome.tables = [one for one in outcome.tables if one.info.id != copy.info.id] + [wanted]


def _finish_copy(state: State, change: FinishCopy) -> Outcome:
    copy = state.tables.get(change.copy)
    if copy is None or not copy.info.copy_of:
        raise op_failed("The copy of a table that is divided anew was thrown away meanwhile.")
    record = state.tables[copy.info.copy_of]
    built = {index.id for index in copy.info.indexes if index.ready}
    missing = [index.name for index in record.info.indexes if index.ready and index.id not in built]
    if missing:
        raise op_failed(f"The index `{missing[0]}` has not been built on the new parts of the table yet.")
    ended = tuple(
        EndedLog(record.info.id, node, record.info.log_start(len(record.info.ended) + part), end, change.at_us)
        for part, (node, end) in enumerate(zip(record.info.nodes, change.ends, strict=True))
    )
    info = msgspec.structs.replace(copy.info, copy_of=0, ended=(*record.info.ended, *ended), starts=change.starts)
    outcome = _without_table(state, record.info.id)
    finished = TableRecord(info, record.next_index)
    outcome.state = _replaced(outcome.state, tables={**outcome.state.tables, info.id: finished})
    outcome.tables.append(finished)
    return outcome


def _restart_copy(state: State, change: RestartCopy) -> Outcome:
    copy = state.tables.get(change.copy)
    if copy is None or not copy.info.copy_of:
        return Outcome(state)
    return _with_copy(_without_table(state, change.copy), state.tables[copy.info.copy_of], copy.info.nodes)


def _forget_logs(state: State, change: ForgetLogs) -> Outcome:
    record = state.tables.get(change.table)
    if record is None:
        return Outcome(state)
    ended = tuple(
        msgspec.structs.replace(one, kept=one.kept and one.at_us > change.before_us) for one in record.info.ended
    )
    if ended == record.info.ended:
        return Outcome(state)
    return _with_table(state, TableRecord(msgspec.structs.replace(record.info, ended=ended), record.next_index))


def _drain_node(state: State, change: DrainNode) -> Outcome:
    counters, node = state.counters, change.node
    if not change.drained:
        if node not in counters.drained:
            return Outcome(state)
        left = tuple(one for one in counters.drained if one != node)
        return Outcome(_replaced(state, counters=msgspec.structs.replace(counters, drained=left)))
    if node == HOME:
        raise op_failed("Storage node 0 cannot be emptied: it has the catalogue and the system tables.")
    if not counters.nodes[node : node + 1] or not counters.nodes[node]:
        raise op_failed(f"There is no storage node {node}.")
    outcome = Outcome(state)
    if node not in counters.drained:
        drained = msgspec.structs.replace(counters, drained=tuple(sorted((*counters.drained, node))))
        outcome.state = _replaced(state, counters=drained)
    for name, database in state.databases.items():
        if database.node == node:
            moved = msgspec.structs.replace(database, node=node_of_new_database(outcome.state))
            outcome.state = _replaced(outcome.state, databases={**outcome.state.databases, name: moved})
            outcome.databases.append(moved)
    for id, record in state.tables.items():
        if not record.info.copy_of:
            _leave_node(outcome, id, node)
    return outcome


def _leave_node(outcome: Outcome, table: int, node: int) -> None:
    """Have a table divided anew so that it has no part on a node, where it has one or will have one."""
    state = outcome.state
    record = state.tables[table]
    copy = next((copy for copy in state.copies() if copy.info.copy_of == table), None)
    present = (copy or record).info
    if node not in present.nodes:
        return
    if copy is not None:
        gone = _without_table(state, copy.info.id)
        outcome.state = state = gone.state
        outcome.dropped_tables += gone.dropped_tables
        outcome.tables = [one for one in outcome.tables if one.info.id != copy.info.id]
    nodes = nodes_for_shards(outcome.state.catalogue(), record.info, len(present.nodes))
    if nodes != record.info.nodes:
        _with_copy(outcome, record, nodes)


def _without_table(state: State, table: int) -> Outcome:
    tables = {id: record for id, record in state.tables.items() if id != table}
    return Outcome(_replaced(state, tables=tables), dropped_tables=[table])


def without_nodes(state: State, count: int) -> Outcome:
    """The change that the nodes from number `count` on, which are empty, belong to the suite no more."""
    counters = state.counters
    left = msgspec.structs.replace(
        counters, nodes=counters.nodes[:count], drained=tuple(node for node in counters.drained if node < count)
    )
    return _as_next_version(Outcome(_replaced(state, counters=left)))


def split(state: State, table: int, points: tuple[bytes, ...]) -> Outcome:
    """The change that divides a table into shards at these points."""
    record = state.tables[table]
    info = msgspec.structs.replace(record.info, split_points=points)
    return _as_next_version(_with_table(state, TableRecord(info, record.next_index)))


def _with_index(state: State, table: int, index: int, **changed: Any) -> Outcome:
    record = state.tables[table]
    indexes = tuple(
        msgspec.structs.replace(found, **changed) if found.id == index else found for found in record.info.indexes
    )
    return _with_table(state, _with_indexes(record, indexes))


def _as_next_version(outcome: Outcome) -> Outcome:
    counters = outcome.state.counters
    outcome.state = _replaced(outcome.state, counters=msgspec.structs.replace(counters, version=counters.version + 1))
    return outcome


def _replaced(
    state: State,
    *,
    counters: Counters | None = None,
    databases: dict[str, DatabaseInfo] | None = None,
    tables: dict[int, TableRecord] | None = None,
) -> State:
    return State(
        counters or state.counters,
        state.databases if databases is None else databases,
        state.tables if tables is None else tables,
    )


def _now_us() -> int:
    return time.time_ns() // 1000


def _create_database(state: State, change: CreateDatabase) -> Outcome:
    if change.name in state.databases:
        raise op_failed(f"Database `{change.name}` already exists.")
    database = DatabaseInfo(str(uuid.uuid4()), change.name, node_of_new_database(state), _now_us())
    return Outcome(_replaced(state, databases={**state.databases, change.name: database}), databases=[database])


def _drop_database(state: State, change: DropDatabase) -> Outcome:
    if change.name == SYSTEM_DATABASE:
        raise op_failed(f"Database `{change.name}` is special; you can't delete it.")
    database = state._database(change.name)
    databases = {name: found for name, found in state.databases.items() if name != change.name}
    tables = {key: record for key, record in state.tables.items() if record.info.database != change.name}
    dropped = [key for key in state.tables if key not in tables]
    return Outcome(
        _replaced(state, databases=databases, tables=tables), dropped_databases=[database], dropped_tables=dropped
    )


def _rename_database(state: State, change: RenameDatabase) -> Outcome:
    old, new = change.name, change.new_name
    if old == SYSTEM_DATABASE:
        raise op_failed(f"Database `{old}` is special; you can't configure it.")
    database = state._database(old)
    if new == old:
        return Outcome(state)
    if new in state.databases:
        raise op_failed(f"Cannot rename database `{old}` to `{new}` because database `{new}` already exists.")
    renamed = msgspec.structs.replace(database, name=new)
    databases = {name: found for name, found in state.databases.items() if name != old}
    databases[new] = renamed
    moved = [
        TableRecord(msgspec.structs.replace(record.info, database=new), record.next_index)
        for record in state.tables.values()
        if record.info.database == old
    ]
    tables = {**state.tables, **{record.info.id: record for record in moved}}
    return Outcome(_replaced(state, databases=databases, tables=tables), databases=[renamed], tables=moved)


def _create_table(state: State, change: CreateTable) -> Outcome:
    database = state._database(change.database)
    if state._lookup(change.database, change.name) is not None:
        raise op_failed(f"Table `{change.database}.{change.name}` already exists.")
    counters = state.counters
    nodes = nodes_of_new_table(state, database, change.shards)
    info = TableInfo(
        id=counters.next_table,
        uuid=str(uuid.uuid4()),
        name=change.name,
        database=change.database,
        primary_key=change.primary_key,
        durability=change.durability,
        split_points=() if len(nodes) > 1 else uuid_split_points(change.shards),
        nodes=nodes,
        created_us=_now_us(),
    )
    counters = msgspec.structs.replace(counters, next_table=counters.next_table + 1)
    return _with_table(_replaced(state, counters=counters), TableRecord(info))


def _drop_table(state: State, change: DropTable) -> Outcome:
    return _without_table(state, state.find(change.database, change.name).info.id)


def _alter_table(state: State, change: AlterTable) -> Outcome:
    record = state.find(change.database, change.name)
    info = record.info
    if change.new_name is not None and change.new_name != info.name:
        if state._lookup(change.database, change.new_name) is not None:
            new = f"{change.database}.{change.new_name}"
            raise op_failed(
                f"Can't rename table `{change.database}.{change.name}` to `{new}` because table `{new}` already exists."
            )
        info = msgspec.structs.replace(info, name=change.new_name)
    if change.durability is not None:
        info = msgspec.structs.replace(info, durability=change.durability)
    if change.write_hook is not None:
        if change.write_hook:
            _check_function(change.write_hook)
        info = msgspec.structs.replace(info, write_hook=change.write_hook or None)
    if change.settings is not None:
        info = msgspec.structs.replace(info, settings=change.settings)
    return _with_table(state, TableRecord(info, record.next_index))


def _create_index(state: State, change: CreateIndex) -> Outcome:
    record = state.find(change.database, change.table)
    if record.info.index(change.name) is not None:
        raise op_failed(f"Index `{change.name}` already exists on table `{change.database}.{change.table}`.")
    _check_function(change.function)
    index = IndexInfo(
        record.next_index,
        change.name,
        change.function,
        change.multi,
        change.geo,
        complete=not (change.geo and change.multi),
        include=_carried_fields(record.info, change),
        include_all=change.include_all,
        lists_lacking=not change.geo and not change.multi,
        created_us=_now_us(),
    )
    record = _with_indexes(record, (*record.info.indexes, index))
    return _with_table(state, TableRecord(record.info, record.next_index + 1))


def _carried_fields(info: TableInfo, change: CreateIndex) -> tuple[str, ...]:
    """What the entries of a covering index carry: the fields that are wished for, the primary key, and the fields that
    the function looks at."""
    if not change.include or change.include_all:
        return ()
    looked_at = Func.from_wire(change.function).fields or frozenset()
    return tuple(sorted({info.primary_key, *change.include, *looked_at}))


def _drop_index(state: State, change: DropIndex) -> Outcome:
    record = state.find(change.database, change.table)
    index = record.info.index(change.name)
    if index is None:
        raise op_failed(f"Index `{change.name}` does not exist on table `{change.database}.{change.table}`.")
    outcome = _with_table(state, _without_index(record, index.id))
    outcome.dropped_indexes.append((record.info.id, index.id))
    return outcome


def _rename_index(state: State, change: RenameIndex) -> Outcome:
    record = state.find(change.database, change.table)
    old, new = change.name, change.new_name
    where = f"on table `{change.database}.{change.table}`"
    index, in_the_way = record.info.index(old), record.info.index(new)
    if change.overwrite:
        if index is None:
            raise op_failed(f"Index `{old}` does not exist {where}.")
    elif index is None or (in_the_way is not None and old != new):
        raise op_failed(f"Index `{old}` does not exist or index `{new}` already exists {where}.")
    if old == new:
        return Outcome(state)
    overwritten = [] if in_the_way is None else [(record.info.id, in_the_way.id)]
    if in_the_way is not None:
        record = _without_index(record, in_the_way.id)
    renamed = tuple(
        msgspec.structs.replace(found, name=new) if found.id == index.id else found for found in record.info.indexes
    )
    outcome = _with_table(state, _with_indexes(record, renamed))
    outcome.dropped_indexes += overwritten
    return outcome


def _index_built(state: State, change: IndexBuilt) -> Outcome:
    record = state.tables.get(change.table)
    index = None if record is None else next((i for i in record.info.indexes if i.id == change.index), None)
    if record is None or index is None or index.ready or change.node in index.built:
        return Outcome(state)
    built = tuple(sorted({*index.built, change.node}))
    ready = set(record.info.nodes) <= set(built)
    return _with_index(state, change.table, change.index, built=built, ready=ready)


def _join_node(state: State, change: JoinNode) -> Outcome:
    counters = state.counters
    nodes = counters.nodes or (counters.node_id,)
    nodes += ("",) * (change.node + 1 - len(nodes))
    if nodes[change.node] == change.id:
        return Outcome(state)
    if nodes[change.node]:
        raise op_failed(
            f"The data directory is not that of storage node {change.node}: this suite has data of another one with "
            f"that number, the node {nodes[change.node]}."
        )
    nodes = (*nodes[: change.node], change.id, *nodes[change.node + 1 :])
    return Outcome(_replaced(state, counters=msgspec.structs.replace(counters, nodes=nodes)))


def _with_table(state: State, record: TableRecord) -> Outcome:
    return Outcome(_replaced(state, tables={**state.tables, record.info.id: record}), tables=[record])


def _with_indexes(record: TableRecord, indexes: Sequence[IndexInfo]) -> TableRecord:
    return TableRecord(msgspec.structs.replace(record.info, indexes=tuple(indexes)), record.next_index)


def _without_index(record: TableRecord, index: int) -> TableRecord:
    return _with_indexes(record, [found for found in record.info.indexes if found.id != index])


def _check_function(term: list[object]) -> None:
    """Refuse a function that could not be compiled when the store is opened again."""
    try:
        Func.from_wire(term)
    except ReqlError as error:
        raise op_failed(f"The function cannot be stored: {error.message}") from None


_CHANGES: dict[type[Any], Callable[[State, Any], Outcome]] = {
    CreateDatabase: _create_database,
    DropDatabase: _drop_database,
    RenameDatabase: _rename_database,
    CreateTable: _create_table,
    DropTable: _drop_table,
    AlterTable: _alter_table,
    CreateIndex: _create_index,
    DropIndex: _drop_index,
    RenameIndex: _rename_index,
    FinishCopy: _finish_copy,
    RestartCopy: _restart_copy,
    ForgetLogs: _forget_logs,
    DrainNode: _drain_node,
    IndexBuilt: _index_built,
    JoinNode: _join_node,
}
