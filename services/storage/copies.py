"""What it means for the catalogue that tables are divided anew among storage nodes, and that nodes are emptied.

A table that is divided anew has a *copy*, a table with other parts that home fills (`services.storage.division`). Until
it is finished, what changes of the table changes of the copy, too.
"""

from __future__ import annotations

import msgspec

from photondb.api.catalogue import DrainNode, EndedLog, FinishCopy, ForgetLogs, RestartCopy, ResumeCopy
from photondb.reql.errors import op_failed
from photondb.sharding.placement import nodes_for_shards
from services.storage.catalog_state import (
    HOME,
    CopyProgress,
    Outcome,
    State,
    TableRecord,
    as_next_version,
    replaced,
    with_table,
    without_table,
)
from services.storage.node_choice import node_of_new_database


def divide(state: State, table: int, nodes: tuple[int, ...]) -> Outcome:
    """The change by which a table begins to be divided anew into parts on these nodes; where it is so already, what is
    being filled is thrown away."""
    record = state.tables[table]
    outcome = Outcome(state)
    for copy in state.copies():
        if copy.info.copy_of == table:
            if copy.info.nodes == nodes:
                return Outcome(state)
            outcome = without_table(state, copy.info.id)
    if nodes != record.info.nodes:
        outcome = _with_copy(outcome, record, nodes)
    if outcome.state is not state:
        as_next_version(outcome)
    return outcome


def _with_copy(outcome: Outcome, record: TableRecord, nodes: tuple[int, ...]) -> Outcome:
    """Begin a copy of a table on these nodes."""
    counters = outcome.state.counters
    copy = _copy_in_line(
        record,
        TableRecord(msgspec.structs.replace(record.info, id=counters.next_table, nodes=nodes, indexes=(), attempt=1)),
    )
    counters = msgspec.structs.replace(counters, next_table=counters.next_table + 1)
    outcome.state = replaced(outcome.state, counters=counters, tables={**outcome.state.tables, copy.info.id: copy})
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
        attempt=copy.info.attempt,
    )
    return TableRecord(info, record.next_index, copy.progress)


def keep_copies_in_line(outcome: Outcome) -> None:
    """Let copies follow what has changed of their tables."""
    for copy in outcome.state.copies():
        record = outcome.state.tables.get(copy.info.copy_of)
        if record is None:
            gone = without_table(outcome.state, copy.info.id)
            outcome.state = gone.state
            outcome.dropped_tables += gone.dropped_tables
            continue
        wanted = _copy_in_line(record, copy)
        if wanted != copy:
            kept = {index.id for index in wanted.info.indexes}
            outcome.dropped_indexes += [(copy.info.id, index.id) for index in copy.info.indexes if index.id not in kept]
            outcome.state = replaced(outcome.state, tables={**outcome.state.tables, copy.info.id: wanted})
            outcome.tables = [one for one in outcome.tables if one.info.id != copy.info.id] + [wanted]


def finish_copy(state: State, change: FinishCopy) -> Outcome:
    """Put a copy in the place of its table."""
    copy = state.tables.get(change.copy)
    if copy is None or not copy.info.copy_of:
        raise op_failed("The copy of a table that is divided anew was thrown away meanwhile.")
    if copy.info.attempt != change.attempt:
        raise op_failed("The attempt to fill the copy of a table that is divided anew was ended meanwhile.")
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
    outcome = without_table(state, record.info.id)
    finished = TableRecord(info, record.next_index)
    outcome.state = replaced(outcome.state, tables={**outcome.state.tables, info.id: finished})
    outcome.tables.append(finished)
    return outcome


def restart_copy(state: State, change: RestartCopy) -> Outcome:
    """Throw a copy away, and begin another one under an id of its own."""
    copy = state.tables.get(change.copy)
    if copy is None or not copy.info.copy_of:
        return Outcome(state)
    return _with_copy(without_table(state, change.copy), state.tables[copy.info.copy_of], copy.info.nodes)


def resume_copy(state: State, change: ResumeCopy) -> Outcome:
    """End the attempt to fill a copy, and begin the next one."""
    copy = state.tables.get(change.copy)
    if copy is None or not copy.info.copy_of:
        return Outcome(state)
    info = msgspec.structs.replace(copy.info, attempt=copy.info.attempt + 1)
    return with_table(state, msgspec.structs.replace(copy, info=info))


def note_progress(state: State, copy: int, attempt: int, progress: CopyProgress) -> Outcome:
    """Keep how far an attempt to fill a copy is, unless it is over. Nobody else sees that: it is no new version."""
    record = state.tables.get(copy)
    if record is None or not record.info.copy_of or record.info.attempt != attempt:
        return Outcome(state)
    return with_table(state, msgspec.structs.replace(record, progress=progress))


def forget_logs(state: State, change: ForgetLogs) -> Outcome:
    """Let the logs of former parts of a table go."""
    record = state.tables.get(change.table)
    if record is None:
        return Outcome(state)
    ended = tuple(
        msgspec.structs.replace(one, kept=one.kept and one.at_us > change.before_us) for one in record.info.ended
    )
    if ended == record.info.ended:
        return Outcome(state)
    return with_table(state, TableRecord(msgspec.structs.replace(record.info, ended=ended), record.next_index))


def drain_node(state: State, change: DrainNode) -> Outcome:
    """Have everything leave a node, and nothing come there any more; or take that back."""
    counters, node = state.counters, change.node
    if not change.drained:
        if node not in counters.drained:
            return Outcome(state)
        left = tuple(one for one in counters.drained if one != node)
        return Outcome(replaced(state, counters=msgspec.structs.replace(counters, drained=left)))
    if node == HOME:
        raise op_failed("Storage node 0 cannot be emptied: it has the catalogue and the system tables.")
    if not counters.nodes[node : node + 1] or not counters.nodes[node]:
        raise op_failed(f"There is no storage node {node}.")
    outcome = Outcome(state)
    if node not in counters.drained:
        drained = msgspec.structs.replace(counters, drained=tuple(sorted((*counters.drained, node))))
        outcome.state = replaced(state, counters=drained)
    for name, database in state.databases.items():
        if database.node == node:
            moved = msgspec.structs.replace(database, node=node_of_new_database(outcome.state))
            outcome.state = replaced(outcome.state, databases={**outcome.state.databases, name: moved})
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
        gone = without_table(state, copy.info.id)
        outcome.state = state = gone.state
        outcome.dropped_tables += gone.dropped_tables
        outcome.tables = [one for one in outcome.tables if one.info.id != copy.info.id]
    nodes = nodes_for_shards(outcome.state.catalogue(), record.info, len(present.nodes))
    if nodes != record.info.nodes:
        _with_copy(outcome, record, nodes)


def without_nodes(state: State, count: int) -> Outcome:
    """The change that the nodes from number `count` on, which are empty, belong to the suite no more."""
    counters = state.counters
    left = msgspec.structs.replace(
        counters, nodes=counters.nodes[:count], drained=tuple(node for node in counters.drained if node < count)
    )
    return as_next_version(Outcome(replaced(state, counters=left)))
