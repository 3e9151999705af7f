"""Exact counts by time, in buckets that divide as they fill. Pure arithmetic; stores keep the rows.

Level 0 is one bucket for all time. Its children are buckets of 32 days, then 8 days, a day, 6 hours, an hour, 10
minutes, a minute, 10 seconds and a second: few children each, since a range that cuts a bucket takes those on one side
of the cut, and every bucket that it takes costs a row for each kind and actor in it. A bucket has rows for its children
only once it has been *divided*, in the append that takes it beyond `DIVIDE_AT` events. So a sparse log has few rows,
and in a dense one the events at the edge of a range, which are read one by one, stay few.

A range of time is covered by whole buckets (`Span`) and, where it cuts through a bucket that has no children, by
edges of single events (`Edge`). Both come in order of time and do not overlap. An open end is no edge.

All bucket numbers are floor divisions of microseconds, done here alone.
"""

from collections.abc import Callable, Iterable

import msgspec

__all__ = [
    "DIVIDE_AT",
    "LAST_LEVEL",
    "WIDTHS_US",
    "Edge",
    "Piece",
    "Placed",
    "Span",
    "asked_by_cover",
    "bounds",
    "bucket_of",
    "by_bucket",
    "child_span",
    "cover",
    "is_full",
]

DIVIDE_AT = 4_096
"""A bucket with more events than this has children, unless it is of the last level."""

_SECOND = 1_000_000
_HOUR = 3_600 * _SECOND
_DAY = 24 * _HOUR

WIDTHS_US: tuple[int, ...] = (
    *(0, 32 * _DAY, 8 * _DAY, _DAY, 6 * _HOUR, _HOUR),
    *(600 * _SECOND, 60 * _SECOND, 10 * _SECOND, _SECOND),
)
"""The width of a bucket of each level; level 0 has no bounds."""

LAST_LEVEL = len(WIDTHS_US) - 1
"""Buckets of this level are never divided."""

_FIRST, _LAST = -(1 << 62), 1 << 62


class Span(msgspec.Struct, frozen=True):
    """Whole buckets of one level, `first` to `last`, both included."""

    level: int
    first: int
    last: int


class Edge(msgspec.Struct, frozen=True):
    """Single events: `since <= occurred_at < until`, in microseconds."""

    since: int
    until: int


Piece = Span | Edge

Placed = tuple[int, int, int]
"""When a stored event occurred, its kind and its actor."""


def bucket_of(level: int, time_us: int) -> int:
    """The bucket of this level that holds the time."""
    return time_us // WIDTHS_US[level] if level else 0


def bounds(level: int, bucket: int) -> Edge:
    """The times that a bucket holds."""
    if level == 0:
        return Edge(_FIRST, _LAST)
    return Edge(bucket * WIDTHS_US[level], (bucket + 1) * WIDTHS_US[level])


def by_bucket(level: int, placed: Iterable[Placed]) -> dict[int, list[Placed]]:
    """Events by the bucket of this level that they belong to."""
    groups: dict[int, list[Placed]] = {}
    for each in placed:
        groups.setdefault(bucket_of(level, each[0]), []).append(each)
    return groups


def is_full(level: int, events: int) -> bool:
    """Whether a bucket with so many events has to be divided."""
    return events > DIVIDE_AT and level < LAST_LEVEL


def asked_by_cover(since: int | None, until: int | None) -> list[tuple[int, int]]:
    """Every level and bucket of which `cover` may ask whether it is divided."""
    times = [time for time in (since, until) if time is not None]
    if not times:
        return []
    buckets = {(level, bucket_of(level, time)) for level in range(1, LAST_LEVEL) for time in times}
    return [(0, 0), *sorted(buckets)]


def child_span(level: int, bucket: int) -> Span:
    """The buckets of the next level that lie in this one."""
    if level == 0:
        return Span(1, _FIRST, _LAST)
    ratio = WIDTHS_US[level] // WIDTHS_US[level + 1]
    return Span(level + 1, bucket * ratio, bucket * ratio + ratio - 1)


def cover(since: int | None, until: int | None, divided: Callable[[int, int], bool]) -> list[Piece]:
    """The pieces that make up `since <= t < until` exactly, in order of time. None is an open end.

    `divided(level, bucket)` says whether a bucket has children; it is asked at most twice a level.
    """
    if since is None and until is None:
        return [Span(0, 0, 0)]
    if since is not None and until is not None and since >= until:
        return []
    pieces: list[Piece] = []
    if divided(0, 0):
        _cover_within(child_span(0, 0), since, until, divided, pieces)
    else:
        whole = bounds(0, 0)
        pieces.append(Edge(whole.since if since is None else since, whole.until if until is None else until))
    return pieces


def _cover_within(
    span: Span, since: int | None, until: int | None, divided: Callable[[int, int], bool], pieces: list[Piece]
) -> None:
    """Cover the part of the range that lies in `span`; a bound of None reaches to the span's end."""
    level, width = span.level, WIDTHS_US[span.level]
    if since is not None and until is not None and since // width == until // width:
        _cut(level, since // width, since, until, divided, pieces)
        return
    first, last = span.first, span.last
    if since is not None:
        first = -(-since // width)  # the first bucket that begins at or after it
        if since % width:
            _cut(level, since // width, since, None, divided, pieces)
    if until is not None:
        last = until // width - 1
    if first <= last:
        pieces.append(Span(level, first, last))
    if until is not None and until % width:
        _cut(level, until // width, None, until, divided, pieces)


def _cut(
    level: int,
    bucket: int,
    since: int | None,
    until: int | None,
    divided: Callable[[int, int], bool],
    pieces: list[Piece],
) -> None:
    """Cover a part of one bucket: by its children when it has some, else as an edge."""
    if level < LAST_LEVEL and divided(level, bucket):
        _cover_within(child_span(level, bucket), since, until, divided, pieces)
        return
    whole = bounds(level, bucket)
    pieces.append(Edge(whole.since if since is None else since, whole.until if until is None else until))
