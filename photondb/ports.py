"""Free ports that stay ours while the process that listens on them is started again."""

from __future__ import annotations

import socket


def reserve_port(host: str, port: int = 0) -> socket.socket:
    """A socket that has a TCP port of `host`, by default any free one, and does not listen on it. Raises OSError where
    another process listens there.

    Who sets SO_REUSEADDR, as servers do, can listen on the port beside it, as often as he likes. Meanwhile, and in
    between, the kernel gives the port to nobody who asks for any free one, or who connects to somewhere.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6 and socket.has_dualstack_ipv6():
            reserved.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(address)
    except BaseException:
        reserved.close()
        raise
    return reserved
