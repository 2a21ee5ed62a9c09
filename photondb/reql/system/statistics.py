"""The system table `stats`: what the node has done, and how much it keeps."""

from __future__ import annotations

import time
from typing import Any

from photondb.api.catalogue import TableInfo
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

    def rate(self, key: Any, total: int) -> int | float:
        """How much the counter `key`, which stands at `total`, grows per second."""
        now = time.monotonic()
        sample = self._samples.get(key)
        if sample is None:
            self._samples[key] = (now, total, 0.0)
            return 0
        then, before, rate = sample
        if now - then >= SAMPLE_SECONDS:
            rate = max(0, total - before) / (now - then)
            self._samples[key] = (now, total, rate)
        return normalise_number(rate)


_rates = Rates()


@system_table("stats")
def stats(runtime: Runtime, identifiers: IdentifierFormat) -> list[Row]:
    """Rows for the cluster, for this node, for each table, and for each table on this node."""
    service = runtime.service
    tables = user_tables(runtime)
    written = {info.id: sum(runtime.log_position(info)) for info in tables}
    queries = service.plans.hits + service.plans.misses
    per_second = _rates.rate((service.server_id, "queries"), queries)
    written_per_second = {info.id: _rates.rate((service.server_id, info.uuid), written[info.id]) for info in tables}
    engine = {
        "client_connections": sum(len(channel.sessions) for channel in service.channels),
        "queries_per_sec": per_second,
        "written_docs_per_sec": normalise_number(sum(written_per_second.values())),
    }
    totals = {"queries_total": queries, "written_docs_total": sum(written.values())}
    server = server_identifier(runtime, identifiers)
    rows: list[Row] = [
        {"id": ["cluster"], "query_engine": engine},
        {"id": ["server", service.server_id], "query_engine": {**engine, **totals}, "server": server},
    ]
    for info in tables:
        named = _named(runtime, info, identifiers)
        rate = {"written_docs_per_sec": written_per_second[info.id]}
        rows.append({**named, "id": ["table", info.uuid], "query_engine": rate})
        rows.append(
            {
                **named,
                "id": ["table_server", info.uuid, service.server_id],
                "query_engine": {**rate, "written_docs_total": written[info.id]},
                "server": server,
                "storage_engine": {"disk": {"space_usage": {"data_bytes": runtime.table_stats(info).bytes}}},
            }
        )
    return rows


def _named(runtime: Runtime, info: TableInfo, identifiers: IdentifierFormat) -> Row:
    return {
        "db": database_identifier(runtime, info, identifiers),
        "table": info.name if identifiers == "name" else info.uuid,
    }
