"""Times: RFC 3339 text to integers and back. An integer is microseconds since 1970-01-01T00:00:00Z."""

import re
from datetime import datetime, timedelta
from functools import lru_cache

__all__ = ["TIME_MAX_US", "TIME_MIN_US", "format_time", "format_time_fixed", "parse_query_time", "parse_time"]

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (all arithmetic here is in UTC; aware times are several times slower)
TIME_MIN_US = -62_135_596_800_000_000
"""0001-01-01T00:00:00Z"""
TIME_MAX_US = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z"""

_DAY_US = 86_400_000_000
_DAYS_CACHED = 2_048
"""The texts of days, which are kept: most events of a log lie within few of them."""

_MINUTES = tuple(f"{minute // 60:02d}:{minute % 60:02d}:" for minute in range(24 * 60))

_TEXT_MAX = 64
_DATE = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_OFFSET = r"Z|z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = re.compile(rf"({_DATE}[Tt ]{_CLOCK})(?:\.([0-9]+))?({_OFFSET})")
_LOOSE_TIME = re.compile(rf"({_DATE}[Tt ]{_CLOCK})(?:\.([0-9]+))?({_OFFSET}|)")
_DATE_ALONE = re.compile(_DATE)
_LOST_PLUS = re.compile(r"(.*[0-9]) ([0-9]{2}:[0-9]{2})", re.DOTALL)
_RELATIVE = re.compile(r"-([0-9]{1,12})([smhdw])")
_UNIT_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}

_INGEST_RULE = "A time is RFC 3339 with an offset, such as 2019-08-24T14:15:22Z, without leap seconds or 24:00."
_QUERY_RULE = (
    "A time is RFC 3339, such as 2019-08-24T14:15:22Z, a date, such as 2019-08-24, "
    "or relative to now, such as -15m (s, m, h, d or w)."
)
_RANGE_RULE = "A time lies between the years 1 and 9999 in UTC."


def parse_time(text: str) -> int:
    """Microseconds of an RFC 3339 time. The offset is required, and digits beyond microseconds are truncated.

    Raises ValueError for anything else: bare numbers, words, 24:00, leap seconds, dates that do not exist, times
    outside the years 1..9999 in UTC.

    >>> parse_time("1970-01-01T01:00:00.0000019+01:00")
    1
    """
    match = _TIME.fullmatch(text) if len(text) <= _TEXT_MAX else None
    if match is None:
        raise ValueError(_INGEST_RULE)
    return _microseconds(match, _INGEST_RULE)


def parse_query_time(text: str, now: int) -> int:
    """Microseconds of a time in a query. Relative times count back from `now`.

    It takes RFC 3339 with any offset or, for UTC, with none; a date, for 00:00 UTC; and relative times such as `-15m`
    and `-7d`. A space where the query string lost a `+` is repaired. Raises ValueError for anything else.
    """
    if len(text) > _TEXT_MAX:
        raise ValueError(_QUERY_RULE)
    if relative := _RELATIVE.fullmatch(text):
        return _in_range(now - int(relative[1]) * _UNIT_US[relative[2]])
    if _DATE_ALONE.fullmatch(text):
        text += "T00:00:00Z"
    match = _LOOSE_TIME.fullmatch(text)
    if match is None and (repaired := _LOST_PLUS.fullmatch(text)):
        match = _LOOSE_TIME.fullmatch(f"{repaired[1]}+{repaired[2]}")
    if match is None:
        raise ValueError(_QUERY_RULE)
    return _microseconds(match, _QUERY_RULE)


def _microseconds(match: re.Match[str], rule: str) -> int:
    clock, fraction, offset = match.groups()
    try:
        us = _day_us(clock[:10]) + _minute_us(clock[11:16]) + int(clock[17:]) * 1_000_000
    except ValueError:  # the year 0, the 30th of February
        raise ValueError(_RANGE_RULE if clock.startswith("0000") else rule) from None
    if fraction:
        us += int(fraction[:6].ljust(6, "0"))
    if len(offset) == 6:
        offset_us = (int(offset[1:3]) * 60 + int(offset[4:])) * 60_000_000
        return _in_range(us - offset_us if offset[0] == "+" else us + offset_us)
    return us


@lru_cache(_DAYS_CACHED)
def _day_us(text: str) -> int:
    """The microseconds at which a day begins."""
    return (datetime.fromisoformat(text) - _EPOCH).days * _DAY_US


@lru_cache(len(_MINUTES))
def _minute_us(text: str) -> int:
    """The microseconds from the beginning of a day to a minute of it."""
    return (int(text[:2]) * 60 + int(text[3:])) * 60_000_000


def _in_range(us: int) -> int:
    if not TIME_MIN_US <= us <= TIME_MAX_US:
        raise ValueError(_RANGE_RULE)
    return us


def format_time(us: int) -> str:
    """The time for responses: UTC with `Z`, with no fraction if it is zero, else with six digits.

    >>> format_time(0), format_time(-1)
    ('1970-01-01T00:00:00Z', '1969-12-31T23:59:59.999999Z')
    """
    text = format_time_fixed(us)
    return text if us % 1_000_000 else f"{text[:19]}Z"


def format_time_fixed(us: int) -> str:
    """The time for hashing: always with six digits of fraction."""
    day, rest = divmod(us, _DAY_US)
    minute, rest = divmod(rest, 60_000_000)
    digits = str(100_000_000 + rest)  # a leading 1, then seconds and microseconds with their zeros
    return f"{_day(day)}{_MINUTES[minute]}{digits[1:3]}.{digits[3:]}Z"


@lru_cache(_DAYS_CACHED)
def _day(day: int) -> str:
    """The text up to the hour."""
    return (_EPOCH + timedelta(days=day)).isoformat()[:11]
