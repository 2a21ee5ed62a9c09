"""The system tables `users` and `permissions`. The service `auth` keeps what they show and checks what is written."""

from __future__ import annotations

from typing import Any

from photondb.api.auth import ADMIN, SYSTEM_DATABASE_UUID, AuthApi, Grant, Scope
from photondb.datum.text import print_datum
from photondb.reql.configuration import IdentifierFormat
from photondb.reql.errors import op_failed
from photondb.reql.names import SYSTEM_DATABASE
from photondb.reql.runtime import Runtime
from photondb.reql.suspend import wait
from photondb.reql.system.configuration import user_databases, user_tables
from photondb.reql.system.objects import is_uuid
from photondb.reql.system_feeds import note_change
from photondb.reql.system_tables import Change, Row, system_table

_EVERYTHING = (
    {"read": True, "write": True, "connect": True, "config": True},
    {"read": True, "write": True, "config": True},
)
"""What `admin` may do: globally, and in the system database, into which no global permission reaches."""

_SAY_NOTHING = {"read": None, "write": None, "config": None}


def auth_of(runtime: Runtime) -> AuthApi:
    """The service that keeps accounts."""
    auth = runtime.service.auth
    if auth is None:
        raise op_failed("There are no accounts here: the service `auth` is not running.")
    return auth


def grant(runtime: Runtime, user: str, scope: Scope, permissions: Any) -> Grant:
    """Change what a user may do; here it counts from now on."""
    runtime.refuse_in_transaction("Permissions cannot be changed")
    changed = wait(auth_of(runtime).grant(runtime.context, user, scope, permissions))
    runtime.service.access.forget()
    note_change(runtime.service)
    return changed


@system_table("users")
def users(runtime: Runtime, identifiers: IdentifierFormat) -> list[Row]:
    """One row for each account; `password` tells whether it has one."""
    return [{"id": user.name, "password": user.has_password} for user in wait(auth_of(runtime).users(runtime.context))]


@users.writer
def write_user(runtime: Runtime, change: Change) -> Row | None:
    """Make or drop an account, or change its password."""
    auth = auth_of(runtime)
    if change.new is None:
        assert change.old is not None
        wait(auth.drop_user(runtime.context, change.old["id"]))
        runtime.service.access.forget()
        return None
    row = change.new
    name = row["id"]
    if type(name) is not str or change.generated:
        raise op_failed(f"Expected a username as the primary key, got {print_datum(name)}.")
    if "password" not in row:
        raise op_failed("Expected a field named `password`.")
    _refuse_others(row, {"id", "password"})
    wait(auth.set_user(runtime.context, name, row["password"]))
    return next(user for user in users.rows(runtime, change.identifiers) if user["id"] == name)


@system_table("permissions")
def permissions(runtime: Runtime, identifiers: IdentifierFormat) -> list[Row]:
    """One row for each user and scope (everything, a database, a table) at which something is said."""
    everywhere, in_system = _EVERYTHING
    rows = [
        {"id": [ADMIN], "permissions": everywhere, "user": ADMIN},
        {
            "database": SYSTEM_DATABASE if identifiers == "name" else SYSTEM_DATABASE_UUID,
            "id": [ADMIN, SYSTEM_DATABASE_UUID],
            "permissions": in_system,
            "user": ADMIN,
        },
    ]
    scopes = _Scopes(runtime, identifiers)
    for user in wait(auth_of(runtime).users(runtime.context)):
        if user.name == ADMIN:
            continue
        said = user.permissions
        found = [scopes.row(user.name, (), said.global_)]
        found += [scopes.row(user.name, (database,), given) for database, given in said.databases.items()]
        found += [
            scopes.row(user.name, (scopes.database_of[table], table), given)
            for table, given in said.tables.items()
            if table in scopes.database_of
        ]
        rows += [row for row in found if row is not None]
    return rows


@permissions.writer
def write_permissions(runtime: Runtime, change: Change) -> Row | None:
    """Change what a user may do at a scope."""
    row = change.new or change.old
    assert row is not None
    if change.generated:
        raise op_failed("You must specify a primary key.")
    scopes = _Scopes(runtime, change.identifiers)
    user, scope = scopes.parse(row["id"])
    if change.new is None:
        nothing = _SAY_NOTHING if scope else {**_SAY_NOTHING, "connect": None}
        grant(runtime, user, scope, nothing)
        return None
    expected = scopes.row(user, scope, {"": True})
    assert expected is not None
    for name in ("user", "database", "table"):
        if name in expected and name in row and row[name] != expected[name]:
            raise op_failed(f"The key `{name}` does not match the primary key.")
    if "permissions" not in row:
        raise op_failed("Expected a field `permissions`.")
    _refuse_others(row, {"id", "permissions", *expected})
    granted = grant(runtime, user, scope, row["permissions"])
    return None if granted.new is None else scopes.row(user, scope, granted.new)


class _Scopes:
    """The databases and tables that permissions can be about, by uuid."""

    def __init__(self, runtime: Runtime, identifiers: IdentifierFormat) -> None:
        self.identifiers = identifiers
        self.databases = {info.uuid: info.name for info in user_databases(runtime)}
        self.databases[SYSTEM_DATABASE_UUID] = SYSTEM_DATABASE
        uuid_of = {name: uuid for uuid, name in self.databases.items()}
        self.tables = {info.uuid: info.name for info in user_tables(runtime)}
        self.database_of = {info.uuid: uuid_of[info.database] for info in user_tables(runtime)}

    def row(self, user: str, scope: Scope, given: dict[str, bool]) -> Row | None:
        """The row for a user and a scope; None where nothing is said, or where the scope is gone."""
        if not given or (scope and scope[0] not in self.databases):
            return None
        row: Row = {"id": [user, *scope], "permissions": given, "user": user}
        by_name = self.identifiers == "name"
        if scope:
            row["database"] = self.databases[scope[0]] if by_name else scope[0]
        if len(scope) == 2:
            row["table"] = self.tables[scope[1]] if by_name else scope[1]
        return row

    def parse(self, key: Any) -> tuple[str, Scope]:
        """(user, scope) of a primary key. Raises for what is none."""
        if type(key) is not list or not 1 <= len(key) <= 3:
            raise op_failed(f"Expected an array of one to three items in the primary key, got {print_datum(key)}.")
        if type(key[0]) is not str:
            raise op_failed(f"Expected a string as the username, got {print_datum(key[0])}.")
        for what, uuid, known in zip(("database", "table"), key[1:], (self.databases, self.tables), strict=False):
            if not is_uuid(uuid):
                raise op_failed(f"Expected a UUID as the {what}, got {print_datum(uuid)}.")
            if uuid not in known or (what == "table" and self.database_of[uuid] != key[1]):
                raise op_failed(f"No {what} with UUID `{uuid}` exists.")
        return key[0], tuple(key[1:])


def _refuse_others(row: Row, known: set[str]) -> None:
    others = sorted(set(row) - known)
    if others:
        raise op_failed(f"Unexpected key(s) `{'`, `'.join(others)}`.")
