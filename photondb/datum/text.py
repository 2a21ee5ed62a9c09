"""Values as text: the indented form that error messages quote, and the compact form of ``coerce_to("string")``.

Both print the fields of an object in order of their names and numbers the way RethinkDB does (its writer is RapidJSON:
decimal notation up to 21 digits, then an exponent without a plus sign).
"""

from __future__ import annotations

import math
from typing import Any

from photondb.datum.errors import DatumError
from photondb.datum.extreme import Extreme
from photondb.datum.size import check_size

__all__ = ["TRUNCATED_PRINT_BYTES", "exact_number_text", "print_compact", "print_datum", "truncated_print"]

TRUNCATED_PRINT_BYTES = 300
"""How much of a value an error message quotes where it does not quote the whole value."""

_LOG10_OF_2 = 0.30102999566398114
_NEAREST_DIGITS = 9

_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPES = str.maketrans({chr(code): f"\\u{code:04X}" for code in range(32)} | _SHORT_ESCAPES)


def print_datum(value: Any) -> str:
    """`value` as error messages quote it: indented with tabs, a tab after each colon.

    Raises DatumError for an `Extreme`, which JSON cannot express, and for what is nested too deeply.
    """
    return _print(value, "\n")


def print_compact(value: Any) -> str:
    """`value` on one line without spaces, as ``coerce_to("string")`` and ``to_json_string`` give it.

    Raises DatumError for an `Extreme`, which JSON cannot express, and for what is nested too deeply.
    """
    return _print(value, None)


def truncated_print(value: Any) -> str:
    """`print_datum`, cut to `TRUNCATED_PRINT_BYTES` bytes of UTF-8 of which the last three are dots."""
    text = print_datum(value)
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= TRUNCATED_PRINT_BYTES:
        return text
    return raw[: TRUNCATED_PRINT_BYTES - 3].decode("utf-8", "ignore") + "..."


def exact_number_text(number: float) -> str:
    """`number` with up to 20 significant digits, as messages about numbers quote it (``%.20g``)."""
    return "%.20g" % number  # noqa: UP031 - str.format has no way to drop the trailing zeros like this


def _print(value: Any, line: str | None) -> str:
    check_size(value)
    parts: list[str] = []
    _write(value, parts, line)
    return "".join(parts)


def _write(value: Any, parts: list[str], line: str | None) -> None:
    """Append the text of `value`; `line` is the line break with the indentation, or None for the compact form."""
    kind = type(value)
    if kind is str:
        parts.append(f'"{value.translate(_ESCAPES)}"')
    elif kind is int:
        parts.append(str(value))
    elif kind is float:
        parts.append(_float_text(value))
    elif value is None:
        parts.append("null")
    elif kind is bool:
        parts.append("true" if value else "false")
    elif kind is dict:
        _write_members(sorted(value.items()), parts, line)
    elif kind is list:
        _write_elements(value, parts, line)
    elif kind is Extreme:
        raise DatumError(f"Cannot convert `r.{value.type_name.lower()}` to JSON.")
    else:
        raise TypeError(f"not a value: {value!r}")


def _write_members(members: list[tuple[str, Any]], parts: list[str], line: str | None) -> None:
    if not members:
        parts.append("{}")
        return
    inner = None if line is None else line + "\t"
    colon = ":" if line is None else ":\t"
    opening = "{"
    for name, value in members:
        parts.append(f'{opening}{inner or ""}"{name.translate(_ESCAPES)}"{colon}')
        _write(value, parts, inner)
        opening = ","
    parts.append(f"{line or ''}}}")


def _write_elements(elements: list[Any], parts: list[str], line: str | None) -> None:
    if not elements:
        parts.append("[]")
        return
    inner = None if line is None else line + "\t"
    opening = "["
    for element in elements:
        parts.append(f"{opening}{inner or ''}")
        _write(element, parts, inner)
        opening = ","
    parts.append(f"{line or ''}]")


def _float_text(number: float) -> str:
    """The fewest digits that read back as `number`, laid out as RapidJSON does."""
    if number.is_integer() and abs(number) <= 2**53 and str(number) != "-0.0":
        return str(int(number))
    mantissa, _, exponent = repr(number).partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    if fraction == "0":
        fraction = ""
    digits = (whole + fraction).lstrip("0") or "0"
    scale = int(exponent or 0) - len(fraction)
    stripped = digits.rstrip("0") or "0"
    scale += len(digits) - len(stripped)
    point = len(stripped) + scale  # where the decimal point is, counted from the first digit
    if len(stripped) > _NEAREST_DIGITS:
        stripped = _rapidjson_digits(abs(number), stripped, point)
    if scale >= 0 and point <= 21:
        text = f"{stripped}{'0' * scale}.0"
    elif 0 < point <= 21:
        text = f"{stripped[:point]}.{stripped[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{stripped}"
    elif len(stripped) == 1:
        text = f"{stripped}e{point - 1}"
    else:
        text = f"{stripped[0]}.{stripped[1:]}e{point - 1}"
    return sign + text


def _rapidjson_digits(number: float, digits: str, point: int) -> str:
    """The digits that RapidJSON writes for a number, given the nearest ones.

    Its algorithm, Grisu2, multiplies the number with one of a row of powers of ten, which is 10**8 apart from the next
    one, so that up to ten digits are in front of the decimal point. Of several endings that read back as the number it
    finds the greatest, and then the nearest; but the latter only if fewer than nine digits are behind the point.
    """
    binary = math.frexp(number)[1] - 64  # of the number with a significand of 64 bits
    power = 8 * (math.ceil((-61 - binary) * _LOG10_OF_2 + 347) >> 3) - 340
    if len(digits) - point - power < _NEAREST_DIGITS:
        return digits
    last = int(digits)
    while float(f"{last + 1}e{point - len(digits)}") == number:
        last += 1
    return str(last)
