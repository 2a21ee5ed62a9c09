"""Takes ISO 8601 texts apart, as strictly, and with the same words for what is wrong, as RethinkDB does.

What is read here is well-formed, not yet meaningful: ``2013-02-31`` passes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from photondb.datum.errors import DatumError

__all__ = ["IsoDate", "IsoTime", "canonical_timezone", "scan_iso8601"]


class IsoDate(NamedTuple):
    """A date as written: by month and day, or, if `ordinal` is not None, by the number of the day in the year."""

    year: int
    month: int = 1
    day: int = 1
    ordinal: int | None = None


class IsoTime(NamedTuple):
    """A date, the microseconds that the clock was past its midnight, and the zone (None where none was written)."""

    date: IsoDate
    microseconds: int
    timezone: str | None


def scan_iso8601(text: str) -> IsoTime:
    """Take `text` apart.  Raises DatumError that names the part that is wrong."""
    date_text, has_time, clock_text = text.partition("T")
    date = _scan_date(date_text)
    microseconds, timezone = 0, None
    if has_time:
        zone_at = next((at for mark in "-+Z" if (at := clock_text.find(mark)) >= 0), None)
        microseconds = _scan_clock(clock_text if zone_at is None else clock_text[:zone_at])
        if zone_at is not None:
            timezone = canonical_timezone(clock_text[zone_at:])
    if date is None:
        raise DatumError(
            "Due to limitations in the boost time library we use for parsing, we cannot support ISO week dates right "
            "now.  Sorry about that!  Please use years, calendar dates, or ordinal dates instead."
        )
    return IsoTime(date, microseconds, timezone)


@lru_cache(maxsize=1024)
def canonical_timezone(text: str) -> str:
    """A time zone, ``Z`` or an offset with or without colon and minutes, as ``+hh:mm``.

    Raises DatumError for anything else, names of zones too.
    """
    if text in ("-00", "-00:00"):
        raise DatumError(f"`{text}` is not a valid time offset.")
    if text == "Z":
        return "+00:00"
    scanner = _Scanner(text)
    if not (scanner.skip("-") or scanner.skip("+")):
        raise DatumError(f"Timezone `{text}` does not start with `-` or `+`.")
    sign = text[0]
    hours = scanner.digits(2)
    if scanner.at_end():
        return f"{sign}{hours}:00"
    scanner.skip(":")
    minutes = scanner.digits(2)
    scanner.expect_end("timezone")
    if int(hours) > 24:
        raise DatumError(f"Hours out of range in `{text}`.")
    if int(minutes) > 59:
        raise DatumError(f"Minutes out of range in `{text}`.")
    return f"{sign}{hours}:{minutes}"


def _scan_date(text: str) -> IsoDate | None:
    """The date that `text` is, or None if it is a week date."""
    scanner = _Scanner(text)
    year = int(scanner.digits(4))
    if scanner.at_end():
        return IsoDate(year)
    hyphen = scanner.skip("-")
    if scanner.skip("W"):
        scanner.digits(2)
        if not scanner.at_end():
            scanner.skip("-")
            scanner.digits(1)
            scanner.expect_end("date")
        return None
    if len(text) - scanner.at == 3:
        return IsoDate(year, ordinal=int(scanner.digits(3)))
    month = int(scanner.digits(2))
    if hyphen and scanner.at_end():
        return IsoDate(year, month)
    if scanner.skip("-") != hyphen:  # so that YYYYMM, which could be YYMMDD, is no date
        raise DatumError(f"Date string `{text}` must have 0 or 2 hyphens.")
    day = int(scanner.digits(2))
    scanner.expect_end("date")
    return IsoDate(year, month, day)


def _scan_clock(text: str) -> int:
    """The microseconds since midnight at which a clock shows `text`."""
    scanner = _Scanner(text)
    seconds = int(scanner.digits(2)) * 3600
    if scanner.at_end():
        return seconds * 1_000_000
    colon = scanner.skip(":")
    seconds += int(scanner.digits(2)) * 60
    if scanner.at_end():
        return seconds * 1_000_000
    if scanner.skip(":") != colon:
        raise DatumError(f"Time string `{text}` must have 0 or 2 colons.")
    seconds += int(scanner.digits(2))
    fraction = scanner.digits(len(text) - scanner.at) if scanner.skip(".") else ""
    scanner.expect_end("time")
    return seconds * 1_000_000 + int(fraction[:6].ljust(6, "0"))


class _Scanner:
    """Reads a text from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def digits(self, count: int) -> str:
        """The next `count` characters, which must be digits."""
        start = self.at
        self.at += count
        found = self.text[start : self.at]
        if len(found) == count and found.isascii() and found.isdecimal():
            return found
        for character in found:
            if not "0" <= character <= "9":
                raise DatumError(f"Invalid date string `{self.text}` (got `{character}` but expected a digit).")
        if count == 0:
            return ""
        raise DatumError(
            f"Invalid time zone string `{self.text}`. Valid time zones are `+hh:mm`, `-hh:mm`, `+hhmm`, `-hhmm`, "
            "`+hh`, `-hh` and `Z`."
        )

    def skip(self, character: str) -> bool:
        """Step over `character` if it is the next one."""
        if self.text.startswith(character, self.at):
            self.at += 1
            return True
        return False

    def at_end(self) -> bool:
        return self.at == len(self.text)

    def expect_end(self, what: str) -> None:
        if not self.at_end():
            raise DatumError(f"Garbage characters `{self.text[self.at :]}` at end of {what} string `{self.text}`.")
