"""W3C Trace Context: how a span is named to those who go on with its trace (https://www.w3.org/TR/trace-context/).

What is done for several traced queries at once (a batch that travels in one call, a commit) belongs to the trace of
each. Its context names one span in each of them: their `traceparent`s, joined by commas.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

TRACEPARENT = "traceparent"
"""The name of the header, of HTTP requests and of messages on the bus."""

TRACESTATE = "tracestate"
"""The header with what tracing systems of the client add, which is recorded as it is."""

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01

fromhex = bytes.fromhex


SpanName: TypeAlias = tuple[bytes, bytes]
"""A span, as others refer to it: the ids of its trace (16 bytes) and of itself (8 bytes). Without an id of its own it
stands for the parent of a trace's first span, which has none."""


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


def write_context(names: Sequence[SpanName]) -> str:
    """The context that makes these spans the parents of what comes next."""
    return ",".join([f"00-{trace_id.hex()}-{span_id.hex()}-01" for trace_id, span_id in names])


def read_context(context: str) -> list[SpanName]:
    """The spans that a context of ours names."""
    if len(context) == 55:
        return [(fromhex(context[3:35]), fromhex(context[36:52]))]
    return [(fromhex(text[3:35]), fromhex(text[36:52])) for text in context.split(",")]
