"""Where a process serves an interface to others: at a service's address, and in its data directory."""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from photondb.config import Settings, StartupError
from photondb.rpc.serve import RpcServer

log = logging.getLogger(__name__)

CONTROL_SOCKET = "control.sock"
"""The name of the socket in the data directory where storage serves commands such as `photondb backup`."""


@contextlib.asynccontextmanager
async def serving(settings: Settings, service: str, servant: Any) -> AsyncIterator[None]:
    """Serve `servant` at the service's address while the block runs. Raises StartupError when that is not possible."""
    address = settings.own_address_of(service)
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


@contextlib.asynccontextmanager
async def serving_in_directory(data_dir: Path, servant: Any) -> AsyncIterator[None]:
    """Serve `servant` on a socket in the data directory while the block runs, for commands on this machine.

    Only processes of the same user can connect: those that could read the data anyway.
    """
    with control_address(data_dir) as address:
        server = RpcServer(servant)
        try:
            await server.listen(address)
        except OSError as error:  # a file system without sockets, for instance
            reason = error.strerror or str(error)
            log.warning("there is no control socket: backups need the database stopped", extra={"reason": reason})
        try:
            yield
        finally:
            await server.close()


@contextlib.contextmanager
def control_address(data_dir: Path) -> Iterator[str]:
    """The address of the control socket in a data directory, good while the block runs.

    It goes through an open directory, because the path of a socket is limited to 107 bytes.
    """
    directory = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"unix:/proc/self/fd/{directory}/{CONTROL_SOCKET}"
    finally:
        os.close(directory)


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
