from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.datum.errors import DatumError
from photondb.datum.iso8601 import IsoDate, canonical_timezone, scan_iso8601
from photondb.datum.time import parse_iso8601, to_iso8601

DATES = ["2013", "2013-01", "2013-01-01", "20130101", "2013-001", "2013001"]
CLOCKS = ["13", "13:00", "1300", "13:00:00", "13:00:00.000000", "130000.000000", "130000."]
ZONES = ["Z", "+00", "+0000", "+00:00"]


@pytest.mark.parametrize("text", [f"{date}T{clock}{zone}" for date, clock, zone in product(DATES, CLOCKS, ZONES)])
def test_all_ways_to_write_a_time(text: str) -> None:
    assert to_iso8601(parse_iso8601(text)) == "2013-01-01T13:00:00+00:00"


BAD = [
    *product(["201301", "2013-0101", "2a13", "2013+01", "2013-01-01.1", "201", ""], ["13:00"], ["Z"]),
    *product(["2013-01-01"], ["a3", "13:0000", "13:000", "13:00.00", "130000.00000000a", "1", ""], ["Z"]),
    *product(["2013-01-01"], ["13:00"], ["X", "-7", "-07:-1", "+07+01", "PST", "UTC", "Z+00", "-00", "-00:00"]),
]


@pytest.mark.parametrize("text", [f"{date}T{clock}{zone}" for date, clock, zone in BAD])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(DatumError) as caught:
        parse_iso8601(text)
    assert caught.value.kind == "logic"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2a13", "Invalid date string `2a13` (got `a` but expected a digit)."),
        ("2013-0101", "Date string `2013-0101` must have 0 or 2 hyphens."),
        ("2013-01-01.1", "Garbage characters `.1` at end of date string `2013-01-01.1`."),
        ("2013-01-01T13:0000Z", "Time string `13:0000` must have 0 or 2 colons."),
        ("2013-01-01T13:00:00xZ", "Garbage characters `x` at end of time string `13:00:00x`."),
        ("2013-01-01T13:00:00+07:00:00", "Garbage characters `:00` at end of timezone string `+07:00:00`."),
        (
            "201301",
            "Invalid time zone string `201301`. Valid time zones are `+hh:mm`, `-hh:mm`, `+hhmm`, `-hhmm`, `+hh`, "
            "`-hh` and `Z`.",
        ),
        ("2013-02-29T00Z", "Error in time logic: Day of month is not valid for year."),
        ("2013-02-32T00Z", "Error in time logic: Day of month value is out of range 1..31."),
        ("2013-13-01T00Z", "Error in time logic: Month number is out of range 1..12."),
        ("2013-367T00Z", "Error in time logic: Day of year value is out of range 1..366."),
        ("1399-01-01T00Z", "Error in time logic: Year is out of valid range: 1400..10000."),
        ("2013-07-30", "ISO 8601 string has no time zone, and no default time zone was provided."),
        ("2013-07-30T20:56:05", "ISO 8601 string has no time zone, and no default time zone was provided."),
        ("2013-01-01T00:00:00+14:01", "Error in time logic: Offset out of range: 14:01:00."),
        ("2013-01-01T00:00:00-12:30", "Error in time logic: Offset out of range: -12:30:00."),
    ],
)
def test_the_message_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(DatumError) as caught:
        parse_iso8601(text)
    assert caught.value.message == message


@pytest.mark.parametrize("text", ["2013-W01-1T00Z", "2013-W01T00Z", "2013W011"])
def test_week_dates_are_known_but_not_supported(text: str) -> None:
    with pytest.raises(DatumError, match="cannot support ISO week dates"):
        scan_iso8601(text)


@given(st.text("0123456789-+:.TWZa", max_size=25))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        scanned = scan_iso8601(text)
    except DatumError:
        return
    assert 0 <= scanned.microseconds < 100 * 3600 * 1_000_000 + 100 * 60 * 1_000_000 + 100 * 1_000_000
    assert 0 <= scanned.date.year <= 9999


def test_what_is_left_out_is_the_first_or_midnight() -> None:
    assert scan_iso8601("2013") == (IsoDate(2013, 1, 1), 0, None)
    assert scan_iso8601("2013-07") == (IsoDate(2013, 7, 1), 0, None)
    assert scan_iso8601("2013-211T01Z") == (IsoDate(2013, ordinal=211), 3_600_000_000, "+00:00")
    assert scan_iso8601("2013-07-30T00:00:00.1234567Z").microseconds == 123456


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("Z", "+00:00"), ("+07", "+07:00"), ("-0730", "-07:30"), ("-00:59", "-00:59"), ("+24:59", "+24:59")],
)
def test_time_zones_are_offsets(text: str, canonical: str) -> None:
    assert canonical_timezone(text) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Timezone `` does not start with `-` or `+`."),
        ("UTC+00", "Timezone `UTC+00` does not start with `-` or `+`."),
        ("-00", "`-00` is not a valid time offset."),
        ("-00:00", "`-00:00` is not a valid time offset."),
        ("+00:60", "Minutes out of range in `+00:60`."),
        ("+25:00", "Hours out of range in `+25:00`."),
        ("+0a", "Invalid date string `+0a` (got `a` but expected a digit)."),
    ],
)
def test_other_time_zones_are_refused(text: str, message: str) -> None:
    with pytest.raises(DatumError) as caught:
        canonical_timezone(text)
    assert caught.value.message == message
