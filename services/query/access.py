"""What users may do: their permissions, asked of `auth` and remembered for a moment."""

from __future__ import annotations

import time

from photondb.api.auth import ADMIN, SYSTEM_DATABASE_UUID, AuthApi, AuthenticationFailed, Permissions
from photondb.api.catalogue import Catalogue
from photondb.api.context import INTERNAL
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.surroundings import Permission, Permit
from photondb.reql.suspend import wait

REMEMBER_SECONDS = 0.25
"""How long a user's permissions may be out of date in a query service that did not change them itself."""


def _database_uuid(catalogue: Catalogue, name: str | None) -> str | None:
    if name == "rethinkdb":
        return SYSTEM_DATABASE_UUID
    found = None if name is None else catalogue.databases.get(name)
    return None if found is None else found.uuid


class Access:
    """Checks permissions for one query service."""

    def __init__(self, auth: AuthApi | None) -> None:
        self._auth = auth
        self._known: dict[str, tuple[float, Permissions]] = {}

    def forget(self) -> None:
        """Forget all permissions, because some have changed."""
        self._known.clear()

    def permit(self, user: str, catalogue: Catalogue) -> Permit | None:
        """The check for a user's query; None for `admin`, who may do everything."""
        if user == ADMIN or self._auth is None:
            return None
        return UserPermit(self, user, catalogue)

    def remembered(self, user: str) -> Permissions | None:
        """What the user may do, if that has been asked for a moment ago."""
        known = self._known.get(user)
        if known is not None and time.monotonic() - known[0] < REMEMBER_SECONDS:
            return known[1]
        return None

    async def ask(self, user: str) -> Permissions:
        """What the user may do. Raises a PERMISSION error for one whose account is gone."""
        found = self.remembered(user)
        if found is not None:
            return found
        assert self._auth is not None
        now = time.monotonic()
        try:
            permissions = await self._auth.permissions(INTERNAL, user)
        except AuthenticationFailed as error:
            raise ReqlError(ErrorKind.PERMISSION, error.message) from None
        self._known[user] = (now, permissions)
        return permissions


class UserPermit:
    """A user's permit for one query; implements Permit."""

    def __init__(self, access: Access, user: str, catalogue: Catalogue) -> None:
        self._access = access
        self._user = user
        self._catalogue = catalogue
        self._given: set[tuple[Permission, str | None, str | None]] = set()

    def __call__(self, permission: Permission, database: str | None = None, table: str | None = None) -> None:
        permissions = self._access.remembered(self._user) or wait(self._access.ask(self._user))
        asked = (permission, _database_uuid(self._catalogue, database), table)
        self._check(permissions, asked)
        self._given.add(asked)

    async def renew(self) -> None:
        """Check once more all that has been asked for."""
        permissions = await self._access.ask(self._user)
        for asked in self._given:
            self._check(permissions, asked)

    def _check(self, permissions: Permissions, asked: tuple[Permission, str | None, str | None]) -> None:
        permission, database, table = asked
        if permission == "read":
            allowed = permissions.may_read(database or "", table or "")
        elif permission == "write":
            allowed = permissions.may_write(database or "", table or "")
        elif permission == "config":
            allowed = permissions.may_config(database, table)
        else:
            allowed = permissions.may_connect()
        if not allowed:
            raise ReqlError(
                ErrorKind.PERMISSION, f"User `{self._user}` does not have the required `{permission}` permission."
            )
