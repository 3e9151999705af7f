"""Histograms of events by time: which intervals there are, and how counts become buckets. Pure; a store counts.

The intervals are steps of a fixed ladder. Buckets are aligned in UTC: those of a day or less begin at midnight or a
fraction of the day, those of weeks begin on a Monday. So the same time is in the same bucket, whatever range is asked
for, and the first and the last bucket may reach beyond the range; they count only what lies within it.

Every step is a multiple of a width of `rollups`, so that few rows make up a bucket.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from whence.errors import Invalid
from whence.events import OUTCOMES

__all__ = [
    "BUCKETS_MAX",
    "CHOSEN_MAX",
    "INTERVALS_US",
    "OTHER",
    "TOP_DEFAULT",
    "TOP_MAX",
    "EventCount",
    "HistogramRequest",
    "TimeGrid",
    "TimeHistogram",
    "grid_of",
    "histogram_of",
]

BUCKETS_MAX = 1_000
"""The most buckets of an answer."""

CHOSEN_MAX = 120
"""The most buckets of an answer whose interval is chosen here."""

TOP_MAX, TOP_DEFAULT = 20, 8
"""The most event types that are counted by themselves, and the default."""

OTHER = "other"
"""Stands for all further event types. None can have this name, since each has a dot."""

_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR

_MONDAY = 4 * _DAY
"""The start of 1970-01-05, where buckets of every interval begin."""

INTERVALS_US: dict[str, int] = {
    **{f"{count}s": count * _SECOND for count in (1, 2, 5, 10, 20, 30)},
    **{f"{count}m": count * _MINUTE for count in (1, 2, 5, 10, 20, 30)},
    **{f"{count}h": count * _HOUR for count in (1, 2, 3, 6, 12)},
    **{
        f"{count}d": count * _DAY for count in (1, 2, 7, 14, 28, 91, 182, 364, 728, 1_820, 3_640, 7_280, 18_200, 36_400)
    },
}
"""The ladder: each interval and its microseconds, shortest first. The longest makes a hundred buckets of all the years
from 1 to 9999."""

EventCount = tuple[int, int, int]
"""The number of a bucket within its grid, from 0, the number of a kind, and how many events they have."""


class HistogramRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a histogram counts. `interval` is a key of `INTERVALS_US`, None to have one chosen. Of event types the `top`
    most frequent ones are counted by themselves."""

    by: Literal["outcome", "event_type"] = "outcome"
    interval: str | None = None
    top: int = TOP_DEFAULT


class TimeGrid(msgspec.Struct, frozen=True):
    """Buckets of one interval, side by side. `start` is that of the first one, `width` that of each, in
    microseconds."""

    interval: str
    start: int
    width: int
    buckets: int

    @property
    def end(self) -> int:
        """Where the last bucket ends."""
        return self.start + self.buckets * self.width

    def bucket_of(self, time_us: int) -> int:
        """The number of the bucket that holds a time, from 0; negative before the first."""
        return (time_us - self.start) // self.width


class TimeHistogram(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of events by time. `keys` are what is counted and its total, by total descending, then key; `OTHER` comes
    last. `counts` holds for each bucket of the grid one number for each key, in that order.

    `since` and `until` bound what is counted. Where the request left one open, it is the outer end of the grid. `grid`
    is None for a range without an end or without a length, and an end that is not known is None.
    """

    grid: TimeGrid | None
    since: int | None
    until: int | None
    keys: list[tuple[str, int]]
    counts: list[list[int]]

    @property
    def total(self) -> int:
        """How many events are counted."""
        return sum(events for _, events in self.keys)


def grid_of(
    since: int | None, until: int | None, bounds: tuple[int | None, int | None], interval: str | None
) -> TimeGrid | None:
    """The buckets that hold `since <= t < until`: of this interval, or of the shortest that makes at most `CHOSEN_MAX`
    of them. None when the range is empty.

    An open end is that of the log: `bounds` are the times of its first and its last event, None for a log without any.
    They are not used when both ends are given. Raises Invalid for an interval that makes more than `BUCKETS_MAX`.
    """
    first, last = bounds
    since = first if since is None else since
    until = last + 1 if until is None and last is not None else until
    if since is None or until is None or since >= until:
        return None
    if interval is None:
        grids = (_aligned(since, until, each) for each in INTERVALS_US)
        return next(grid for grid in grids if grid.buckets <= CHOSEN_MAX)
    grid = _aligned(since, until, interval)
    if grid.buckets > BUCKETS_MAX:
        grids = (_aligned(since, until, each) for each in INTERVALS_US)
        least = next(each.interval for each in grids if each.buckets <= BUCKETS_MAX)
        raise Invalid.at(
            ("query", "interval"),
            f"That would be {grid.buckets:,} buckets, and {BUCKETS_MAX:,} are the most. The shortest interval for this "
            f"range is {least}.",
            "too_many_buckets",
        )
    return grid


def _aligned(since: int, until: int, interval: str) -> TimeGrid:
    width = INTERVALS_US[interval]
    first, last = (since - _MONDAY) // width, (until - 1 - _MONDAY) // width
    return TimeGrid(interval, first * width + _MONDAY, width, last - first + 1)


def histogram_of(
    grid: TimeGrid | None,
    since: int | None,
    until: int | None,
    counts: Sequence[EventCount],
    kinds: Mapping[int, Any],
    request: HistogramRequest,
) -> TimeHistogram:
    """The histogram of these counts, of which several may be of one bucket and kind.

    `since` and `until` are the range that was asked for, None where it is open; `kinds` have an `outcome` and an
    `event_type`.
    """
    by_kind = dict.fromkeys(kinds, 0)
    for _, kind, events in counts:
        by_kind[kind] += events
    words = {number: getattr(kind, request.by) for number, kind in kinds.items()}
    totals: Counter[str] = Counter()
    for kind, events in by_kind.items():
        totals[words[kind]] += events
    keys = sorted(((word, events) for word, events in totals.items() if events), key=lambda each: (-each[1], each[0]))
    shown = len(OUTCOMES) if request.by == "outcome" else request.top
    rest = sum(events for _, events in keys[shown:])
    keys = [*keys[:shown], (OTHER, rest)] if rest else keys
    by_word = {word: column for column, (word, _) in enumerate(keys)}
    columns = {kind: by_word.get(word, len(keys) - 1) for kind, word in words.items()}
    rows = [[0] * len(keys) for _ in range(0 if grid is None else grid.buckets)]
    for bucket, kind, events in counts:
        rows[bucket][columns[kind]] += events
    return TimeHistogram(
        grid=grid,
        since=since if since is not None or grid is None else grid.start,
        until=until if until is not None or grid is None else grid.end,
        keys=keys,
        counts=rows,
    )
