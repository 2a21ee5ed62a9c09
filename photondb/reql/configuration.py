"""What databases and tables are, as objects that a client sees: configuration, status, description."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from photondb.api.catalogue import DatabaseInfo, TableInfo
from photondb.reql.retention import show_settings
from photondb.reql.stored_functions import write_hook_datum

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
    """A table's row in the system table `table_config`; with `shards`, as it would be with that many. The one node
    there is keeps all shards, in one copy."""
    server = server_identifier(runtime, identifiers)
    return {
        "db": database_identifier(runtime, info, identifiers),
        "durability": info.durability,
        "id": info.uuid,
        "indexes": sorted(index.name for index in info.indexes),
        "name": info.name,
        "primary_key": info.primary_key,
        "shards": [
            {"nonvoting_replicas": [], "primary_replica": server, "replicas": [server]}
            for _ in range(shards or info.shards)
        ],
        "write_acks": "majority",
        "write_hook": write_hook_datum(info.write_hook),
        **show_settings(info.settings),
    }


def table_status(runtime: Runtime, info: TableInfo, identifiers: IdentifierFormat = "name") -> dict[str, Any]:
    """A table's row in the system table `table_status`. A table that exists is ready for everything."""
    server = server_identifier(runtime, identifiers)
    return {
        "db": database_identifier(runtime, info, identifiers),
        "id": info.uuid,
        "name": info.name,
        "raft_leader": server,
        "shards": [
            {"primary_replicas": [server], "replicas": [{"server": server, "state": "ready"}]}
            for _ in range(info.shards)
        ],
        "status": {
            "all_replicas_ready": True,
            "ready_for_outdated_reads": True,
            "ready_for_reads": True,
            "ready_for_writes": True,
        },
    }


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


def server_identifier(runtime: Runtime, identifiers: IdentifierFormat) -> str:
    """This node, as configurations name it."""
    return runtime.service.server_name if identifiers == "name" else runtime.service.server_id


def database_identifier(runtime: Runtime, info: TableInfo, identifiers: IdentifierFormat) -> str:
    """A table's database, as configurations name it."""
    return info.database if identifiers == "name" else runtime.database(info.database).uuid
