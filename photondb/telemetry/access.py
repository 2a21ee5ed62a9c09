"""Who may see what over HTTP: basic authentication against the service accounts."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from photondb.api.auth import ADMIN, AuthApi, AuthenticationFailed
from photondb.api.context import CallContext
from photondb.peers import is_on_this_machine
from photondb.reql.errors import ReqlError

LOGIN_TIMEOUT_S = 5.0

Endpoint = Callable[[Request], Awaitable[Response]]

AuthSource = Callable[[], AuthApi | None]
"""The auth service, as soon as there is one."""


def for_admin(auth: AuthSource, endpoint: Endpoint) -> Endpoint:
    """The endpoint, for requests with the password of `admin` only."""

    async def guarded(request: Request) -> Response:
        if await _user(request, auth) != ADMIN:
            raise HTTPException(403, "Only the account `admin` may see this.")
        return await endpoint(request)

    return guarded


def for_users_and_loopback(auth: AuthSource, endpoint: Endpoint) -> Endpoint:
    """The endpoint, for requests from this machine, and for all with the password of any account."""

    async def guarded(request: Request) -> Response:
        if not _is_from_loopback(request):
            await _user(request, auth)
        return await endpoint(request)

    return guarded


def _is_from_loopback(request: Request) -> bool:
    return request.client is not None and is_on_this_machine(request.client.host)


async def _user(request: Request, auth: AuthSource) -> str:
    """Who sends the request. Raises HTTPException when that is not proved."""
    service = auth()
    if service is None:
        raise HTTPException(503, "The auth service is not there yet.")
    given = _credentials(request)
    if given is None:
        raise _unauthorized("Log in with the name and password of an account.")
    if not given[1] and not _is_from_loopback(request):
        raise _unauthorized("Accounts without a password can be used from this machine only.")
    context = CallContext(deadline=time.monotonic() + LOGIN_TIMEOUT_S)
    try:
        return await service.password_login(context, *given)
    except AuthenticationFailed as error:
        raise _unauthorized(f"{error.message}.") from None
    except ReqlError as error:
        raise HTTPException(503, f"The login cannot be checked: {error.message}") from None


def _unauthorized(detail: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": 'Basic realm="PhotonDB", charset="UTF-8"'})


def _credentials(request: Request) -> tuple[str, str] | None:
    """The name and password of the header, if it has any (RFC 7617)."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None
