"""Times: the formats that ingest and queries accept, and the format of responses."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import NEVER, PROPERTY, catches, replaced
from whence.wire import times
from whence.wire.times import TIME_MAX_US, TIME_MIN_US

SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND  # 2023-11-14T22:13:20Z

EVERYWHERE = [
    ("1970-01-01T00:00:00Z", 0),
    ("1970-01-01t00:00:00z", 0),
    ("1970-01-01 00:00:00Z", 0),
    ("1970-01-01T00:00:00-00:00", 0),
    ("1970-01-01T01:00:00+01:00", 0),
    ("1969-12-31T18:30:00-05:30", 0),
    ("1970-01-01T23:59:00+23:59", 0),
    ("1970-01-01T00:00:00.5Z", 500_000),
    ("1970-01-01T00:00:00.000001Z", 1),
    ("1970-01-01T00:00:00.123456789Z", 123_456),
    ("1970-01-01T00:00:00.9999999Z", 999_999),
    ("1969-12-31T23:59:59.9999999Z", -1),
    ("1970-01-01T00:00:00." + "1" * 43 + "Z", 111_111),
    ("2024-02-29T00:00:00Z", 1_709_164_800 * SECOND),
    ("2023-11-14T22:13:20Z", NOW),
    ("0001-01-01T00:00:00Z", TIME_MIN_US),
    ("0001-01-01T01:00:00+01:00", TIME_MIN_US),
    ("9999-12-31T23:59:59.999999Z", TIME_MAX_US),
    ("9999-12-31T22:59:59.9999999-01:00", TIME_MAX_US),
]

QUERY_ALONE = [
    ("2023-11-14", NOW - (22 * 3600 + 13 * 60 + 20) * SECOND),
    ("0001-01-01", TIME_MIN_US),
    ("2023-11-14T22:13:20", NOW),
    ("2023-11-14 22:13:20", NOW),
    ("2023-11-14T22:13:20.25", NOW + 250_000),
    ("2023-11-15T00:13:20 02:00", NOW),
    ("2023-11-15 00:13:20 02:00", NOW),
    ("2023-11-15T00:13:20.75 02:00", NOW + 750_000),
    ("-0s", NOW),
    ("-1s", NOW - SECOND),
    ("-15m", NOW - 900 * SECOND),
    ("-2h", NOW - 7_200 * SECOND),
    ("-7d", NOW - 604_800 * SECOND),
    ("-1w", NOW - 604_800 * SECOND),
    ("-007d", NOW - 604_800 * SECOND),
]

NOWHERE = [
    *("", " ", "now", "today", "infinity", "-infinity", "NaN", "null"),
    *("0", "1", "-1", "1700000000", "1700000000000", "1.7e9", "1_000", "20230101"),
    *("2023-11-14T24:00:00Z", "2023-11-14T24:00:00.000+00:00", "2023-11-14T25:00:00Z"),
    *("2016-12-31T23:59:60Z", "2016-12-31T23:59:60.5Z", "2023-11-14T22:60:00Z"),
    *("2023-00-14T22:13:20Z", "2023-13-14T22:13:20Z", "2023-11-00T22:13:20Z", "2023-11-32T22:13:20Z"),
    *("2023-02-29T00:00:00Z", "2023-04-31T00:00:00Z", "1900-02-29T00:00:00Z", "2023-02-30"),
    *("2023-11-14T22:13:20+24:00", "2023-11-14T22:13:20+01:60", "2023-11-14T22:13:20+01", "2023-11-14T22:13:20+0100"),
    *("2023-11-14T22:13:20+1:00", "2023-11-14T22:13:20+01:00:00", "2023-11-14T22:13:20ZZ", "2023-11-14T22:13:20 Z"),
    *("2023-11-14T22:13:20.Z", "2023-11-14T22:13:20,5Z", "2023-11-14T22:13Z", "2023-11-14T22Z", "2023-11-14Z"),
    *("2023-11-14T22:13:20 UTC", "Tue, 14 Nov 2023 22:13:20 GMT", "2023-W46-2T22:13:20Z", "2023-318T22:13:20Z"),
    *("20231114T221320Z", "2023-11-14_22:13:20Z", "2023-11-14T22:13:20Z\n", "\n2023-11-14T22:13:20Z"),
    *("2023-11-14T22:13:20Z ", " 2023-11-14T22:13:20Z", "2023-11-14T22:13:20Z\0", "23-11-14T22:13:20Z"),
    *("+2023-11-14T22:13:20Z", "-2023-11-14T22:13:20Z", "12023-11-14T22:13:20Z"),
    *(
        "2023-11-14T22:13:20.\u0665Z",
        "2023-11-14T22:13:2\u0660Z",
        "\uff12023-11-14T22:13:20Z",
        "2023\u201311\u201314T22:13:20Z",
    ),
    *("2023-11-14T22:13:20\u221201:00", "1970-01-01T00:00:00." + "1" * 44 + "Z"),
    *("-", "-m", "-1", "-1y", "-1M", "-1 d", "- 1d", "--1d", "-1d ", "-1d\n", "-1.5d", "-1dd", "-\u0661d"),
    *("+15m", " 15m", "15m", "2023-11-14 02:00", "-1d 02:00"),
]

OUT_OF_RANGE = [
    *("0000-01-01T00:00:00Z", "0000-12-31T23:59:59Z", "0001-01-01T00:00:00+00:01", "0001-01-01T00:59:59.999999+01:00"),
    *("9999-12-31T23:59:59-00:01", "9999-12-31T23:00:00-01:00"),
]


def refused(read: Callable[[], int]) -> str:
    """The message of the refusal."""
    with pytest.raises(ValueError) as caught:
        read()
    return str(caught.value)


def rounding(match: re.Match[str], rule: str, whole: Callable[[re.Match[str], str], int] = times._microseconds) -> int:
    digits = (match[2] or "0").ljust(7, "0")
    return whole(match, rule) + (digits[6] >= "5")


ROUNDED = replaced(times, "_microseconds", rounding, "nanoseconds_are_rounded")
WRAPPED = replaced(times, "_in_range", lambda us: us, "overflow_passes")


@catches(ROUNDED)
@pytest.mark.parametrize("read", [times.parse_time, lambda text: times.parse_query_time(text, NOW)])
def test_rfc_3339_with_an_offset_is_read_alike_everywhere(read: Callable[[str], int]) -> None:
    """T and Z in either case, every offset, and fractions of any length, truncated to microseconds, are accepted."""
    assert [(text, read(text)) for text, _ in EVERYWHERE] == EVERYWHERE


@catches(
    ROUNDED,
    replaced(times, "_LOST_PLUS", NEVER, "a_lost_plus_stays_lost"),
    replaced(times, "_DATE_ALONE", NEVER, "no_date_alone"),
    replaced(times, "_UNIT_US", times._UNIT_US | {"m": 30 * 86_400 * SECOND}, "m_is_a_month"),
    replaced(times, "_LOOSE_TIME", times._TIME, "a_query_needs_an_offset"),
)
def test_a_query_may_say_it_shorter() -> None:
    """In a query a date is midnight UTC, no offset is UTC, a lost `+` is repaired, and `-7d` is relative to now."""
    expected = [*QUERY_ALONE, ("1970-01-01T00:00:00.9999999", 999_999)]
    assert [(text, times.parse_query_time(text, NOW)) for text, _ in expected] == expected


@catches(replaced(times, "_TIME", times._LOOSE_TIME, "ingest_takes_no_offset"))
def test_what_a_query_may_shorten_is_refused_at_ingest() -> None:
    """At ingest the time must be complete, with its offset."""
    for text, _ in QUERY_ALONE:
        sentence = refused(lambda text=text: times.parse_time(text))
        assert sentence.startswith("A time is RFC 3339 with an offset")


@pytest.mark.parametrize("text", NOWHERE, ids=ascii)
def test_what_is_no_time_is_refused_everywhere(text: str) -> None:
    """Words, numbers, 24:00, leap seconds, invalid dates and other spellings are refused, and no message repeats
    them."""
    at_ingest = refused(lambda: times.parse_time(text))
    in_query = refused(lambda: times.parse_query_time(text, NOW))
    assert at_ingest.startswith("A time is RFC 3339 with an offset")
    assert in_query.startswith("A time is RFC 3339, such as")
    assert len(text) < 5 or text not in at_ingest + in_query


def loosened(pattern: re.Pattern[str], old: str, new: str) -> re.Pattern[str]:
    assert old in pattern.pattern
    return re.compile(pattern.pattern.replace(old, new))


@catches(
    replaced(times, "_TIME", loosened(times._TIME, "[0-9]", r"\d"), "digits_of_any_script"),
    replaced(times, "_TIME", loosened(times._TIME, "Z|z", r"Z\n?|z"), "a_line_end_passes"),
    replaced(times, "_TIME", loosened(times._TIME, "2[0-3]):[0-5]", "2[0-4]):[0-5]"), "offsets_of_24_hours"),
)
def test_the_grammar_has_no_slack() -> None:
    """Every near miss of the grammar is refused."""
    for text in NOWHERE:
        refused(lambda text=text: times.parse_time(text))


@catches(WRAPPED)
def test_what_overflows_utc_is_refused() -> None:
    """A time must be in the years 1 to 9999 after conversion to UTC."""
    sentence = "A time lies between the years 1 and 9999 in UTC."
    for text in OUT_OF_RANGE:
        assert refused(lambda text=text: times.parse_time(text)) == sentence
        assert refused(lambda text=text: times.parse_query_time(text, NOW)) == sentence


@catches(WRAPPED)
def test_a_relative_time_may_not_leave_the_calendar() -> None:
    """A relative time before the year 1 is refused, and so is one with a very long number."""
    sentence = refused(lambda: times.parse_query_time("-999999999999w", NOW))
    assert sentence == "A time lies between the years 1 and 9999 in UTC."
    assert refused(lambda: times.parse_query_time("-" + "9" * 13 + "s", NOW)).startswith("A time is RFC 3339, such as")


@pytest.mark.parametrize(
    ("us", "answered", "hashed"),
    [
        (0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
        (1, "1970-01-01T00:00:00.000001Z", "1970-01-01T00:00:00.000001Z"),
        (-1, "1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
        (500_000, "1970-01-01T00:00:00.500000Z", "1970-01-01T00:00:00.500000Z"),
        (TIME_MIN_US, "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        (TIME_MAX_US, "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times_are_answered_in_utc(us: int, answered: str, hashed: str) -> None:
    """Responses use `Z` and a fraction of six digits unless it is zero; hashed times always have six digits."""
    assert (times.format_time(us), times.format_time_fixed(us)) == (answered, hashed)


@catches(
    replaced(times, "format_time", lambda us: times.format_time_fixed(us)[:-4] + "Z", "milliseconds_are_answered"),
    replaced(times, "_day", lambda day: (times._EPOCH + timedelta(days=day + 1)).isoformat()[:11], "late"),
)
@PROPERTY
@given(us=st.integers(TIME_MIN_US, TIME_MAX_US))
def test_reading_undoes_writing(us: int) -> None:
    """Any microsecond of the years 1 to 9999 round-trips through its text, which agrees with Python's calendar."""
    text = times.format_time(us)
    assert times.parse_time(text) == times.parse_query_time(text, NOW) == us
    assert times.format_time(times.parse_time(text)) == text
    assert times.parse_time(times.format_time_fixed(us)) == us
    assert datetime.fromisoformat(text) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


@catches(ROUNDED)
@PROPERTY
@given(
    when=st.datetimes(times._EPOCH.replace(year=2), times._EPOCH.replace(year=9998)),
    minutes=st.integers(-23 * 60 - 59, 23 * 60 + 59),
    beyond=st.from_regex(r"[0-9]{0,6}", fullmatch=True),
)
def test_any_offset_means_the_same_instant(when: datetime, minutes: int, beyond: str) -> None:
    """A time with an offset and nanoseconds is the same instant as in Python's calendar, truncated to microseconds."""
    local = when.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    text = local.isoformat(timespec="microseconds")
    spelled = f"{text[:26]}{beyond}{text[26:]}"
    expected = (local - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert times.parse_time(spelled) == expected
    assert times.parse_query_time(spelled.replace("+", " "), NOW) == expected


@PROPERTY
@given(a=st.integers(TIME_MIN_US, TIME_MAX_US), b=st.integers(TIME_MIN_US, TIME_MAX_US))
def test_hashed_times_sort_as_the_times_do(a: int, b: int) -> None:
    """The text of hashed times, which always has all digits, sorts like the instants."""
    assert (times.format_time_fixed(a) < times.format_time_fixed(b)) == (a < b)
