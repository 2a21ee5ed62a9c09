"""The TIME pseudo type: ``{"$reql_type$": "TIME", "epoch_time": <seconds since 1970>, "timezone": "+hh:mm"}``.

Times are kept to the millisecond.  Their epoch time may be any finite number, but only those whose local year is
between 1400 and 10000 have parts, and only those up to the year 9999 an ISO 8601 text.
"""

from __future__ import annotations

from datetime import date as Date
from math import copysign, floor
from typing import Any, NamedTuple

from photondb.datum.errors import DatumError
from photondb.datum.iso8601 import IsoDate, canonical_timezone, scan_iso8601
from photondb.datum.text import truncated_print
from photondb.datum.types import REQL_TYPE, Datum, normalise_number, type_name

__all__ = [
    "TimeParts",
    "add_duration",
    "canonical_timezone",
    "date",
    "difference",
    "from_parts",
    "in_timezone",
    "make_time",
    "parse_iso8601",
    "parts",
    "sanitise_time",
    "time_of_day",
    "to_iso8601",
]

Time = dict[str, Any]

_OFFSETS = {f"+{minutes // 60:02}:{minutes % 60:02}": minutes * 60 for minutes in range(14 * 60 + 1)} | {
    f"-{minutes // 60:02}:{minutes % 60:02}": minutes * -60 for minutes in range(1, 12 * 60 + 1)
}
"""Seconds ahead of UTC of the offsets that exist, by their canonical names."""

_DAY_SECONDS = 86_400
_MIN_YEAR, _MAX_YEAR = 1400, 10_000
# Python's calendar ends with the year 9999.  The Gregorian calendar repeats, days of the week too, every 400 years of
# 146,097 days, so dates are computed 400 years early.
_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097
_EPOCH_ORDINAL = Date(1970, 1, 1).toordinal()
_FIRST_DAY = Date(_MIN_YEAR - _CYCLE_YEARS, 1, 1).toordinal() + _CYCLE_DAYS - _EPOCH_ORDINAL
_LAST_DAY = Date(_MAX_YEAR - _CYCLE_YEARS, 12, 31).toordinal() + _CYCLE_DAYS - _EPOCH_ORDINAL
_FAR_SECONDS = 1e12
"""Beyond all years that have parts, and still exact in milliseconds."""
_YEAR_OUT_OF_RANGE = f"Error in time logic: Year is out of valid range: {_MIN_YEAR}..{_MAX_YEAR}."


class TimeParts(NamedTuple):
    """What a time reads on the calendar and the clock of its own zone."""

    year: int
    month: int
    day: int
    hours: int
    minutes: int
    seconds: int | float
    """With the milliseconds, such as 36.681."""
    day_of_week: int
    """1 is Monday, 7 is Sunday."""
    day_of_year: int
    date: Time
    """The midnight at which the day began."""
    time_of_day: int | float
    """Seconds since that midnight."""


def make_time(epoch_time: int | float, timezone: str) -> Time:
    """The TIME object of the moment `epoch_time` seconds after 1970 began in UTC, rounded to milliseconds.

    Raises DatumError for a `timezone` that is not one, or an `epoch_time` that is not finite.
    """
    time = {REQL_TYPE: "TIME", "epoch_time": _to_milliseconds(epoch_time), "timezone": timezone}
    if timezone not in _OFFSETS:
        sanitise_time(time)
    return time


def from_parts(year: int, month: int, day: int, hours: int, minutes: int, seconds: int | float, timezone: str) -> Time:
    """The time that a clock in `timezone` showed.  Hours, minutes and seconds may overflow, into the next day too.

    Raises DatumError for a day that is not in the calendar and for a `timezone` that is not one.
    """
    days = _days_since_epoch(IsoDate(year, month, day))
    timezone = canonical_timezone(timezone)
    minutes += hours * 60
    return make_time(days * _DAY_SECONDS + minutes * 60 + seconds - _offset_seconds(timezone), timezone)


def parse_iso8601(text: str, default_timezone: str = "") -> Time:
    """The time that an ISO 8601 `text` names; `default_timezone` is for texts that name no zone.

    Calendar dates (``2013-07-30``, ``20130730``, ``2013-07``, ``2013``) and ordinal dates (``2013-211``) are known,
    week dates are not.  Raises DatumError.
    """
    scanned = scan_iso8601(text)
    days = _days_since_epoch(scanned.date)
    timezone = scanned.timezone
    if timezone is None:
        if not default_timezone:
            raise DatumError("ISO 8601 string has no time zone, and no default time zone was provided.")
        try:
            timezone = canonical_timezone(default_timezone)
        except DatumError:
            raise DatumError(f"Invalid ISO 8601 timezone: `{default_timezone}`.") from None
    seconds = days * _DAY_SECONDS - _offset_seconds(timezone)
    return make_time(seconds + scanned.microseconds / 1e6, timezone)


def to_iso8601(time: Time) -> str:
    """The ISO 8601 text of `time` in its zone, with milliseconds where it has any.  Raises DatumError past 9999."""
    days, milliseconds = _local(time)
    day = _calendar_day(days)
    year = day.year + _CYCLE_YEARS
    if year > 9999:
        raise DatumError(f"Year `{year}` out of valid ISO 8601 range [0, 9999].")
    seconds, fraction = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    thousandths = f".{fraction:03}" if fraction else ""
    return f"{year:04}-{day.month:02}-{day.day:02}T{hours:02}:{minutes:02}:{seconds:02}{thousandths}{time['timezone']}"


def in_timezone(time: Time, timezone: str) -> Time:
    """The same moment on the clocks of another zone.  Raises DatumError for a `timezone` that is not one."""
    return make_time(time["epoch_time"], canonical_timezone(timezone))


def parts(time: Time) -> TimeParts:
    """All parts of `time` in its zone.  Raises DatumError for years before 1400 or after 10000."""
    days, milliseconds = _local(time)
    day = _calendar_day(days)
    minutes, second_milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return TimeParts(
        year=day.year + _CYCLE_YEARS,
        month=day.month,
        day=day.day,
        hours=hours,
        minutes=minutes,
        seconds=_seconds(second_milliseconds),
        day_of_week=day.isoweekday(),
        day_of_year=day.timetuple().tm_yday,
        date=_midnight(days, time["timezone"]),
        time_of_day=_seconds(milliseconds),
    )


def date(time: Time) -> Time:
    """The midnight at which the day of `time` began in its zone.  Raises DatumError like `parts`."""
    days, _ = _local(time)
    return _midnight(days, time["timezone"])


def time_of_day(time: Time) -> int | float:
    """Seconds since the midnight at which the day of `time` began.  Raises DatumError like `parts`."""
    _, milliseconds = _local(time)
    return _seconds(milliseconds)


def add_duration(time: Time, seconds: int | float) -> Time:
    """The time that is `seconds` later (earlier, if negative) in the same zone.  Raises DatumError past all numbers."""
    return make_time(time["epoch_time"] + seconds, time["timezone"])


def difference(later: Time, earlier: Time) -> int | float:
    """The seconds from `earlier` to `later`, to the millisecond."""
    return _to_milliseconds(later["epoch_time"] - earlier["epoch_time"])


def sanitise_time(time: dict[str, Datum]) -> None:
    """Check the fields of a TIME object that came from a client; round its time and write its zone as ``+hh:mm``.

    Raises DatumError that says which field is wrong.
    """
    problem = None
    for name in sorted(time):
        value = time[name]
        kind = type(value)
        if name == "epoch_time":
            if kind is int:
                continue
            if kind is not float:
                problem = f"field `{name}` must be a number (got `{truncated_print(value)}` of type {type_name(value)})"
                break
            time[name] = _to_milliseconds(value)
        elif name == "timezone":
            if kind is not str:
                problem = f"field `{name}` must be a string (got `{truncated_print(value)}` of type {type_name(value)})"
                break
            try:
                time[name] = canonical_timezone(value)
            except DatumError:
                problem = f"invalid timezone string `{truncated_print(value)}`"
                break
        elif name != REQL_TYPE:
            problem = f"unrecognized field `{name}`"
            break
    if problem is None:
        problem = next((f"no field `{name}`" for name in ("epoch_time", "timezone") if name not in time), None)
    if problem is not None:
        raise DatumError(f"Invalid time object constructed ({problem}):\n{truncated_print(time)}")


def _local(time: Time) -> tuple[int, int]:
    """Days since 1970 began, and milliseconds since that day began, in the time's own zone."""
    epoch_time = time["epoch_time"]
    if not -_FAR_SECONDS < epoch_time < _FAR_SECONDS:
        raise DatumError(_YEAR_OUT_OF_RANGE)
    milliseconds = epoch_time * 1000 if type(epoch_time) is int else _round_half_away(epoch_time * 1000)
    days, milliseconds = divmod(milliseconds + _offset_seconds(time["timezone"]) * 1000, _DAY_SECONDS * 1000)
    if not _FIRST_DAY <= days <= _LAST_DAY:
        raise DatumError(_YEAR_OUT_OF_RANGE)
    return days, milliseconds


def _midnight(days: int, timezone: str) -> Time:
    return {
        REQL_TYPE: "TIME",
        "epoch_time": days * _DAY_SECONDS - _offset_seconds(timezone),
        "timezone": timezone,
    }


def _calendar_day(days: int) -> Date:
    """The date `days` after 1970-01-01, 400 years early."""
    return Date.fromordinal(days + _EPOCH_ORDINAL - _CYCLE_DAYS)


def _days_since_epoch(when: IsoDate) -> int:
    """The day number of a date that may not be in the calendar, for which it raises DatumError."""
    if not _MIN_YEAR <= when.year <= _MAX_YEAR:
        raise DatumError(_YEAR_OUT_OF_RANGE)
    if not 1 <= when.month <= 12:
        raise DatumError("Error in time logic: Month number is out of range 1..12.")
    if when.ordinal is not None:
        if not 1 <= when.ordinal <= 366:
            raise DatumError("Error in time logic: Day of year value is out of range 1..366.")
        return Date(when.year - _CYCLE_YEARS, 1, 1).toordinal() + _CYCLE_DAYS - _EPOCH_ORDINAL + when.ordinal - 1
    if not 1 <= when.day <= 31:
        raise DatumError("Error in time logic: Day of month value is out of range 1..31.")
    try:
        day = Date(when.year - _CYCLE_YEARS, when.month, when.day)
    except ValueError:
        raise DatumError("Error in time logic: Day of month is not valid for year.") from None
    return day.toordinal() + _CYCLE_DAYS - _EPOCH_ORDINAL


def _offset_seconds(timezone: str) -> int:
    """How far clocks in a canonical `timezone` are ahead of UTC.

    A time may carry any offset, but only offsets that exist, -12:00 to +14:00, can be computed with.
    """
    offset = _OFFSETS.get(timezone)
    if offset is None:
        sign = "" if timezone[0] == "+" else "-"
        raise DatumError(f"Error in time logic: Offset out of range: {sign}{timezone[1:]}:00.")
    return offset


def _seconds(milliseconds: int) -> int | float:
    whole, fraction = divmod(milliseconds, 1000)
    return milliseconds / 1000 if fraction else whole


def _to_milliseconds(seconds: int | float) -> int | float:
    """`seconds` rounded to milliseconds, half away from zero.  Raises DatumError if that is not finite."""
    if type(seconds) is int:
        return normalise_number(seconds)
    scaled = seconds * 1000.0
    if abs(scaled) < 2.0**52:  # beyond, every double is integral
        scaled = float(_round_half_away(scaled))
    return normalise_number(scaled / 1000.0)


def _round_half_away(number: float) -> int:
    magnitude = abs(number)
    whole = floor(magnitude)
    if magnitude - whole >= 0.5:
        whole += 1
    return whole if copysign(1.0, number) > 0 else -whole
