"""One HTTP request with its attempts, redirects, limits and time."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import httpx

from photondb.outbound.addresses import ALLOW_PRIVATE_VARIABLE, Forbidden, Unresolvable
from photondb.outbound.bodies import ACCEPTED, TooLong
from photondb.outbound.transport import CheckedTransport

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

RETRY_PAUSE_SECONDS = 0.02
USER_AGENT = "PhotonDB"

_TEMPORARY = frozenset({408, 500, 502, 503, 504})
"""Status codes after which another attempt may succeed."""


class HttpError(Exception):
    """A request that failed; `answer` is what came back, if anything did."""

    def __init__(self, message: str, answer: Answer | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.answer = answer


@dataclass
class Request:
    """What is asked for. `cookies` is a jar that grows from answer to answer."""

    url: str
    method: Method = "GET"
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    auth: httpx.Auth | None = None
    timeout_ms: int = 30_000
    attempts: int = 5
    redirects: int = 1
    verify: bool = True
    cookies: httpx.Cookies = field(default_factory=httpx.Cookies)


@dataclass
class Answer:
    """What came back. Names of headers are in lower case; of several that have one name the last counts."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    charset: str | None


async def perform(request: Request) -> Answer:
    """Make a request, following redirects, and again when it fails for a reason that may pass. Raises HttpError."""
    if request.attempts <= 0:
        raise HttpError("could not perform, no attempts allowed")
    try:
        async with asyncio.timeout(request.timeout_ms / 1000):
            return await _attempts(request)
    except TimeoutError:
        raise HttpError(f"timed out after {request.timeout_ms / 1000:.3f} seconds") from None


async def _attempts(request: Request) -> Answer:
    async with httpx.AsyncClient(
        transport=CheckedTransport(request.verify),
        auth=request.auth,
        cookies=request.cookies,
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": ACCEPTED},
        follow_redirects=request.redirects > 0,
        max_redirects=request.redirects,
        timeout=None,  # the whole request has one
        trust_env=False,
    ) as client:
        for attempt in range(1, request.attempts + 1):
            try:
                answer = await _attempt(client, request)
                if answer.status not in _TEMPORARY or attempt == request.attempts:
                    break
            except (httpx.ConnectError, httpx.ReadError, httpx.WriteError) as error:
                if attempt == request.attempts or _certificate_refused(error):
                    raise HttpError(_reason(error)) from None
            except (httpx.HTTPError, httpx.InvalidURL, Forbidden, Unresolvable, TooLong) as error:
                raise HttpError(_reason(error)) from None
            await asyncio.sleep(RETRY_PAUSE_SECONDS)
        request.cookies = client.cookies
    if not 200 <= answer.status < 300:
        raise HttpError(f"status code {answer.status}", answer)
    return answer


async def _attempt(client: httpx.AsyncClient, request: Request) -> Answer:
    headers = [(name.encode(), value.encode()) for name, value in request.headers]
    made = client.build_request(request.method, request.url, content=request.body, headers=headers)
    response = await client.send(made, stream=True)
    try:
        body = await response.aread()
    finally:
        await response.aclose()
    names = [(name.lower(), value) for name, value in response.headers.multi_items()]
    return Answer(response.status_code, names, body, response.charset_encoding)


def _reason(error: Exception) -> str:
    """Why a request failed, in the words of RethinkDB and of curl, which it uses."""
    if isinstance(error, Forbidden):
        return (
            f"queries may not reach the address {error}, which is not public (the setting {ALLOW_PRIVATE_VARIABLE}=1 "
            "allows it)"
        )
    if isinstance(error, TooLong):
        return str(error)
    if isinstance(error, Unresolvable):
        return "Couldn't resolve host name"
    if isinstance(error, httpx.ConnectError) and _certificate_refused(error):
        return "SSL peer certificate or SSH remote key was not OK"
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), f"{type(error).__name__}: {error}")


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (httpx.ConnectError, "could not connect to server"),
    (httpx.WriteError, "error when sending data"),
    (httpx.ReadError, "error when receiving data"),
    (httpx.TooManyRedirects, "Number of redirects hit maximum amount"),
    (httpx.UnsupportedProtocol, "Unsupported protocol"),
    (httpx.InvalidURL, "URL using bad/illegal format or missing URL"),
    (httpx.RemoteProtocolError, "the server did not answer in HTTP"),
    (httpx.DecodingError, "the response could not be decompressed"),
)


def _certificate_refused(error: BaseException) -> bool:
    reason: BaseException | None = error
    while reason is not None:
        if isinstance(reason, ssl.SSLError):
            return True
        reason = reason.__cause__ or reason.__context__
    return False
