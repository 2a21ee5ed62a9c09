"""What services ask each other to see whether they are there."""

from __future__ import annotations

from photondb.api.auth import ADMIN, AuthApi
from photondb.api.storage import StorageApi
from photondb.rpc.context import CURRENT
from photondb.telemetry.health import Probe


def storage_probe(storage: StorageApi) -> Probe:
    """Asks storage for the catalogue."""

    async def ask() -> None:
        await storage.catalogue(CURRENT.get())

    return ask


def auth_probe(auth: AuthApi) -> Probe:
    """Asks auth for what `admin` may do."""

    async def ask() -> None:
        await auth.permissions(CURRENT.get(), ADMIN)

    return ask
