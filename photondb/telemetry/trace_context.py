"""W3C Trace Context: how a span is named to those who go on with its trace (https://www.w3.org/TR/trace-context/).

What is done for several traced queries at once (a batch that travels in one call, a commit) belongs to the trace of
each. Its context names one span in each of them: on the bus their `traceparent`s, joined by commas.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from photondb.api.context import SpanName, SpanNames

TRACEPARENT = "traceparent"
"""The name of the header, of HTTP requests and of messages on the bus."""

TRACESTATE = "tracestate"
"""The header with what tracing systems of the client add, which is recorded as it is."""

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01

fromhex = bytes.fromhex


class RemoteParent(NamedTuple):
    """What a client says about its own span: its name, and whether its trace is recorded."""

    name: SpanName
    sampled: bool


def read_traceparent(text: str) -> RemoteParent | None:
    """What a client's `traceparent` says; None where it is not one, which the standard wants to be ignored."""
    found = _TRACEPARENT.fullmatch(text)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if not int(trace_id, 16) or not int(span_id, 16):
        return None
    return RemoteParent((fromhex(trace_id), fromhex(span_id)), bool(int(flags, 16) & _SAMPLED))


def write_traceparent(name: SpanName) -> str:
    """The `traceparent` that makes this span, which is recorded, the parent of what comes next."""
    trace_id, span_id = name
    return f"00-{trace_id.hex()}-{span_id.hex()}-01"


def write_traceparents(names: Sequence[SpanName]) -> str:
    """The `traceparent`s of several spans, joined by commas."""
    return ",".join(map(write_traceparent, names))


def read_traceparents(texts: Sequence[str]) -> SpanNames:
    """The spans that `traceparent`s of ours name."""
    return tuple([(fromhex(text[3:35]), fromhex(text[36:52])) for text in texts])
