"""The BINARY pseudo type: ``{"$reql_type$": "BINARY", "data": <base64>}``."""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from typing import Any

from photondb.datum.errors import DatumError, type_error
from photondb.datum.types import REQL_TYPE, Datum, type_name

__all__ = ["binary_bytes", "binary_slice", "decode_base64", "encode_base64", "make_binary", "sanitise_binary"]

_LINE_CHARACTERS = 76
_SPACE = str.maketrans("", "", "\r\n \t")
_NOT_BASE64 = re.compile("[^A-Za-z0-9+/]")
_AFTER_PADDING = re.compile("[^=\r\n \t]")


def make_binary(data: bytes) -> dict[str, Any]:
    """The BINARY object that holds `data`."""
    return {REQL_TYPE: "BINARY", "data": encode_base64(data)}


def binary_bytes(value: dict[str, Any]) -> bytes:
    """The bytes in a BINARY object that has been validated."""
    return a2b_base64(value["data"])


def binary_slice(value: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """The BINARY object with the bytes of `value` from `start` up to `stop`, both within Python's rules for slices."""
    return make_binary(binary_bytes(value)[start:stop])


def encode_base64(data: bytes) -> str:
    """`data` in base64, in lines of 76 characters parted by CR LF, as RethinkDB writes it."""
    text = b2a_base64(data, newline=False).decode("ascii")
    if len(text) <= _LINE_CHARACTERS:
        return text
    return "\r\n".join(text[at : at + _LINE_CHARACTERS] for at in range(0, len(text), _LINE_CHARACTERS))


def decode_base64(text: str) -> bytes:
    """The bytes that `text` stands for: white space is skipped and padding may be missing.

    Raises DatumError, with RethinkDB's texts, for other characters, for a single one left over, and for data after the
    padding.
    """
    digits, padding, rest = text.partition("=")
    digits = digits.translate(_SPACE)
    if wrong := _NOT_BASE64.search(digits):
        raise DatumError(f"Invalid base64 character found: '{wrong.group()}'.")
    left_over = len(digits) % 4
    if left_over == 1:
        raise DatumError("Invalid base64 length: 1 character remaining, cannot decode a full byte.")
    if padding and _AFTER_PADDING.search(rest):
        raise DatumError("Invalid base64 format, data found after padding character '='.")
    return a2b_base64(digits + "=" * (-left_over % 4))


def sanitise_binary(value: dict[str, Datum]) -> None:
    """Check the fields of a BINARY object that came from a client, and write its base64 the one way we do.

    Raises DatumError for missing, unknown and malformed fields.
    """
    for name, field in value.items():
        if name == "data":
            if type(field) is not str:
                raise type_error(field, f"Expected type STRING but found {type_name(field)}.")
        elif name != REQL_TYPE:
            raise DatumError(f"Invalid binary pseudotype: illegal `{name}` key.")
    if "data" not in value:
        raise DatumError("Invalid binary pseudotype: lacking `data` key.")
    value["data"] = encode_base64(decode_base64(value["data"]))
