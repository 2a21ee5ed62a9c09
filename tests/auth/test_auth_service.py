"""The auth service over real storage."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from photondb.api.auth import (
    SYSTEM_DATABASE_UUID,
    AuthenticationFailed,
    Grant,
    ScramOutcome,
    User,
    system_table_uuid,
)
from photondb.api.catalogue import Catalogue, DropTable
from photondb.api.context import INTERNAL, CallContext
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.rpc.errors import ServiceUnavailable
from services.auth import account_table
from services.auth.account_table import AccountTable
from services.auth.accounts import Account
from services.auth.service import Auth
from services.storage.service import Storage
from tests.auth.scram_client import client_final

BOB = CallContext(user="bob")


async def log_in(auth: Auth, user: str, password: str) -> str:
    """Log in with SCRAM, check the server's signature, and return the identity."""
    bare = f"n={user},r=clientnonce"
    challenge = await auth.scram_first(INTERNAL, f"n,,{bare}")
    final, expected = client_final(bare, challenge.server_first, password)
    outcome = await auth.scram_final(INTERNAL, challenge.exchange, final)
    assert outcome == ScramOutcome(expected, outcome.user, not password)
    return outcome.user


async def refusal(auth: Auth, user: str, password: str) -> tuple[int, str]:
    with pytest.raises(AuthenticationFailed) as error:
        await log_in(auth, user, password)
    return error.value.code, error.value.message


async def text_of(call: Any) -> tuple[ErrorKind, str]:
    with pytest.raises(ReqlError) as error:
        await call
    return error.value.kind, error.value.message


async def test_admin_is_there_with_an_empty_password(auth: Auth) -> None:
    assert await log_in(auth, "admin", "") == "admin"
    assert await auth.password_login(INTERNAL, "admin", "") == "admin"
    (admin,) = await auth.users(INTERNAL)
    assert (admin.name, admin.has_password) == ("admin", False)
    assert (await auth.permissions(INTERNAL, "admin")).may_config()


async def test_a_wrong_password(auth: Auth) -> None:
    assert await refusal(auth, "admin", "guess") == (12, "Wrong password")
    with pytest.raises(AuthenticationFailed) as error:
        await auth.password_login(INTERNAL, "admin", "guess")
    assert error.value.code == 12


async def test_an_unknown_user(auth: Auth) -> None:
    assert await refusal(auth, "ghost", "") == (12, "Wrong password")
    one, two = [(await auth.scram_first(INTERNAL, "n,,n=ghost,r=x")).server_first for _ in range(2)]
    assert one.split(",s=")[1] == two.split(",s=")[1]
    assert one != two
    for call, code in ((auth.password_login(INTERNAL, "ghost", ""), 12), (auth.permissions(INTERNAL, "ghost"), 17)):
        with pytest.raises(AuthenticationFailed) as error:
            await call
        assert error.value.code == code


async def test_an_exchange_that_nobody_began(auth: Auth) -> None:
    with pytest.raises(AuthenticationFailed) as error:
        await auth.scram_final(INTERNAL, "invented", "c=biws,r=x,p=y")
    assert error.value.code == 20


async def test_a_try_with_a_wrong_password_uses_the_exchange_up(auth: Auth) -> None:
    bare = "n=admin,r=x"
    challenge = await auth.scram_first(INTERNAL, f"n,,{bare}")
    with pytest.raises(AuthenticationFailed):
        await auth.scram_final(INTERNAL, challenge.exchange, client_final(bare, challenge.server_first, "guess")[0])
    with pytest.raises(AuthenticationFailed) as error:
        await auth.scram_final(INTERNAL, challenge.exchange, client_final(bare, challenge.server_first, "")[0])
    assert error.value.code == 20


async def test_the_password_of_admin_can_be_set_and_removed(auth: Auth) -> None:
    await auth.set_user(INTERNAL, "admin", "secret")
    assert await log_in(auth, "admin", "secret") == "admin"
    assert await refusal(auth, "admin", "") == (12, "Wrong password")
    await auth.set_user(INTERNAL, "admin", True)
    assert await log_in(auth, "admin", "secret") == "admin"
    await auth.set_user(INTERNAL, "admin", False)
    assert await log_in(auth, "admin", "") == "admin"


async def test_users_come_and_go(auth: Auth) -> None:
    await auth.set_user(INTERNAL, "bob", "secret")
    assert await log_in(auth, "bob", "secret") == "bob"
    assert [(user.name, user.has_password) for user in await auth.users(INTERNAL)] == [
        ("admin", False),
        ("bob", True),
    ]
    await auth.drop_user(INTERNAL, "bob")
    assert await refusal(auth, "bob", "secret") == (12, "Wrong password")
    assert [user.name for user in await auth.users(INTERNAL)] == ["admin"]


async def test_iterations_are_what_was_asked_for(auth: Auth) -> None:
    await auth.set_user(INTERNAL, "bob", {"password": "secret", "iterations": 77})
    assert ",i=77" in (await auth.scram_first(INTERNAL, "n,,n=bob,r=x")).server_first
    assert await log_in(auth, "bob", "secret") == "bob"
    await auth.set_user(INTERNAL, "bob", "other")
    assert ",i=10" in (await auth.scram_first(INTERNAL, "n,,n=bob,r=x")).server_first


async def test_a_name_has_one_spelling(auth: Auth) -> None:
    await auth.set_user(INTERNAL, "\u2168", "secret")
    assert await log_in(auth, "IX", "secret") == "IX"
    assert await log_in(auth, "\u2168", "secret") == "IX"
    await auth.grant(INTERNAL, "\u2168", (), {"read": True})
    assert (await auth.permissions(INTERNAL, "IX")).may_read("db", "table")
    await auth.drop_user(INTERNAL, "\u2168")
    assert await refusal(auth, "IX", "secret") == (12, "Wrong password")
    assert await refusal(auth, "ad\u00admin", "guess") == (12, "Wrong password")  # it is admin's that is wrong


async def test_a_password_change_keeps_what_the_user_may_do(auth: Auth) -> None:
    await auth.set_user(INTERNAL, "bob", "secret")
    await auth.grant(INTERNAL, "bob", ("db",), {"read": True})
    await auth.set_user(INTERNAL, "bob", "other")
    assert (await auth.permissions(INTERNAL, "bob")).may_read("db", "table")


async def test_a_new_user_of_an_old_name_inherits_nothing(auth: Auth) -> None:
    await auth.set_user(INTERNAL, "bob", "secret")
    await auth.grant(INTERNAL, "bob", (), {"read": True})
    await auth.drop_user(INTERNAL, "bob")
    await auth.set_user(INTERNAL, "bob", "secret")
    assert not (await auth.permissions(INTERNAL, "bob")).may_read("db", "table")


async def test_grants_are_told_and_versions_grow(auth: Auth) -> None:
    await auth.set_user(INTERNAL, "bob", "secret")
    before = (await auth.permissions(INTERNAL, "bob")).version
    assert await auth.grant(INTERNAL, "bob", ("db", "table"), {"write": True, "read": True}) == Grant(
        None, {"write": True, "read": True}
    )
    permissions = await auth.permissions(INTERNAL, "bob")
    assert permissions.version > before
    assert permissions.may_write("db", "table")
    assert not permissions.may_write("db", "other")


async def test_what_is_refused(auth: Auth) -> None:
    assert await text_of(auth.grant(INTERNAL, "ghost", (), {})) == (ErrorKind.OP_FAILED, "User `ghost` not found.")
    assert await text_of(auth.grant(INTERNAL, "admin", (), {})) == (
        ErrorKind.OP_FAILED,
        "The permissions of the user `admin` can't be modified.",
    )
    assert await text_of(auth.drop_user(INTERNAL, "ghost")) == (ErrorKind.OP_FAILED, "User `ghost` not found.")
    assert await text_of(auth.drop_user(INTERNAL, "admin")) == (
        ErrorKind.OP_FAILED,
        "The user `admin` can't be deleted.",
    )
    assert await text_of(auth.set_user(INTERNAL, "", "x")) == (ErrorKind.OP_FAILED, "Empty username.")
    assert (await text_of(auth.set_user(INTERNAL, "bob", None)))[0] is ErrorKind.OP_FAILED
    assert [user.name for user in await auth.users(INTERNAL)] == ["admin"]


@pytest.mark.parametrize("is_known", [True, False])
async def test_users_change_nothing_unless_they_may(auth: Auth, is_known: bool) -> None:
    if is_known:
        await auth.set_user(INTERNAL, "bob", "secret")
        await auth.grant(INTERNAL, "bob", (), {"read": True, "write": True, "config": True})
    lacks_write = (ErrorKind.PERMISSION, "User `bob` does not have the required `write` permission.")
    lacks_read = (ErrorKind.PERMISSION, "User `bob` does not have the required `read` permission.")
    assert await text_of(auth.set_user(BOB, "admin", "taken over")) == lacks_write
    assert await text_of(auth.set_user(BOB, "bob", "mine")) == lacks_write
    assert await text_of(auth.drop_user(BOB, "bob")) == lacks_write
    assert await text_of(auth.grant(BOB, "bob", (), {"connect": True})) == lacks_read
    assert await log_in(auth, "admin", "") == "admin"


async def test_users_change_what_they_may(auth: Auth) -> None:
    await auth.set_user(INTERNAL, "bob", "secret")
    scope = (SYSTEM_DATABASE_UUID, system_table_uuid("users"))
    await auth.grant(INTERNAL, "bob", scope, {"read": True, "write": True})
    await auth.set_user(BOB, "eve", "x")
    assert (await text_of(auth.grant(BOB, "eve", (), {"read": True})))[0] is ErrorKind.PERMISSION
    scope = (SYSTEM_DATABASE_UUID, system_table_uuid("permissions"))
    await auth.grant(INTERNAL, "bob", scope, {"read": True})
    assert await text_of(auth.grant(BOB, "eve", (), {"read": True})) == (
        ErrorKind.PERMISSION,
        "User `bob` does not have the required `write` permission.",
    )
    await auth.grant(INTERNAL, "bob", scope, {"write": True})
    await auth.grant(BOB, "eve", (), {"read": True})
    assert (await auth.permissions(INTERNAL, "eve")).may_read("db", "table")


async def test_accounts_survive_a_restart(auth: Auth, storage: Storage) -> None:
    await auth.set_user(INTERNAL, "bob", "secret")
    await auth.grant(INTERNAL, "bob", ("db",), {"read": True})
    await auth.set_user(INTERNAL, "admin", "boss")
    await auth.stop()
    version = (await auth.permissions(INTERNAL, "bob")).version
    again = Auth(storage)
    await again.start()
    try:
        assert await log_in(again, "bob", "secret") == "bob"
        assert await log_in(again, "admin", "boss") == "admin"
        permissions = await again.permissions(INTERNAL, "bob")
        assert permissions.may_read("db", "table")
        assert permissions.version > version
    finally:
        await again.stop()


async def test_many_accounts_are_loaded(auth: Auth, storage: Storage) -> None:
    for number in range(1100):  # more than one chunk of a scan
        await auth._store.put(Account(f"user{number}", auth._accounts["admin"].credentials))
    accounts = await AccountTable(storage).load()
    assert set(accounts) == {"admin", *(f"user{number}" for number in range(1100))}


async def test_changes_by_another_are_taken_over(auth: Auth, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_table, "POLL_INTERVAL_MS", 10)
    another = Auth(storage, iterations=10)
    await another.start()
    try:
        await another.set_user(INTERNAL, "bob", "secret")
        while [user.name for user in await auth.users(INTERNAL)] != ["admin", "bob"]:
            await asyncio.sleep(0.01)
        assert await log_in(auth, "bob", "secret") == "bob"
        await another.drop_user(INTERNAL, "bob")
        while [user.name for user in await auth.users(INTERNAL)] != ["admin"]:
            await asyncio.sleep(0.01)
    finally:
        await another.stop()


async def test_two_who_change_at_once_lose_nothing(auth: Auth) -> None:
    await auth.set_user(INTERNAL, "bob", "secret")
    await asyncio.gather(
        *(auth.grant(INTERNAL, "bob", (f"db{number}",), {"read": True}) for number in range(20)),
        auth.set_user(INTERNAL, "bob", "other"),
    )
    permissions = await auth.permissions(INTERNAL, "bob")
    assert len(permissions.databases) == 20
    assert await log_in(auth, "bob", "other") == "bob"


async def test_a_dropped_table_is_made_again(auth: Auth, storage: Storage) -> None:
    await storage.change_catalogue(INTERNAL, DropTable(account_table.DATABASE, account_table.TABLE))
    await auth.set_user(INTERNAL, "bob", "secret")
    assert await log_in(auth, "bob", "secret") == "bob"
    assert "bob" in await AccountTable(storage).load()


class UnreachableAtFirst:
    """Real storage behind a door that opens after some knocks."""

    def __init__(self, storage: Storage, knocks: int) -> None:
        self._storage = storage
        self._knocks = knocks

    async def catalogue(self, context: CallContext) -> Catalogue:
        self._knocks -= 1
        if self._knocks >= 0:
            raise ServiceUnavailable("not yet")
        return await self._storage.catalogue(context)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


async def test_a_start_waits_for_storage(storage: Storage) -> None:
    auth = Auth(UnreachableAtFirst(storage, 3), iterations=10)  # type: ignore[arg-type]
    await auth.start()
    try:
        assert await log_in(auth, "admin", "") == "admin"
    finally:
        await auth.stop()


async def test_the_accounts_are_shown_without_their_secrets(auth: Auth) -> None:
    await auth.set_user(INTERNAL, "bob", "secret")
    assert set(User.__struct_fields__) == {"name", "has_password", "permissions"}
    assert [user.has_password for user in await auth.users(INTERNAL)] == [False, True]


async def test_the_admin_is_given_a_password_while_it_has_none(storage: Storage) -> None:
    for given, valid in (("", ""), ("first", "first"), ("second", "first")):
        auth = Auth(storage, given, iterations=10)
        await auth.start()
        assert await auth.password_login(INTERNAL, "admin", valid) == "admin"
        await auth.stop()


async def test_a_new_admin_has_the_password_that_is_given(storage: Storage) -> None:
    auth = Auth(storage, "secret", iterations=10)
    await auth.start()
    with pytest.raises(AuthenticationFailed):
        await auth.password_login(INTERNAL, "admin", "")
    assert await auth.password_login(INTERNAL, "admin", "secret") == "admin"
    await auth.stop()
