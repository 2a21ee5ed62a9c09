"""Which storage nodes get what is new: decided by home, once, when a database or a table is made. Where a table goes
that is divided anew, `photondb.sharding.placement` says, so that it can be told before.

A database's tables are on one node, so that its transactions can use all of them; those with several shards are spread.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from photondb.api.catalogue import DatabaseInfo
    from services.storage.catalog_state import State


def node_of_new_database(state: State) -> int:
    """The node with the fewest databases, the first one of several; what the system keeps on home does not count."""
    databases = Counter(database.node for name, database in state.databases.items() if name != "rethinkdb")
    return min(_nodes(state), key=lambda node: (databases[node], node))


def nodes_of_new_table(state: State, database: DatabaseInfo, shards: int) -> tuple[int, ...]:
    """For each part of a new table its node: the database's where it has one shard, else as many different nodes as it
    has shards and there are nodes, those with the fewest parts of tables, from the database's node on."""
    nodes = _nodes(state)
    if shards == 1 or len(nodes) == 1:
        return (database.node,)
    parts = Counter(node for record in state.tables.values() for node in record.info.nodes)
    chosen = sorted(nodes, key=lambda node: (parts[node], (node - database.node) % len(nodes)))[:shards]
    return tuple(sorted(chosen))


def _nodes(state: State) -> list[int]:
    """The nodes that have been there, and may get something."""
    counters = state.counters
    return [number for number, id in enumerate(counters.nodes) if id and number not in counters.drained] or [0]
