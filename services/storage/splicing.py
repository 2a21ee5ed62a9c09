"""Sets fields of a document in its JSON, without decoding it."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from photondb.datum.json import dumps

_SIMPLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_QUOTE, _ARRAY, _BACKSLASH = b'"[\\'


def with_fields(document: bytes, fields: Mapping[str, Any]) -> bytes | None:
    """The JSON of a stored document with `fields`, whose values are no objects or arrays, in the place of those that it
    has, and behind the others where it lacks them. None where the document has to be decoded for that: when there may
    be objects within it, or what is to be replaced is an array or has escapes in it.

    A quote behind a comma or the first brace begins or ends a string, and a simple name cannot follow the end of one:
    so where a pattern is found, there is a field of that name, and without inner objects it is the document's.
    """
    if document.rfind(b"{"):
        return None
    for name, value in fields.items():
        pattern = _pattern(name)
        if pattern is None:
            return None
        start = document.find(pattern)
        if start >= 0:
            start += len(pattern)
        elif document.startswith(pattern[1:], 1):
            start = len(pattern)
        else:
            document = b"%b%b%b}" % (document[:-1], pattern, dumps(value))
            continue
        first = document[start]
        if first == _QUOTE:
            end = document.find(b'"', start + 1)
            if document[end - 1] == _BACKSLASH:
                return None
            end += 1
        elif first == _ARRAY:
            return None
        else:
            end = document.find(b",", start)
            if end < 0:
                end = len(document) - 1
        document = b"%b%b%b" % (document[:start], dumps(value), document[end:])
    return document


@functools.lru_cache(maxsize=1024)
def _pattern(name: str) -> bytes | None:
    """What a field of that name looks like behind another one, if that is simple to say."""
    return b',"%b":' % name.encode() if _SIMPLE_NAME.fullmatch(name) else None
