"""Start the changefeed service alone, with its settings from the environment."""

from __future__ import annotations

import sys

from photondb.hosting.host import Host
from photondb.hosting.probing import storage_probes
from photondb.hosting.service import run_service
from photondb.rpc.changefeed import changefeed_servant
from services.changefeed.service import Changefeed


async def assemble(host: Host) -> None:
    """Start it, and say so."""
    host.auth()
    bus = await host.join_bus()
    storage = host.storage()
    changefeed = await host.start(Changefeed(storage, bus))
    await host.serve("changefeed", changefeed_servant(changefeed))
    host.ready(storage_probes(storage))


if __name__ == "__main__":
    sys.exit(run_service("changefeed", assemble))
