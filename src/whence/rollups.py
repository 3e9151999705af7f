"""Exact counts by time, in buckets that divide as they fill. Pure arithmetic; stores keep the rows.

Level 0 is one bucket for all time. The levels below it are buckets of 32 days, 8 days, a day, 6 hours, an hour, 10
minutes, a minute, 10 seconds and a second. A bucket has few children, because a range that cuts through it reads those
on one side of the cut, and each costs a row for every kind and actor in it.

A bucket has rows for its children only once it is *divided*: in the append that takes it beyond `DIVIDE_AT` events. So
a sparse log has few rows, and in a dense one few events lie at the edge of a range, where they are read one by one.

A range of time is covered by whole buckets (`Span`) and, where it cuts through a bucket without children, by single
events (`Edge`). Both come in order of time and do not overlap. An open end needs no edge. For a sum, a bucket of which
the range covers more than half can be added whole, and the rest of it subtracted.

All bucket numbers are floor divisions of microseconds. No other module computes them.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

__all__ = [
    "DAY_US",
    "DIVIDE_AT",
    "LAST_LEVEL",
    "WIDTHS_US",
    "Division",
    "Edge",
    "Known",
    "Occurrence",
    "Piece",
    "Span",
    "asked_by_cover",
    "bounds",
    "bucket_of",
    "by_bucket",
    "child_span",
    "cover",
    "cover_sum",
    "cut_at",
    "cut_levels",
    "division",
    "is_full",
]

DIVIDE_AT = 4_096
"""A bucket with more events than this has children, unless it is of the last level."""

_SECOND = 1_000_000
_HOUR = 3_600 * _SECOND
DAY_US = 24 * _HOUR

WIDTHS_US: tuple[int, ...] = (
    *(0, 32 * DAY_US, 8 * DAY_US, DAY_US, 6 * _HOUR, _HOUR),
    *(600 * _SECOND, 60 * _SECOND, 10 * _SECOND, _SECOND),
)
"""The width of a bucket of each level; level 0 has no bounds."""

LAST_LEVEL = len(WIDTHS_US) - 1
"""Buckets of this level are never divided."""

_FIRST, _LAST = -(1 << 62), 1 << 62


class Span(msgspec.Struct, frozen=True):
    """Whole buckets of one level, `first` to `last`, both included. A `sign` of -1: to be subtracted."""

    level: int
    first: int
    last: int
    sign: int = 1


class Edge(msgspec.Struct, frozen=True):
    """Single events: `since <= occurred_at < until`, in microseconds. A `sign` of -1: to be subtracted."""

    since: int
    until: int
    sign: int = 1


Piece = Span | Edge

Occurrence = tuple[int, int, int]
"""When a stored event occurred, its kind and its actor."""


def bucket_of(level: int, time_us: int) -> int:
    """The bucket of this level that holds the time."""
    return time_us // WIDTHS_US[level] if level else 0


def bounds(level: int, bucket: int) -> Edge:
    """The times that a bucket holds."""
    if level == 0:
        return Edge(_FIRST, _LAST)
    return Edge(bucket * WIDTHS_US[level], (bucket + 1) * WIDTHS_US[level])


def by_bucket(level: int, occurrences: Iterable[Occurrence]) -> dict[int, list[Occurrence]]:
    """Events by their bucket of this level."""
    groups: dict[int, list[Occurrence]] = {}
    for each in occurrences:
        groups.setdefault(bucket_of(level, each[0]), []).append(each)
    return groups


def is_full(level: int, events: int) -> bool:
    """Whether a bucket with this number of events has to be divided."""
    return events > DIVIDE_AT and level < LAST_LEVEL


def asked_by_cover(since: int | None, until: int | None) -> list[tuple[int, int]]:
    """Every level and bucket of which `cover` may ask whether it is divided."""
    times = [time for time in (since, until) if time is not None]
    if not times:
        return []
    buckets = {(level, bucket_of(level, time)) for level in range(1, LAST_LEVEL) for time in times}
    return [(0, 0), *sorted(buckets)]


def child_span(level: int, bucket: int) -> Span:
    """The children of a bucket."""
    if level == 0:
        return Span(1, _FIRST, _LAST)
    ratio = WIDTHS_US[level] // WIDTHS_US[level + 1]
    return Span(level + 1, bucket * ratio, bucket * ratio + ratio - 1)


class Division(msgspec.Struct, frozen=True):
    """What the statements that divide a bucket take.

    The events with `since <= occurred_at < until` go to buckets of `level`, each `width` wide. The bucket `first`
    starts at `start`; no event is earlier.
    """

    level: int
    first: int
    start: int
    width: int
    since: int
    until: int


def division(level: int, bucket: int, first_time: int | None = None) -> Division:
    """How a bucket is divided. Level 0 has no bounds, so it takes the time of the tenant's earliest event."""
    within = bounds(level, bucket)
    first = child_span(level, bucket).first if first_time is None else bucket_of(level + 1, first_time)
    start = bounds(level + 1, first).since
    return Division(level + 1, first, start, WIDTHS_US[level + 1], within.since, within.until)


def cover(since: int | None, until: int | None, divided: Callable[[int, int], bool]) -> list[Piece]:
    """The pieces that make up `since <= t < until` exactly, in order of time. None is an open end.

    `divided(level, bucket)` says whether a bucket has children; it is asked at most twice a level.
    """
    return _Cover(divided, summing=False).of(since, until)


def cover_sum(since: int | None, until: int | None, divided: Callable[[int, int], bool]) -> list[Piece]:
    """As `cover`, but with the fewest pieces whose signed sum is the range, in no order."""
    return _Cover(divided, summing=True).of(since, until)


def _is_more_than_half(whole: Edge, since: int | None, until: int | None) -> bool:
    """Whether a range cuts a bucket once, and covers more than half of it."""
    if until is None and since is not None:
        return since - whole.since < whole.until - since
    return since is None and until is not None and until - whole.since > whole.until - until


Known = Mapping[int, Sequence[tuple[int, bool]]]
"""The buckets of some levels that have a row, in order, and whether each is divided."""


def cut_levels(start: int, width: int) -> list[int]:
    """The levels of which buckets may lie across a border, when there are borders every `width` from `start` on."""
    levels = range(1, LAST_LEVEL + 1)
    return [0, *(level for level in levels if start % WIDTHS_US[level] or width % WIDTHS_US[level])]


def cut_at(pieces: Iterable[Piece], start: int, width: int, known: Known) -> list[Piece]:
    """The pieces of a `cover`, with every bucket that lies across a border replaced: by its children if it has any,
    else by an edge. Borders are as in `cut_levels`, and `known` has the rows of those levels.

    An edge may lie across borders, since single events are counted one by one. Pieces that touch are one, as are those
    with nothing between them.
    """
    cut = frozenset(cut_levels(start, width))
    found: list[Piece] = []

    def add(piece: Piece) -> None:
        last = found[-1] if found else None
        if isinstance(piece, Edge) and isinstance(last, Edge):
            found[-1] = Edge(last.since, piece.until)
        elif isinstance(piece, Span) and isinstance(last, Span) and piece.level == last.level:
            found[-1] = Span(last.level, last.first, piece.last)
        else:
            found.append(piece)

    def divide(piece: Piece) -> None:
        if isinstance(piece, Edge) or piece.level not in cut:
            add(piece)
            return
        rows = known[piece.level]
        begin, end = (bisect_left(rows, (bucket, False)) for bucket in (piece.first, piece.last + 1))
        for bucket, divided in rows[begin:end]:
            times = bounds(piece.level, bucket)
            if (times.since - start) // width == (times.until - 1 - start) // width:
                add(Span(piece.level, bucket, bucket))
            elif divided:
                divide(child_span(piece.level, bucket))
            else:
                add(times)

    for piece in pieces:
        divide(piece)
    return found


class _Cover:
    """Collects the pieces of one range."""

    def __init__(self, divided: Callable[[int, int], bool], *, summing: bool) -> None:
        self._divided = divided
        self._summing = summing
        self._pieces: list[Piece] = []

    def of(self, since: int | None, until: int | None) -> list[Piece]:
        """The pieces."""
        if since is None and until is None:
            return [Span(0, 0, 0)]
        if since is not None and until is not None and since >= until:
            return []
        self._cut(0, 0, since, until, 1)
        return self._pieces

    def _within(self, span: Span, since: int | None, until: int | None, sign: int) -> None:
        """Cover the part of the range that lies in `span`; a bound of None reaches to the span's end."""
        level, width = span.level, WIDTHS_US[span.level]
        if since is not None and until is not None and since // width == until // width:
            self._cut(level, since // width, since if since % width else None, until, sign)
            return
        first, last = span.first, span.last
        if since is not None:
            first = -(-since // width)  # the first bucket that starts at or after it
            if since % width:
                self._cut(level, since // width, since, None, sign)
        if until is not None:
            last = until // width - 1
        if first <= last:
            self._pieces.append(Span(level, first, last, sign))
        if until is not None and until % width:
            self._cut(level, until // width, None, until, sign)

    def _cut(self, level: int, bucket: int, since: int | None, until: int | None, sign: int) -> None:
        """Cover a part of one bucket: by its children if it has any, else by an edge; or by the whole less the rest."""
        whole = bounds(level, bucket)
        if self._summing and level and _is_more_than_half(whole, since, until):
            self._pieces.append(Span(level, bucket, bucket, sign))
            since, until, sign = until, since, -sign
        if level < LAST_LEVEL and self._divided(level, bucket):
            self._within(child_span(level, bucket), since, until, sign)
            return
        since = whole.since if since is None else since
        self._pieces.append(Edge(since, whole.until if until is None else until, sign))
