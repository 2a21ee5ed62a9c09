"""The system table `stats`: what the node has done, and how much it keeps."""

from __future__ import annotations

import time
from typing import Any
from weakref import WeakKeyDictionary

from photondb.api.catalogue import TableInfo
from photondb.api.storage import EngineStats, TableSizes
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
    written = {info.uuid: runtime.log_position(info)[len(info.ended) :] for info in tables}
    queries = service.plans.hits + service.plans.misses
    parts = {(uuid, part): count for uuid, counts in written.items() for part, count in enumerate(counts)}
    rates = _rates.setdefault(service, Rates()).rates({"queries": queries, **parts})
    stores = runtime.engine_stats()
    connections = sum(len(channel.sessions) for channel in service.channels)
    all_written = [rates[part] for part in parts]
    rows: list[Row] = [{"id": ["cluster"], "query_engine": _query_engine(connections, rates["queries"], all_written)}]
    known = servers(runtime)[: len(stores)]
    for number, (server, store) in enumerate(zip(known, stores, strict=True)):
        here = [(info.uuid, part) for info in tables for part, node in enumerate(info.nodes) if node == number]
        clients, queries_rate, queries_total = (connections, rates["queries"], queries) if number == 0 else (0, 0, 0)
        rows.append(
            {
                "id": ["server", server.id],
                "query_engine": {
                    **_query_engine(clients, queries_rate, [rates[part] for part in here]),
                    "queries_total": queries_total,
                    "written_docs_total": sum(parts[part] for part in here),
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
        of_parts = [rates[info.uuid, part] for part in range(len(info.nodes))]
        engine = {"written_docs_per_sec": normalise_number(sum(of_parts))}
        rows.append({**about, "id": ["table", info.uuid], "query_engine": engine})
        shares = _shares(runtime, info)
        for part, node in enumerate(info.nodes):
            rows.append(
                {
                    **about,
                    "id": ["table_server", info.uuid, known[node].id],
                    "query_engine": {
                        "written_docs_per_sec": of_parts[part],
                        "written_docs_total": written[info.uuid][part],
                    },
                    "server": known[node].identifier(identifiers),
                    "storage_engine": {"disk": {"space_usage": _space_usage(info, stores[node], shares[part])}},
                }
            )
    return rows


def _query_engine(connections: int, queries_rate: int | float, written: list[int | float]) -> dict[str, Any]:
    return {
        "client_connections": connections,
        "queries_per_sec": queries_rate,
        "written_docs_per_sec": normalise_number(sum(written)),
    }


def _shares(runtime: Runtime, info: TableInfo) -> list[int]:
    """About how many bytes the documents of each part of a table have."""
    size = runtime.table_stats(info).bytes
    if not info.is_spread:
        return [size]
    rows = runtime.shard_rows(info)
    return [size * count // max(1, sum(rows)) for count in rows]


def _space_usage(info: TableInfo, engine: EngineStats, data_bytes: int) -> dict[str, Any]:
    """The bytes of a part's documents as JSON, and of what there is of it in files on the disk."""
    sizes = engine.tables.get(info.id, TableSizes())
    indexes = {index.name: sizes.indexes.get(index.id, 0) for index in info.indexes}
    return {
        "change_log_bytes": sizes.change_log,
        "data_bytes": data_bytes,
        "documents_bytes": sizes.documents,
        "indexes_bytes": indexes,
        "on_disk_bytes": sizes.documents + sizes.change_log + sum(sizes.indexes.values()),
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
