"""`gateway` from afar: a stub with the interface of `GatewayApi`, and the servant that such stubs call."""

from __future__ import annotations

from photondb.api.context import CallContext
from photondb.api.gateway import GatewayApi, GatewayStatus
from photondb.rpc import schema
from photondb.rpc.admission import Admission
from photondb.rpc.client import RpcClient
from photondb.rpc.connect import DEFAULT_OPTIONS, ConnectOptions
from photondb.rpc.remote import Method
from photondb.rpc.servant import DEFAULT_MAX_CALLS, Call, Handlers, Servant, servant

SERVICE = "gateway"

_STATUS = Method("status")


class GatewayStub(GatewayApi):
    """The gateway at `address` (`unix:/path` or `tcp:host:port`)."""

    def __init__(self, address: str, options: ConnectOptions = DEFAULT_OPTIONS) -> None:
        self._client = RpcClient(SERVICE, schema.GATEWAY.Gateway, address, options)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    async def status(self, context: CallContext) -> GatewayStatus:
        status = (await self._client.call(_STATUS, context)).ok
        return GatewayStatus(status.driverPort, status.httpPort, status.connections)


def gateway_servant(gateway: GatewayApi, max_calls: int = DEFAULT_MAX_CALLS) -> Servant:
    """The capability through which stubs call `gateway`. It carries out `max_calls` calls at a time."""
    return servant(schema.GATEWAY.Gateway, _GatewayHandlers(SERVICE, Admission(max_calls), gateway))


class _GatewayHandlers(Handlers):
    def __init__(self, service: str, admission: Admission, gateway: GatewayApi) -> None:
        super().__init__(service, admission)
        self._gateway = gateway

    async def status(self, call: Call) -> None:
        status = await self._gateway.status(call.context)
        call.results.ok = {
            "driverPort": status.driver_port,
            "httpPort": status.http_port,
            "connections": status.connections,
        }
