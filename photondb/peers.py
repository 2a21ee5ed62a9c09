"""Where the other end of a connection is."""

from __future__ import annotations

import ipaddress


def is_on_this_machine(address: str) -> bool:
    """Whether an IP address, as sockets tell it, is one of this machine's loopback addresses."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback
