"""What changes to the catalogue mean.

A change is worked out on immutable values first (`carry_out`): the new catalogue, the records to write and the key
ranges to delete. `Storage` then writes them all in one batch. Table ids, and index ids within a table, are never used
again, so that keys of what was dropped can never be taken for keys of something new.

Where there are several storage nodes, this is the catalogue of home, and that of the others is what they have adopted
of it (`services.storage.adoption`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from photondb.api.catalogue import (
    AlterTable,
    CatalogueChange,
    CreateDatabase,
    CreateIndex,
    CreateTable,
    DatabaseInfo,
    DrainNode,
    DropDatabase,
    DropIndex,
    DropTable,
    FinishCopy,
    ForgetLogs,
    IndexBuilt,
    IndexInfo,
    JoinNode,
    RenameDatabase,
    RenameIndex,
    RestartCopy,
    ResumeCopy,
    TableInfo,
)
from photondb.reql.errors import ReqlError, op_failed
from photondb.reql.function import Func
from services.storage.catalog_state import (
    HOME,
    SYSTEM_DATABASE,
    Outcome,
    State,
    TableRecord,
    as_next_version,
    replaced,
    with_indexes,
    with_table,
    without_table,
)
from services.storage.copies import (
    drain_node,
    finish_copy,
    forget_logs,
    keep_copies_in_line,
    restart_copy,
    resume_copy,
)
from services.storage.node_choice import node_of_new_database, nodes_of_new_table
from services.storage.shards import uuid_split_points


def carry_out(state: State, change: CatalogueChange) -> Outcome:
    """Work a change out. Raises ReqlError of kind OP_FAILED where the catalogue forbids it, with RethinkDB's texts."""
    outcome = _CHANGES[type(change)](state, change)
    if outcome.state is state:
        return outcome
    keep_copies_in_line(outcome)
    outcome.keep_logs(state)
    return as_next_version(outcome)


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
    return as_next_version(outcome) if state.counters.node == HOME else outcome


def split(state: State, table: int, points: tuple[bytes, ...]) -> Outcome:
    """The change that divides a table into shards at these points."""
    record = state.tables[table]
    info = msgspec.structs.replace(record.info, split_points=points)
    return as_next_version(with_table(state, TableRecord(info, record.next_index)))


def _with_index(state: State, table: int, index: int, **changed: Any) -> Outcome:
    record = state.tables[table]
    indexes = tuple(
        msgspec.structs.replace(found, **changed) if found.id == index else found for found in record.info.indexes
    )
    return with_table(state, with_indexes(record, indexes))


def _now_us() -> int:
    return time.time_ns() // 1000


def _create_database(state: State, change: CreateDatabase) -> Outcome:
    if change.name in state.databases:
        raise op_failed(f"Database `{change.name}` already exists.")
    database = DatabaseInfo(str(uuid.uuid4()), change.name, node_of_new_database(state), _now_us())
    return Outcome(replaced(state, databases={**state.databases, change.name: database}), databases=[database])


def _drop_database(state: State, change: DropDatabase) -> Outcome:
    if change.name == SYSTEM_DATABASE:
        raise op_failed(f"Database `{change.name}` is special; you can't delete it.")
    database = state.database(change.name)
    databases = {name: found for name, found in state.databases.items() if name != change.name}
    tables = {key: record for key, record in state.tables.items() if record.info.database != change.name}
    dropped = [key for key in state.tables if key not in tables]
    return Outcome(
        replaced(state, databases=databases, tables=tables), dropped_databases=[database], dropped_tables=dropped
    )


def _rename_database(state: State, change: RenameDatabase) -> Outcome:
    old, new = change.name, change.new_name
    if old == SYSTEM_DATABASE:
        raise op_failed(f"Database `{old}` is special; you can't configure it.")
    database = state.database(old)
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
    return Outcome(replaced(state, databases=databases, tables=tables), databases=[renamed], tables=moved)


def _create_table(state: State, change: CreateTable) -> Outcome:
    database = state.database(change.database)
    if state.lookup(change.database, change.name) is not None:
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
    return with_table(replaced(state, counters=counters), TableRecord(info))


def _drop_table(state: State, change: DropTable) -> Outcome:
    return without_table(state, state.find(change.database, change.name).info.id)


def _alter_table(state: State, change: AlterTable) -> Outcome:
    record = state.find(change.database, change.name)
    info = record.info
    if change.new_name is not None and change.new_name != info.name:
        if state.lookup(change.database, change.new_name) is not None:
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
    return with_table(state, TableRecord(info, record.next_index))


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
    record = with_indexes(record, (*record.info.indexes, index))
    return with_table(state, TableRecord(record.info, record.next_index + 1))


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
    outcome = with_table(state, _without_index(record, index.id))
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
    outcome = with_table(state, with_indexes(record, renamed))
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
    return Outcome(replaced(state, counters=msgspec.structs.replace(counters, nodes=nodes)))


def _without_index(record: TableRecord, index: int) -> TableRecord:
    return with_indexes(record, [found for found in record.info.indexes if found.id != index])


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
    FinishCopy: finish_copy,
    RestartCopy: restart_copy,
    ResumeCopy: resume_copy,
    ForgetLogs: forget_logs,
    DrainNode: drain_node,
    IndexBuilt: _index_built,
    JoinNode: _join_node,
}
