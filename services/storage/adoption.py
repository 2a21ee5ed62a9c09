"""How a storage node follows the catalogue of home: what it has to write so that its own says the same.

The state of a node that is not home has the databases and tables of home, whether it has a part of them or not, under
the same ids. Only `IndexInfo.ready` is its own knowledge: that it has built its part. All of this is pure.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import msgspec

from photondb.api.catalogue import Catalogue, IndexInfo, TableInfo
from photondb.reql.errors import ReqlError, op_failed
from services.storage.catalog_state import Counters, Outcome, State, TableRecord


def first_state_of_node(number: int) -> Outcome:
    """The catalogue of a new store of a node other than home, before it has heard of home."""
    return Outcome(State(Counters(node_id=str(uuid.uuid4()), node=number)))


def check_home(state: State, catalogue: Catalogue) -> ReqlError | None:
    """Why a node must not follow this catalogue of home, if so. It would lose data that it has."""
    counters = state.counters
    this = f"storage node {counters.node}"
    if counters.home_id and counters.home_id != catalogue.node_id:
        return op_failed(
            f"The data of {this} belongs to another suite: its home is the node {counters.home_id}, and storage node 0 "
            f"is the node {catalogue.node_id}."
        )
    if catalogue.version < counters.version:
        return op_failed(
            f"Storage node 0 has an older catalogue (version {catalogue.version}) than {this} has followed (version "
            f"{counters.version}): it was restored from a backup, or has another data directory. Restore all nodes "
            "from backups that were made together."
        )
    for info in catalogue.all_tables:
        known = state.tables.get(info.id)
        if known is not None and known.info.uuid != info.uuid:
            return op_failed(
                f"Storage node 0 has another table in the place of `{known.info.database}.{known.info.name}`, which "
                f"{this} has: its data was replaced. Restore all nodes from backups that were made together."
            )
    return None


def check_filled(state: State, catalogue: Catalogue, last: Mapping[int, int]) -> ReqlError | None:
    """Why a node must not follow this catalogue of home, if so: it lacks documents of a part that home says was filled.
    `last` are the last records of its parts."""
    node = state.counters.node
    for info in catalogue.tables.values():
        known = state.tables.get(info.id)
        is_new = known is None or known.info.copy_of
        if is_new and info.starts and node in info.nodes and last.get(info.id, 0) < info.starts[info.nodes.index(node)]:
            return op_failed(
                f"Storage node {node} lacks documents of table `{info.database}.{info.name}`, which was divided anew "
                "after its data was saved. Restore all nodes from backups that were made together."
            )
    return None


def adopt(state: State, catalogue: Catalogue) -> Outcome:
    """The change that makes a node's catalogue say what home's says, which must be one that `check_home` allows."""
    databases = dict(catalogue.databases)
    tables = {info.id: TableRecord(_as_built_here(state, info)) for info in catalogue.all_tables}
    counters = msgspec.structs.replace(
        state.counters,
        version=catalogue.version,
        next_table=max(tables, default=0) + 1,
        home_id=catalogue.node_id,
        nodes=catalogue.nodes,
        drained=catalogue.drained,
    )
    uuids = {database.uuid for database in databases.values()}
    changed = {id: record for id, record in tables.items() if state.tables.get(id) != record}
    # Those that are as they were stay the same objects, by which it is seen that nothing is to be done about them.
    kept = {id: changed.get(id) or state.tables[id] for id in tables}
    outcome = Outcome(
        State(counters, databases, kept),
        databases=[database for name, database in databases.items() if state.databases.get(name) != database],
        tables=list(changed.values()),
        dropped_databases=[database for database in state.databases.values() if database.uuid not in uuids],
        dropped_tables=[id for id in state.tables if id not in tables],
        dropped_indexes=_dropped_indexes(state, tables),
    )
    outcome.keep_logs(state)
    return outcome


def to_report(state: State, catalogue: Catalogue) -> list[tuple[int, int]]:
    """The indexes, as pairs of ids, of which this node has built its part and home does not know it."""
    node = state.counters.node
    here = [record.info for record in state.tables_here().values()]
    built = {(info.id, index.id) for info in here for index in info.indexes if index.ready}
    return [
        (info.id, index.id)
        for info in catalogue.all_tables
        for index in info.indexes
        if not index.ready and node not in index.built and (info.id, index.id) in built
    ]


def _as_built_here(state: State, info: TableInfo) -> TableInfo:
    """The table with its indexes ready where this node has built its part of them."""
    known = state.tables.get(info.id)
    ready = set() if known is None else {index.id for index in known.info.indexes if index.ready}
    indexes = tuple(_marked(index, index.id in ready) for index in info.indexes)
    return msgspec.structs.replace(info, indexes=indexes)


def _marked(index: IndexInfo, ready: bool) -> IndexInfo:
    return msgspec.structs.replace(index, ready=ready, built=())


def _dropped_indexes(state: State, tables: dict[int, TableRecord]) -> list[tuple[int, int]]:
    dropped = []
    for id, record in state.tables.items():
        if id in tables:
            kept = {index.id for index in tables[id].info.indexes}
            dropped += [(id, index.id) for index in record.info.indexes if index.id not in kept]
    return dropped
