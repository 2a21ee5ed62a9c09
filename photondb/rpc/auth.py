"""`auth` from afar: a stub with the interface of `AuthApi`, and the servant that such stubs call."""

from __future__ import annotations

from typing import Any

import msgspec

from photondb.api.auth import AuthApi, Permissions, ScramChallenge, ScramOutcome
from photondb.api.context import CallContext
from photondb.rpc import schema
from photondb.rpc.admission import Admission
from photondb.rpc.client import RpcClient
from photondb.rpc.connect import DEFAULT_OPTIONS, ConnectOptions
from photondb.rpc.remote import Method
from photondb.rpc.servant import DEFAULT_MAX_CALLS, Call, Handlers, Servant, servant

SERVICE = "auth"

_SCRAM_FIRST = Method("scramFirst")
_SCRAM_FINAL = Method("scramFinal")
_PASSWORD_LOGIN = Method("passwordLogin")
_PERMISSIONS = Method("permissions")


class AuthStub(AuthApi):
    """The auth service at `address` (`unix:/path` or `tcp:host:port`)."""

    def __init__(self, address: str, options: ConnectOptions = DEFAULT_OPTIONS) -> None:
        self._client = RpcClient(SERVICE, schema.AUTH.Auth, address, options)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    async def scram_first(self, context: CallContext, client_first: str) -> ScramChallenge:
        challenge = (await self._client.call(_SCRAM_FIRST, context, clientFirst=client_first)).ok
        return ScramChallenge(challenge.exchange, challenge.serverFirst)

    async def scram_final(self, context: CallContext, exchange: str, client_final: str) -> ScramOutcome:
        outcome = (await self._client.call(_SCRAM_FINAL, context, exchange=exchange, clientFinal=client_final)).ok
        return ScramOutcome(outcome.serverFinal, outcome.user)

    async def password_login(self, context: CallContext, user: str, password: str) -> str:
        identity: str = (await self._client.call(_PASSWORD_LOGIN, context, user=user, password=password)).ok
        return identity

    async def permissions(self, context: CallContext, user: str) -> Permissions:
        return _read_permissions((await self._client.call(_PERMISSIONS, context, user=user)).ok)


def auth_servant(auth: AuthApi, max_calls: int = DEFAULT_MAX_CALLS) -> Servant:
    """The capability through which stubs call `auth`. It carries out `max_calls` calls at a time."""
    return servant(schema.AUTH.Auth, _AuthHandlers(SERVICE, Admission(max_calls), auth))


class _AuthHandlers(Handlers):
    def __init__(self, service: str, admission: Admission, auth: AuthApi) -> None:
        super().__init__(service, admission)
        self._auth = auth

    async def scram_first(self, call: Call) -> None:
        challenge = await self._auth.scram_first(call.context, call.params.clientFirst)
        call.results.ok = {"exchange": challenge.exchange, "serverFirst": challenge.server_first}

    async def scram_final(self, call: Call) -> None:
        outcome = await self._auth.scram_final(call.context, call.params.exchange, call.params.clientFinal)
        call.results.ok = {"serverFinal": outcome.server_final, "user": outcome.user}

    async def password_login(self, call: Call) -> None:
        call.results.ok = await self._auth.password_login(call.context, call.params.user, call.params.password)

    async def permissions(self, call: Call) -> None:
        call.results.ok = _write_permissions(await self._auth.permissions(call.context, call.params.user))


def _write_permissions(permissions: Permissions) -> bytes:
    return msgspec.json.encode(
        {
            "version": permissions.version,
            "global": permissions.global_,
            "databases": permissions.databases,
            "tables": permissions.tables,
        }
    )


def _read_permissions(blob: bytes) -> Permissions:
    message: dict[str, Any] = msgspec.json.decode(blob)
    return Permissions(message["version"], message["global"], message["databases"], message["tables"])
