"""Which addresses queries may reach.

A query comes from a client who may be less trusted than the machine that the database runs on. So requests are kept
from loopback, private and link-local addresses and all others that are not on the public Internet, unless the setting
`PHOTONDB_HTTP_ALLOW_PRIVATE` opens them. What counts is the address that is connected to: a name is resolved once, all
of its addresses are checked, and the connection goes to one of these.
"""

from __future__ import annotations

import asyncio
import os
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

ALLOW_PRIVATE_VARIABLE = "PHOTONDB_HTTP_ALLOW_PRIVATE"

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


class Unresolvable(Exception):
    """A host name has no address."""


class Forbidden(Exception):
    """An address that queries may not reach."""


def private_addresses_allowed() -> bool:
    """Whether the setting opens addresses that are not public."""
    return os.environ.get(ALLOW_PRIVATE_VARIABLE, "").lower() in ("1", "true", "yes", "on")


def is_public(address: Address) -> bool:
    """Whether an address is one of the public Internet, and does not stand for another address that is not."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.sixtofour is not None or address.teredo is not None or any(address in net for net in _NAT64):
            return False
    return address.is_global and not address.is_multicast


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host that may be connected to. Raises Unresolvable, and Forbidden if any of them may not be
    reached."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unresolvable(host) from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not private_addresses_allowed():
        for address in addresses:
            if not is_public(ip_address(address.partition("%")[0])):
                raise Forbidden(address)
    return addresses
