"""Start the gateway alone, with its settings from the environment."""

from __future__ import annotations

import sys

from photondb.hosting.host import Host
from photondb.hosting.probing import storage_probes
from photondb.hosting.reaching import connect_options
from photondb.hosting.service import run_service
from photondb.rpc.query import RemoteQueries
from services.gateway.service import Gateway


async def assemble(host: Host) -> None:
    """Start it, and say so."""
    settings = host.settings
    queries = RemoteQueries(settings.address_of("query"), connect_options(settings))
    auth, storage = host.auth(), host.storage()
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
    sys.exit(run_service("gateway", assemble))
