from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.datum import time as t
from photondb.datum.errors import DatumError
from photondb.datum.order import equal
from tests.datum.values import minutes

MOMENTS = st.datetimes(datetime(1401, 1, 1), datetime(9998, 12, 31)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)


def message(function: Any, *arguments: Any) -> str:
    with pytest.raises(DatumError) as caught:
        function(*arguments)
    return caught.value.message


def test_times_are_rounded_to_milliseconds() -> None:
    assert t.make_time(1375147296.6812, "Z") == {
        "$reql_type$": "TIME",
        "epoch_time": 1375147296.681,
        "timezone": "+00:00",
    }
    assert [t.make_time(s, "Z")["epoch_time"] for s in (1.4444445, 0.0005, -0.0005, 0.0004, 2.5e-7)] == [
        1.444,
        0.001,
        -0.001,
        0,
        0,
    ]
    assert type(t.make_time(2.0, "Z")["epoch_time"]) is int
    assert t.make_time(1e300, "Z")["epoch_time"] == 1e300


def test_epoch_times_are_finite() -> None:
    assert message(t.make_time, float("inf"), "Z") == "Non-finite number: inf"
    assert message(t.add_duration, t.make_time(1e305, "Z"), 1e308) == "Non-finite number: inf"


@given(MOMENTS, minutes)
def test_parts_are_those_of_the_calendar(moment: datetime, offset: int) -> None:
    local = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    text = local.isoformat(timespec="milliseconds" if local.microsecond else "seconds")
    time = t.parse_iso8601(text)
    since_midnight = local - local.replace(hour=0, minute=0, second=0, microsecond=0)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert time["epoch_time"] == (local - epoch) / timedelta(seconds=1)
    assert t.parts(time) == (
        local.year,
        local.month,
        local.day,
        local.hour,
        local.minute,
        (local.second * 1000 + local.microsecond // 1000) / 1000,
        local.isoweekday(),
        local.timetuple().tm_yday,
        t.date(time),
        t.time_of_day(time),
    )
    assert t.time_of_day(time) == since_midnight / timedelta(seconds=1)
    assert t.date(time)["epoch_time"] == (local - since_midnight - epoch) / timedelta(seconds=1)
    assert t.to_iso8601(time) == text


@given(MOMENTS, minutes)
def test_times_can_be_put_together_again(moment: datetime, offset: int) -> None:
    time = t.parse_iso8601(moment.replace(tzinfo=timezone(timedelta(minutes=offset))).isoformat())
    assert t.parse_iso8601(t.to_iso8601(time)) == time
    assert t.from_parts(*t.parts(time)[:6], time["timezone"]) == time
    assert t.add_duration(t.date(time), t.time_of_day(time)) == time


@given(MOMENTS, minutes, minutes)
def test_zones_do_not_change_the_moment(moment: datetime, offset: int, other: int) -> None:
    time = t.parse_iso8601(moment.replace(tzinfo=timezone(timedelta(minutes=offset))).isoformat())
    moved = t.in_timezone(time, timezone(timedelta(minutes=other)).tzname(None)[3:] or "Z")
    assert equal(moved, time)
    assert t.difference(moved, time) == 0
    assert t.in_timezone(moved, time["timezone"]) == time


@given(st.integers(-(10**12), 10**12), st.integers(-(10**9), 10**9))
def test_durations_add_up(milliseconds: int, duration_ms: int) -> None:
    time = t.make_time(milliseconds / 1000, "+02:00")
    later = t.add_duration(time, duration_ms / 1000)
    assert later["epoch_time"] == (milliseconds + duration_ms) / 1000
    assert t.difference(later, time) == duration_ms / 1000
    assert later["timezone"] == "+02:00"


def test_portions_of_a_known_time() -> None:
    time = t.make_time(1375147296.681, "Z")
    assert t.parts(time) == t.TimeParts(
        year=2013,
        month=7,
        day=30,
        hours=1,
        minutes=21,
        seconds=36.681,
        day_of_week=2,
        day_of_year=211,
        date=t.make_time(1375142400, "Z"),
        time_of_day=4896.681,
    )


def test_dates_follow_the_zone() -> None:
    time = t.make_time(1436428422.339, "Z")
    assert t.to_iso8601(t.date(t.in_timezone(time, "-08:00"))) == "2015-07-08T00:00:00-08:00"
    assert t.to_iso8601(t.date(t.in_timezone(time, "-07:00"))) == "2015-07-09T00:00:00-07:00"
    for zone, day in (("-00:59", 29), ("-01:01", 29), ("+00:59", 30), ("+01:01", 30), ("+00:00", 29)):
        assert t.parts(t.in_timezone(t.from_parts(2013, 7, 29, 23, 30, 0, "Z"), zone)).day == day


def test_parts_may_overflow() -> None:
    assert t.from_parts(2013, 7, 29, 23, 30, 0.1, "-07:00")["epoch_time"] == 1375165800.1
    assert t.from_parts(2013, 7, 29, 0, 0, 0, "-07:00")["epoch_time"] == 1375081200
    assert t.to_iso8601(t.from_parts(2013, 12, 31, 24, 60, 60, "Z")) == "2014-01-01T01:01:00+00:00"
    assert t.to_iso8601(t.from_parts(2013, 1, 1, 0, 0, -0.5, "Z")) == "2012-12-31T23:59:59.500+00:00"


def test_the_clock_before_1970_runs_forward() -> None:
    parts = t.parts(t.make_time(-0.5, "Z"))
    assert (parts.year, parts.hours, parts.seconds, parts.time_of_day) == (1969, 23, 59.5, 86399.5)
    assert t.to_iso8601(t.make_time(-0.5, "Z")) == "1969-12-31T23:59:59.500+00:00"


@pytest.mark.parametrize("seconds", [1.444, 1.001, 2.058])
def test_milliseconds_are_not_lost_in_text(seconds: float) -> None:
    assert t.to_iso8601(t.make_time(seconds, "Z")) == f"1970-01-01T00:00:0{seconds}+00:00"


def test_years_have_limits() -> None:
    assert t.parts(t.make_time(253430000000, "Z")).year == 10000
    assert t.parts(t.make_time(-17980000000, "Z")).year == 1400
    assert message(t.to_iso8601, t.make_time(253430000000, "Z")) == (
        "Year `10000` out of valid ISO 8601 range [0, 9999]."
    )
    out_of_range = "Error in time logic: Year is out of valid range: 1400..10000."
    for epoch_time in (253440000000, -17990000000, 1e300, -1e300):
        time = t.make_time(epoch_time, "Z")
        for function in (t.parts, t.date, t.time_of_day, t.to_iso8601):
            assert message(function, time) == out_of_range
    assert message(t.from_parts, 10001, 1, 1, 0, 0, 0, "Z") == out_of_range


def test_days_must_be_in_the_calendar() -> None:
    assert message(t.from_parts, 2013, 2, 29, 0, 0, 0, "Z") == (
        "Error in time logic: Day of month is not valid for year."
    )
    assert t.parts(t.from_parts(2012, 2, 29, 0, 0, 0, "Z")).day_of_year == 60
    assert t.parts(t.from_parts(10000, 2, 29, 0, 0, 0, "Z")).day_of_year == 60
    assert message(t.from_parts, 1900, 2, 29, 0, 0, 0, "Z").endswith("not valid for year.")


def test_offsets_that_do_not_exist_can_be_kept_but_not_computed_with() -> None:
    time = t.in_timezone(t.make_time(0, "Z"), "+15:00")
    assert time["timezone"] == "+15:00"
    for function in (t.parts, t.to_iso8601, t.date):
        assert message(function, time) == "Error in time logic: Offset out of range: 15:00:00."


def test_default_time_zones() -> None:
    for default in ("-07", "-07:00", "-0700"):
        assert t.to_iso8601(t.parse_iso8601("2013-07-30T20:56:05", default)) == "2013-07-30T20:56:05-07:00"
    assert t.to_iso8601(t.parse_iso8601("2013-07-30T20:56:05Z", "-07")) == "2013-07-30T20:56:05+00:00"
    assert t.to_iso8601(t.parse_iso8601("2013-07-30", "Z")) == "2013-07-30T00:00:00+00:00"
    assert message(t.parse_iso8601, "2013-07-30", "PST") == "Invalid ISO 8601 timezone: `PST`."


def test_zones_must_be_valid() -> None:
    assert message(t.in_timezone, t.make_time(0, "Z"), "+25:00") == "Hours out of range in `+25:00`."
    assert message(t.from_parts, 2013, 1, 1, 0, 0, 0, "UTC+00") == ("Timezone `UTC+00` does not start with `-` or `+`.")
    assert message(t.make_time, 0, "PST").startswith(
        'Invalid time object constructed (invalid timezone string `"PST"`):\n{'
    )


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"epoch_time": "x", "timezone": "Z"}, 'field `epoch_time` must be a number (got `"x"` of type STRING)'),
        ({"epoch_time": 1, "timezone": 7}, "field `timezone` must be a string (got `7` of type NUMBER)"),
        ({"epoch_time": 1, "timezone": "PST"}, 'invalid timezone string `"PST"`'),
        ({"epoch_time": 1}, "no field `timezone`"),
        ({"timezone": "Z"}, "no field `epoch_time`"),
        ({"epoch_time": 1, "timezone": "Z", "zone": 1}, "unrecognized field `zone`"),
    ],
)
def test_objects_must_have_the_fields_of_a_time(fields: dict[str, Any], problem: str) -> None:
    text = message(t.sanitise_time, {"$reql_type$": "TIME", **fields})
    assert text.startswith(f'Invalid time object constructed ({problem}):\n{{\n\t"$reql_type$":\t"TIME"')
