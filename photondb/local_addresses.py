"""The addresses of this machine at which others may reach it."""

from __future__ import annotations

import contextlib
import ipaddress
import socket

_ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses for documentation (RFC 5737 and 3849), which are nobody's: the way to them is the way out."""


def local_addresses(bound_to: str) -> tuple[str, ...]:
    """The addresses of this machine at which a socket bound to a host name or an address takes connections: of a
    wildcard the one with which the machine reaches others, if there is one, and the loopback address. Nothing is
    sent."""
    found: list[str] = []
    for family, _, _, _, address in socket.getaddrinfo(bound_to, 0, type=socket.SOCK_STREAM):
        host = str(address[0])
        if not ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
            found.append(host)
            continue
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as way_out:
            way_out.connect((_ELSEWHERE[socket.AddressFamily(family)], 9))
            found.append(str(way_out.getsockname()[0]))
        found.append("127.0.0.1" if family == socket.AF_INET else "::1")
    return tuple(dict.fromkeys(found))
