"""The auth service as a whole."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from photondb.api.auth import (
    ADMIN,
    SYSTEM_DATABASE_UUID,
    AuthenticationFailed,
    Grant,
    Permissions,
    Scope,
    ScramChallenge,
    ScramOutcome,
    User,
    system_table_uuid,
)
from photondb.api.context import CallContext
from photondb.api.storage import StorageApi
from photondb.reql.errors import ErrorKind, ReqlError, op_failed
from photondb.rpc.backoff import Backoff
from photondb.rpc.errors import ServiceUnavailable
from photondb.telemetry import catalogue
from photondb.telemetry.debug import Report
from photondb.telemetry.requests import RequestMetrics, measured
from photondb.telemetry.scrape import Scrape
from services.auth import scram
from services.auth.account_table import AccountTable
from services.auth.accounts import Account, AccountStore, NewPassword, read_password
from services.auth.credentials import DEFAULT_ITERATIONS, Credentials
from services.auth.exchanges import Exchanges

logger = logging.getLogger(__name__)

FIRST_DELAY_MS = 20
LONGEST_DELAY_MS = 1_000
"""Between attempts to reach storage."""

ALWAYS_TOLD = {
    (method, outcome) for method in ("scram", "password") for outcome in ("success", "unknown_user", "wrong_password")
}
"""The ways and outcomes of logins that are told of even before there were any."""

_OUTCOMES = {
    int(scram.Code.UNKNOWN_USER): "unknown_user",
    int(scram.Code.INVALID_PROOF): "wrong_password",
}

T = TypeVar("T")


class Auth:
    """Implements AuthApi. All accounts are held in memory; `storage` is asked when they change.

    `admin_password` is what `admin` is given at the start, as long as it has no password.
    """

    def __init__(self, storage: StorageApi, admin_password: str = "", iterations: int = DEFAULT_ITERATIONS) -> None:
        self.requests = RequestMetrics("auth")
        self._logins: Counter[tuple[str, str]] = Counter()
        self._store: AccountStore = AccountTable(storage)
        self._admin_password = admin_password
        self._iterations = iterations
        self._accounts: dict[str, Account] = {}
        # Grows over restarts too, so that nobody takes what he remembers from before for what is true now.
        self._version = time.time_ns() // 1_000
        self._exchanges = Exchanges()
        self._changing = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None
        # Hashing passwords has a thread of its own, and only one: a flood of logins slows down logins, nothing else.
        self._hashing_queue = 0
        self._hashing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="auth-hashing")

    async def start(self) -> None:
        """Load the accounts, as soon as storage can be reached, and see to `admin`."""
        backoff = Backoff(FIRST_DELAY_MS, LONGEST_DELAY_MS)
        while True:
            try:
                await self._reload()
                await self._ensure_admin()
                break
            except ServiceUnavailable as error:
                logger.info("waiting for storage", extra={"reason": error.message})
                await asyncio.sleep(backoff.next_delay_ms() / 1000)
        self._following = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        """Stop following changes."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        self._hashing.shutdown(wait=False, cancel_futures=True)

    def collect(self, scrape: Scrape) -> None:
        """Write what is counted into a reading."""
        self.requests.collect(scrape)
        for method, outcome in ALWAYS_TOLD | self._logins.keys():
            scrape.add(catalogue.AUTH_LOGINS, self._logins[method, outcome], method, outcome)
        scrape.add(catalogue.AUTH_ACCOUNTS, len(self._accounts))
        scrape.add(catalogue.AUTH_EXCHANGES, len(self._exchanges))
        scrape.add(catalogue.AUTH_HASHING, self._hashing_queue)

    def reports(self) -> dict[str, Report]:
        """Nothing but numbers is to be told of accounts."""
        return {}

    @contextmanager
    def _login(self, method: str, *, decides: bool = True) -> Iterator[None]:
        """Count how a login, or a step of one that `decides` it only by failing, ends.

        Who tries is not told whether it was the name or the password that is wrong, which RethinkDB does.
        """
        try:
            yield
        except AuthenticationFailed as error:
            self._logins[method, _OUTCOMES.get(error.code, "malformed")] += 1
            if error.code == scram.Code.UNKNOWN_USER:
                raise scram.wrong_password() from None
            raise
        if decides:
            self._logins[method, "success"] += 1

    @measured
    async def scram_first(self, context: CallContext, client_first: str) -> ScramChallenge:
        """Begin a SCRAM-SHA-256 exchange."""
        with self._login("scram", decides=False):
            first = scram.read_client_first(client_first)
        account = self._accounts.get(first.user)
        credentials = self._credentials(first.user)
        server_nonce = secrets.token_bytes(scram.NONCE_BYTES)
        exchange = scram.begin(first, account is not None, credentials, server_nonce)
        return ScramChallenge(self._exchanges.remember(exchange), exchange.server_first)

    @measured
    async def scram_final(self, context: CallContext, exchange: str, client_final: str) -> ScramOutcome:
        """Check the proof."""
        begun = self._exchanges.take(exchange)
        if begun is None:
            self._logins["scram", "expired"] += 1
            raise AuthenticationFailed("The login took too long.", scram.Code.OTHER_ERROR)
        with self._login("scram"):
            server_final = scram.finish(begun, client_final)
        return ScramOutcome(server_final, begun.user, begun.credentials.is_empty)

    @measured
    async def password_login(self, context: CallContext, user: str, password: str) -> str:
        """The identity for a plain password."""
        with self._login("password"):
            name = scram.prepare_name(user)
            matches = await self._in_thread(lambda: self._credentials(name).matches_password(password))
            self._account(name)  # not earlier: an account that does not exist takes as long as one that does
            if not matches:
                raise scram.wrong_password()
        return name

    @measured
    async def permissions(self, context: CallContext, user: str) -> Permissions:
        """What `user` may do."""
        return self._account(user).permissions(self._version)

    @measured
    async def users(self, context: CallContext) -> list[User]:
        """All accounts, by name."""
        return [self._accounts[name].summary(self._version) for name in sorted(self._accounts)]

    @measured
    async def set_user(self, context: CallContext, name: str, password: Any) -> None:
        """Create an account, or change its password."""
        self._require(context.user, "users", "write")
        name = _prepared(name)
        async with self._changing:
            account = self._accounts.get(name)
            has_password = account is not None and not account.credentials.is_empty
            new = read_password(password, has_password)
            if new is None:
                return
            credentials = await self._hash(new)
            if account is None:
                await self._put(Account(name, credentials))
            else:
                await self._put(msgspec.structs.replace(account, credentials=credentials))

    @measured
    async def drop_user(self, context: CallContext, name: str) -> None:
        """Delete an account and what it may do."""
        self._require(context.user, "users", "write")
        name = _prepared(name)
        async with self._changing:
            if name == ADMIN:
                raise op_failed(f"The user `{name}` can't be deleted.")
            if name not in self._accounts:
                raise op_failed(f"User `{name}` not found.")
            await self._store.delete(name)
            del self._accounts[name]
            self._version += 1

    @measured
    async def grant(self, context: CallContext, user: str, scope: Scope, permissions: Any) -> Grant:
        """Change what `user` may do at a scope."""
        self._require(context.user, "permissions", "read")
        self._require(context.user, "permissions", "write")
        user = _prepared(user)
        async with self._changing:
            account = self._accounts.get(user)
            if account is None:
                raise op_failed(f"User `{user}` not found.")
            account, grant = account.granted(scope, permissions)
            await self._put(account)
            return grant

    async def _ensure_admin(self) -> None:
        """Make the account `admin` where there is none, and give it the password where it has none."""
        admin = self._accounts.get(ADMIN)
        if admin is None:
            await self._put(Account(ADMIN, await self._hash(NewPassword(self._admin_password))))
        elif self._admin_password and admin.credentials.is_empty:
            credentials = await self._hash(NewPassword(self._admin_password))
            await self._put(msgspec.structs.replace(admin, credentials=credentials))

    def _credentials(self, user: str) -> Credentials:
        """What to check a login with. For users that do not exist it is always the same for a name, also after a new
        start, as with those that do."""
        account = self._accounts.get(user)
        if account is not None:
            return account.credentials
        return Credentials.of_unknown_user(user, self._accounts[ADMIN].credentials.server_key)

    def _account(self, user: str) -> Account:
        account = self._accounts.get(user)
        if account is None:
            raise AuthenticationFailed("Unknown user", scram.Code.UNKNOWN_USER)
        return account

    def _require(self, user: str, table: str, permission: str) -> None:
        """Raise the error for a user who lacks a permission on a table of the system database."""
        account = self._accounts.get(user)
        if account is not None:
            permissions, uuid = account.permissions(self._version), system_table_uuid(table)
            if permission == "read" and permissions.may_read(SYSTEM_DATABASE_UUID, uuid):
                return
            if permission == "write" and permissions.may_write(SYSTEM_DATABASE_UUID, uuid):
                return
        raise ReqlError(ErrorKind.PERMISSION, f"User `{user}` does not have the required `{permission}` permission.")

    async def _put(self, account: Account) -> None:
        await self._store.put(account)
        self._accounts[account.name] = account
        self._version += 1

    async def _reload(self) -> None:
        accounts = await self._store.load()
        if accounts != self._accounts:
            self._accounts = accounts
            self._version += 1

    async def _follow(self) -> None:
        """Take over what others change in the table."""
        backoff = Backoff(FIRST_DELAY_MS, LONGEST_DELAY_MS)
        while True:
            try:
                await self._store.changed()
                async with self._changing:
                    await self._reload()
                backoff.reset()
            except Exception as error:
                logger.warning("changes of accounts cannot be followed", extra={"reason": str(error)})
                await asyncio.sleep(backoff.next_delay_ms() / 1000)

    async def _hash(self, new: NewPassword) -> Credentials:
        return await self._in_thread(lambda: Credentials.of(new.password, new.iterations or self._iterations))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        self._hashing_queue += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._hashing, work)
        finally:
            self._hashing_queue -= 1


def _prepared(name: str) -> str:
    """A user's name in its one spelling. Raises ReqlError when it cannot be a name."""
    try:
        return scram.prepare_name(name)
    except AuthenticationFailed as error:
        raise op_failed(f"{error.message}.") from None
