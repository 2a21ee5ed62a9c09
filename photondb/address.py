"""Where a service is: `unix:/path/of/socket` or `tcp:host:port`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_MAX_PATH_BYTES = 107  # sockaddr_un.sun_path on Linux, less its terminating zero


@dataclass(frozen=True)
class Address:
    """An address, either of a unix socket (`path` is set) or of a TCP port. Port 0 is any free one, for servers.

    `name` is the host name that `host`, an IP address, was found by.
    """

    path: str | None = None
    host: str = ""
    port: int = 0
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address. An IPv6 address stands in brackets: `tcp:[::1]:28102`. Raises ValueError."""
        scheme, _, rest = text.partition(":")
        if scheme == "unix" and rest:
            if len(rest.encode()) > _MAX_PATH_BYTES:
                raise ValueError(f"the path of a unix socket has at most {_MAX_PATH_BYTES} bytes: {rest!r}")
            return cls(path=rest)
        host, colon, port = rest.rpartition(":")
        if scheme == "tcp" and colon and host and port.isascii() and port.isdigit() and int(port) <= 65535:
            return cls(host=host.removeprefix("[").removesuffix("]"), port=int(port))
        raise ValueError(f"not an address, which is unix:/path or tcp:host:port: {text!r}")

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"tcp:[{self.host}]:{self.port}" if ":" in self.host else f"tcp:{self.host}:{self.port}"


def parse_addresses(text: str) -> Sequence[Address]:
    """Read one address, or several with commas. Raises ValueError."""
    return [Address.parse(part.strip()) for part in text.split(",")]
