"""What is going to be removed, and how a response announces it."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from email.utils import format_datetime, parsedate_to_datetime

import msgspec

__all__ = [
    "NOTICE_DAYS_MIN",
    "Deprecation",
    "DeprecationNotice",
    "deprecation_headers",
    "deprecation_notice",
    "members_of",
]

NOTICE_DAYS_MIN = 180
"""The shortest time between the deprecation_notice of a removal and the removal."""


_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Deprecation(msgspec.Struct, frozen=True):
    """A route, parameter or field that is deprecated `since` a day, and may be gone from the day `sunset` on.

    `instead` is a sentence that says what to use. Raises ValueError for less than `NOTICE_DAYS_MIN` days of notice.
    """

    since: dt.date
    sunset: dt.date
    instead: str

    def __post_init__(self) -> None:
        """Check the time of notice."""
        if (self.sunset - self.since).days < NOTICE_DAYS_MIN:
            raise ValueError(f"Announce a removal at least {NOTICE_DAYS_MIN} days before it.")

    def __str__(self) -> str:
        return f"Deprecated since {self.since}, and may be removed on {self.sunset}. {self.instead}"


def deprecation_headers(used: Sequence[Deprecation], docs: str) -> list[tuple[bytes, bytes]]:
    """The headers `Deprecation` (RFC 9745), `Sunset` (RFC 8594) and `Link` for what a request used, at least one thing.

    Of several, the earliest days count. `docs` is the path of the page that says what to use instead.
    """
    since, sunset = _midnight(min(each.since for each in used)), _midnight(min(each.sunset for each in used))
    return [
        (b"deprecation", f"@{since.timestamp():.0f}".encode()),
        (b"sunset", format_datetime(sunset, usegmt=True).encode()),
        (b"link", f'<{docs}>; rel="deprecation"; type="text/html"'.encode()),
    ]


def members_of(objects: Iterable[bytes]) -> set[str]:
    """The names of the members of these JSON objects. What is none is left out: it is refused elsewhere."""
    names: set[str] = set()
    for each in objects:
        try:
            names.update(_decode_members(each))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
    return names


class DeprecationNotice(msgspec.Struct, frozen=True):
    """What a response announces: that what its request used is deprecated `since`, and may be gone from `sunset` on.

    A day that the headers do not tell is None.
    """

    since: dt.date | None
    sunset: dt.date | None

    def __str__(self) -> str:
        since = "" if self.since is None else f" since {self.since}"
        sunset = "" if self.sunset is None else f", and may be removed on {self.sunset}"
        return f"deprecated{since}{sunset}"


def deprecation_notice(headers: Mapping[str, str]) -> DeprecationNotice | None:
    """What the headers of a response announce, by their names in lower case; None without `Deprecation`."""
    since = headers.get("deprecation")
    if since is None:
        return None
    seconds = since.strip().removeprefix("@")
    try:
        day = dt.datetime.fromtimestamp(int(seconds), dt.UTC).date() if seconds.isdecimal() else None
    except (ValueError, OverflowError, OSError):
        day = None
    try:
        sunset = parsedate_to_datetime(headers["sunset"]).date()
    except (KeyError, ValueError, OverflowError):
        return DeprecationNotice(day, None)
    return DeprecationNotice(day, sunset)


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)
