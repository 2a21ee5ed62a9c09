"""What the services' own processes have in common: serving an interface, reaching the others, joining the bus."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

from photondb.bus import Bus, NatsBus
from photondb.config import Settings, StartupError
from photondb.rpc.connect import ConnectOptions
from photondb.rpc.serve import RpcServer


@contextlib.asynccontextmanager
async def serving(settings: Settings, service: str, servant: Any) -> AsyncIterator[None]:
    """Serve `servant` at the service's address while the block runs. Raises StartupError when that is not possible."""
    address = settings.address_of(service)
    server = RpcServer(servant)
    try:
        await server.listen(address, _server_tls(settings))
    except OSError as error:
        reason = error.strerror or str(error)
        raise StartupError(
            f"the {service} service cannot listen at {address}: {reason}; set PHOTONDB_{service.upper()}_ADDRESS"
        ) from None
    try:
        yield
    finally:
        await server.close()


def connect_options(settings: Settings) -> ConnectOptions:
    """How to reach the other services: with TLS where it is set up."""
    if settings.rpc_tls_ca is None:
        return ConnectOptions()
    context = ssl.create_default_context(cafile=str(settings.rpc_tls_ca))
    if settings.rpc_tls_cert is not None:
        context.load_cert_chain(settings.rpc_tls_cert, settings.rpc_tls_key)
    return ConnectOptions(tls=context)


def _server_tls(settings: Settings) -> ssl.SSLContext | None:
    """The context to serve with. With a CA, clients must show a certificate of it."""
    if settings.rpc_tls_cert is None:
        return None
    context = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=None if settings.rpc_tls_ca is None else str(settings.rpc_tls_ca)
    )
    context.load_cert_chain(settings.rpc_tls_cert, settings.rpc_tls_key)
    if settings.rpc_tls_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def join_bus(settings: Settings) -> Bus:
    """The bus that services in several processes share. Raises StartupError without one."""
    if settings.nats_url is None:
        raise StartupError(
            "a service that runs alone needs a NATS server: set PHOTONDB_NATS_URL, for instance to "
            "nats://127.0.0.1:4222"
        )
    return await NatsBus.connect(settings.nats_url)
