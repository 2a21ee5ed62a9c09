"""Spans: what was done, from when to when, for which traces; encoded for OTLP when they end.

The SDK's own spans cost 40 us of CPU from their start to the exporter's message, four times as much as a whole point
read. Here the parts that never change are encoded once per kind of operation, and a span that ends is its ids and times
between them, in the wire format of OTLP's `Span` (opentelemetry/proto/trace/v1/trace.proto), which is what the queue
to the exporter holds.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from random import getrandbits
from time import time_ns
from types import TracebackType
from typing import Protocol, TypeAlias

from photondb.api.context import CallContext
from photondb.reql.errors import ClientError, CompileError, ReqlError
from photondb.telemetry.trace_context import SpanName, write_context

Attribute: TypeAlias = str | int | float | bool

MAX_LINKS = 128
"""Links of one span, as in the SDK; how many there were besides is said, too."""

MAX_TEXT = 4096
"""Characters of an attribute's text; what is longer is cut."""

_CACHED_TEXT = 128


class SpanKind(IntEnum):
    """OTLP's `SpanKind`."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class Operation:
    """What spans of one kind have in common: the service that does it, their name, kind and constant attributes."""

    __slots__ = ("encoded", "encoded_name", "name", "scope")

    def __init__(
        self,
        scope: str,
        name: str,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> None:
        self.scope = scope
        self.name = name
        self.encoded_name = _encode_name(name)
        self.encoded = b"\x30%c" % kind + encode_attributes(attributes or {})


class SpanSink(Protocol):
    """Where ended spans go."""

    def put(self, scope: str, span: bytes) -> None:
        """Take an encoded span. It must not wait."""
        ...


class Span:
    """An operation under way, in the trace of each of its parents: one span in each, alike but for the ids.

    The first of them links to all other parents, and each other one to it: so that one can tell what was done once for
    all of them. Used in a `with` statement, it ends with the block, and an exception marks it as failed.
    """

    # Without __slots__, because most of these are never set: beginning a span is part of what a traced query costs.
    name = ""
    """What it is called, where that is not the operation's name."""
    encoded_attributes = b""
    """Attributes from `encode_attributes`: those that many spans have need not be encoded each time."""
    error = ""
    """The kind of error with which it ended, if it did."""
    trace_state = ""
    """The `tracestate` of a client, as it came."""
    _context = ""
    _attributes: dict[str, Attribute] | None = None

    def __init__(
        self, sink: SpanSink, operation: Operation, parents: Sequence[SpanName], start_ns: int | None = None
    ) -> None:
        self._sink = sink
        self._operation = operation
        self._parents = parents
        self._ids = [getrandbits(64).to_bytes(8, "big") for _ in parents]
        self._start_ns = time_ns() if start_ns is None else start_ns

    @property
    def names(self) -> list[SpanName]:
        """What others call it, in each of its traces."""
        return [(parent[0], span_id) for parent, span_id in zip(self._parents, self._ids, strict=True)]

    def note(self, key: str, value: Attribute) -> None:
        """Give it an attribute."""
        if self._attributes is None:
            self._attributes = {}
        self._attributes[key] = value

    def child(self, operation: Operation) -> Span:
        """A span of a part of it that begins now."""
        return Span(self._sink, operation, self.names)

    def context(self) -> str:
        """The context that makes it the parent of what comes next."""
        if not self._context:
            if len(self._ids) == 1:
                self._context = f"00-{self._parents[0][0].hex()}-{self._ids[0].hex()}-01"
            else:
                self._context = write_context(self.names)
        return self._context

    def within(self, context: CallContext) -> CallContext:
        """The context for calls that are part of it."""
        return context.traced(self.context())

    def fail(self, error: BaseException) -> None:
        """It fails with an error. Messages may quote data, and are left out."""
        self.error = error_name(error)

    def end(self, end_ns: int | None = None) -> None:
        """It ends, now or at that time; to be called once."""
        operation = self._operation
        common = self.encoded_attributes + operation.encoded
        common += _encode_name(self.name) if self.name else operation.encoded_name
        if self._attributes is not None:
            common += encode_attributes(self._attributes)
        if self.trace_state:
            common += length_delimited(3, self.trace_state[:MAX_TEXT].encode())
        if self.error:
            common += _ERROR + _encode_attribute("error.type", self.error)
        times = _TIMES(0x39, self._start_ns, 0x41, end_ns or time_ns())
        put, scope = self._sink.put, operation.scope
        parents = self._parents
        if len(parents) == 1:
            put(scope, _encode_ids(parents[0], self._ids[0]) + times + common)
            return
        common = times + common + _encode_attribute("photondb.batch.traces", len(parents))
        put(scope, _encode_ids(parents[0], self._ids[0]) + common + _encode_links(parents[1:]))
        common += _encode_links(self.names[:1])
        for parent, span_id in zip(parents[1:], self._ids[1:], strict=True):
            put(scope, _encode_ids(parent, span_id) + common)

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.fail(error)
        self.end()


class NoSpan:
    """Stands for the span of what is not traced."""

    __slots__ = ()

    def context(self) -> str:
        """The empty context."""
        return ""

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


def error_name(error: BaseException) -> str:
    """What an error is called, as responses to clients call it: COMPILE_ERROR, or the kind of a runtime error."""
    if isinstance(error, CompileError):
        return "COMPILE_ERROR"
    if isinstance(error, ClientError):
        return "CLIENT_ERROR"
    return error.kind.name if isinstance(error, ReqlError) else type(error).__name__


# --- the wire format of OTLP: a field is its number and type, then its value

_ERROR = b"\x7a\x02\x18\x02"  # status: { code: STATUS_CODE_ERROR }
_SAMPLED = b"\x85\x01\x01\x01\x00\x00"  # flags: sampled; whether the parent is remote is known
_TIMES = struct.Struct("<BQBQ").pack


def _encode_ids(parent: SpanName, span_id: bytes) -> bytes:
    trace_id, parent_id = parent
    if parent_id:
        return b"\x0a\x10%b\x12\x08%b\x22\x08%b%b" % (trace_id, span_id, parent_id, _SAMPLED)
    return b"\x0a\x10%b\x12\x08%b%b" % (trace_id, span_id, _SAMPLED)


def _encode_links(links: Sequence[SpanName]) -> bytes:
    encoded = b"".join([b"\x6a\x1c\x0a\x10%b\x12\x08%b" % link for link in links[:MAX_LINKS]])
    return encoded + b"\x70" + encode_varint(len(links) - MAX_LINKS) if len(links) > MAX_LINKS else encoded


def encode_attributes(attributes: Mapping[str, Attribute]) -> bytes:
    """The `attributes` of a span."""
    encoded = b""
    for key, value in attributes.items():
        if type(value) is str and len(value) > _CACHED_TEXT:
            encoded += _attribute(key, value)
        else:
            encoded += _encode_attribute(key, value)
    return encoded


def _attribute(key: str, value: Attribute, field: int = 9) -> bytes:
    match value:
        case bool():
            encoded = b"\x10%c" % value
        case int():
            encoded = b"\x18" + encode_varint(value)
        case float():
            encoded = b"\x21" + struct.pack("<d", value)
        case _:
            text = value[:MAX_TEXT].encode("utf-8", "replace")
            encoded = length_delimited(1, text)
    return length_delimited(field, length_delimited(1, key.encode()) + length_delimited(2, encoded))


_encode_attribute = lru_cache(4096, typed=True)(_attribute)


@lru_cache(4096)
def _encode_name(name: str) -> bytes:
    return length_delimited(5, name.encode())


VARINTS = [bytes([n]) if n < 128 else bytes([n & 127 | 128, n >> 7]) for n in range(1 << 14)]
"""Numbers of up to 14 bits as protobuf writes them, which most lengths are."""


def length_delimited(field: int, value: bytes) -> bytes:
    """A field of a protobuf message whose value is text, bytes or another message."""
    return encode_varint(field << 3 | 2) + encode_varint(len(value)) + value


def encode_varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    if 0 <= number < len(VARINTS):
        return VARINTS[number]
    number &= 2**64 - 1
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def encode_resource(attributes: Mapping[str, Attribute]) -> bytes:
    """The `attributes` of a resource."""
    return b"".join([_attribute(key, value, 1) for key, value in attributes.items()])
