"""What services ask each other to see whether they are there."""

from __future__ import annotations

from photondb.api.auth import ADMIN, AuthApi
from photondb.api.context import CURRENT
from photondb.api.storage import StorageApi
from photondb.sharding.placement import HOME
from photondb.sharding.router import Router
from photondb.telemetry.health import PartialProbe, Probe


def storage_probes(storage: StorageApi) -> dict[str, Probe]:
    """By name, what asks storage: for the catalogue, which its first node has, and any other node whether it is there.
    Without one of those, what others have can still be used."""

    async def ask_home() -> None:
        await storage.catalogue(CURRENT.get())

    probes: dict[str, Probe] = {"storage": ask_home}
    if isinstance(storage, Router):
        for number in range(HOME + 1, storage.nodes):
            probes[f"storage-{number}"] = PartialProbe(_node_probe(storage, number))
    return probes


def _node_probe(router: Router, number: int) -> Probe:
    async def ask() -> None:
        await router.reach(number)

    return ask


def auth_probe(auth: AuthApi) -> Probe:
    """Asks auth for what `admin` may do."""

    async def ask() -> None:
        await auth.permissions(CURRENT.get(), ADMIN)

    return ask
