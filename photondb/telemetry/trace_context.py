"""W3C Trace Context: how a span is named to those who go on with its trace (https://www.w3.org/TR/trace-context/).

What is done for several traced queries at once (a batch that travels in one call, a commit) belongs to the trace of
each. Its context names one span in each of them: their `traceparent`s, joined by commas.
"""

from __future__ import annotations

import re
from typing import NamedTuple

TRACEPARENT = "traceparent"
"""The name of the header, of HTTP requests and of messages on the bus."""

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01


class SpanName(NamedTuple):
    """A span, as others refer to it: the ids of its trace (16 bytes) and of itself (8 bytes)."""

    trace_id: bytes
    span_id: bytes

    def traceparent(self) -> str:
        """The header that makes it the parent of what comes next."""
        return f"00-{self.trace_id.hex()}-{self.span_id.hex()}-01"


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
    return RemoteParent(SpanName(bytes.fromhex(trace_id), bytes.fromhex(span_id)), bool(int(flags, 16) & _SAMPLED))


def write_context(names: list[SpanName]) -> str:
    """The context that makes these spans the parents of what comes next."""
    return ",".join([name.traceparent() for name in names])


def read_context(context: str) -> list[SpanName]:
    """The spans that a context of ours names."""
    return [SpanName(bytes.fromhex(text[3:35]), bytes.fromhex(text[36:52])) for text in context.split(",")]
