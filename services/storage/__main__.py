"""Start the storage service alone, with its settings from the environment."""

from __future__ import annotations

import sys

from photondb.hosting.host import Host
from photondb.hosting.reaching import connect_options
from photondb.hosting.service import run_service
from photondb.hosting.serving import serving_in_directory
from photondb.rpc.storage import StorageStub
from photondb.rpc.storage_servant import storage_servant
from services.storage.catalog_state import HOME
from services.storage.options import storage_options
from services.storage.role import NodeRole
from services.storage.service import Storage
from services.storage.transactions import transaction_limits


async def assemble(host: Host) -> None:
    """Start it, and say so."""
    settings = host.settings
    host.auth()
    bus = await host.join_bus()
    storage = Storage(
        settings.data_dir,
        bus,
        options=storage_options(settings),
        transaction_limits=transaction_limits(settings),
        role=_role(host),
    )
    servant = storage_servant(await host.start(storage))
    await host.enter(serving_in_directory(settings.data_dir, servant))
    await host.serve("storage", servant)
    host.ready({})


def _role(host: Host) -> NodeRole:
    """What this node is among all: home reaches all others, and each of these home."""
    settings = host.settings
    addresses = settings.addresses_of_storage()
    is_home = settings.storage_node == HOME
    reached = addresses[HOME + 1 :] if is_home else addresses[HOME : HOME + 1]
    options = connect_options(settings)
    stubs = [host.closed_at_the_end(StorageStub(address, options)) for address in reached]
    return NodeRole(
        settings.storage_node,
        len(addresses),
        home=None if is_home else stubs[0],
        others=stubs if is_home else (),
    )


if __name__ == "__main__":
    sys.exit(run_service("storage", assemble))
