"""How a process reaches the services in other ones, and the bus that they share."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from photondb.bus import Bus, NatsBus
from photondb.config import Settings, StartupError
from photondb.rpc.connect import ConnectOptions
from photondb.rpc.storage import StorageStub
from photondb.sharding.router import Router


def connect_options(settings: Settings) -> ConnectOptions:
    """How to reach the other services: with TLS where it is set up."""
    if settings.rpc_tls_ca is None:
        return ConnectOptions()
    context = ssl.create_default_context(cafile=str(settings.rpc_tls_ca))
    if settings.rpc_tls_cert is not None:
        context.load_cert_chain(settings.rpc_tls_cert, settings.rpc_tls_key)
    return ConnectOptions(tls=context)


def storage_of(settings: Settings, options: ConnectOptions) -> StorageStub | RemoteNodes:
    """Storage as the other services have it: its one node, or all of them as if they were one."""
    addresses = settings.addresses_of_storage()
    if len(addresses) == 1:
        return StorageStub(addresses[0], options)
    return RemoteNodes([StorageStub(address, options) for address in addresses])


class RemoteNodes(Router):
    """Several storage nodes in other processes."""

    def __init__(self, stubs: Sequence[StorageStub]) -> None:
        super().__init__(stubs)
        self._stubs = stubs

    async def close(self) -> None:
        """Close the connections."""
        for stub in self._stubs:
            await stub.close()


async def join_bus(settings: Settings) -> Bus:
    """The bus that services in several processes share. Raises StartupError without one."""
    if settings.nats_url is None:
        raise StartupError(
            "a service that runs alone needs a NATS server: set PHOTONDB_NATS_URL, for instance to "
            "nats://127.0.0.1:4222"
        )
    return await NatsBus.connect(settings.nats_url)
