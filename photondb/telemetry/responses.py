"""What a response to a client says about the query, for spans and logs: its kind of error, if it is one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from photondb.reql.errors import ErrorKind

_WITHOUT_KIND = {b'{"t":16': "CLIENT_ERROR", b'{"t":17': "COMPILE_ERROR"}
_COMPLETE = (b'{"t":1,', b'{"t":2,')  # an atom, the rest of a sequence
_RUNTIME_ERROR = b'{"t":18'
_KIND = re.compile(rb'"e":(\d+)')  # within a message it would be \"e\"
_NAMES = {int(kind): kind.name for kind in ErrorKind}


def are_complete(payloads: Iterable[bytes]) -> bool:
    """Whether all of these responses are whole answers to queries, as they mostly are: no errors, no first batches."""
    return all(payload.startswith(_COMPLETE) for payload in payloads)


def error_of(payload: bytes) -> str:
    """The kind of error that a response tells, such as NON_EXISTENCE; empty when it is none."""
    start = payload[:7]
    if start != _RUNTIME_ERROR:
        return _WITHOUT_KIND.get(start, "")
    found = _KIND.search(payload)
    return "RUNTIME_ERROR" if found is None else _NAMES.get(int(found[1]), "RUNTIME_ERROR")
