"""The services by name, and where those that were started alone find each other."""

from __future__ import annotations

from collections.abc import Mapping

CLIENT_SERVICES = ("gateway", "query")
"""What is between the clients and the others; the two are one process where there are fronts."""

OTHER_SERVICES = ("storage", "auth", "changefeed")

DEFAULT_ADDRESSES: Mapping[str, str] = {
    "query": "tcp:127.0.0.1:28101",
    "storage": "tcp:127.0.0.1:28102",
    "auth": "tcp:127.0.0.1:28103",
    "changefeed": "tcp:127.0.0.1:28104",
}
"""Where services that were started alone find each other when nothing says otherwise."""
