"""Strings: regular expressions, splitting, case, templates."""

from __future__ import annotations

import functools
import re
import string
import unicodedata
from typing import Any

import re2

from photondb.datum.text import print_datum
from photondb.reql.errors import logic_error, non_existence_error
from photondb.reql.parameters import Datum, Runtime
from photondb.reql.registry import term
from photondb.reql.terms.types import to_string
from photondb.reql.values import check_array_size, check_string_size, take_turns, wrong_datum
from photondb.reql.wire import Term

PATTERN_CACHE_SIZE = 1000
PATTERN_MEMORY_BYTES = 8 * 2**20
"""What RE2 may take for one pattern's automaton; a pattern that needs more is refused when it is compiled."""

_SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""The characters that Unicode calls white space. Python's own list has four more."""
_SPACE = re.compile(f"[{_SPACES}]+")
_LEADING_SPACE = re.compile(f"^[{_SPACES}]+")
_UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


@term(Term.MATCH)
def match(runtime: Runtime, text: str, pattern: str) -> dict[str, Any] | None:
    """The first match of a regular expression in RE2's syntax, with its groups; null when there is none. Positions
    count bytes of UTF-8."""
    take_turns(runtime, len(text))
    raw = text.encode()
    found = _compiled(pattern).search(raw)
    if found is None:
        return None
    groups = [_group(found, number) for number in range(1, found.re.groups + 1)]
    return {**_group(found, 0), "groups": groups}  # type: ignore[dict-item]  # the whole match is never absent


def _group(found: Any, number: int) -> dict[str, Any] | None:
    start, end = found.span(number)
    if start < 0:
        return None
    return {"str": found.string[start:end].decode("utf-8", "replace"), "start": start, "end": end}


@functools.lru_cache(maxsize=PATTERN_CACHE_SIZE)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = PATTERN_MEMORY_BYTES
    try:
        return re2.compile(pattern.encode(), options)
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace")
        portion = reason.partition(": ")[2]
        raise logic_error(f"Error in regexp `{pattern}` (portion `{portion}`): {reason}") from None


@term(Term.SPLIT)
def split(runtime: Runtime, text: str, separator: Datum = None, limit: int = -1) -> list[str]:
    """The parts of a string between separators, or between white space without one, or its characters when the
    separator is empty. After `limit` separators the rest stays in one part."""
    highest = runtime.array_limit - 1
    if not -1 <= limit <= highest:
        raise logic_error(f"Error: `split` size argument must be in range [-1, {highest}].")
    if limit < 0:
        limit = runtime.array_limit  # of more parts there is an error anyway, so that they need not be made
    take_turns(runtime, len(text))
    if separator is None:
        parts = _words(text, limit)
    elif type(separator) is not str:
        raise wrong_datum("STRING", separator).blame(1)
    elif separator:
        parts = text.split(separator, limit)
    else:
        parts = _characters(text, limit)
    check_array_size(len(parts), runtime.array_limit)
    return parts


def _words(text: str, limit: int) -> list[str]:
    text = _LEADING_SPACE.sub("", text)
    parts = [text] if limit == 0 else _SPACE.split(text, limit)
    if not parts[-1]:
        parts.pop()
    return parts


def _characters(text: str, limit: int) -> list[str]:
    """Characters with the marks that combine with them."""
    if len(text) <= limit and text.isascii():
        return list(text)
    parts: list[str] = []
    start = 0
    while start < len(text) and len(parts) != limit:
        end = start + 1
        while end < len(text) and unicodedata.category(text[end])[0] == "M":
            end += 1
        parts.append(text[start:end])
        start = end
    if start < len(text):
        parts.append(text[start:])
    return parts


@term(Term.UPCASE)
def upcase(runtime: Runtime, text: str) -> str:
    """The string with a to z in upper case; other letters stay, as in RethinkDB."""
    take_turns(runtime, len(text))
    return text.upper() if text.isascii() else text.translate(_UPPER)


@term(Term.DOWNCASE)
def downcase(runtime: Runtime, text: str) -> str:
    """The string with A to Z in lower case; other letters stay, as in RethinkDB."""
    take_turns(runtime, len(text))
    return text.lower() if text.isascii() else text.translate(_LOWER)


@term(Term.FORMAT)
def format_(runtime: Runtime, template: str, values: Datum) -> str:
    """The template with every `{name}` replaced by the field of that name, as a string."""
    parts = []
    at = size = 0
    while True:
        brace = _BRACE.search(template, at)
        if brace is None:
            parts.append(template[at:])
            take_turns(runtime, size)
            return "".join(parts)
        if brace.group() == "}":
            raise logic_error("No parameter tags to close")
        parts.append(template[at : brace.start()])
        name, at = _parameter(template, brace.end())
        parts.append(_text(values, name))
        size += len(parts[-1])
        check_string_size(size)


_BRACE = re.compile("[{}]")
_END_OF_NAME = re.compile(r"[{},\\]")


def _parameter(template: str, start: int) -> tuple[str, int]:
    """The name that begins at `start`, and where the template goes on behind it."""
    end = _END_OF_NAME.search(template, start)
    if end is None:
        raise logic_error("Parameter tag must be closed")
    if end.group() == "{":
        raise logic_error("Nested template parameters are not allowed")
    if end.group() == ",":
        raise logic_error("Formatting separator `,` is not allowed in parameter name")
    if end.group() == "\\":
        raise logic_error("Reserved escape character `\\` is not allowed in parameter name")
    return template[start : end.start()], end.end()


def _text(values: Any, name: str) -> str:
    if type(values) is not dict:
        raise wrong_datum("OBJECT", values)
    if name not in values:
        raise non_existence_error(f"No attribute `{name}` in object:\n{print_datum(values)}")
    return to_string(values[name])
