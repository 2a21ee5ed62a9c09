"""Start a front alone, with its settings from the environment."""

from __future__ import annotations

import sys

from photondb.hosting.host import Host
from photondb.hosting.probing import storage_probes
from photondb.hosting.service import run_service
from services.gateway.pool import QueryHere
from services.gateway.service import Gateway
from services.query.limits import QueryLimits
from services.query.service import Query


async def assemble(host: Host) -> None:
    """Start it, and say so."""
    settings = host.settings
    bus = await host.join_bus()
    storage, auth, changefeed = host.storage(), host.auth(), host.changefeed()
    query = Query(storage, bus, auth, changefeed, QueryLimits.of(settings), settings.default_shards)
    queries = QueryHere(await host.start(query))
    gateway = await host.start(
        Gateway(
            queries,
            auth,
            settings,
            probes=storage_probes(storage),
            routes=host.observation.public_routes(),
            busy_poll_us=settings.busy_poll_us or 0,
        )
    )
    host.ready(gateway.probes, driver_port=gateway.driver_port, http_port=gateway.http_port)


if __name__ == "__main__":
    sys.exit(run_service("front", assemble))
