"""What an HTTP answer is as a value."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import re2

from photondb.datum.binary import make_binary
from photondb.datum.errors import DatumError
from photondb.outbound import Answer
from photondb.reql.terms.json import NotJson, read_json

_JSONP_TYPES = ("text/javascript", "application/json-p", "text/json-p")
_BINARY_TYPES = ("audio/", "image/", "video/", "application/octet-stream")

_IDENTIFIER = r"\s*[$_\p{L}\p{Nl}][$_\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}]*\s*"
_PADDED = re2.compile(rf"(?s){_IDENTIFIER}(?:\.{_IDENTIFIER}|\[\s*['\"].*['\"]\s*\]\s*)?\((.*)\)\s*;?\s*")
"""JSON with padding, as json-p.org describes it: the call of a function, of a method, or of a member in brackets."""


class BadAnswer(Exception):
    """An answer that is no value in the format that was asked for. `body` is its text, where that should be shown."""

    def __init__(self, message: str, body: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.body = body


def headers_object(answer: Answer) -> dict[str, Any]:
    """The headers by name; `link` taken apart into URLs by their parameters, such as `rel="next"`."""
    headers: dict[str, Any] = {}
    links: dict[str, str] = {}
    for name, value in answer.headers:
        if name == "link":
            links.update(_links(value))
        else:
            headers[name] = value
    if links:
        headers["link"] = links
    return headers


def _links(line: str) -> dict[str, str]:
    """The URLs of `<URL>; parameters, <URL>; ...`, in time linear in the line, which a server has made up."""
    links = {}
    at = 0
    while at < len(line):
        begin = line.find("<", at)
        end = line.find(">", begin)
        if begin < 0 or end < 0 or line[at:begin].strip():
            raise BadAnswer(f"failed to parse link header line: '{line}'")
        comma = line.find(",", end)
        stop = len(line) if comma < 0 else comma
        rest = line[end + 1 : stop].strip()
        name = rest[1:].strip()
        if rest and not (rest[0] == ";" and name):
            raise BadAnswer(f"failed to parse link header line: '{line}'")
        links[name] = line[begin + 1 : end]
        at = stop + 1
    return links


def text_of(answer: Answer) -> str:
    """The body as text, in the character set that the answer names."""
    try:
        return answer.body.decode(answer.charset or "utf-8", "replace")
    except LookupError:
        return answer.body.decode("utf-8", "replace")


def datum_of(answer: Answer, result_format: str, array_limit: int) -> Any:
    """The body as a value: `auto` looks at its type. Raises BadAnswer."""
    if result_format == "auto":
        return _automatic(answer, array_limit)
    if result_format == "binary":
        return make_binary(answer.body)
    text = text_of(answer)
    if result_format == "json":
        return _json(text, text, array_limit)
    if result_format == "jsonp":
        return _jsonp(text, array_limit)
    return text


def _automatic(answer: Answer, array_limit: int) -> Any:
    content_type = next((value.lower() for name, value in answer.headers if name == "content-type"), "")
    text = text_of(answer)
    if content_type.startswith(_JSONP_TYPES):
        with suppress(BadAnswer):
            return _json(text, text, array_limit)
        with suppress(BadAnswer):
            return _jsonp(text, array_limit)
        return text
    if content_type.startswith("application/json"):
        return _json(text, text, array_limit)
    if content_type.startswith(_BINARY_TYPES):
        return make_binary(answer.body)
    return text


def _json(text: str, body: str, array_limit: int) -> Any:
    try:
        return read_json(text, array_limit)
    except NotJson as error:
        raise BadAnswer(f"failed to parse JSON response: {error.flaw}", body) from None
    except DatumError as error:
        raise BadAnswer(f"encountered an exception - {error.message}", body) from None


def _jsonp(text: str, array_limit: int) -> Any:
    padded = _PADDED.fullmatch(text)
    if padded is None:
        raise BadAnswer("failed to parse JSONP response", text)
    return _json(padded.group(1), text, array_limit)
