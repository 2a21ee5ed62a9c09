from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r

from photondb.datum.time import make_time
from photondb.reql.errors import CompileError, ErrorKind
from tests.datum.values import timezones
from tests.reql.evaluate import NOW, evaluate, failure

MOMENT = r.iso8601("2013-07-30T01:21:36.681+02:00")
moments = st.integers(-10_000_000_000_000, 200_000_000_000_000).map(lambda ms: ms / 1000)
"""Seconds since 1970, with milliseconds: years 1653 to 8307."""


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.now(), NOW),
        (r.epoch_time(1.23456), make_time(1.235, "+00:00")),
        (r.time(2013, 7, 30, "+02:00"), make_time(1_375_135_200, "+02:00")),
        (r.time(2013, 7, 30, 1, 21, 36.681, "Z"), make_time(1_375_147_296.681, "+00:00")),
        (r.iso8601("2013-07-30", default_timezone="-07:00"), make_time(1_375_167_600, "-07:00")),
        (MOMENT.to_iso8601(), "2013-07-30T01:21:36.681+02:00"),
        (MOMENT.in_timezone("-03").to_iso8601(), "2013-07-29T20:21:36.681-03:00"),
        (MOMENT.to_epoch_time(), 1_375_140_096.681),
        (MOMENT.timezone(), "+02:00"),
        (MOMENT.date().to_iso8601(), "2013-07-30T00:00:00+02:00"),
        (MOMENT.time_of_day(), 4896.681),
        (MOMENT.year(), 2013),
        (MOMENT.month(), 7),
        (MOMENT.day(), 30),
        (MOMENT.day_of_week(), 2),
        (MOMENT.day_of_year(), 211),
        (MOMENT.hours(), 1),
        (MOMENT.minutes(), 21),
        (MOMENT.seconds(), 36.681),
        (r.expr([r.monday, r.tuesday, r.wednesday, r.thursday, r.friday, r.saturday, r.sunday]), [*range(1, 8)]),
        (r.expr([r.january, r.february, r.march, r.april, r.may, r.june]), [*range(1, 7)]),
        (r.expr([r.july, r.august, r.september, r.october, r.november, r.december]), [*range(7, 13)]),
    ],
)
def test_times_are_made_and_taken_apart(query: Any, value: Any) -> None:
    assert evaluate(query) == value


@pytest.mark.parametrize(
    ("bounds", "inside"),
    [
        ({}, [True, True, False]),
        ({"left_bound": "open"}, [False, True, False]),
        ({"right_bound": "closed"}, [True, True, True]),
        ({"left_bound": "open", "right_bound": "closed"}, [False, True, True]),
    ],
)
def test_during_has_bounds(bounds: dict[str, str], inside: list[bool]) -> None:
    start, end = r.epoch_time(10), r.epoch_time(20).in_timezone("+05:00")
    times = r.expr([9.999, 10, 15, 20, 20.001]).map(lambda n: r.epoch_time(n))
    assert evaluate(times.map(lambda t: t.during(start, end, **bounds))) == [False, *inside, False]


@pytest.mark.parametrize(
    ("query", "message", "frames"),
    [
        (r.time(2013, 2, 30, "Z"), "Error in time logic: Day of month is not valid for year.", ()),
        (r.time(2013, 2, 3, 4), "Expected type STRING but found NUMBER.", ()),
        (r.time(2013, 2, 3, 4, 5), "Got 5 arguments to TIME (expected 4 or 7).", ()),
        (r.time(2013, 2, 3, 4, 5, 6), "Got 6 arguments to TIME (expected 4 or 7).", ()),
        (r.time(2**31, 1, 1, "Z"), "Integer too large: 2147483648", (0,)),
        (r.time(2013, 1, 1, "UTC"), "Timezone `UTC` does not start with `-` or `+`.", ()),
        (r.now().in_timezone("+25:00"), "Hours out of range in `+25:00`.", ()),
        (r.expr(1).year(), "Not a TIME pseudotype: `1`.", (0,)),
        (r.epoch_time("a"), "Expected type NUMBER but found STRING.", (0,)),
        (
            r.iso8601("2013-07-30T20:56:05"),
            "ISO 8601 string has no time zone, and no default time zone was provided.",
            (),
        ),
        (
            r.epoch_time(253_440_000_000).year(),
            "Error in time logic: Year is out of valid range: 1400..10000.",
            (),
        ),
        (
            r.epoch_time(1).during(r.epoch_time(0), r.epoch_time(2), left_bound="ajar"),
            'Expected `open` or `closed` for optarg `left_bound` (got `"ajar"`).',
            (),
        ),
    ],
)
def test_times_that_cannot_be_are_refused(query: Any, message: str, frames: tuple[int, ...]) -> None:
    error = failure(query)
    assert (error.kind, error.message, error.frames) == (ErrorKind.LOGIC, message, frames)


def test_now_takes_no_arguments() -> None:
    assert isinstance(failure([103, [1]]), CompileError)
    assert failure(r.now(r.args([1, 2]))).message == "Expected 0 arguments but found 2."
    assert evaluate(r.now(r.args([])).type_of()) == "PTYPE<TIME>"


def test_each_group_has_its_time() -> None:
    grouped = r.expr([5, 90_000]).group(lambda n: n > 10).map(lambda n: r.epoch_time(n)).nth(0)
    assert evaluate(grouped.day()) == [[False, 1], [True, 2]]


@given(moments, timezones)
def test_a_time_is_made_again_of_its_parts(seconds: float, zone: str) -> None:
    moment = r.epoch_time(seconds).in_timezone(zone)
    parts = moment.do(lambda t: r.time(t.year(), t.month(), t.day(), t.hours(), t.minutes(), t.seconds(), t.timezone()))
    assert evaluate(parts) == evaluate(moment)
    assert evaluate(r.iso8601(moment.to_iso8601())) == evaluate(moment)
    assert evaluate(moment.do(lambda t: t.date() + t.time_of_day())) == evaluate(moment)
