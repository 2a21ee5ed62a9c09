"""What users may do: their permissions, asked of `auth` and remembered for a moment."""

from __future__ import annotations

import time

from photondb.api.auth import ADMIN, SYSTEM_DATABASE_UUID, AuthApi, AuthenticationFailed, Permissions
from photondb.api.catalogue import Catalogue
from photondb.api.context import INTERNAL
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.surroundings import Permit
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

        def permit(permission: str, database: str | None = None, table: str | None = None) -> None:
            permissions = self._permissions(user)
            uuid = _database_uuid(catalogue, database)
            if permission == "read":
                allowed = permissions.may_read(uuid or "", table or "")
            elif permission == "write":
                allowed = permissions.may_write(uuid or "", table or "")
            elif permission == "config":
                allowed = permissions.may_config(uuid, table)
            else:
                allowed = permissions.may_connect()
            if not allowed:
                raise ReqlError(
                    ErrorKind.PERMISSION, f"User `{user}` does not have the required `{permission}` permission."
                )

        return permit

    def _permissions(self, user: str) -> Permissions:
        known = self._known.get(user)
        now = time.monotonic()
        if known is not None and now - known[0] < REMEMBER_SECONDS:
            return known[1]
        assert self._auth is not None
        try:
            permissions = wait(self._auth.permissions(INTERNAL, user))
        except AuthenticationFailed as error:
            raise ReqlError(ErrorKind.PERMISSION, error.message) from None
        self._known[user] = (now, permissions)
        return permissions
