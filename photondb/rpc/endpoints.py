"""Where the instances of a service are, and which of them the next connection is to go to."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import Counter

from photondb.address import Address, parse_addresses

AVOID_MS = 2_000
"""How long an instance that was lost, or could not be reached, is left alone where there are others."""


class Endpoints:
    """The instances of a service, and how many connections of this process each of them has.

    `addresses` are `unix:/path` or `tcp:host:port`, several of them with commas. A host name may stand for several
    instances, too: each of its IP addresses is one. Names are resolved whenever a connection is made, so that an
    instance may come back with another IP address.
    """

    def __init__(self, addresses: str) -> None:
        self._addresses = parse_addresses(addresses)
        self._connections: Counter[Address] = Counter()
        self._failed_at: dict[Address, float] = {}

    def __str__(self) -> str:
        return ",".join(map(str, self._addresses))

    async def instances(self) -> list[Address]:
        """The instances that there are now, without those that failed lately unless there are no others.

        Raises OSError when no name can be resolved.
        """
        found: dict[Address, None] = {}
        problem: OSError | None = None
        for address in self._addresses:
            try:
                found.update(dict.fromkeys(await _resolve(address)))
            except OSError as error:
                problem = error
        if not found and problem is not None:
            raise problem
        now = time.monotonic()
        self._failed_at = {a: at for a, at in self._failed_at.items() if (now - at) * 1000 < AVOID_MS}
        return [instance for instance in found if instance not in self._failed_at] or list(found)

    async def take(self) -> Address:
        """The instance to connect to: the one with the fewest connections. It has one more now, until `give_back`.

        Raises OSError when no name can be resolved.
        """
        chosen = min(await self.instances(), key=lambda a: (self._connections[a], random.random()))
        self._connections[chosen] += 1
        return chosen

    def give_back(self, instance: Address, *, failed: bool) -> None:
        """Count a connection no longer. `failed` says that there was none, or that it was lost."""
        self._connections[instance] -= 1
        if self._connections[instance] <= 0:
            del self._connections[instance]
        if failed:
            self._failed_at[instance] = time.monotonic()


async def _resolve(address: Address) -> list[Address]:
    """The address with each IP address of its host name instead of the name."""
    if address.path is not None:
        return [address]
    found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    return [Address(host=str(sockaddr[0]), port=address.port, name=address.host) for *_, sockaddr in found]
