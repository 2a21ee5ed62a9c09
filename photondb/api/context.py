"""What accompanies every call between services, and which call the running code belongs to."""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import TypeAlias

import msgspec

SpanName: TypeAlias = tuple[bytes, bytes]
"""A span of a trace, as others refer to it: the ids of its trace (16 bytes) and of itself (8 bytes). Without an id of
its own it stands for the parent of a trace's first span, which has none."""

SpanNames: TypeAlias = tuple[SpanName, ...]
"""One span in each of several traces, or none at all."""


class CallContext(msgspec.Struct, frozen=True, gc=False):
    """Who asks, until when, and under which trace.

    `spans` are those that the call is a part of: none when it is not traced, and one for each query when it is made for
    several traced queries at once.
    `deadline` is a reading of `time.monotonic()` in seconds; it crosses the wire as the milliseconds that remain,
    because clocks of two machines differ. `user` is the identity that `auth` vouched for. `transaction` is the id of
    the transaction that reads and writes of documents belong to; `as_of_us` the point in the past (microseconds since
    1970) that reads are to see; `atomic` says that a query is to be a transaction of its own. Without
    `optimizations` everything is done the plainest way that there is, for comparison: no fast paths, no push-down, no
    caches, no choice of an index that the query does not name.
    """

    spans: SpanNames = ()
    deadline: float | None = None
    request_id: str = ""
    user: str = "admin"
    transaction: str = ""
    as_of_us: int | None = None
    atomic: bool = False
    optimizations: bool = True

    def remaining_ms(self) -> int | None:
        """Milliseconds until the deadline (0 when it has passed), or None without one."""
        if self.deadline is None:
            return None
        return max(0, int((self.deadline - time.monotonic()) * 1000))

    def traced(self, spans: SpanNames) -> CallContext:
        """This context with other spans as the parents of what is done."""
        return msgspec.structs.replace(self, spans=spans)


INTERNAL = CallContext()
"""The context of work that a service does on its own account."""

CURRENT: ContextVar[CallContext] = ContextVar("photondb.context", default=INTERNAL)
"""The context of the call from another process that the running task carries out; INTERNAL outside of any call.

It is set anew at the start of every call, because the task of a call inherits the context variables of whatever
happened to run when its message arrived.
"""
