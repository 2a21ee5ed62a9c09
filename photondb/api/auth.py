"""The interface of `auth`: who somebody is, and what they may do."""

from __future__ import annotations

from typing import Protocol

import msgspec

from photondb.api.context import CallContext


class AuthenticationFailed(Exception):
    """Wrong user, wrong password or a malformed exchange. `code` is the driver protocol's error code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class ScramChallenge(msgspec.Struct, frozen=True):
    """The server's first SCRAM message, and the name of the exchange that it began."""

    exchange: str
    server_first: str


class ScramOutcome(msgspec.Struct, frozen=True):
    """The server's final SCRAM message, and the identity that it proves."""

    server_final: str
    user: str


class Permissions(msgspec.Struct, frozen=True):
    """What a user may do: global, by database uuid and by table uuid; None means not said at that level."""

    version: int
    global_: dict[str, bool]
    databases: dict[str, dict[str, bool]]
    tables: dict[str, dict[str, bool]]


class AuthApi(Protocol):
    async def scram_first(self, context: CallContext, client_first: str) -> ScramChallenge:
        """Begin a SCRAM-SHA-256 exchange (RFC 5802). Unknown users get a challenge too. An exchange is forgotten
        after 30 s."""
        ...

    async def scram_final(self, context: CallContext, exchange: str, client_final: str) -> ScramOutcome:
        """Check the proof. Raises AuthenticationFailed."""
        ...

    async def password_login(self, context: CallContext, user: str, password: str) -> str:
        """The identity for a plain password (the drivers' old handshakes send one). Raises AuthenticationFailed."""
        ...

    async def permissions(self, context: CallContext, user: str) -> Permissions:
        """What `user` may do, resolved over defaults. Raises AuthenticationFailed for an unknown user."""
        ...
