"""What databases and tables are, as objects that a client sees: configuration, status, description."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from photondb.api.catalogue import DatabaseInfo, TableInfo
from photondb.reql.retention import show_settings
from photondb.reql.stored_functions import write_hook_datum
from photondb.sharding.placement import nodes_for_shards

if TYPE_CHECKING:
    from photondb.reql.runtime import Runtime

IdentifierFormat = Literal["name", "uuid"]
"""How databases and servers are named in configurations: by their names, or by their ids."""


def change_of(old: Any, new: Any) -> dict[str, Any]:
    """An element of `config_changes`."""
    return {"new_val": new, "old_val": old}


def database_config(info: DatabaseInfo) -> dict[str, Any]:
    """A database's row in the system table `db_config`."""
    return {"id": info.uuid, "name": info.name}


def table_config(
    runtime: Runtime, info: TableInfo, identifiers: IdentifierFormat = "name", *, shards: int | None = None
) -> dict[str, Any]:
    """A table's row in the system table `table_config`; with `shards`, as it would be with that many. Each is kept in
    one copy."""
    servers = servers_of_shards(runtime, info, identifiers, shards)
    return {
        "db": database_identifier(runtime, info, identifiers),
        "durability": info.durability,
        "id": info.uuid,
        "indexes": sorted(index.name for index in info.indexes),
        "name": info.name,
        "primary_key": info.primary_key,
        "shards": [{"nonvoting_replicas": [], "primary_replica": server, "replicas": [server]} for server in servers],
        "write_acks": "majority",
        "write_hook": write_hook_datum(info.write_hook),
        **show_settings(info.settings),
    }


def table_status(
    runtime: Runtime, info: TableInfo, down: Collection[int], identifiers: IdentifierFormat = "name"
) -> dict[str, Any]:
    """A table's row in the system table `table_status`. `down` are the storage nodes that cannot be reached. Each part
    is kept once, so that a table is ready for everything, or lacks a part and is ready for nothing. While it is being
    divided anew, its shards are those that are in use until that is done, and `reconfigure` tells how far that is."""
    nodes = nodes_of_shards(info)
    known = servers_by_number(runtime, identifiers)
    servers = [known[node] for node in nodes]
    is_ready = is_reachable(info, down)
    copy = runtime.service.catalogue.copy_of(info)
    division = {} if copy is None else {"reconfigure": _division(runtime, copy, known)}
    return {
        "db": database_identifier(runtime, info, identifiers),
        "id": info.uuid,
        "name": info.name,
        "raft_leader": None if nodes[0] in down else servers[0],
        "shards": [
            {"primary_replicas": [], "replicas": [{"server": server, "state": "disconnected"}]}
            if node in down
            else {"primary_replicas": [server], "replicas": [{"server": server, "state": "ready"}]}
            for node, server in zip(nodes, servers, strict=True)
        ],
        "status": {
            "all_replicas_ready": is_ready and copy is None,
            "ready_for_outdated_reads": is_ready,
            "ready_for_reads": is_ready,
            "ready_for_writes": is_ready,
        },
        **division,
    }


def _division(runtime: Runtime, copy: TableInfo, known: Sequence[str]) -> dict[str, Any]:
    """How far a table is that is being divided anew, and where it goes."""
    status = runtime.divisions().get(copy.uuid)
    return {"progress": None if status is None else status.progress, "servers": [known[node] for node in copy.nodes]}


def is_reachable(info: TableInfo, down: Collection[int]) -> bool:
    """Whether all parts of a table can be reached while the storage nodes of these numbers cannot."""
    return not any(node in down for node in info.nodes)


def database_description(name: str, uuid: str) -> dict[str, Any]:
    """What `info` says about a database."""
    return {"id": uuid, "name": name, "type": "DB"}


def table_description(runtime: Runtime, info: TableInfo) -> dict[str, Any]:
    """What `info` says about a table."""
    info = runtime.current(info)
    return {
        "db": database_description(info.database, runtime.database(info.database).uuid),
        "doc_count_estimates": runtime.shard_rows(info),
        "id": info.uuid,
        "indexes": sorted(index.name for index in info.indexes),
        "name": info.name,
        "primary_key": info.primary_key,
        "type": "TABLE",
    }


class Server(NamedTuple):
    """A storage node, as users see it: a server."""

    id: str
    name: str

    def identifier(self, identifiers: IdentifierFormat) -> str:
        """The server, as configurations name it."""
        return self.name if identifiers == "name" else self.id


def servers(runtime: Runtime) -> list[Server]:
    """The storage nodes by their numbers. The first one stands for the services around them, too. One that has not been
    there yet has no id."""
    service = runtime.service
    others = service.catalogue.nodes[1:]
    return [
        Server(service.server_id, service.server_name),
        *(Server(id, f"{service.server_name}_{number}") for number, id in enumerate(others, 1)),
    ]


def server_identifier(runtime: Runtime, identifiers: IdentifierFormat) -> str:
    """The first node, as configurations name it."""
    return servers(runtime)[0].identifier(identifiers)


def nodes_of_shards(info: TableInfo, shards: int | None = None) -> tuple[int, ...]:
    """The numbers of the nodes that keep each shard of a table: the parts of one that is spread, or so many shards on
    the table's one node."""
    return info.nodes if info.is_spread else info.nodes * (shards or info.shards)


def servers_of_shards(
    runtime: Runtime, info: TableInfo, identifiers: IdentifierFormat, shards: int | None = None
) -> list[str]:
    """Who keeps each shard of a table (of one that is being divided anew: who will), or would if it were to have so
    many."""
    known = servers_by_number(runtime, identifiers)
    catalogue = runtime.service.catalogue
    info = catalogue.copy_of(info) or info
    if shards is not None and shards != info.shards and (info.is_spread or len(catalogue.usable_nodes) > 1):
        nodes = nodes_for_shards(catalogue, info, shards)
        return [known[node] for node in (nodes if len(nodes) > 1 else nodes * shards)]
    return [known[node] for node in nodes_of_shards(info, shards)]


def servers_by_number(runtime: Runtime, identifiers: IdentifierFormat) -> list[str]:
    """The storage nodes by their numbers, as configurations name them."""
    return [server.identifier(identifiers) for server in servers(runtime)]


def database_identifier(runtime: Runtime, info: TableInfo, identifiers: IdentifierFormat) -> str:
    """A table's database, as configurations name it."""
    return info.database if identifiers == "name" else runtime.database(info.database).uuid
