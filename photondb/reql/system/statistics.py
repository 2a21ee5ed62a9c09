"""The system table `stats`: what the node has done, and how much it keeps."""

from __future__ import annotations

import time
from typing import Any
from weakref import WeakKeyDictionary

from photondb.api.catalogue import TableInfo
from photondb.api.storage import EngineStats, TableSizes
from photondb.datum.types import normalise_number
from photondb.reql.configuration import IdentifierFormat, database_identifier, server_identifier
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
    """Rows for the cluster, for this node, for each table, and for each table on this node."""
    service = runtime.service
    tables = user_tables(runtime)
    written = {info.uuid: sum(runtime.log_position(info)) for info in tables}
    queries = service.plans.hits + service.plans.misses
    rates = _rates.setdefault(service, Rates()).rates({"queries": queries, **written})
    engine = {
        "client_connections": sum(len(channel.sessions) for channel in service.channels),
        "queries_per_sec": rates["queries"],
        "written_docs_per_sec": normalise_number(sum(rates[uuid] for uuid in written)),
    }
    totals = {"queries_total": queries, "written_docs_total": sum(written.values())}
    server = server_identifier(runtime, identifiers)
    found = runtime.engine_stats()
    rows: list[Row] = [
        {"id": ["cluster"], "query_engine": engine},
        {
            "id": ["server", service.server_id],
            "query_engine": {**engine, **totals},
            "server": server,
            "storage_engine": _storage_engine(found),
        },
    ]
    for info in tables:
        engine = {"written_docs_per_sec": rates[info.uuid]}
        about = {
            "db": database_identifier(runtime, info, identifiers),
            "table": info.name if identifiers == "name" else info.uuid,
        }
        rows.append({**about, "id": ["table", info.uuid], "query_engine": engine})
        rows.append(
            {
                **about,
                "id": ["table_server", info.uuid, service.server_id],
                "query_engine": {**engine, "written_docs_total": written[info.uuid]},
                "server": server,
                "storage_engine": {"disk": {"space_usage": _space_usage(runtime, info, found)}},
            }
        )
    return rows


def _space_usage(runtime: Runtime, info: TableInfo, engine: EngineStats) -> dict[str, Any]:
    """The bytes of a table's documents as JSON, and of what there is of it in files on the disk."""
    sizes = engine.tables.get(info.id, TableSizes())
    indexes = {index.name: sizes.indexes.get(index.id, 0) for index in info.indexes}
    return {
        "change_log_bytes": sizes.change_log,
        "data_bytes": runtime.table_stats(info).bytes,
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
