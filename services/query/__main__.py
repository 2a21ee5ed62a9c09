"""Start the query service alone, with its settings from the environment."""

from __future__ import annotations

import sys

from photondb.hosting.host import Host
from photondb.hosting.probing import auth_probe, storage_probes
from photondb.hosting.service import run_service
from photondb.rpc.query import query_servant
from services.query.limits import QueryLimits
from services.query.service import Query


async def assemble(host: Host) -> None:
    """Start it, and say so."""
    settings = host.settings
    bus = await host.join_bus()
    storage, auth, changefeed = host.storage(), host.auth(), host.changefeed()
    query = Query(storage, bus, auth, changefeed, QueryLimits.of(settings), settings.default_shards)
    await host.start(query)
    await host.serve("query", query_servant(query))
    host.ready({**storage_probes(storage), "auth": auth_probe(auth)})


if __name__ == "__main__":
    sys.exit(run_service("query", assemble))
