"""The interface of `auth`: who somebody is, and what they may do."""

from __future__ import annotations

from typing import Any, Protocol
from uuid import UUID, uuid5

import msgspec

from photondb.api.context import CallContext

ADMIN = "admin"
"""The user that is always there and may do everything."""

SYSTEM_DATABASE_UUID = str(uuid5(UUID("39a24924-14ec-4deb-99f1-742eda7aba5e"), "rethinkdb"))
"""The id of the database `rethinkdb` as users see it, and as permissions name it: RethinkDB's own."""

Scope = tuple[()] | tuple[str] | tuple[str, str]
"""What permissions are about: everything, a database (its uuid), or a table (the database's uuid and its own)."""


def system_table_uuid(name: str) -> str:
    """The id of a table of the database `rethinkdb`: RethinkDB's own."""
    return str(uuid5(UUID("0eabef01-6deb-4069-9a2d-448db057ab1e"), name))


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
    """The server's final SCRAM message, and the identity that it proves, which may be by the empty password."""

    server_final: str
    user: str
    empty_password: bool = False


class Permissions(msgspec.Struct, frozen=True, rename={"global_": "global"}):
    """What a user may do: global, by database uuid and by table uuid.

    Each is an object with some of `read`, `write`, `config` and `connect` (only global). What is absent there is not
    said at that level, and the next wider level decides; what is said nowhere is forbidden. `version` grows with each
    change of any user.
    """

    version: int
    global_: dict[str, bool]
    databases: dict[str, dict[str, bool]]
    tables: dict[str, dict[str, bool]]

    def may_read(self, database: str, table: str) -> bool:
        """Whether documents of the table may be read."""
        return self._allows("read", database, table)

    def may_write(self, database: str, table: str) -> bool:
        """Whether documents of the table may be changed, which takes the permission to read them, too."""
        return self._allows("write", database, table) and self._allows("read", database, table)

    def may_config(self, database: str | None = None, table: str | None = None) -> bool:
        """Whether the table, the database, or (without arguments) the set of databases may be configured.

        To drop a database takes this for the database and for each of its tables.
        """
        return self._allows("config", database, table)

    def may_connect(self) -> bool:
        """Whether `r.http` may be used."""
        return self._allows("connect")

    def _allows(self, permission: str, database: str | None = None, table: str | None = None) -> bool:
        if table is not None and (said := self.tables.get(table, {}).get(permission)) is not None:
            return said
        if database is not None and (said := self.databases.get(database, {}).get(permission)) is not None:
            return said
        # What is granted globally does not reach into the system database.
        return database != SYSTEM_DATABASE_UUID and self.global_.get(permission, False)


class User(msgspec.Struct, frozen=True):
    """An account, as the system tables `users` and `permissions` show it."""

    name: str
    has_password: bool
    permissions: Permissions


class Grant(msgspec.Struct, frozen=True):
    """What a grant changed: the permissions at its scope before and after. None where nothing is said."""

    old: dict[str, bool] | None
    new: dict[str, bool] | None


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

    async def users(self, context: CallContext) -> list[User]:
        """All accounts, by name. The caller sees to it that `context.user` may read the system tables."""
        ...

    async def set_user(self, context: CallContext, name: str, password: Any) -> None:
        """Create an account, or change its password.

        `password` is JSON as the system table `users` takes it: a string; `{"password": ..., "iterations": ...}`;
        False for no password; True to keep the one that there is. Raises ReqlError with RethinkDB's texts, of kind
        PERMISSION when `context.user` may not write to `users`, else OP_FAILED.
        """
        ...

    async def drop_user(self, context: CallContext, name: str) -> None:
        """Delete an account and what it may do. Raises ReqlError as `set_user` does."""
        ...

    async def grant(self, context: CallContext, user: str, scope: Scope, permissions: Any) -> Grant:
        """Change what `user` may do at a scope.

        `permissions` is JSON: an object of booleans, or null to say nothing any more, by permission. Raises ReqlError
        with RethinkDB's texts, of kind PERMISSION when `context.user` may not read and write the system table
        `permissions`, else OP_FAILED.
        """
        ...
