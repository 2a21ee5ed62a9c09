"""Times: making them, moving them between zones, taking them apart."""

from __future__ import annotations

from collections.abc import Callable
from time import time as time_now
from typing import Any

from photondb.datum import time as times
from photondb.reql.effects import Effects
from photondb.reql.errors import logic_error
from photondb.reql.parameters import Int32, Number, Time, Value, as_int32, as_number, as_string
from photondb.reql.registry import term
from photondb.reql.values import is_open
from photondb.reql.wire import Term

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)


@term(Term.NOW, effects=Effects.NONDETERMINISTIC)
def now() -> dict[str, Any]:
    """The time. In a query, `r.now()` is the time at which it began; only with its arguments spliced in does it get
    here."""
    return times.make_time(time_now(), "+00:00")


@term(Term.TIME)
def time(
    year: Int32,
    month: Int32,
    day: Int32,
    hours: Value,
    minutes: Value = ...,
    seconds: Value = ...,
    timezone: Value = ...,
) -> dict[str, Any]:
    """The time that a clock shows on a day; with four arguments, of which the last is the zone, the midnight at which
    the day begins."""
    if minutes is ...:
        return times.from_parts(year, month, day, 0, 0, 0, as_string(hours))
    if timezone is ...:
        raise logic_error(f"Got {5 if seconds is ... else 6} arguments to TIME (expected 4 or 7).")
    clock = as_int32(hours), as_int32(minutes), as_number(seconds)
    return times.from_parts(year, month, day, *clock, as_string(timezone))


@term(Term.ISO8601)
def iso8601(text: str, *, default_timezone: str = "") -> dict[str, Any]:
    """The time that an ISO 8601 text names. `default_timezone` is for texts that name no zone."""
    return times.parse_iso8601(text, default_timezone)


@term(Term.TO_ISO8601)
def to_iso8601(moment: Time) -> str:
    """The ISO 8601 text of a time."""
    return times.to_iso8601(moment)


@term(Term.EPOCH_TIME)
def epoch_time(seconds: Number) -> dict[str, Any]:
    """The time so many seconds after 1970 began in UTC."""
    return times.make_time(seconds, "+00:00")


@term(Term.TO_EPOCH_TIME)
def to_epoch_time(moment: Time) -> Any:
    """The seconds from 1970 to a time."""
    return moment["epoch_time"]


@term(Term.IN_TIMEZONE)
def in_timezone(moment: Time, timezone: str) -> dict[str, Any]:
    """The same moment on the clocks of another zone."""
    return times.in_timezone(moment, timezone)


@term(Term.DURING)
def during(moment: Time, start: Time, end: Time, *, left_bound: str = "closed", right_bound: str = "open") -> bool:
    """Whether a time is between two others."""
    left_open, right_open = is_open("left_bound", left_bound), is_open("right_bound", right_bound)
    at, first, last = moment["epoch_time"], start["epoch_time"], end["epoch_time"]
    after = at > first if left_open else at >= first
    before = at < last if right_open else at <= last
    return bool(after and before)


@term(Term.DATE)
def date(moment: Time) -> dict[str, Any]:
    """The midnight at which the day of a time began."""
    return times.date(moment)


@term(Term.TIME_OF_DAY)
def time_of_day(moment: Time) -> Any:
    """The seconds from midnight to a time."""
    return times.time_of_day(moment)


@term(Term.TIMEZONE)
def timezone(moment: Time) -> Any:
    """The zone of a time."""
    return moment["timezone"]


@term(Term.YEAR)
def year(moment: Time) -> int:
    """The year of a time."""
    return times.parts(moment).year


@term(Term.MONTH)
def month(moment: Time) -> int:
    """The month of a time, 1 to 12."""
    return times.parts(moment).month


@term(Term.DAY)
def day(moment: Time) -> int:
    """The day of the month of a time, 1 to 31."""
    return times.parts(moment).day


@term(Term.DAY_OF_WEEK)
def day_of_week(moment: Time) -> int:
    """The day of the week of a time, 1 (Monday) to 7 (Sunday)."""
    return times.parts(moment).day_of_week


@term(Term.DAY_OF_YEAR)
def day_of_year(moment: Time) -> int:
    """The number of a time's day in its year, from 1."""
    return times.parts(moment).day_of_year


@term(Term.HOURS)
def hours(moment: Time) -> int:
    """The hour of a time, 0 to 23."""
    return times.parts(moment).hours


@term(Term.MINUTES)
def minutes(moment: Time) -> int:
    """The minute of a time, 0 to 59."""
    return times.parts(moment).minutes


@term(Term.SECONDS)
def seconds(moment: Time) -> Any:
    """The seconds of a time, with the milliseconds."""
    return times.parts(moment).seconds


def _constant(name: str, number: int, what: str) -> Callable[[], int]:
    def constant() -> int:
        return number

    constant.__name__ = name
    constant.__doc__ = f"The number of a {what}: {number}."
    return constant


for _number, _name in enumerate(_WEEKDAYS, 1):
    term(Term[_name.upper()])(_constant(_name, _number, "weekday"))
for _number, _name in enumerate(_MONTHS, 1):
    term(Term[_name.upper()])(_constant(_name, _number, "month"))
