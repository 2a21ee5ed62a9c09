"""Byte strings that compare as values do, for every value, so that sorting large numbers of rows is comparing bytes.

They are the keys of `photondb.datum.keys`, and of the same kind: self-delimiting, so that none is a proper prefix of
another one and concatenations compare part by part. But those stand in the store for ever and for indexed values only;
these are made for one query, and also null and objects have one: ``L`` for null, and for an object ``O``, each name as
a string and its value, in the order of the names, then 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from photondb.datum.errors import DatumError
from photondb.datum.keys import encode_key
from photondb.datum.size import check_size
from photondb.datum.types import REQL_TYPE, Datum, reql_type

__all__ = ["LACKING", "descending", "order_bytes"]

LACKING = b"\x01"
"""Stands for a value that is not there; it comes before those of all values."""

_INVERTED = bytes(range(255, -1, -1))


def order_bytes(value: Datum) -> bytes:
    """A byte string that compares with those of other values as the values do (`photondb.datum.order.sort_key`), and
    is equal exactly for equal values.

    Raises DatumError for a pseudo type without an order, and for what is too large.
    """
    kind = type(value)
    if kind is list or kind is dict:
        check_size(value)
    return _encode(value)


def descending(key: bytes) -> bytes:
    """What compares with others of its kind the other way round."""
    return key.translate(_INVERTED)


def _encode(value: Any) -> bytes:
    encode = _ENCODERS.get(type(value), encode_key)
    return encode(value)


def _string(value: str) -> bytes:
    try:
        return encode_key(value)
    except UnicodeEncodeError:  # a lone surrogate
        return b"S%b\0" % value.encode("utf-8", "surrogatepass").replace(b"\0", b"\0\xff")


def _array(value: list[Any]) -> bytes:
    return b"A%b\0" % b"".join(map(_encode, value))


def _object(value: dict[str, Any]) -> bytes:
    if REQL_TYPE in value:
        name = reql_type(value)
        if name == "TIME" or name == "BINARY":
            return encode_key(value)
        if name != "GEOMETRY":
            raise DatumError(f"Incomparable type PTYPE<{name}>.")
    return b"O%b\0" % b"".join([_string(name) + _encode(value[name]) for name in sorted(value)])


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    str: _string,
    list: _array,
    dict: _object,
    type(None): lambda _: b"L",
}
