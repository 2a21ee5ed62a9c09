"""The system tables about the state of the node: `table_status`, `server_config`, `server_status`, `cluster_config`,
`current_issues` and `jobs`."""

from __future__ import annotations

import os
import socket
import sys
import time
import uuid
from collections.abc import Collection
from typing import Any

from photondb.api.auth import ADMIN
from photondb.api.catalogue import DrainNode, TableInfo
from photondb.api.query import UNKNOWN_ENTRANCE
from photondb.api.storage_status import DivisionStatus
from photondb.datum.time import make_time
from photondb.datum.types import normalise_number
from photondb.release import SERVER_VERSION
from photondb.reql.configuration import (
    IdentifierFormat,
    database_identifier,
    server_identifier,
    servers,
    servers_by_number,
    servers_of_shards,
    table_status,
)
from photondb.reql.errors import op_failed
from photondb.reql.placement import DEFAULT_TAG
from photondb.reql.runtime import Runtime
from photondb.reql.surroundings import RunningQuery
from photondb.reql.suspend import wait
from photondb.reql.system.configuration import user_tables
from photondb.reql.system_tables import Change, Row, system_table

STARTED = time.time()
"""About when this process began, in seconds since 1970."""

_JOBS = uuid.UUID("6a4b1d0e-64a5-4f5a-9a55-3b2f0c1d7e11")
"""The namespace of the ids of jobs."""

_ISSUES = uuid.UUID("0d0f4a9e-7a3c-4b0e-8c57-5a2c6f9be7d4")
"""The namespace of the ids of issues."""


@system_table("table_status")
def tables(runtime: Runtime, identifiers: IdentifierFormat) -> list[Row]:
    """One row for each table: whether it can be used, and who keeps it."""
    down = runtime.unreachable_nodes()
    return [table_status(runtime, info, down, identifiers) for info in user_tables(runtime)]


@system_table("server_config")
def server_config(runtime: Runtime, identifiers: IdentifierFormat) -> list[Row]:
    """One row for each server. One without tags gets no tables."""
    drained = runtime.service.catalogue.drained
    return [
        {
            "cache_size_mb": "auto",
            "id": server.id,
            "name": server.name,
            "tags": [] if number in drained else [DEFAULT_TAG],
        }
        for number, server in enumerate(servers(runtime))
        if server.id
    ]


@server_config.writer
def write_server(runtime: Runtime, change: Change) -> Row | None:
    """Empty a server by taking its tag away, or use it again."""
    old, new = change.old, change.new
    if old is None or new is None:
        raise op_failed("Servers are there when they are started: their rows cannot be inserted or deleted.")
    if {**new, "tags": old["tags"]} != old or new["tags"] not in ([], [DEFAULT_TAG]):
        raise op_failed(
            f"Of a server only the tags can be changed: to [], which moves all tables to other servers, or to "
            f'["{DEFAULT_TAG}"], with which it gets tables again.'
        )
    (number,) = [number for number, server in enumerate(servers(runtime)) if server.id == old["id"]]
    runtime.change_catalogue(DrainNode(number, drained=not new["tags"]))
    return new


@system_table("server_status")
def server_status(runtime: Runtime, identifiers: IdentifierFormat) -> list[Row]:
    """One row for each server that can be reached: its place in the network, and of the first one its process. Of the
    processes of others, which may be on other machines, only the version is told, which clients look at. Clients reach
    all of them at the same addresses: where the gateways are, of which this query service knows those that it
    serves."""
    started = make_time(normalise_number(round(STARTED, 3)), "+00:00")
    down = runtime.unreachable_nodes()
    known = {number: server for number, server in enumerate(servers(runtime)) if server.id and number not in down}
    entrances = [channel.entrance for channel in runtime.service.channels if channel.entrance.driver_port]
    entrance = entrances[0] if entrances else UNKNOWN_ENTRANCE
    addresses = dict.fromkeys(address for each in entrances for address in each.addresses)
    process = {
        "argv": sys.argv,
        "pid": os.getpid(),
        "time_started": started,
        "version": f"rethinkdb {SERVER_VERSION}",
    }
    return [
        {
            "id": server.id,
            "name": server.name,
            "network": {
                "canonical_addresses": [{"host": host, "port": entrance.driver_port} for host in addresses],
                "cluster_port": None,
                "connected_to": {other.name: True for other in known.values() if other != server},
                "hostname": socket.gethostname() if number == 0 else None,
                "http_admin_port": entrance.http_port or None,
                "reql_port": entrance.driver_port or None,
                "time_connected": started,
            },
            "process": process if number == 0 else {**dict.fromkeys(process), "version": process["version"]},
        }
        for number, server in known.items()
    ]


@system_table("cluster_config")
def cluster_config(runtime: Runtime, identifiers: IdentifierFormat) -> list[Row]:
    """One row, as in RethinkDB. There is nobody whose heartbeat this node could miss."""
    return [{"heartbeat_timeout_secs": 10, "id": "heartbeat"}]


@system_table("current_issues")
def current_issues(runtime: Runtime, identifiers: IdentifierFormat) -> list[Row]:
    """Problems that need somebody's attention: tables with parts on storage nodes that cannot be reached."""
    down = runtime.unreachable_nodes()
    return [
        _table_issue(runtime, info, down, identifiers) for info in user_tables(runtime) if down.intersection(info.nodes)
    ]


def _table_issue(runtime: Runtime, info: TableInfo, down: Collection[int], identifiers: IdentifierFormat) -> Row:
    known = servers(runtime)
    missing = ", ".join(known[number].name for number in sorted({*info.nodes}.intersection(down)))
    status = table_status(runtime, info, down, identifiers)
    about = {"table": info.name if identifiers == "name" else info.uuid}
    about.update((field, status[field]) for field in ("db", "raft_leader", "shards", "status"))
    return {
        "critical": True,
        "description": f"Table `{runtime.name_of(info)}` is not available as a whole: these servers cannot be reached: "
        f"{missing}. What other servers keep of it can be used.",
        "id": str(uuid.uuid5(_ISSUES, info.uuid)),
        "info": about,
        "type": "table_availability",
    }


@system_table("jobs")
def jobs(runtime: Runtime, identifiers: IdentifierFormat) -> list[Row]:
    """One row for each query that is being worked on, this one among them, or has a cursor, and for each index that is
    being built; and of each table that is being divided anew one for each server that has a part and each that will
    have one. Who is not `admin` sees his own queries only."""
    first = [server_identifier(runtime, identifiers)]
    user = runtime.context.user
    rows = [_query_job(first, query) for query in wait(runtime.service.queries()) if user in (ADMIN, query.user)]
    if user != ADMIN:
        return rows
    for info in user_tables(runtime):
        if not all(index.ready for index in info.indexes):
            rows += _index_jobs(runtime, info, identifiers)
    divisions = runtime.divisions()
    for info in user_tables(runtime):
        if info.uuid in divisions:
            rows += _division_jobs(runtime, info, divisions[info.uuid], identifiers)
    return rows


@jobs.writer
def end_job(runtime: Runtime, change: Change) -> Row | None:
    """End a query."""
    if change.new is not None:
        raise op_failed("The `rethinkdb.jobs` system table only allows deletions, not inserts or updates.")
    assert change.old is not None
    if change.old["type"] != "query":
        raise op_failed(f"Jobs of type `{change.old['type']}` cannot be interrupted.")
    for query in wait(runtime.service.queries()):
        if query.id == change.old["id"][1] and runtime.context.user in (ADMIN, query.user):
            query.interrupt()
    return None


def _query_job(on: list[str], query: RunningQuery) -> Row:
    host, _, port = query.client.rpartition(":")
    client = {"client_address": host, "client_port": int(port)} if port else {}
    return {
        "duration_sec": normalise_number(round(time.monotonic() - query.started, 6)),
        "id": ["query", query.id],
        "info": {**client, "query": query.query, "user": query.user},
        "servers": on,
        "type": "query",
    }


def _index_jobs(runtime: Runtime, info: TableInfo, identifiers: IdentifierFormat) -> list[Row]:
    """One row for each index of a table that is being built."""
    table = _table_of_job(runtime, info, identifiers)
    return [
        _job(
            "index_construction",
            f"{info.uuid} {state.name}",
            sorted(set(servers_of_shards(runtime, info, identifiers))),
            {**table, "index": state.name, "progress": state.progress},
        )
        for state in runtime.index_states(info)
        if not state.ready
    ]


def _division_jobs(
    runtime: Runtime, info: TableInfo, division: DivisionStatus, identifiers: IdentifierFormat
) -> list[Row]:
    """One row for each server from which and to which documents of a table go, as of RethinkDB's backfills."""
    known = servers_by_number(runtime, identifiers)
    table = _table_of_job(runtime, info, identifiers)
    rows = []
    for source in division.sources:
        for target in division.targets:
            about = {
                **table,
                "destination_server": known[target],
                "progress": normalise_number(round(division.progress, 6)),
                "source_server": known[source],
            }
            on = sorted({known[source], known[target]})
            row = _job("backfill", f"{info.uuid} {source} {target}", on, about)
            row["duration_sec"] = normalise_number(round(max(0.0, time.time() - division.started_us / 1e6), 6))
            rows.append(row)
    return rows


def _table_of_job(runtime: Runtime, info: TableInfo, identifiers: IdentifierFormat) -> dict[str, Any]:
    """How a job names its table."""
    return {
        "db": database_identifier(runtime, info, identifiers),
        "table": info.name if identifiers == "name" else info.uuid,
    }


def _job(kind: str, name: str, on: list[str], about: dict[str, Any]) -> Row:
    """A row; `name` tells the job from others of its kind."""
    return {
        "duration_sec": None,
        "id": [kind, str(uuid.uuid5(_JOBS, f"{kind} {name}"))],
        "info": about,
        "servers": on,
        "type": kind,
    }
