"""Spans: what was done, from when to when, for which traces; encoded for OTLP when they end.

The SDK's own spans cost 40 us of CPU from their start to the exporter's message, six times as much as a whole point
read. Here the parts that never change are encoded once per kind of operation, and what many queries have in common once
for all of them; the queue to the exporter holds nothing but bytes of its messages.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from enum import IntEnum
from random import randbytes
from time import time_ns
from types import TracebackType
from typing import Protocol

from photondb.api.context import CallContext, SpanName, SpanNames
from photondb.reql.errors import ClientError, CompileError, ReqlError
from photondb.telemetry.span_encoding import (
    Attribute,
    encode_attributes,
    encode_failure,
    encode_links,
    encode_name,
    encode_spans,
    encode_times,
    encode_trace_state,
)


class SpanKind(IntEnum):
    """OTLP's `SpanKind`."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class Operation:
    """What spans of one kind have in common: the service that does it, their name, kind and constant attributes."""

    __slots__ = ("_description", "_encoded", "name", "scope")

    def __init__(
        self,
        scope: str,
        name: str,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> None:
        self.scope = scope
        self.name = name
        self._encoded = b"\x30%c" % kind + encode_attributes(attributes or {})
        self._description = self._encoded + encode_name(name)

    def described(self, name: str = "", attributes: bytes = b"") -> bytes:
        """What is known of such a span before it begins, encoded. `name` is what it is called instead, `attributes`
        are those that it has besides."""
        if not name:
            return attributes + self._description
        return attributes + self._encoded + encode_name(name)


class SpanSink(Protocol):
    """Where ended spans go."""

    def put(self, scope: str, spans: bytes, count: int) -> None:
        """Take some spans, encoded as `spans` of a ScopeSpans. It must not wait."""
        ...


class Span:
    """An operation under way, in the trace of each of its parents: one span in each, alike but for the ids.

    The first of them links to all other parents, and each other one to it: so that one can tell what was done once for
    all of them. Used in a `with` statement, it ends with the block, and an exception marks it as failed.
    """

    # Without __slots__, because most of these are never set: beginning a span is part of what a traced query costs.
    name = ""
    """What it is called, where that is not the operation's name."""
    description = b""
    """From `Operation.described`, where that is known already."""
    error = ""
    """The kind of error with which it ended, if it did."""
    trace_state = ""
    """The `tracestate` of a client, as it came."""
    _attributes: dict[str, Attribute] | None = None

    def __init__(self, sink: SpanSink, operation: Operation, parents: SpanNames, start_ns: int | None = None) -> None:
        self._sink = sink
        self._operation = operation
        self.parents = parents
        """Those that it is a part of: one in each of its traces."""
        self._start_ns = time_ns() if start_ns is None else start_ns
        self._ids = new_ids(len(parents))

    @property
    def names(self) -> SpanNames:
        """What others call it, in each of its traces."""
        return names_of(self.parents, self._ids)

    def note(self, key: str, value: Attribute) -> None:
        """Give it an attribute."""
        if self._attributes is None:
            self._attributes = {}
        self._attributes[key] = value

    def child(self, operation: Operation) -> Span:
        """A span of a part of it that begins now."""
        return Span(self._sink, operation, self.names)

    def within(self, context: CallContext) -> CallContext:
        """The context for calls that are part of it."""
        return context.traced(self.names)

    def fail(self, error: BaseException) -> None:
        """It fails with an error. Messages may quote data, and are left out."""
        self.error = error_name(error)

    def end(self, end_ns: int | None = None) -> None:
        """It ends, now or at that time; to be called once."""
        operation, parents = self._operation, self.parents
        rest = encode_times(self._start_ns, end_ns or time_ns())
        rest += self.description or operation.described(self.name)
        if self._attributes is not None:
            rest += encode_attributes(self._attributes)
        if self.trace_state:
            rest += encode_trace_state(self.trace_state)
        if self.error:
            rest += encode_failure(self.error)
        ids = self._ids
        if len(parents) == 1:
            self._sink.put(operation.scope, encode_spans(parents, ids, rest), 1)
            return
        rest += encode_attributes({"photondb.batch.traces": len(parents)})
        first = encode_spans(parents[:1], ids[:1], rest + encode_links(parents[1:]))
        others = encode_spans(parents[1:], ids[1:], rest + encode_links(names_of(parents[:1], ids[:1])))
        self._sink.put(operation.scope, first + others, len(parents))

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.fail(error)
        self.end()


class QuerySpans:
    """Spans of several queries that began together: an operation under way for each of them by itself.

    Most of what they cost is paid once for all of them. `parents` are one span of each query, or all of them stand for
    the beginning of a trace.
    """

    __slots__ = ("_ids", "_operation", "_parents", "_sink", "_start_ns", "names")

    def __init__(self, sink: SpanSink, operation: Operation, parents: SpanNames, start_ns: int | None = None) -> None:
        self._sink = sink
        self._operation = operation
        self._parents = parents
        self._start_ns = time_ns() if start_ns is None else start_ns
        self._ids = new_ids(len(parents))
        self.names = names_of(parents, self._ids)
        """What others call them, in the order of the queries."""

    def end(self, positions: Sequence[int], descriptions: Sequence[bytes]) -> None:
        """Those of the queries at these positions end now. They are described by `Operation.described`, and
        `encode_failure` where they failed."""
        times = encode_times(self._start_ns, time_ns())
        first = descriptions[0]
        if len(positions) == len(self._ids) and descriptions.count(first) == len(descriptions):  # nearly always
            self._put(self._parents, self._ids, times + first)
            return
        alike: defaultdict[bytes, list[int]] = defaultdict(list)
        for position, description in zip(positions, descriptions, strict=True):
            alike[description].append(position)
        parents, ids = self._parents, self._ids
        for description, found in alike.items():
            self._put(
                [parents[position] for position in found], [ids[position] for position in found], times + description
            )

    def _put(self, parents: Sequence[SpanName], ids: Sequence[bytes], rest: bytes) -> None:
        self._sink.put(self._operation.scope, encode_spans(parents, ids, rest), len(ids))

    def span(self, position: int) -> Span:
        """That of one query by itself, where it has to end by itself."""
        span = Span(self._sink, self._operation, (self._parents[position],), self._start_ns)
        span._ids = (self._ids[position],)
        return span


class NoSpan:
    """Stands for the span of what is not traced."""

    __slots__ = ()

    names: SpanNames = ()

    def note(self, key: str, value: Attribute) -> None:
        """Drop an attribute."""

    def within(self, context: CallContext) -> CallContext:
        """The context as it is."""
        return context

    def __enter__(self) -> NoSpan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


NO_SPAN = NoSpan()


def new_ids(count: int) -> tuple[bytes, ...]:
    """Ids for so many new spans."""
    return struct.unpack("8s" * count, randbytes(8 * count))


def names_of(parents: Sequence[SpanName], ids: Sequence[bytes]) -> SpanNames:
    """What spans with these ids are called, in the traces of their parents."""
    return tuple([(parent[0], span_id) for parent, span_id in zip(parents, ids, strict=True)])


def error_name(error: BaseException) -> str:
    """What an error is called, as responses to clients call it: COMPILE_ERROR, or the kind of a runtime error."""
    if isinstance(error, CompileError):
        return "COMPILE_ERROR"
    if isinstance(error, ClientError):
        return "CLIENT_ERROR"
    return error.kind.name if isinstance(error, ReqlError) else type(error).__name__
