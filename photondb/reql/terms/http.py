"""`r.http`: what a server elsewhere answers, or a stream of its pages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx

from photondb.datum.merge import merge
from photondb.datum.text import exact_number_text, print_compact, print_datum
from photondb.datum.types import type_name
from photondb.outbound import Answer, HttpError, Request, perform
from photondb.reql.effects import Effects
from photondb.reql.errors import ReqlError, logic_error, non_existence_error
from photondb.reql.function import Func
from photondb.reql.http_answers import BadAnswer, datum_of, headers_object, text_of
from photondb.reql.parameters import Datum, Number, Runtime, Value
from photondb.reql.registry import term
from photondb.reql.sources import ComputedSource
from photondb.reql.stream import Stream
from photondb.reql.suspend import wait
from photondb.reql.values import as_datum, value_type, wrong_datum, wrong_type
from photondb.reql.wire import Term

MAX_TIMEOUT_MS = 30 * 24 * 3600 * 1000
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_FORMATS = ("auto", "json", "jsonp", "text", "binary")
_FORM = "application/x-www-form-urlencoded"
_ABSENT = object()

_LINK: list[Any] = [int(Term.VAR), [1]]
for _field in ("header", "link", 'rel="next"'):
    _LINK = [int(Term.BRACKET), [_LINK, _field]]
_LINK_NEXT = [int(Term.FUNC), [[int(Term.MAKE_ARRAY), [1]], [int(Term.DEFAULT), [_LINK, None]]]]
"""The function that finds the next page in the headers: `info["header"]["link"]['rel="next"'].default(null)`."""


@term(Term.HTTP, effects=Effects.NONDETERMINISTIC)
def http(
    runtime: Runtime,
    url: str,
    *,
    method: str = "GET",
    auth: Datum = _ABSENT,
    params: Datum = _ABSENT,
    header: Datum = _ABSENT,
    data: Datum = _ABSENT,
    timeout: Number = 30,
    attempts: int = 5,
    redirects: int = 1,
    verify: bool = True,
    page: Value = None,
    page_limit: int | None = None,
    result_format: str = "auto",
) -> Any:
    """What a server answers to a request: JSON as values, text as a string, sound and pictures as a binary, or as
    `result_format` says. With `page`, the way from one page to the next, a stream of the pages' elements."""
    runtime.require("connect")
    if method not in _METHODS:
        raise logic_error(
            f"`method` ({method}) is not recognized (GET, HEAD, POST, PUT, PATCH and DELETE are allowed)."
        ).blame("method")
    if result_format not in _FORMATS:
        raise logic_error(
            f"`result_format` ({result_format}) is not recognized, ('auto', 'json', 'jsonp', 'text', and 'binary' are "
            "allowed)."
        ).blame("result_format")
    if timeout < 0:
        raise logic_error("`timeout` may not be negative.").blame("timeout")
    headers = [] if header is _ABSENT else _headers(header)
    body, content_type = (None, "") if data is _ABSENT else _body(method, data)
    if content_type and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", content_type))
    request = Request(
        url=url,
        method=method,  # type: ignore[arg-type]  # one of _METHODS
        headers=headers,
        body=body,
        auth=None if auth is _ABSENT else _authentication(auth),
        timeout_ms=int(min(timeout * 1000, MAX_TIMEOUT_MS)),
        attempts=_count(attempts, "attempts"),
        redirects=_count(redirects, "redirects"),
        verify=verify,
    )
    exchange = _Exchange(runtime, request, result_format)
    parameters = {} if params is _ABSENT else _checked_params(params)
    next_page = _page_function(page)
    if next_page is None:
        return exchange.run(url, parameters)[1]
    if page_limit is None:
        raise logic_error(
            "Cannot use `page` without specifying `page_limit` (a positive number performs that many requests, "
            "-1 is unlimited)."
        ).blame("page")
    if page_limit < -1:
        raise logic_error("`page_limit` should be greater than or equal to -1.").blame("page_limit")
    return Stream(ComputedSource(lambda _: exchange.pages(url, parameters, next_page, page_limit)))


class _Exchange:
    """A request, made with one URL and set of parameters or with several after each other."""

    def __init__(self, runtime: Runtime, request: Request, result_format: str) -> None:
        self.runtime = runtime
        self.request = request
        self.result_format = result_format

    def run(self, url: str, params: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        """Make the request: the headers and the value of the answer."""
        self.request.url = _full_url(url, params)
        answer: Answer | None = None
        try:
            answer = wait(asyncio.ensure_future(perform(self.request)))
            headers = headers_object(answer)
            if self.request.method == "HEAD":
                return headers, None
            return headers, datum_of(answer, self.result_format, self.runtime.array_limit)
        except HttpError as error:
            body = None if error.answer is None else text_of(error.answer)
            raise self._failed(url, error.message, error.answer, body) from None
        except BadAnswer as error:
            raise self._failed(url, error.message, answer, error.body) from None

    def pages(self, first: str, params: dict[str, Any], next_page: Func, limit: int) -> Iterator[list[Any]]:
        """The elements of each page from the first one on; at most `limit` pages, if it is not -1."""
        url: str | None = first
        count = 0
        self.request.cookies = httpx.Cookies()
        while url is not None and count != limit:
            headers, body = self.run(url, params)
            yield body if type(body) is list else [body]
            count += 1
            if count != limit:
                url, params = self._after(url, {"params": params, "header": headers, "body": body}, next_page)

    def _after(self, url: str, info: dict[str, Any], next_page: Func) -> tuple[str | None, dict[str, Any]]:
        """The URL (None after the last page) and the parameters of the page after the one at `url`."""
        try:
            found = next_page.call(info)
            if found is None or type(found) is str:
                return found, info["params"]
            if type(found) is not dict:
                raise logic_error(f"Expected `page` to return an OBJECT, but found {type_name(found)}.")
            if "url" not in found and "params" not in found:
                raise logic_error("OBJECT returned by `page` must contain `url` and/or `params` fields.")
            params = info["params"]
            if "params" in found:
                params = merge(params, _checked_params(found["params"]))
            following = found.get("url", url)
            if following is not None and type(following) is not str:
                raise logic_error(
                    "Expected `url` in OBJECT returned by `page` to be a STRING or NULL, but found "
                    f"{type_name(following)}."
                )
            return following, params
        except ReqlError as error:
            message = (
                f"{self._failure(url, error.message)}\nError occurred during `page` called with:\n{print_datum(info)}\n"
            )
            raise ReqlError(error.kind, message, error.frames) from None

    def _failure(self, url: str, reason: str) -> str:
        return f"Error in HTTP {self.request.method} of `{url}`: {reason}."

    def _failed(self, url: str, reason: str, answer: Answer | None, body: str | None) -> ReqlError:
        """The error of a request that failed, with what came back: it counts as missing, so that `default` helps."""
        message = self._failure(url, reason)
        if answer is not None:
            headers = {name: value for name, value in answer.headers if name != "link"}
            message += f"\nheader:\n{print_datum(headers)}"
        if body:
            message += f"\nbody:\n{print_datum(body)}"
        return non_existence_error(message)


def _page_function(page: Any) -> Func | None:
    """The function that gives the next page's URL; None for a single page."""
    if type(page) is Func:
        return page
    if value_type(page) not in ("DATUM", "SINGLE_SELECTION"):
        raise wrong_type("FUNCTION", page).blame("page")
    name = as_datum(page)
    if name is None:
        return None
    if type(name) is not str:
        raise wrong_datum("STRING", name).blame("page")
    if name != "link-next":
        raise logic_error(f"`page` method '{name}' not recognized, only 'link-next' is available.").blame("page")
    return Func.from_wire(_LINK_NEXT)


def _full_url(url: str, params: dict[str, Any]) -> str:
    """The URL with a scheme and the parameters behind those that it has."""
    if "://" not in url:
        url = f"http://{url}"
    if not params:
        return url
    query = "&".join(f"{quote(name, safe='')}={quote(_text(params[name]), safe='')}" for name in sorted(params))
    base, mark, fragment = url.partition("#")
    if "?" in base:
        joint = "" if base.endswith(("?", "&")) else "&"
    else:
        joint = "?" if "/" in base.partition("://")[2] else "/?"
    return f"{base}{joint}{query}{mark}{fragment}"


def _text(value: Any) -> str:
    """A parameter as text: nothing for null."""
    if value is None:
        return ""
    return value if type(value) is str else exact_number_text(value)


def _checked_params(params: Any) -> dict[str, Any]:
    if type(params) is not dict:
        raise logic_error(
            f"Expected `params` to be an OBJECT, but found {type_name(params)}:\n{print_datum(params)}"
        ).blame("params")
    for name in sorted(params):
        value = params[name]
        if type_name(value) not in ("NUMBER", "STRING", "NULL"):
            raise logic_error(
                f"Expected `params.{name}` to be a NUMBER, STRING or NULL, but found {type_name(value)}:\n"
                f"{print_datum(value)}"
            ).blame("params")
    return params


def _body(method: str, data: Any) -> tuple[bytes, str]:
    """The body of a request and its type."""
    if method in ("GET", "HEAD"):
        raise logic_error(
            "`data` should only be specified on a PUT, POST, PATCH, or DELETE request.  If you want URL parameters, "
            "use `params` instead."
        )
    if type(data) is str:
        return data.encode(), _FORM if method == "POST" else ""
    if method != "POST":
        return print_compact(data).encode(), "application/json"
    if type_name(data) != "OBJECT":
        raise logic_error(f"Expected `data` to be a STRING or OBJECT, but found {type_name(data)}.").blame("data")
    pairs = []
    for name in sorted(data):
        if type_name(data[name]) not in ("NUMBER", "STRING", "NULL"):
            raise logic_error(
                f"Expected `data.{name}` to be a NUMBER, STRING or NULL, but found {type_name(data[name])}."
            ).blame("data")
        pairs.append(f"{quote(name, safe='')}={quote(_text(data[name]), safe='')}")
    return "&".join(pairs).encode(), _FORM


def _headers(header: Any) -> list[tuple[str, str]]:
    """Header lines as names and values."""
    if type(header) is list:
        for position, line in enumerate(header):
            if type(line) is not str:
                raise logic_error(f"Expected `header[{position}]` to be a STRING, but found {type_name(line)}.").blame(
                    "header"
                )
        lines = [line.partition(":")[::2] for line in header]
    elif type_name(header) == "OBJECT":
        for name in sorted(header):
            if header[name] is not None and type(header[name]) is not str:
                raise logic_error(
                    f"Expected `header.{name}` to be a STRING or NULL, but found {type_name(header[name])}."
                ).blame("header")
        lines = [(name, value) for name, value in sorted(header.items()) if value is not None]
    else:
        raise logic_error(f"Expected `header` to be an ARRAY or OBJECT, but found {type_name(header)}.").blame("header")
    if any("\r" in part or "\n" in part for line in lines for part in line):
        raise logic_error("A `header` item contains newline characters.").blame("header")
    return [(name.strip(), value.strip()) for name, value in lines if name.strip()]


def _authentication(auth: Any) -> httpx.Auth:
    if type_name(auth) != "OBJECT":
        raise logic_error(f"Expected `auth` to be an OBJECT, but found {type_name(auth)}.").blame("auth")
    parts = {"type": "basic", **auth}
    for name in ("type", "user", "pass"):
        if name not in parts:
            raise logic_error(f"`auth.{name}` not found in the auth object.").blame("auth")
        if type(parts[name]) is not str:
            raise logic_error(f"Expected `auth.{name}` to be a STRING, but found {type_name(parts[name])}.").blame(
                "auth"
            )
    if parts["type"] == "basic":
        return httpx.BasicAuth(parts["user"], parts["pass"])
    if parts["type"] == "digest":
        return httpx.DigestAuth(parts["user"], parts["pass"])
    raise logic_error("`auth.type` is not recognized ('basic', and 'digest' are allowed).").blame("auth")


def _count(number: int, option: str) -> int:
    if not 0 <= number < 2**32:
        raise logic_error(f"Integer too large: {number}").blame(option)
    return number
