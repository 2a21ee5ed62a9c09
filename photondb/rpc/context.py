"""The context of a call: how it crosses the wire."""

from __future__ import annotations

import time
from typing import Any

from photondb.api.context import INTERNAL, CallContext
from photondb.telemetry.trace_context import read_traceparents, write_traceparent

_MAX_DEADLINE_MS = 2**32 - 1


def write_context(builder: Any, context: CallContext, deadline_ms: int | None) -> None:
    """Fill in a `Context` of common.capnp. `deadline_ms` is what remains; it is not 0."""
    if context is INTERNAL:
        builder.user = INTERNAL.user
        builder.plain = True
        return
    if context.spans:
        builder.traceparent, *others = map(write_traceparent, context.spans)
        if others:
            builder.traceparents = others
    if deadline_ms is not None:
        builder.deadlineMs = min(deadline_ms, _MAX_DEADLINE_MS)
    if context.request_id:
        builder.requestId = context.request_id
    builder.user = context.user
    if context.transaction:
        builder.transaction = context.transaction
    if context.as_of_us is not None:
        builder.asOfUs = context.as_of_us
    if context.atomic:
        builder.atomic = True
    if not context.optimizations:
        builder.optimizations = False


def read_context(reader: Any) -> CallContext:
    """What a `Context` of common.capnp holds, with the deadline by this machine's clock."""
    get = reader._get  # as an attribute, a field costs twice as much: pycapnp looks for a real one first
    if get("plain"):
        user = get("user")
        return INTERNAL if user == INTERNAL.user else CallContext(user=user)
    deadline_ms = get("deadlineMs")
    traceparent = get("traceparent")
    as_of_us = get("asOfUs")
    return CallContext(
        spans=read_traceparents([traceparent, *get("traceparents")]) if traceparent else (),
        deadline=time.monotonic() + deadline_ms / 1000 if deadline_ms else None,
        request_id=get("requestId"),
        user=get("user"),
        transaction=get("transaction"),
        as_of_us=None if as_of_us < 0 else as_of_us,
        atomic=get("atomic"),
        optimizations=get("optimizations"),
    )
