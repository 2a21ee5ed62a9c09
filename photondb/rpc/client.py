"""A client of a service: one logical connection for all calls."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from photondb.address import Address
from photondb.api.context import CallContext
from photondb.rpc.connect import DEFAULT_OPTIONS, Connection, ConnectOptions, Link
from photondb.rpc.endpoints import Endpoints
from photondb.rpc.remote import Method

CLIENTS: WeakSet[RpcClient] = WeakSet()
"""All clients of this process, for its metrics."""


class RpcClient:
    """Calls a service, over connections that are made at the first call and made anew when they are lost.

    Calls in flight fail at once with ServiceUnavailable when the connection is lost; later ones wait for the new
    connection. Bulk transfers have a connection of their own, so that short calls do not wait behind long messages.
    """

    def __init__(
        self,
        service: str,
        interface: Any,
        address: str | Endpoints,
        options: ConnectOptions = DEFAULT_OPTIONS,
    ) -> None:
        self.service = service
        endpoints = address if isinstance(address, Endpoints) else Endpoints(address)
        self._short = Link(endpoints, service, interface, options)
        self._bulk = Link(endpoints, service, interface, options)
        CLIENTS.add(self)

    @property
    def links(self) -> tuple[Link, Link]:
        """The connections, whether they stand or not: for short calls and for bulk transfers."""
        return self._short, self._bulk

    @property
    def instance(self) -> Address | None:
        """The instance of the service that calls go to; None where there is no connection."""
        return self._short.instance

    async def call(self, method: Method, context: CallContext, /, *, bulk: bool = False, **parameters: Any) -> Any:
        """Call a method of the service, and return its result's reader; `Remote.call` says more.

        Raises ServiceUnavailable when no connection comes about until the context's deadline.
        """
        return await (await self.connection(context, bulk)).call(method, context, **parameters)

    async def connection(self, context: CallContext, bulk: bool = False) -> Connection:
        """The connection for a call, as soon as it stands. For callers to whom the version of the other side matters.

        Raises ServiceUnavailable when it does not come about until the context's deadline.
        """
        link = self._bulk if bulk else self._short
        return link.connection or await link.ready(context.remaining_ms())

    async def close(self) -> None:
        """Close the connections: calls in flight fail, and no others can be made."""
        await self._short.close()
        await self._bulk.close()
