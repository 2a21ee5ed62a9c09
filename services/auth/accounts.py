"""Accounts: what is kept of each user, how it may change, and what a place to keep it in must offer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from photondb.api.auth import ADMIN, SYSTEM_DATABASE_UUID, Grant, Permissions, Scope, User
from photondb.datum.json import print_compact
from photondb.reql.errors import op_failed
from services.auth.credentials import MAX_ITERATIONS, Credentials

Said = Mapping[str, bool]
"""Permissions that are said at one scope, by name."""

TABLE_PERMISSIONS = ("read", "write", "config")
GLOBAL_PERMISSIONS = (*TABLE_PERMISSIONS, "connect")


class Account(msgspec.Struct, frozen=True, rename={"name": "id", "global_": "global"}):
    """A user. Its JSON is the document that is stored."""

    name: str
    credentials: Credentials
    global_: dict[str, bool] = {}
    databases: dict[str, dict[str, bool]] = {}
    tables: dict[str, dict[str, bool]] = {}

    @property
    def is_admin(self) -> bool:
        return self.name == ADMIN

    def permissions(self, version: int) -> Permissions:
        """What the user may do. `admin` may do everything, whatever is stored."""
        if self.is_admin:
            return Permissions(
                version=version,
                global_=dict.fromkeys(GLOBAL_PERMISSIONS, True),
                databases={SYSTEM_DATABASE_UUID: dict.fromkeys(TABLE_PERMISSIONS, True)},
                tables={},
            )
        return Permissions(version, self.global_, self.databases, self.tables)

    def summary(self, version: int) -> User:
        """What may be shown of the account."""
        return User(self.name, not self.credentials.is_empty, self.permissions(version))

    def granted(self, scope: Scope, change: Any) -> tuple[Account, Grant]:
        """The account after a grant, and what that changed. Raises ReqlError."""
        if self.is_admin:
            raise op_failed(f"The permissions of the user `{self.name}` can't be modified.")
        match scope:
            case ():
                old: Said = self.global_
                new = merge(old, change, GLOBAL_PERMISSIONS)
                changed = msgspec.structs.replace(self, global_=new)
            case (database,):
                old = self.databases.get(database, {})
                new = merge(old, change, TABLE_PERMISSIONS)
                changed = msgspec.structs.replace(self, databases=_with(self.databases, database, new))
            case (_, table):
                old = self.tables.get(table, {})
                new = merge(old, change, TABLE_PERMISSIONS)
                changed = msgspec.structs.replace(self, tables=_with(self.tables, table, new))
        return changed, Grant(dict(old) or None, new or None)


class AccountStore(Protocol):
    """Where accounts are kept. Every method may raise ReqlError; a change is durable when it returns."""

    async def load(self) -> dict[str, Account]:
        """All accounts, by name."""
        ...

    async def put(self, account: Account) -> None:
        """Keep an account, in place of the one of that name."""
        ...

    async def delete(self, name: str) -> None:
        """Keep an account no longer."""
        ...

    async def changed(self) -> None:
        """Return when something has changed since the last `load`, by whomever."""
        ...


def merge(said: Said, change: Any, names: tuple[str, ...]) -> dict[str, bool]:
    """What is said at a scope after a change: an object of booleans and nulls. Raises ReqlError."""
    if not isinstance(change, dict):
        raise op_failed(f"Expected an object, got {print_compact(change)}.")
    merged = dict(said)
    for name in GLOBAL_PERMISSIONS:
        if name not in change:
            continue
        if name not in names:
            raise op_failed("The `connect` permission is only valid at the global scope.")
        value = change[name]
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, bool):
            merged[name] = value
        else:
            raise op_failed(f"Expected a boolean or null for `{name}`, got {print_compact(value)}.")
    _refuse_others(change, GLOBAL_PERMISSIONS)
    return merged


class NewPassword(msgspec.Struct, frozen=True):
    """A password that is to be set, and the iterations to protect it with (None: the default)."""

    password: str
    iterations: int | None = None


def read_password(value: Any, has_password: bool) -> NewPassword | None:
    """What `set_user` was told about the password; None is to leave it as it is. Raises ReqlError."""
    match value:
        case str():
            return NewPassword(value)
        case False:
            return NewPassword("")
        case True:
            if has_password:
                return None
            raise op_failed(
                "Expected an object or string to set the password, or `false` to keep it unset, "
                f"got {print_compact(value)}."
            )
        case dict():
            return _read_password_object(value)
        case _:
            raise op_failed(f"Expected an object, string or boolean for `password`, got {print_compact(value)}.")


def _read_password_object(value: dict[str, Any]) -> NewPassword:
    if "iterations" not in value:
        raise op_failed("Expected a field named `iterations`.")
    iterations = value["iterations"]
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
        raise op_failed(f"Expected `iterations` to be an integer greater than zero, got {print_compact(iterations)}.")
    if iterations > MAX_ITERATIONS:
        raise op_failed(f"Expected `iterations` to be at most {MAX_ITERATIONS}, got {iterations}.")
    if "password" not in value:
        raise op_failed("Expected a field named `password`.")
    password = value["password"]
    if not isinstance(password, str):
        raise op_failed(f"Expected `password` to be a string, got {print_compact(password)}.")
    _refuse_others(value, ("iterations", "password"))
    return NewPassword(password, iterations)


def _refuse_others(value: Mapping[str, Any], expected: tuple[str, ...]) -> None:
    others = sorted(set(value) - set(expected))
    if others:
        raise op_failed(f"Unexpected key(s) `{'`, `'.join(others)}`.")


def _with(scopes: dict[str, dict[str, bool]], scope: str, said: dict[str, bool]) -> dict[str, dict[str, bool]]:
    """The scopes with one replaced; one at which nothing is said is left out."""
    return {key: value for key, value in scopes.items() if key != scope} | ({scope: said} if said else {})
