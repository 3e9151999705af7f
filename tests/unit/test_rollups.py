"""The cover of a time range by buckets and edges. The reference joins the pieces end to end."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.mutants import PROPERTY, catches, replaced
from whence import rollups
from whence.rollups import LAST_LEVEL, WIDTHS_US, Edge, Piece, Span, bounds, bucket_of, child_span
from whence.wire.times import TIME_MAX_US, TIME_MIN_US

SECOND = 1_000_000
DAY = 86_400 * SECOND
FIRST, LAST = -(1 << 62), 1 << 62
LEVELS = range(1, LAST_LEVEL + 1)

Buckets = frozenset[tuple[int, int]]

# --------------------------------------------------------------------------------------------------- the reference


def with_parents(times: list[int], depth: int) -> Buckets:
    """Divided buckets as in a store: those that contain one of the times, down to a level, with all their parents."""
    return frozenset(
        (level, time // WIDTHS_US[level] if level else 0) for time in times for level in range(min(depth, LAST_LEVEL))
    )


def extent(piece: Piece) -> tuple[int | None, int | None]:
    """Start and end of a piece; None means unbounded."""
    if isinstance(piece, Edge):
        return piece.since, piece.until
    if piece.level == 0:
        return None, None
    width = WIDTHS_US[piece.level]
    open_below, open_above = piece.first == FIRST, piece.last == LAST
    return None if open_below else piece.first * width, None if open_above else (piece.last + 1) * width


def check_cover(since: int | None, until: int | None, divided: Buckets) -> list[Piece]:
    """Cover a range, and check every promise about the pieces."""
    asked: Counter[int] = Counter()
    known: set[tuple[int, int]] = set()

    def is_divided(level: int, bucket: int) -> bool:
        asked[level] += 1
        known.add((level, bucket))
        return (level, bucket) in divided

    pieces = rollups.cover(since, until, is_divided)
    if since is not None and until is not None and since >= until:
        assert pieces == []
        return pieces
    assert all(times <= 2 for times in asked.values()), "it is asked at most twice a level"
    assert asked[LAST_LEVEL] == 0, "the last level has no children"
    assert known <= set(rollups.asked_by_cover(since, until)), "the cover reads only the declared bounds"
    ends = [extent(piece) for piece in pieces]
    whole = (0, 0) in divided or since is until is None
    open_below, open_above = (None, None) if whole else (FIRST, LAST)
    assert ends[0][0] == (open_below if since is None else since)
    assert ends[-1][1] == (open_above if until is None else until)
    for (_, end), (start, _) in pairwise(ends):
        assert end == start, "pieces neither overlap nor leave a gap, and stand in order"
        assert end is not None
    assert all(start is None or end is None or start < end for start, end in ends), "no piece is empty"
    check_pieces(pieces, divided)
    return pieces


def check_pieces(pieces: list[Piece], divided: Buckets) -> None:
    """Check that counted buckets have rows, and that each edge is in one bucket without children."""
    edges = [piece for piece in pieces if isinstance(piece, Edge)]
    assert len(edges) <= 2
    assert len(pieces) <= 2 * LAST_LEVEL + 1
    for span in pieces:
        if isinstance(span, Span) and span.level > 1:
            parents = {first_of(span.level - 1, span), last_of(span.level - 1, span)}
            assert len(parents) == 1
            assert (span.level - 1, parents.pop()) in divided, "only a divided bucket has rows for its children"
    for edge in edges:
        level = 0
        while level < LAST_LEVEL and (level, bucket_of(level, edge.since)) in divided:
            level += 1
        within = bounds(level, bucket_of(level, edge.since))
        assert within.since <= edge.since
        assert edge.until <= within.until, "an edge lies in one bucket without children"


def first_of(level: int, span: Span) -> int:
    return span.first * WIDTHS_US[span.level] // WIDTHS_US[level]


def last_of(level: int, span: Span) -> int:
    return ((span.last + 1) * WIDTHS_US[span.level] - 1) // WIDTHS_US[level]


# ---------------------------------------------------------------------------------------------------------- mutants

_true_cover = rollups._Cover._within


def overlapping(self, span, since, until, sign):  # type: ignore[no-untyped-def]  # as the method it breaks
    """Mutant: the bucket that contains the end of the range is counted as a whole."""
    pieces = self._pieces
    before = len(pieces)
    _true_cover(self, span, since, until, sign)
    for at in range(before, len(pieces)):
        if isinstance(pieces[at], Span) and pieces[at].level == span.level and until is not None:
            pieces[at] = Span(span.level, pieces[at].first, until // WIDTHS_US[span.level])


def truncating(level: int, time_us: int) -> int:
    return int(time_us / WIDTHS_US[level]) if level else 0


def from_the_end(level: int, bucket: int) -> Span:
    ratio = WIDTHS_US[level] // WIDTHS_US[level + 1] if level else 0
    return Span(level + 1, bucket * ratio, bucket * ratio + ratio) if level else Span(1, FIRST, LAST)


def late(level: int, bucket: int) -> Edge:
    return Edge(bucket * WIDTHS_US[level] + 1, (bucket + 1) * WIDTHS_US[level]) if level else Edge(FIRST, LAST)


COVER_MUTANTS = (
    replaced(rollups._Cover, "_within", overlapping, "the_last_bucket_is_counted_whole"),
    replaced(rollups, "child_span", from_the_end, "a_child_too_many"),
    replaced(rollups, "bounds", late, "buckets_begin_late"),
    replaced(rollups, "WIDTHS_US", (0, 30 * DAY, *WIDTHS_US[2:]), "a_month_of_another_length"),
)

# ------------------------------------------------------------------------------------------------------------ tests

near = st.integers(-40 * DAY, 40 * DAY)
times = st.one_of(
    near,
    st.sampled_from([number * width + by for width in WIDTHS_US[1:] for number in (-1, 0, 1) for by in (-1, 0, 1)]),
    st.integers(TIME_MIN_US, TIME_MAX_US),
)


@st.composite
def asked(draw: st.DrawFn) -> tuple[int | None, int | None, Buckets]:
    """A range, and divided buckets at its ends and elsewhere."""
    since, until = draw(st.none() | times), draw(st.none() | times)
    if since is not None and draw(st.booleans()):
        until = since + draw(st.sampled_from([-1, 0, 1, SECOND - 1, SECOND, 59 * SECOND, DAY, 33 * DAY]))
    ends = [time for time in (since, until) if time is not None]
    divided = with_parents(ends, draw(st.integers(0, LAST_LEVEL)))
    for time in draw(st.lists(times, max_size=3)):
        divided |= with_parents([time], draw(st.integers(1, LAST_LEVEL)))
    return since, until, divided


@catches(*COVER_MUTANTS)
@settings(PROPERTY, max_examples=examples(500))
@given(question=asked())
def test_a_range_is_covered_exactly(question: tuple[int | None, int | None, Buckets]) -> None:
    """For any divided buckets, a cover has no gaps or overlaps, only buckets with rows, and at most two edges."""
    check_cover(*question)


@catches(*COVER_MUTANTS)
def test_ranges_that_touch_the_bounds_of_buckets() -> None:
    """Covers are exact at each level's bounds and a microsecond before and after, on both sides of 1970."""
    for width in WIDTHS_US[1:]:
        points = [number * width + by for number in (-2, -1, 0, 1, 2) for by in (-1, 0, 1)]
        for since in points:
            for until in points:
                for depth in (0, 2, LAST_LEVEL):
                    check_cover(since, until, with_parents([since, until], depth))


@PROPERTY
@given(question=asked(), moments=st.lists(times, max_size=20))
def test_every_event_is_counted_once(question: tuple[int | None, int | None, Buckets], moments: list[int]) -> None:
    """The sum over the pieces equals a count of every event."""
    since, until, divided = question
    moments += [end + by for end in (since, until) if end is not None for by in (-1, 0, 1)]
    counted: Counter[int] = Counter()
    for piece in rollups.cover(since, until, lambda level, bucket: (level, bucket) in divided):
        if isinstance(piece, Edge):
            counted.update(time for time in moments if piece.since <= time < piece.until)
        else:
            counted.update(time for time in moments if piece.first <= bucket_of(piece.level, time) <= piece.last)
    assert counted == Counter(
        time for time in moments if (since is None or since <= time) and (until is None or time < until)
    )


def without_taking_away(real):  # type: ignore[no-untyped-def]  # as the function it breaks
    """Mutant: a bucket is added as a whole, and no part of it is subtracted."""
    return lambda *args: [piece for piece in real(*args) if piece.sign > 0]


@catches(
    replaced(rollups, "cover_sum", without_taking_away(rollups.cover_sum), "nothing_is_taken_away"),
    replaced(rollups, "child_span", from_the_end, "a_child_too_many"),
)
@settings(PROPERTY, max_examples=examples(500))
@given(question=asked(), moments=st.lists(times, max_size=20))
def test_a_signed_sum_is_the_range(question: tuple[int | None, int | None, Buckets], moments: list[int]) -> None:
    """A signed sum counts every event of the range once, and no other.

    It uses only buckets with rows and the bounds read beforehand, and at most half of a bucket's children per end.
    """
    since, until, divided = question
    moments += [
        end + by * width for end in (since, until) if end is not None for by in (-1, 0, 1) for width in (1, DAY)
    ]
    known: set[tuple[int, int]] = set()

    def is_divided(level: int, bucket: int) -> bool:
        known.add((level, bucket))
        return (level, bucket) in divided

    counted: Counter[int] = Counter()
    pieces = rollups.cover_sum(since, until, is_divided)
    assert known <= set(rollups.asked_by_cover(since, until))
    for piece in pieces:
        if isinstance(piece, Edge):
            within = [time for time in moments if piece.since <= time < piece.until]
        else:
            within = [time for time in moments if piece.first <= bucket_of(piece.level, time) <= piece.last]
        for time in within:
            counted[time] += piece.sign
    wanted = Counter(time for time in moments if (since is None or since <= time) and (until is None or time < until))
    assert {time: count for time, count in counted.items() if count} == wanted
    for span in pieces:
        if isinstance(span, Span) and span.level > 1:
            assert (span.level - 1, first_of(span.level - 1, span)) in divided, "only such buckets have rows"


def test_a_sum_takes_half_of_the_children_at_most() -> None:
    """A range that covers most of a day adds the day and subtracts the rest."""
    everything = with_parents([DAY - 1, 0], LAST_LEVEL)
    pieces = rollups.cover_sum(0, DAY - 1, lambda level, bucket: (level, bucket) in everything)
    assert Span(3, 0, 0) in pieces
    assert Edge(DAY - 1, DAY, -1) in pieces
    assert sum(piece.last - piece.first + 1 for piece in pieces if isinstance(piece, Span)) <= LAST_LEVEL


def test_an_open_end_is_no_edge() -> None:
    """All time is one bucket; a range that starts or ends at a bucket's bound has no edge there."""
    everything = with_parents([0], LAST_LEVEL)
    assert check_cover(None, None, frozenset()) == [Span(0, 0, 0)]
    assert check_cover(None, None, everything) == [Span(0, 0, 0)]
    assert check_cover(0, None, everything) == [Span(1, 0, LAST)]
    assert check_cover(None, 0, everything) == [Span(1, FIRST, -1)]
    assert check_cover(0, 32 * DAY, everything) == [Span(1, 0, 0)]
    assert check_cover(0, 8 * DAY, everything) == [Span(2, 0, 0)]
    assert check_cover(0, DAY, everything) == [Span(3, 0, 0)]


def test_a_small_log_is_read_as_it_is() -> None:
    """While nothing is divided, any range except all time is one edge."""
    assert check_cover(5, 9, frozenset()) == [Edge(5, 9)]
    assert check_cover(None, 9, frozenset()) == [Edge(FIRST, 9)]
    assert check_cover(5, None, frozenset()) == [Edge(5, LAST)]
    assert FIRST < TIME_MIN_US
    assert TIME_MAX_US < LAST


def test_the_finest_cut_has_every_level() -> None:
    """The longest cover has two edges below a second, and spans of every level between them."""
    until = sum(WIDTHS_US) + 1
    since = -until
    pieces = check_cover(since, until, with_parents([since, until], LAST_LEVEL))
    levels = [piece.level if isinstance(piece, Span) else "edge" for piece in pieces]
    assert levels == ["edge", *reversed(LEVELS), *LEVELS[1:], "edge"]


@catches(replaced(rollups, "bucket_of", truncating, "division_towards_zero"))
def test_buckets_are_floor_divisions() -> None:
    """Bucket numbers are rounded down: the last microsecond before 1970 is in bucket -1 of every level except level
    0."""
    for level in LEVELS:
        assert [rollups.bucket_of(level, time) for time in (-1, 0, 1)] == [-1, 0, 0]
        width = WIDTHS_US[level]
        assert [rollups.bucket_of(level, time) for time in (-width - 1, -width, width - 1, width)] == [-2, -1, 0, 1]
    assert {rollups.bucket_of(0, time) for time in (TIME_MIN_US, -1, 0, TIME_MAX_US)} == {0}


@catches(
    replaced(rollups, "bounds", late, "buckets_begin_late"),
    replaced(rollups, "child_span", from_the_end, "a_child_too_many"),
)
@PROPERTY
@given(level=st.sampled_from(LEVELS), time=times)
def test_bounds_and_children_fit(level: int, time: int) -> None:
    """A time is within the bounds of its bucket, and the children of a bucket cover it exactly."""
    bucket = rollups.bucket_of(level, time)
    within = rollups.bounds(level, bucket)
    assert within.since <= time < within.until
    assert within.until - within.since == WIDTHS_US[level]
    if level < LAST_LEVEL:
        children = rollups.child_span(level, bucket)
        assert children.level == level + 1
        assert rollups.bounds(level + 1, children.first).since == within.since
        assert rollups.bounds(level + 1, children.last).until == within.until


def test_the_root_holds_everything() -> None:
    """Level 0 is one bucket for all time, which contains every bucket of level 1."""
    assert bounds(0, 0) == Edge(FIRST, LAST)
    children = child_span(0, 0)
    assert children.level == 1
    assert children.first <= bucket_of(1, TIME_MIN_US) <= bucket_of(1, TIME_MAX_US) <= children.last


@pytest.mark.parametrize("level", range(1, LAST_LEVEL))
def test_widths_divide_each_other(level: int) -> None:
    """The width of each level is a multiple of the next one, so that every bucket has one parent."""
    assert WIDTHS_US[level] % WIDTHS_US[level + 1] == 0


@PROPERTY
@given(level=st.sampled_from(range(LAST_LEVEL + 1)), moments=st.lists(times, max_size=10))
def test_events_fall_into_their_buckets(level: int, moments: list[int]) -> None:
    """Each event is assigned to one bucket, and events keep their order."""
    placed = [(time, number, 0) for number, time in enumerate(moments)]
    groups = rollups.by_bucket(level, placed)
    assert sorted(one for group in groups.values() for one in group) == sorted(placed)
    for bucket, group in groups.items():
        within = bounds(level, bucket)
        assert all(within.since <= time < within.until for time, _, _ in group)
        assert [number for _, number, _ in group] == sorted(number for _, number, _ in group)


@catches(replaced(rollups, "DIVIDE_AT", 4_095, "an_event_early"), replaced(rollups, "LAST_LEVEL", 10, "a_level_more"))
def test_a_bucket_is_full_beyond_4096_events() -> None:
    """A bucket is full above 4,096 events; a bucket of the last level never is."""
    for level in range(10):
        assert not rollups.is_full(level, 4_096)
        assert rollups.is_full(level, 4_097) == (level < 9)
    assert not rollups.is_full(9, 10**9)


def test_the_widths_are_fixed() -> None:
    """The widths must never change, because stored rows depend on them."""
    hour = 3_600 * SECOND
    assert WIDTHS_US[:6] == (0, 32 * DAY, 8 * DAY, DAY, 6 * hour, hour)
    assert WIDTHS_US[6:] == (600 * SECOND, 60 * SECOND, 10 * SECOND, SECOND)
    assert rollups.DIVIDE_AT == 4_096
