"""What accounts may do and how that changes: RethinkDB's rules and texts, without any storage."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from photondb.api.auth import SYSTEM_DATABASE_UUID, Grant, Permissions, Scope, system_table_uuid
from photondb.reql.errors import ErrorKind, ReqlError
from services.auth.accounts import Account, NewPassword, read_password
from services.auth.credentials import MAX_ITERATIONS, Credentials

CREDENTIALS = Credentials.of("secret", 1)
BOB = Account("bob", CREDENTIALS)
ADMIN = Account("admin", CREDENTIALS)
DB, OTHER_DB, TABLE, OTHER_TABLE = "db-uuid", "other-db-uuid", "table-uuid", "other-table-uuid"


def granted(*grants: tuple[Scope, Any]) -> Permissions:
    account = BOB
    for scope, change in grants:
        account, _ = account.granted(scope, change)
    return account.permissions(1)


def test_ids_in_the_system_database_are_made_as_rethinkdb_makes_them() -> None:
    def from_hash(base: str, name: str) -> str:
        """SHA-1 of the base's bytes and the name, with the bits that mark a UUID of version 5."""
        digest = bytearray(hashlib.sha1(bytes.fromhex(base) + name.encode()).digest()[:16])
        digest[6] = digest[6] & 0x0F | 0x50
        digest[8] = digest[8] & 0x3F | 0x80
        text = digest.hex()
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    assert from_hash("39a2492414ec4deb99f1742eda7aba5e", "rethinkdb") == SYSTEM_DATABASE_UUID
    assert from_hash("0eabef016deb40699a2d448db057ab1e", "users") == system_table_uuid("users")


def test_a_new_account_may_nothing() -> None:
    permissions = BOB.permissions(1)
    assert not permissions.may_read(DB, TABLE)
    assert not permissions.may_write(DB, TABLE)
    assert not permissions.may_config()
    assert not permissions.may_config(DB)
    assert not permissions.may_config(DB, TABLE)
    assert not permissions.may_connect()


def test_the_narrowest_scope_that_says_something_decides() -> None:
    permissions = granted(
        ((), {"read": True, "write": True, "config": True}),
        ((DB,), {"read": False, "config": False}),
        ((DB, TABLE), {"read": True, "write": False}),
    )
    assert permissions.may_read(OTHER_DB, OTHER_TABLE)
    assert not permissions.may_read(DB, OTHER_TABLE)
    assert permissions.may_read(DB, TABLE)
    assert not permissions.may_write(DB, TABLE)
    assert permissions.may_write(OTHER_DB, OTHER_TABLE)
    assert permissions.may_config()
    assert permissions.may_config(OTHER_DB, OTHER_TABLE)
    assert not permissions.may_config(DB)
    assert not permissions.may_config(DB, TABLE)


def test_to_write_one_must_be_able_to_read() -> None:
    assert not granted(((), {"write": True})).may_write(DB, TABLE)
    assert granted(((), {"write": True}), ((DB, TABLE), {"read": True})).may_write(DB, TABLE)


def test_what_is_granted_globally_does_not_reach_into_the_system_database() -> None:
    users = system_table_uuid("users")
    everything = {"read": True, "write": True, "config": True, "connect": True}
    permissions = granted(((), everything))
    assert not permissions.may_read(SYSTEM_DATABASE_UUID, users)
    assert not permissions.may_write(SYSTEM_DATABASE_UUID, users)
    assert not permissions.may_config(SYSTEM_DATABASE_UUID)
    assert permissions.may_connect()
    assert granted(((SYSTEM_DATABASE_UUID,), {"read": True})).may_read(SYSTEM_DATABASE_UUID, users)


def test_admin_may_everything_whatever_is_stored() -> None:
    permissions = msgspec.structs.replace(ADMIN, global_={"read": False}).permissions(1)
    users = system_table_uuid("users")
    assert permissions.may_read(DB, TABLE)
    assert permissions.may_write(SYSTEM_DATABASE_UUID, users)
    assert permissions.may_config()
    assert permissions.may_connect()


def test_a_grant_tells_what_it_changed() -> None:
    account, grant = BOB.granted((DB,), {"read": True})
    assert grant == Grant(None, {"read": True})
    account, grant = account.granted((DB,), {"write": False})
    assert grant == Grant({"read": True}, {"read": True, "write": False})
    account, grant = account.granted((DB,), {"read": None, "write": None})
    assert grant == Grant({"read": True, "write": False}, None)
    assert account == BOB


def test_scopes_do_not_disturb_each_other() -> None:
    account, _ = BOB.granted((DB, TABLE), {"read": True})
    account, _ = account.granted((DB, OTHER_TABLE), {"read": False})
    account, _ = account.granted((DB,), {"write": True})
    account, _ = account.granted((), {"connect": True})
    assert account.tables == {TABLE: {"read": True}, OTHER_TABLE: {"read": False}}
    assert account.databases == {DB: {"write": True}}
    assert account.global_ == {"connect": True}


@pytest.mark.parametrize(
    ("scope", "change", "text"),
    [
        ((), 5, "Expected an object, got 5."),
        ((), {"read": "yes"}, 'Expected a boolean or null for `read`, got "yes".'),
        ((), {"fly": True, "dig": True}, "Unexpected key(s) `dig`, `fly`."),
        ((DB,), {"connect": True}, "The `connect` permission is only valid at the global scope."),
        ((DB, TABLE), {"connect": None}, "The `connect` permission is only valid at the global scope."),
    ],
)
def test_grants_that_are_refused(scope: Scope, change: Any, text: str) -> None:
    with pytest.raises(ReqlError) as error:
        BOB.granted(scope, change)
    assert (error.value.kind, error.value.message) == (ErrorKind.OP_FAILED, text)


def test_nothing_can_be_granted_to_admin() -> None:
    with pytest.raises(ReqlError, match="`admin` can't be modified"):
        ADMIN.granted((), {"read": True})


@pytest.mark.parametrize(
    ("value", "has_password", "expected"),
    [
        ("secret", False, NewPassword("secret")),
        ("", True, NewPassword("")),
        (False, True, NewPassword("")),
        (True, True, None),
        ({"password": "secret", "iterations": 7}, False, NewPassword("secret", 7)),
    ],
)
def test_passwords_that_are_understood(value: Any, has_password: bool, expected: NewPassword | None) -> None:
    assert read_password(value, has_password) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "Expected an object or string to set the password, or `false` to keep it unset, got true."),
        (None, "Expected an object, string or boolean for `password`, got null."),
        (1, "Expected an object, string or boolean for `password`, got 1."),
        ([], "Expected an object, string or boolean for `password`, got []."),
        ({"password": "x"}, "Expected a field named `iterations`."),
        (
            {"password": "x", "iterations": 0},
            "Expected `iterations` to be an integer greater than zero, got 0.",
        ),
        (
            {"password": "x", "iterations": 1.5},
            "Expected `iterations` to be an integer greater than zero, got 1.5.",
        ),
        (
            {"password": "x", "iterations": True},
            "Expected `iterations` to be an integer greater than zero, got true.",
        ),
        (
            {"password": "x", "iterations": MAX_ITERATIONS + 1},
            "Expected `iterations` to be at most 10000000, got 10000001.",
        ),
        ({"iterations": 1}, "Expected a field named `password`."),
        ({"iterations": 1, "password": False}, "Expected `password` to be a string, got false."),
        ({"iterations": 1, "password": "x", "b": 1, "a": 1}, "Unexpected key(s) `a`, `b`."),
    ],
)
def test_passwords_that_are_refused(value: Any, text: str) -> None:
    with pytest.raises(ReqlError) as error:
        read_password(value, has_password=False)
    assert (error.value.kind, error.value.message) == (ErrorKind.OP_FAILED, text)


def test_a_stored_account_is_read_back() -> None:
    account, _ = BOB.granted((DB,), {"read": True})
    document = msgspec.json.encode(account)
    assert b"secret" not in document
    assert msgspec.json.decode(document, type=Account) == account
    assert msgspec.to_builtins(account)["id"] == "bob"


def test_permissions_travel_as_json() -> None:
    permissions = granted(((), {"read": True}), ((DB,), {"read": False}))
    blob = msgspec.json.encode(permissions)
    assert msgspec.json.decode(blob) == {
        "version": 1,
        "global": {"read": True},
        "databases": {DB: {"read": False}},
        "tables": {},
    }
    assert msgspec.json.decode(blob, type=Permissions) == permissions
