"""The ladder of intervals, the alignment of buckets, and what a histogram makes of counts. The references count."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import PROPERTY, catches, replaced
from tests.unit.sent import CONTEXT, NOW
from tests.unit.test_query_guards import QUERY_PARAMETERS
from whence import histograms, rollups
from whence.errors import Invalid
from whence.events import Query
from whence.histograms import (
    BUCKETS_MAX,
    CHOSEN_MAX,
    INTERVALS_US,
    HistogramRequest,
    TimeGrid,
    grid_of,
    histogram_of,
)
from whence.rollups import LAST_LEVEL, WIDTHS_US, Edge, Piece, Span, bounds, child_span
from whence.storage.resolve import Kind
from whence.wire.histograms import encode_histogram
from whence.wire.query import parse_histogram
from whence.wire.times import TIME_MAX_US, TIME_MIN_US, parse_time

SECOND = 1_000_000
DAY = 86_400 * SECOND
FEWEST = 40
"""Buckets that a chosen interval makes at least, unless the shortest one makes fewer."""

times = st.integers(TIME_MIN_US, TIME_MAX_US)
spans = st.one_of(
    st.tuples(times, times),
    st.builds(lambda start, step: (start, start + step), times, st.integers(1, 400 * DAY)),
    st.builds(
        lambda start, step: (start, start + step), st.integers(-400, 400).map(lambda n: n * DAY), st.integers(1, 9)
    ),
).filter(lambda span: span[0] < span[1])

# ---------------------------------------------------------------------------------------------------------- mutants

_true_aligned = histograms._aligned


def from_thursday(since: int, until: int, interval: str) -> TimeGrid:
    """Mutant: buckets are counted from 1970-01-01."""
    width = INTERVALS_US[interval]
    first, last = since // width, (until - 1) // width
    return TimeGrid(interval, first * width, width, last - first + 1)


def towards_zero(since: int, until: int, interval: str) -> TimeGrid:
    """Mutant: times before 1970 are rounded to the other side."""
    width = INTERVALS_US[interval]
    first, last = (int((time - 4 * DAY) / width) for time in (since, until - 1))
    return TimeGrid(interval, first * width + 4 * DAY, width, last - first + 1)


def one_too_many(since: int, until: int, interval: str) -> TimeGrid:
    """Mutant: the end of a range is taken to be in it."""
    return _true_aligned(since, until + 1, interval)


def made(span: tuple[int, int], interval: str | None = None) -> TimeGrid:
    grid = grid_of(*span, (None, None), interval)
    assert grid is not None
    return grid


@catches(
    *(replaced(histograms, "_aligned", each, each.__name__) for each in (from_thursday, towards_zero, one_too_many)),
    replaced(histograms, "CHOSEN_MAX", 400, "three_times_as_many"),
)
@PROPERTY
@given(span=spans)
def test_a_chosen_interval_fits_any_range(span: tuple[int, int]) -> None:
    """At most 120 buckets hold the whole range, and none lies beside it. They begin at midnight or on a Monday."""
    since, until = span
    grid = made(span)
    assert grid.start <= since < grid.start + grid.width
    assert grid.end - grid.width < until <= grid.end
    assert grid.buckets <= CHOSEN_MAX
    assert grid.buckets >= FEWEST or grid.interval == "1s" or grid.width > 100_000 * DAY
    assert (grid.start - 4 * DAY) % grid.width == 0
    assert grid.start % min(grid.width, DAY) == 0
    assert grid.bucket_of(since) == 0
    assert grid.bucket_of(until - 1) == grid.buckets - 1


@catches(replaced(histograms, "BUCKETS_MAX", 1_100, "a_hundred_more"))
@PROPERTY
@given(span=spans, interval=st.sampled_from(tuple(INTERVALS_US)))
def test_a_given_interval_makes_a_thousand_buckets_at_most(span: tuple[int, int], interval: str) -> None:
    """Else it is refused with the shortest interval that does not, which then is accepted."""
    try:
        grid = made(span, interval)
    except Invalid as error:
        [problem] = error.problems
        assert (problem.loc, problem.type) == (("query", "interval"), "too_many_buckets")
        least = problem.msg.rpartition(" ")[2].rstrip(".")
        shorter = list(INTERVALS_US)[list(INTERVALS_US).index(least) - 1]
        assert made(span, least).buckets <= 1_000
        with pytest.raises(Invalid):
            made(span, shorter)
    else:
        assert grid.buckets <= 1_000
        assert (grid.interval, grid.width) == (interval, INTERVALS_US[interval])


def test_a_thousand_and_one_buckets_are_refused() -> None:
    """The border itself is allowed, and the message names the number and the way out."""
    assert made((0, BUCKETS_MAX * 60 * SECOND), "1m").buckets == BUCKETS_MAX
    with pytest.raises(Invalid) as caught:
        made((0, BUCKETS_MAX * 60 * SECOND + 1), "1m")
    assert caught.value.problems[0].msg == (
        "That would be 1,001 buckets, and 1,000 are the most. The shortest interval for this range is 2m."
    )


def test_an_open_end_is_that_of_the_log() -> None:
    """A log without events has no range, nor has one that ends before it begins."""
    assert grid_of(None, None, (5 * SECOND, 7 * SECOND), "1s") == TimeGrid("1s", 5 * SECOND, SECOND, 3)
    assert grid_of(None, 6 * SECOND, (5 * SECOND, 7 * SECOND), "1s") == TimeGrid("1s", 5 * SECOND, SECOND, 1)
    assert grid_of(8 * SECOND, None, (5 * SECOND, 7 * SECOND), "1s") is None
    assert grid_of(None, None, (None, None), None) is None
    assert grid_of(9, 9, (None, None), None) is None


def test_intervals_are_multiples_of_the_widths_of_buckets() -> None:
    """So each has a width that it need not cut, and a day or less divides a day."""
    assert list(INTERVALS_US.values()) == sorted(INTERVALS_US.values())
    for width in INTERVALS_US.values():
        assert DAY % width == 0 or width % DAY == 0
        assert LAST_LEVEL not in rollups.cut_levels(4 * DAY, width)
        fits = max(each for each in WIDTHS_US[3:] if each <= width)
        assert width % fits == 0 and width // fits <= 36_400


# ------------------------------------------------------------------------------------------------------------ cutting


def everything_fits(start: int, width: int) -> list[int]:
    """Mutant: only the bucket of all time is cut."""
    return [0]


def children_forgotten(level: int, bucket: int) -> Span:
    """Mutant: the first child of a bucket is left out."""
    span = child_span(level, bucket)
    return Span(span.level, span.first + 1, span.last)


def rows_of(events: list[int], divide_at: int) -> dict[int, dict[int, tuple[int, bool]]]:
    """The buckets of a log, as its stores divide them: bucket -> events, divided; by level."""
    rows: dict[int, dict[int, tuple[int, bool]]] = {level: {} for level in range(LAST_LEVEL + 1)}

    def fill(level: int, bucket: int, within: list[int]) -> None:
        divided = len(within) > divide_at and level < LAST_LEVEL
        rows[level][bucket] = (len(within), divided)
        groups: dict[int, list[int]] = {}
        for time in within if divided else ():
            groups.setdefault(time // WIDTHS_US[level + 1], []).append(time)
        for child, inside in groups.items():
            fill(level + 1, child, inside)

    fill(0, 0, events)
    return rows


def counted(pieces: list[Piece], rows: Any, events: list[int], grid: TimeGrid) -> dict[int, int]:
    """What the pieces count, by bucket of the grid; a span may lie across no border."""
    found: dict[int, int] = {}
    for piece in pieces:
        if isinstance(piece, Edge):
            for time in events:
                if piece.since <= time < piece.until:
                    found[grid.bucket_of(time)] = found.get(grid.bucket_of(time), 0) + 1
            continue
        for bucket, (number, _) in rows[piece.level].items():
            if piece.first <= bucket <= piece.last:
                within = bounds(piece.level, bucket)
                assert grid.bucket_of(within.since) == grid.bucket_of(within.until - 1)
                found[grid.bucket_of(within.since)] = found.get(grid.bucket_of(within.since), 0) + number
    return found


@catches(
    replaced(rollups, "cut_levels", everything_fits, "everything_fits"),
    replaced(rollups, "child_span", children_forgotten, "children_forgotten"),
)
@PROPERTY
@given(
    start=st.sampled_from((0, -40 * DAY, 1_700_000_000 * SECOND)),
    steps=st.lists(
        st.builds(lambda n, unit: n * unit, st.integers(-9, 90), st.sampled_from((1, SECOND, 3_600 * SECOND, DAY)))
    ),
    divide_at=st.integers(1, 5),
    cut=st.tuples(st.booleans(), st.booleans()),
    interval=st.sampled_from(tuple(INTERVALS_US)),
)
def test_buckets_and_edges_make_up_every_bucket_of_a_grid(
    start: int, steps: list[int], divide_at: int, cut: tuple[bool, bool], interval: str
) -> None:
    """Whatever is divided, each event of the range is counted once, in the bucket that holds its time."""
    events = [start + step for step in steps]
    since = sorted(events)[len(events) // 4] + 1 if cut[0] and events else None
    until = sorted(events)[-1] if cut[1] and events else None
    rows = rows_of(events, divide_at)
    try:
        grid = grid_of(since, until, (min(events, default=None), max(events, default=None)), interval)
    except Invalid:
        return
    if grid is None:
        return
    known = {
        level: sorted((bucket, divided) for bucket, (_, divided) in rows[level].items())
        for level in rollups.cut_levels(grid.start, grid.width)
    }
    pieces = rollups.cover(since, until, lambda level, bucket: rows[level].get(bucket, (0, False))[1])
    cut_pieces = rollups.cut_at(pieces, grid.start, grid.width, known)
    expected: dict[int, int] = {}
    for time in events:
        if (since is None or since <= time) and (until is None or time < until):
            expected[grid.bucket_of(time)] = expected.get(grid.bucket_of(time), 0) + 1
    assert counted(cut_pieces, rows, events, grid) == expected


# ------------------------------------------------------------------------------------------------------------- answers

KINDS = {
    1: Kind(1, "a.done", "artifact", "user", "success"),
    2: Kind(2, "a.done", "decision", "user", "success"),
    3: Kind(3, "b.failed", "artifact", "user", "failure"),
    4: Kind(4, "c.made", "artifact", "user", "none"),
}
GRID = TimeGrid("1s", 0, SECOND, 3)


def test_kinds_become_keys_by_count_then_name() -> None:
    """Several counts of one bucket and kind add up, and a key without events does not appear."""
    counts = [(0, 1, 2), (0, 2, 1), (0, 1, 1), (2, 3, 4), (2, 4, 0)]
    found = histogram_of(GRID, None, 2_500_000, counts, KINDS, HistogramRequest())
    assert (found.since, found.until, found.total) == (0, 2_500_000, 8)
    assert found.keys == [("failure", 4), ("success", 4)]
    assert found.counts == [[0, 4], [0, 0], [4, 0]]
    top = histogram_of(GRID, None, None, counts, KINDS, HistogramRequest(by="event_type", top=1))
    assert (top.keys, top.counts, top.until) == ([("a.done", 4), ("other", 4)], [[4, 0], [0, 0], [0, 4]], 3 * SECOND)


def test_a_bucket_before_the_year_1_is_answered() -> None:
    """Its start is that of the first year, since no time before it can be written."""
    grid = made((TIME_MIN_US, TIME_MAX_US))
    found = histogram_of(grid, TIME_MIN_US, None, [], KINDS, HistogramRequest())
    text = encode_histogram(found, "outcome").decode()
    assert grid.start < TIME_MIN_US and grid.end > TIME_MAX_US
    assert text.startswith('{"buckets":[{"counts":[],"start":"0001-01-01T00:00:00Z","total":0}')
    assert '"to":"9999-12-31T23:59:59.999999Z"' in text


# ------------------------------------------------------------------------------------------------------------- queries


def read(sent: str) -> tuple[Query, HistogramRequest]:
    return parse_histogram(sent.encode(), now=NOW, vocabulary=CONTEXT.vocabulary)


def test_a_histogram_takes_every_filter_of_a_list() -> None:
    """Each sets its field alone."""
    for field, (name, text) in QUERY_PARAMETERS.items():
        query, request = read(f"{name}={text}")
        assert {one for one in Query.__struct_fields__ if getattr(query, one) != getattr(Query(), one)} == {field}
        assert request == HistogramRequest()


def test_what_a_histogram_is_split_by() -> None:
    """Its own parameters, each with its default."""
    assert read("by=event_type&top=20&interval=7d")[1] == HistogramRequest(by="event_type", top=20, interval="7d")
    query, request = read("from=1970-01-02&to=1970-01-03&interval=1s")
    assert (query.since, query.until, request.interval) == (DAY, 2 * DAY, "1s")
    assert query.since == parse_time("1970-01-02T00:00:00Z")


@pytest.mark.parametrize(
    ("sent", "name", "type_"),
    [
        ("by=actor", "by", "enum"),
        ("interval=3m", "interval", "enum"),
        ("interval=", "interval", "string_too_short"),
        ("interval=1h&interval=1h", "interval", "repeated"),
        ("by=event_type&top=21", "top", "out_of_range"),
        ("by=event_type&top=0", "top", "out_of_range"),
        ("top=3", "top", "top_without_event_type"),
        ("limit=3", "limit", "extra_forbidden"),
        ("from=2026-01-02&to=2026-01-01", "from", "time_range"),
    ],
)
def test_what_a_histogram_refuses(sent: str, name: str, type_: str) -> None:
    """Each problem at its own parameter."""
    with pytest.raises(Invalid) as caught:
        read(sent)
    assert [(each.loc, each.type) for each in caught.value.problems] == [(("query", name), type_)]
