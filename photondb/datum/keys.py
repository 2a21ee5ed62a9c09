"""Order-preserving keys: values as byte strings that compare, byte by byte, as the values do.

Every encoding is self-delimiting: no encoding is a proper prefix of another one.  So encodings can be concatenated, and
the concatenations compare part by part.  An entry of a secondary index has the key ``encode_key(value) +
primary_key(id)`` and comes in the order of the values, then of the primary keys; `split_entry` takes it apart without
decoding it; and the entries of one value are just those that start with ``encode_key(value)``.

A key starts with a letter for the type, in the order of the types:

====== ========================== ============================================================================
letter value                      what follows
====== ========================== ============================================================================
``@``  minval
``A``  array                      the encodings of the elements, then 0 (no encoding starts with 0)
``B``  false
``C``  true
``M``  number below zero          its double, big-endian, all bits inverted
``N``  number                     its double, big-endian
``P``  PTYPE<BINARY>              the bytes, each 0 followed by 255, then 0
``Q``  PTYPE<TIME> before 1970    as for numbers; the zone, which does not matter for equality, is not kept
``R``  PTYPE<TIME>                as for numbers
``S``  string                     its UTF-8, each 0 followed by 255, then 0
``[``  maxval
====== ========================== ============================================================================

Null, objects and geometry cannot be keys.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from photondb.datum.binary import binary_bytes, make_binary
from photondb.datum.errors import DatumError, type_error
from photondb.datum.size import check_size
from photondb.datum.text import exact_number_text, print_datum, truncated_print
from photondb.datum.time import make_time
from photondb.datum.types import MAXVAL, MINVAL, Datum, Extreme, normalise_number, reql_type, type_name

__all__ = [
    "HIGHEST",
    "LOWEST",
    "MAX_PRIMARY_KEY_CHARACTERS",
    "after_prefix",
    "decode_key",
    "encode_key",
    "end_of_key",
    "key_range",
    "primary_key",
    "secondary_key",
    "split_entry",
]

LOWEST = b""
"""Not greater than any key."""
HIGHEST = b"\xff"
"""Greater than every key."""

MAX_PRIMARY_KEY_CHARACTERS = 127
"""How long a primary key may be, in bytes of the form that RethinkDB keeps it in: the UTF-8 of a string."""

_MINVAL, _ARRAY, _FALSE, _TRUE, _NEGATIVE, _NUMBER, _BINARY, _TIME_NEGATIVE, _TIME, _STRING, _MAXVAL = b"@ABCMNPQRS["

_TAGGED_DOUBLE = Struct(">Bd")
_TAGGED_BITS = Struct(">BQ")
_DOUBLE = Struct(">d")
_BITS = Struct(">Q")
_ALL_BITS = 2**64 - 1


def encode_key(value: Datum) -> bytes:
    """The key of `value`, an `Extreme` (alone or in an array) included, so that bounds of ranges can be encoded, too.

    Raises DatumError for what cannot be a key.
    """
    kind = type(value)
    if kind is str:
        if "\0" in value:
            return _encode_bytes("S", value.encode())
        return f"S{value}\0".encode()
    if kind is int or kind is float:
        if value >= 0:
            return _TAGGED_DOUBLE.pack(_NUMBER, value + 0.0)  # + 0.0 turns -0.0 into 0.0
        return _encode_negative(_NEGATIVE, value)
    return _ENCODERS[kind](value)


def primary_key(value: Datum) -> bytes:
    """The key of a document, or of a bound on documents, from the value of its primary key.

    Raises DatumError for what cannot be a primary key: null, objects, geometry, strings with a null character, and
    whatever is longer than `MAX_PRIMARY_KEY_CHARACTERS`.
    """
    if type(value) is str:
        key = f"S{value}\0".encode()
        if len(key) <= MAX_PRIMARY_KEY_CHARACTERS + 2 and "\0" not in value:
            return key
    _check_primary_key(value)
    if _reference_length(value) > MAX_PRIMARY_KEY_CHARACTERS + 1:
        raise DatumError(f"Primary key too long (max {MAX_PRIMARY_KEY_CHARACTERS} characters): {print_datum(value)}")
    return encode_key(value)


def secondary_key(value: Datum) -> bytes:
    """The key of a value in a secondary index.  Raises DatumError for what cannot be indexed."""
    kind = type(value)
    if value is None or kind is Extreme or (kind is dict and reql_type(value) is None):
        raise type_error(
            value,
            "Secondary keys must be a number, string, bool, pseudotype, or array "
            f"(got type {type_name(value)}):\n{truncated_print(value)}",
        )
    if kind is list:
        _check_nested(value)
        if _has_extreme(value):
            raise DatumError("Cannot use `r.minval` or `r.maxval` in an index key.")
    return encode_key(value)


def key_range(
    left: Datum,
    right: Datum,
    left_bound: str = "closed",
    right_bound: str = "open",
    *,
    secondary: bool = False,
) -> tuple[bytes, bytes]:
    """The keys ``low <= key < high`` of the documents, or entries of an index, between `left` and `right`.

    Each bound is ``"open"`` or ``"closed"``; `left` and `right` may be or contain an `Extreme`.  One computation serves
    primary keys and, with `secondary`, the entries of an index, because encodings are self-delimiting: all keys of a
    value start with its encoding, and no others do.  Where nothing can be between the two, `low` equals `high`.
    `secondary` also chooses the rules, and the texts of the DatumError, for values that cannot be keys.
    """
    check = _check_secondary_bound if secondary else _check_primary_key
    check(left)
    check(right)
    low, high = encode_key(left), encode_key(right)
    if left_bound == "open":
        low = after_prefix(low)
    if right_bound == "closed":
        high = after_prefix(high)
    return (low, high) if low < high else (low, low)


def after_prefix(key: bytes) -> bytes:
    """The smallest byte string that is greater than every key that starts with `key`."""
    trimmed = key.rstrip(b"\xff")
    if not trimmed:
        return HIGHEST
    return trimmed[:-1] + bytes((trimmed[-1] + 1,))


def end_of_key(keys: bytes, start: int = 0) -> int:
    """Where the encoding that begins at `start` ends, in a concatenation of `keys`."""
    tag = keys[start]
    depth = 0
    while True:
        if tag == _ARRAY:
            depth += 1
            start += 1
        elif tag in _BYTES_TAGS:
            start = keys.index(0, start) + 1
            while keys[start : start + 1] == b"\xff":
                start = keys.index(0, start) + 1
        elif tag in _DOUBLE_TAGS:
            start += 9
        elif tag == 0:
            depth -= 1
            start += 1
        else:
            start += 1
        if depth == 0:
            return start
        tag = keys[start]


def split_entry(entry: bytes) -> tuple[bytes, bytes]:
    """The key of the value and the primary key of the document, of an entry of a secondary index."""
    end = end_of_key(entry)
    return entry[:end], entry[end:]


def decode_key(key: bytes) -> Datum:
    """The value that `key` encodes; a time comes back in UTC.  Raises ValueError for bytes that are not a key."""
    try:
        value, end = _decode(key, 0)
    except (IndexError, ValueError, DatumError):
        raise ValueError(f"not a key: {key!r}") from None
    if end != len(key):
        raise ValueError(f"bytes after the key: {key!r}")
    return value


def _encode_negative(tag: int, number: float) -> bytes:
    (bits,) = _BITS.unpack(_DOUBLE.pack(number))
    return _TAGGED_BITS.pack(tag, bits ^ _ALL_BITS)


def _encode_bytes(tag: str, data: bytes) -> bytes:
    return b"%c%b\0" % (tag.encode(), data.replace(b"\0", b"\0\xff"))


def _encode_object(value: dict[str, Datum]) -> bytes:
    name = reql_type(value)
    if name == "TIME":
        seconds = value["epoch_time"]
        if seconds >= 0:
            return _TAGGED_DOUBLE.pack(_TIME, seconds + 0.0)
        return _encode_negative(_TIME_NEGATIVE, seconds)
    if name == "BINARY":
        return _encode_bytes("P", binary_bytes(value))
    if name == "GEOMETRY":
        raise DatumError("Cannot use a geometry value as a key value in a primary or non-geospatial secondary index.")
    if name is not None:
        raise DatumError(f"Cannot use pseudotype {type_name(value)} as a primary or secondary key value .")
    return _refuse(value)


def _encode_array(value: list[Datum]) -> bytes:
    for element in value:
        if element is None or (type(element) is dict and reql_type(element) is None):
            raise type_error(
                element,
                "Array keys can only contain numbers, strings, bools,  pseudotypes, or arrays "
                f"(got {print_datum(element)} of type {type_name(element)}).",
            )
    _check_nested(value)
    return b"A%b\0" % b"".join(map(encode_key, value))


def _check_nested(value: list[Datum]) -> None:
    """Raise for an array that is too large to be gone through. Only what has arrays in it can be."""
    if any(type(element) is list for element in value):
        check_size(value)


def _refuse(value: Datum) -> bytes:
    raise type_error(
        value,
        "Keys must be a number, string, bool, pseudotype, or array "
        f"(got {print_datum(value)} of type {type_name(value)}).",
    )


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    bool: lambda value: b"C" if value else b"B",
    list: _encode_array,
    dict: _encode_object,
    type(None): _refuse,
    Extreme: lambda value: b"@" if value is MINVAL else b"[",
}
_BYTES_TAGS = frozenset((_STRING, _BINARY))
_DOUBLE_TAGS = frozenset((_NEGATIVE, _NUMBER, _TIME_NEGATIVE, _TIME))


def _decode(key: bytes, start: int) -> tuple[Datum, int]:
    """The value whose encoding begins at `start`, and where it ends."""
    tag = key[start]
    if tag == _ARRAY:
        elements = []
        start += 1
        while key[start] != 0:
            element, start = _decode(key, start)
            elements.append(element)
        return elements, start + 1
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], start + 1
    end = end_of_key(key, start)
    if end > len(key):
        raise IndexError(end)
    if tag == _STRING:
        return key[start + 1 : end - 1].replace(b"\0\xff", b"\0").decode(), end
    if tag == _BINARY:
        return make_binary(key[start + 1 : end - 1].replace(b"\0\xff", b"\0")), end
    if tag in (_NUMBER, _TIME):
        (number,) = _DOUBLE.unpack_from(key, start + 1)
    elif tag in (_NEGATIVE, _TIME_NEGATIVE):
        (bits,) = _BITS.unpack_from(key, start + 1)
        (number,) = _DOUBLE.unpack(_BITS.pack(bits ^ _ALL_BITS))
    else:
        raise ValueError(f"not a key: {key!r}")
    is_time = tag in (_TIME, _TIME_NEGATIVE)
    return make_time(number, "+00:00") if is_time else normalise_number(number), end


_CONSTANTS: dict[int, Datum] = {_MINVAL: MINVAL, _MAXVAL: MAXVAL, _FALSE: False, _TRUE: True}


def _check_primary_key(value: Datum) -> None:
    """Refuse what RethinkDB does not take for a primary key, whatever its length."""
    if value is None or (type(value) is dict and reql_type(value) is None):
        raise type_error(
            value,
            "Primary keys must be either a number, string, bool, pseudotype or array "
            f"(got type {type_name(value)}):\n{truncated_print(value)}",
        )
    if type(value) is list:
        _check_nested(value)
    _refuse_null_characters(value)


def _check_secondary_bound(value: Datum) -> None:
    if value is None or (type(value) is dict and reql_type(value) is None):
        raise type_error(
            value,
            "Secondary keys must be a number, string, bool, pseudotype, or array "
            f"(got {print_datum(value)} of type {type_name(value)}).",
        )


def _refuse_null_characters(value: Datum) -> None:
    if type(value) is str:
        if "\0" in value:
            raw = value.encode()
            raise DatumError(
                f"String {_quoted(raw[:20])} (truncated) contains NULL byte at offset {raw.index(0)} in index key."
            )
    elif type(value) is list:
        for element in value:
            _refuse_null_characters(element)


def _quoted(raw: bytes) -> str:
    """`raw` in quotes, with escapes for all that is not printable ASCII."""
    return '"' + "".join(_QUOTED.get(byte) or chr(byte) for byte in raw) + '"'


_QUOTED = {byte: f"\\x{byte:02x}" for byte in (*range(32), *range(127, 256))} | {
    ord('"'): '\\"',
    ord("\\"): "\\\\",
    ord("\n"): "\\n",
    ord("\t"): "\\t",
    ord("\r"): "\\r",
}


def _has_extreme(array: list[Datum]) -> bool:
    return any(type(item) is Extreme or (type(item) is list and _has_extreme(item)) for item in array)


def _reference_length(value: Datum) -> int:
    """How many bytes RethinkDB's own encoding of a key has, which its limit is about.

    It is a letter and then: the bytes of a string; 16 hexadecimal digits, ``#`` and the decimal digits of a number;
    ``t`` or ``f``; the elements of an array, each with a separator; the name of a pseudo type, a colon, its value.
    """
    kind = type(value)
    if kind is str:
        return 1 + len(value.encode())
    if kind is int or kind is float:
        return 18 + len(exact_number_text(value + 0.0))
    if kind is bool:
        return 2
    if kind is list:
        return 1 + sum(_reference_length(element) + 1 for element in value)
    if kind is dict and reql_type(value) == "TIME":
        return len("PTIME:") + _reference_length(value["epoch_time"])
    if kind is dict and reql_type(value) == "BINARY":
        data = binary_bytes(value)
        return len("PBINARY:") + len(data) + data.count(0) + data.count(1)
    return 1
