"""The interface of `gateway` to the other services: what it serves, and how to ask it to stop."""

from __future__ import annotations

from typing import Protocol

import msgspec

from photondb.api.context import CallContext


class GatewayStatus(msgspec.Struct, frozen=True):
    """The ports that the gateway listens on and how many client connections it holds."""

    driver_port: int
    http_port: int
    connections: int


class GatewayApi(Protocol):
    async def status(self, context: CallContext) -> GatewayStatus: ...
