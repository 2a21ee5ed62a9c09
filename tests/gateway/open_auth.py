"""A stand-in for `auth` that lets `admin` in with any password: what is under test is the gateway around it."""

from __future__ import annotations

from photondb.api.auth import AuthenticationFailed, Permissions
from photondb.api.context import CallContext


class OpenAuth:
    """The part of AuthApi that the old handshakes and readiness use."""

    def __init__(self) -> None:
        self.is_down = False

    async def password_login(self, context: CallContext, user: str, password: str) -> str:
        if password == "wrong":
            raise AuthenticationFailed("Wrong password", 12)
        if password == "broken":
            raise RuntimeError("a bug")
        return user

    async def permissions(self, context: CallContext, user: str) -> Permissions:
        if self.is_down:
            raise ConnectionError("auth is down")
        return Permissions(1, {}, {}, {})
