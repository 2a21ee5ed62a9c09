"""Spans in the wire format of OTLP: `Span` of opentelemetry/proto/trace/v1/trace.proto.

A field of a protobuf message is its number and type, then its value, and fields may stand in any order. So what many
spans have in common is encoded once, and each of them is its ids with that between and behind them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

from photondb.api.context import SpanName

Attribute: TypeAlias = str | int | float | bool

MAX_LINKS = 128
"""Links of one span, as in the SDK; how many there were besides is said, too."""

MAX_TEXT = 4096
"""Characters of an attribute's text; what is longer is cut."""

_CACHED_TEXT = 128

_SPAN = b"\x12"  # ScopeSpans.spans
_TRACE_ID = b"\x0a\x10"
_SPAN_ID = b"\x12\x08"
_PARENT_ID = b"\x22\x08"
_PARENT_BYTES = 10
_IDS_BYTES = 38
_SAMPLED = b"\x85\x01\x01\x01\x00\x00"  # flags: sampled; whether the parent is remote is known
_FAILED = b"\x7a\x02\x18\x02"  # status: { code: STATUS_CODE_ERROR }
_pack_times = struct.Struct("<BQBQ").pack


def encode_spans(parents: Sequence[SpanName], ids: Sequence[bytes], rest: bytes) -> bytes:
    """Spans that have all but their ids in common, as `spans` of a ScopeSpans. All of them have a parent, or none."""
    rest = _SAMPLED + rest
    if parents[0][1]:
        start = _SPAN + encode_varint(_IDS_BYTES + len(rest)) + _TRACE_ID
        return b"".join(
            [
                part
                for (trace_id, parent_id), span_id in zip(parents, ids, strict=True)
                for part in (start, trace_id, _SPAN_ID, span_id, _PARENT_ID, parent_id, rest)
            ]
        )
    start = _SPAN + encode_varint(_IDS_BYTES - _PARENT_BYTES + len(rest)) + _TRACE_ID
    return b"".join(
        [
            part
            for (trace_id, _), span_id in zip(parents, ids, strict=True)
            for part in (start, trace_id, _SPAN_ID, span_id, rest)
        ]
    )


def encode_times(start_ns: int, end_ns: int) -> bytes:
    """From when to when a span is."""
    return _pack_times(0x39, start_ns, 0x41, end_ns)


def encode_failure(error: str) -> bytes:
    """The status of a span that failed with this kind of error."""
    return _FAILED + _encode_attribute("error.type", error)


def encode_links(links: Sequence[SpanName]) -> bytes:
    """The links of a span."""
    encoded = b"".join([b"\x6a\x1c\x0a\x10%b\x12\x08%b" % link for link in links[:MAX_LINKS]])
    return encoded + b"\x70" + encode_varint(len(links) - MAX_LINKS) if len(links) > MAX_LINKS else encoded


def encode_trace_state(state: str) -> bytes:
    """The `tracestate` of a client, as it came."""
    return length_delimited(3, state[:MAX_TEXT].encode())


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
def encode_name(name: str) -> bytes:
    """What a span is called."""
    return length_delimited(5, name.encode())


def encode_resource(attributes: Mapping[str, Attribute]) -> bytes:
    """The `attributes` of a resource."""
    return b"".join([_attribute(key, value, 1) for key, value in attributes.items()])


_VARINTS = [bytes([n]) if n < 128 else bytes([n & 127 | 128, n >> 7]) for n in range(1 << 14)]
"""Numbers of up to 14 bits as protobuf writes them, which most lengths are."""


def length_delimited(field: int, value: bytes) -> bytes:
    """A field of a protobuf message whose value is text, bytes or another message."""
    return encode_varint(field << 3 | 2) + encode_varint(len(value)) + value


def encode_varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    if 0 <= number < len(_VARINTS):
        return _VARINTS[number]
    number &= 2**64 - 1
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
