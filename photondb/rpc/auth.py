"""`auth` from afar: a stub with the interface of `AuthApi`, and the servant that such stubs call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from photondb.api.auth import AuthApi, Grant, Permissions, Scope, ScramChallenge, ScramOutcome, User
from photondb.api.context import CallContext
from photondb.datum.json import dumps, loads
from photondb.rpc import schema
from photondb.rpc.admission import Admission
from photondb.rpc.client import RpcClient
from photondb.rpc.connect import DEFAULT_OPTIONS, ConnectOptions
from photondb.rpc.payload import read_payload, write_payload
from photondb.rpc.remote import Method
from photondb.rpc.servant import DEFAULT_MAX_CALLS, Call, Handlers, Servant, servant

SERVICE = "auth"

_SCRAM_FIRST = Method("scramFirst")
_SCRAM_FINAL = Method("scramFinal")
_PASSWORD_LOGIN = Method("passwordLogin")
_PERMISSIONS = Method("permissions")
_USERS = Method("users")
_SET_USER = Method("setUser", effects=True)
_DROP_USER = Method("dropUser", effects=True)
_GRANT = Method("grant", effects=True)

_decode_permissions = msgspec.json.Decoder(Permissions).decode
_decode_users = msgspec.json.Decoder(list[User]).decode
_decode_grant = msgspec.json.Decoder(Grant).decode


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
        return ScramOutcome(outcome.serverFinal, outcome.user, outcome.emptyPassword)

    async def password_login(self, context: CallContext, user: str, password: str) -> str:
        identity: str = (await self._client.call(_PASSWORD_LOGIN, context, user=user, password=password)).ok
        return identity

    async def permissions(self, context: CallContext, user: str) -> Permissions:
        return _decode_permissions((await self._client.call(_PERMISSIONS, context, user=user)).ok)

    async def users(self, context: CallContext) -> list[User]:
        response = await self._client.call(_USERS, context)
        return _decode_users(await read_payload(response.ok, context, SERVICE))

    async def set_user(self, context: CallContext, name: str, password: Any) -> None:
        await self._client.call(_SET_USER, context, name=name, password=dumps(password))

    async def drop_user(self, context: CallContext, name: str) -> None:
        await self._client.call(_DROP_USER, context, name=name)

    async def grant(self, context: CallContext, user: str, scope: Scope, permissions: Any) -> Grant:
        response = await self._client.call(
            _GRANT, context, user=user, scope=list(scope), permissions=dumps(permissions)
        )
        return _decode_grant(response.ok)


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
        call.results.ok = {
            "serverFinal": outcome.server_final,
            "user": outcome.user,
            "emptyPassword": outcome.empty_password,
        }

    async def password_login(self, call: Call) -> None:
        call.results.ok = await self._auth.password_login(call.context, call.params.user, call.params.password)

    async def permissions(self, call: Call) -> None:
        call.results.ok = msgspec.json.encode(await self._auth.permissions(call.context, call.params.user))

    async def users(self, call: Call) -> None:
        users = await self._auth.users(call.context)
        write_payload(call.results.init("ok"), msgspec.json.encode(users), self)

    async def set_user(self, call: Call) -> None:
        await self._auth.set_user(call.context, call.params.name, loads(call.params.password))
        call.results.ok = None

    async def drop_user(self, call: Call) -> None:
        await self._auth.drop_user(call.context, call.params.name)
        call.results.ok = None

    async def grant(self, call: Call) -> None:
        params = call.params
        grant = await self._auth.grant(call.context, params.user, _scope(params.scope), loads(params.permissions))
        call.results.ok = msgspec.json.encode(grant)


def _scope(names: Iterable[str]) -> Scope:
    match tuple(names):
        case ():
            return ()
        case (database,):
            return (database,)
        case (database, table):
            return (database, table)
    raise ValueError("a scope has two names at most")
