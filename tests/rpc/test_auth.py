"""The stub of the auth service behaves like it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from photondb.api.auth import AuthenticationFailed, Grant, Permissions, Scope, ScramChallenge, ScramOutcome, User
from photondb.api.context import INTERNAL, CallContext
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.rpc.auth import AuthStub, auth_servant
from services.auth.scram import Code
from tests.rpc.probe import rpc_test, served

PERMISSIONS = Permissions(
    2**40, {"read": True, "write": False}, {"d": {"config": True}}, {"t": {}, "u": {"read": True}}
)

USERS = [User("admin", False, PERMISSIONS), User("☂", True, Permissions(1, {}, {}, {}))]


class Auth:
    """Answers with its arguments, and keeps those of what has no answer."""

    def __init__(self) -> None:
        self.arguments: tuple[Any, ...] = ()

    async def scram_first(self, context: CallContext, client_first: str) -> ScramChallenge:
        return ScramChallenge(context.request_id, f"challenge of {client_first}")

    async def scram_final(self, context: CallContext, exchange: str, client_final: str) -> ScramOutcome:
        if client_final == "wrong":
            raise AuthenticationFailed("Wrong password", Code.INVALID_PROOF)
        return ScramOutcome(f"final of {client_final}", exchange)

    async def password_login(self, context: CallContext, user: str, password: str) -> str:
        if password != "right":
            raise AuthenticationFailed("Wrong password", 12)
        return user

    async def permissions(self, context: CallContext, user: str) -> Permissions:
        if user != "ada":
            raise AuthenticationFailed("Unknown user", 17)
        return PERMISSIONS

    async def users(self, context: CallContext) -> list[User]:
        return USERS

    async def set_user(self, context: CallContext, name: str, password: Any) -> None:
        self.arguments = (context, name, password)

    async def drop_user(self, context: CallContext, name: str) -> None:
        if name == "admin":
            raise ReqlError(ErrorKind.OP_FAILED, "The user `admin` can't be deleted.")
        self.arguments = (context, name)

    async def grant(self, context: CallContext, user: str, scope: Scope, permissions: Any) -> Grant:
        self.arguments = (context, user, scope, permissions)
        return Grant(None, {"read": False})


@rpc_test
async def test_auth(tmp_path: Path) -> None:
    async with served(auth_servant(Auth()), f"unix:{tmp_path}/auth") as address:
        stub = AuthStub(address)
        context = CallContext(request_id="r1")
        assert await stub.scram_first(context, "n,,n=☂") == ScramChallenge("r1", "challenge of n,,n=☂")
        assert await stub.scram_final(context, "x", "c=biws") == ScramOutcome("final of c=biws", "x")
        with pytest.raises(AuthenticationFailed, match="Wrong password") as wrong:
            await stub.scram_final(context, "x", "wrong")
        assert wrong.value.code == 12
        assert await stub.password_login(context, "ada", "right") == "ada"
        with pytest.raises(AuthenticationFailed):
            await stub.password_login(context, "ada", "")
        assert await stub.permissions(INTERNAL, "ada") == PERMISSIONS
        with pytest.raises(AuthenticationFailed, match="Unknown user") as unknown:
            await stub.permissions(INTERNAL, "bob")
        assert unknown.value.code == 17
        await stub.close()


@rpc_test
async def test_accounts(tmp_path: Path) -> None:
    auth = Auth()
    async with served(auth_servant(auth), f"unix:{tmp_path}/auth") as address:
        stub = AuthStub(address)
        context = CallContext(user="ada")
        assert await stub.users(context) == USERS
        for password in ("secret ☂", False, True, {"password": "p", "iterations": 5}, 1.5, None):
            await stub.set_user(context, "bob", password)
            assert auth.arguments == (context, "bob", password)
        await stub.drop_user(context, "bob")
        assert list(auth.arguments) == [context, "bob"]
        with pytest.raises(ReqlError, match="can't be deleted"):
            await stub.drop_user(context, "admin")
        scopes: list[Scope] = [(), ("d",), ("d", "t")]
        for scope in scopes:
            assert await stub.grant(context, "bob", scope, {"read": None}) == Grant(None, {"read": False})
            assert auth.arguments[2:] == (scope, {"read": None})
        await stub.close()
