"""Start the auth service alone, with its settings from the environment."""

from __future__ import annotations

import sys

from photondb.hosting.host import Host
from photondb.hosting.probing import storage_probes
from photondb.hosting.service import run_service
from photondb.rpc.auth import auth_servant
from services.auth.service import Auth


async def assemble(host: Host) -> None:
    """Start it, and say so."""
    storage = host.home()
    auth = await host.start(Auth(storage, host.settings.admin_password or ""))
    host.observation.auth = auth
    await host.serve("auth", auth_servant(auth))
    host.ready(storage_probes(storage))


if __name__ == "__main__":
    sys.exit(run_service("auth", assemble))
