"""The system table `stats`: what the node has done, and how much it keeps."""

from __future__ import annotations

import time
from typing import Any
from weakref import WeakKeyDictionary

from photondb.api.catalogue import TableInfo
from photondb.api.storage_status import EngineStats, TableSizes
from photondb.datum.types import normalise_number
from photondb.reql.configuration import IdentifierFormat, database_identifier, servers
from photondb.reql.runtime import Runtime
from photondb.reql.system.configuration import user_tables
from photondb.reql.system_tables import Row, system_table

SAMPLE_SECONDS = 1.0
"""Rates are over at least this time, or over the time since the table was last read if that is longer."""


class Rates:
    """Turns counters that only grow into rates, by remembering what they were at an earlier look."""

    def __init__(self) -> None:
        self._samples: dict[Any, tuple[float, int, float]] = {}

    def rates(self, totals: dict[Any, int]) -> dict[Any, int | float]:
        """How much each counter, which now stands at its total, grows per second. Counters that are not among them are
        forgotten."""
        now = time.monotonic()
        self._samples = {key: self._sample(key, total, now) for key, total in totals.items()}
        return {key: normalise_number(rate) for key, (_, _, rate) in self._samples.items()}

    def _sample(self, key: Any, total: int, now: float) -> tuple[float, int, float]:
        then, before, rate = self._samples.get(key, (now, total, 0.0))
        if now - then < SAMPLE_SECONDS:
            return then, before, rate
        return now, total, max(0, total - before) / (now - then)


_rates: WeakKeyDictionary[object, Rates] = WeakKeyDictionary()
"""The rates of each service."""


@system_table("stats")
def stats(runtime: Runtime, identifiers: IdentifierFormat) -> list[Row]:
    """Rows for the cluster, for each server, for each table, and for each table on each server that has a part of it.
    Queries count as those of the first server, beside which the services run that carry them out."""
    service = runtime.service
    tables = user_tables(runtime)
    stores = runtime.engine_stats()
    queries = service.plans.hits + service.plans.misses
    parts = _documents_of_parts(runtime, tables, stores)
    totals = {(what, *part): count for part, counts in parts.items() for what, count in counts.items()}
    rates = _rates.setdefault(service, Rates()).rates({"queries": queries, **totals})
    clients = [session for channel in service.channels for session in channel.sessions.values()]
    clients_of = {0: {"client_connections": len(clients), "clients_active": sum(bool(c.running) for c in clients)}}
    rows: list[Row] = [
        {
            "id": ["cluster"],
            "query_engine": {**clients_of[0], "queries_per_sec": rates["queries"], **_rates_of(rates, list(parts))},
        }
    ]
    known = servers(runtime)[: len(stores)]
    for number, (server, store) in enumerate(zip(known, stores, strict=True)):
        here = [(info.uuid, part) for info in tables for part, node in enumerate(info.nodes) if node == number]
        rows.append(
            {
                "id": ["server", server.id],
                "query_engine": {
                    **clients_of.get(number, {"client_connections": 0, "clients_active": 0}),
                    "queries_per_sec": rates["queries"] if number == 0 else 0,
                    "queries_total": queries if number == 0 else 0,
                    **_rates_of(rates, here),
                    **_totals_of(parts, here),
                },
                "server": server.identifier(identifiers),
                "storage_engine": _storage_engine(store),
            }
        )
    for info in tables:
        about = {
            "db": database_identifier(runtime, info, identifiers),
            "table": info.name if identifiers == "name" else info.uuid,
        }
        of_table = [(info.uuid, part) for part in range(len(info.nodes))]
        rows.append({**about, "id": ["table", info.uuid], "query_engine": _rates_of(rates, of_table)})
        shares = _shares(runtime, info)
        for part, node in enumerate(info.nodes):
            rows.append(
                {
                    **about,
                    "id": ["table_server", info.uuid, known[node].id],
                    "query_engine": {
                        **_rates_of(rates, [of_table[part]]),
                        **_totals_of(parts, [of_table[part]]),
                    },
                    "server": known[node].identifier(identifiers),
                    "storage_engine": _storage_engine_of_part(info, stores[node], shares[part]),
                }
            )
    return rows


_Part = tuple[str, int]
"""A part of a table: the table's uuid, and the number of the part."""


def _documents_of_parts(
    runtime: Runtime, tables: list[TableInfo], stores: list[EngineStats]
) -> dict[_Part, dict[str, int]]:
    """How many documents of each part were read (by their keys, since its server was started), and written."""
    return {
        (info.uuid, part): {"read_docs": stores[node].reads.get(info.id, 0), "written_docs": written}
        for info in tables
        for part, (node, written) in enumerate(
            zip(info.nodes, runtime.log_position(info)[len(info.ended) :], strict=True)
        )
    }


def _rates_of(rates: dict[Any, int | float], parts: list[_Part]) -> dict[str, int | float]:
    return {
        f"{what}_per_sec": normalise_number(sum(rates[what, *part] for part in parts))
        for what in ("read_docs", "written_docs")
    }


def _totals_of(documents: dict[_Part, dict[str, int]], parts: list[_Part]) -> dict[str, int]:
    return {f"{what}_total": sum(documents[part][what] for part in parts) for what in ("read_docs", "written_docs")}


def _shares(runtime: Runtime, info: TableInfo) -> list[int]:
    """About how many bytes the documents of each part of a table have."""
    size = runtime.table_stats(info).bytes
    if not info.is_spread:
        return [size]
    rows = runtime.shard_rows(info)
    return [size * count // max(1, sum(rows)) for count in rows]


def _storage_engine_of_part(info: TableInfo, engine: EngineStats, data_bytes: int) -> dict[str, Any]:
    """What there is of a part in the cache and on the disk. RocksDB has all tables in the same files and one cache: the
    part in the cache is estimated by that in the files, and what cannot be told of one table is 0, as monitoring tools
    ask for all of the fields that RethinkDB has."""
    space = _space_usage(info, engine, data_bytes)
    share = min(1.0, space["on_disk_bytes"] / engine.table_file_bytes) if engine.table_file_bytes else 0.0
    return {
        "cache": {"in_use_bytes": round(engine.cache_used_bytes * share)},
        "disk": {
            "read_bytes_per_sec": 0,
            "read_bytes_total": 0,
            "space_usage": space,
            "written_bytes_per_sec": 0,
            "written_bytes_total": 0,
        },
    }


def _space_usage(info: TableInfo, engine: EngineStats, data_bytes: int) -> dict[str, Any]:
    """The bytes of a part's documents as JSON, and of what there is of it in files on the disk."""
    sizes = engine.tables.get(info.id, TableSizes())
    indexes = {index.name: sizes.indexes.get(index.id, 0) for index in info.indexes}
    return {
        "change_log_bytes": sizes.change_log,
        "data_bytes": data_bytes,
        "documents_bytes": sizes.documents,
        "garbage_bytes": 0,
        "indexes_bytes": indexes,
        "metadata_bytes": 0,
        "on_disk_bytes": sizes.documents + sizes.change_log + sum(sizes.indexes.values()),
        "preallocated_bytes": 0,
    }


def _storage_engine(found: EngineStats) -> dict[str, Any]:
    """The store of this node. Counters begin when it is opened."""
    return {
        "cache": {
            "hits_total": found.cache_hits,
            "in_use_bytes": found.cache_used_bytes,
            "misses_total": found.cache_misses,
            "size_bytes": found.cache_bytes,
        },
        "compaction": {
            "pending_bytes": found.compaction_pending_bytes,
            "read_bytes_total": found.compaction_read_bytes,
            "running": found.compactions_running,
            "written_bytes_total": found.compaction_written_bytes,
        },
        "disk": {"space_usage": {"data_bytes": found.table_file_bytes}},
        "memory_table_bytes": found.memory_table_bytes,
        "write_ahead_log": {"syncs_total": found.log_syncs, "written_bytes_total": found.log_written_bytes},
        "writes_stopped": found.writes_stopped,
    }
