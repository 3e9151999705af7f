"""Transitions between events and their map, against a simple count."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from whence import flows, rollups
from whence.delays import bucket_of, counted
from whence.transitions import DAY_LEVEL, code_of

Row = tuple[str, str | None, int, int]
"""Id, cause, time and kind."""


@st.composite
def logs(draw: st.DrawFn) -> list[Row]:
    """Events that name each other as causes in any direction, or none, on some days around 1970."""
    count = draw(st.integers(1, 12))
    names = [f"e{number}" for number in range(count)]
    return [
        (
            name,
            draw(st.sampled_from([None, "gone", *(each for each in names if each != name)])),
            draw(st.integers(-2, 2)) * rollups.DAY_US + draw(st.integers(-2, 2)),
            draw(st.integers(1, 3)),
        )
        for name in names
    ]


def all_transitions(log: list[Row]) -> flows.TransitionsByDay:
    """Every transition of a log, one by one."""
    by_id = {row[0]: row for row in log}
    found: dict[int, Counter[int]] = {}
    for _, cause, at, kind in log:
        if cause in by_id:
            name = code_of(by_id[cause][3], kind, bucket_of(at - by_id[cause][2]))
            found.setdefault(at // rollups.DAY_US, Counter())[name] += 1
    return found


def by_parts(log: list[Row], cuts: list[int]) -> flows.TransitionsByDay:
    """The transitions as a store finds them: section by section, with lookups of earlier events."""
    total: dict[int, Counter[int]] = {}
    edges = sorted({0, len(log), *(cut % (len(log) + 1) for cut in cuts)})
    for first, end in pairwise(edges):
        new, earlier = log[first:end], log[:first]
        beyond = flows.causes_outside(new)
        causes = {row[0]: (row[2], row[3]) for row in earlier if row[0] in beyond}
        names = {row[0] for row in new}
        effects = [(row[1], row[2], row[3]) for row in earlier if row[1] in names]
        for day, counts in flows.transitions_among(new, causes, effects).items():
            total.setdefault(day, Counter()).update(counts)
    return total


@settings(max_examples=examples(300))
@given(logs(), st.lists(st.integers(0, 12), max_size=4))
def test_every_link_is_found_once(log: list[Row], cuts: list[int]) -> None:
    """Each transition is found once, for any sections of the log and any order of cause and effect."""
    assert by_parts(log, cuts) == all_transitions(log)


@settings(max_examples=examples(200))
@given(st.none() | st.integers(-(10**15), 10**15), st.none() | st.integers(-(10**15), 10**15))
def test_a_period_is_rounded_outward_to_whole_days(since: int | None, until: int | None) -> None:
    """The days contain the period, and with one day less at either end they would not."""
    first, end = flows.days_of(since, until)
    if since is not None:
        assert first is not None and 0 <= since - first * rollups.DAY_US < rollups.DAY_US
    if until is not None:
        assert end is not None and 0 <= end * rollups.DAY_US - until < rollups.DAY_US


def days_covered(first: int | None, end: int | None, known: range) -> list[int]:
    """The known days that the buckets of a period contain, with repetitions."""
    found = []
    for span in flows.cover_of_days(first, end):
        for day in known:
            found += [day] * (span.first <= rollups.bucket_of(span.level, day * rollups.DAY_US) <= span.last)
    return found


def check_cover(first: int | None, end: int | None) -> None:
    """Check that each day of the period is in exactly one bucket and no other day is, and that buckets of one day occur
    only at its ends."""
    known = range(-200, 200)
    wanted = [day for day in known if (first is None or day >= first) and (end is None or day < end)]
    assert sorted(days_covered(first, end, known)) == wanted
    by_day = [span for span in flows.cover_of_days(first, end) if span.level == DAY_LEVEL]
    assert sum(span.last - span.first + 1 for span in by_day) <= 2 * 7


@settings(max_examples=examples(200))
@given(st.none() | st.integers(-120, 120), st.none() | st.integers(-120, 120))
def test_a_period_is_covered_by_few_buckets(first: int | None, end: int | None) -> None:
    """The buckets are single days, 32 days, or all time, and few of them."""
    check_cover(first, end)


def test_the_map_adds_up_kinds_of_one_type() -> None:
    """Kinds of the same type are added up to pairs with failures, shares, skew and percentiles, in order."""
    rows = [
        ("a.x", "b.x", "success", counted([10, 20])),
        ("a.x", "b.x", "failure", counted([30, -5])),
        ("a.x", "c.x", "none", counted([7])),
        ("b.x", "a.x", "none", counted([-1])),
    ]
    found = flows.process_map(1, None, rows)
    assert (found.since, found.until, found.transitions) == (rollups.DAY_US, None, 6)
    assert [(pair.cause_type, pair.effect_type, pair.events, pair.failures, pair.skewed) for pair in found.pairs] == [
        ("a.x", "b.x", 4, 2, 1),
        ("a.x", "c.x", 1, 0, 0),
        ("b.x", "a.x", 1, 0, 1),
    ]
    assert [(pair.share, pair.p50_us, pair.p95_us) for pair in found.pairs] == [
        (0.8, 20, 30),
        (0.2, 7, 7),
        (1.0, None, None),
    ]


@pytest.mark.parametrize(
    ("rows", "root", "actors"),
    [
        ([("n1", "a", None, 1), ("n2", "b", "a", 2)], "n1", 2),
        ([("n1", "a", "b", 1), ("n2", "b", None, 1)], "n2", 1),
        ([("n1", "a", "b", 1), ("n2", "b", "elsewhere", 1)], "n2", 1),
        ([("n1", "a", "b", 1), ("n2", "b", "a", 1)], "n1", 1),
    ],
)
def test_the_root_of_a_flow_is_the_earliest_without_a_cause_in_it(rows: Any, root: str, actors: int) -> None:
    """The root is the earliest event without a cause in the flow; in a cycle it is the earliest event."""
    assert flows.summarize_flow(rows) == flows.FlowSummary(root, actors, False)


def _causes_alone(patch: pytest.MonkeyPatch) -> None:
    real = flows.transitions_among
    patch.setattr(flows, "transitions_among", lambda new, causes, _effects: real(new, causes, []))


def _nearby_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(flows, "causes_outside", lambda _new: set())


def _day_of_the_stretch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rollups, "DAY_US", rollups.DAY_US * 32)


def _a_day_too_many(patch: pytest.MonkeyPatch) -> None:
    real = flows.cover_of_days
    patch.setattr(flows, "cover_of_days", lambda first, end: real(first, None if end is None else end + 1))


def _day_by_day(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        flows,
        "cover_of_days",
        lambda first, end: [rollups.Span(DAY_LEVEL, -200 if first is None else first, (end or 200) - 1)],
    )


@pytest.mark.parametrize("mutant", [_a_day_too_many, _day_by_day], ids=lambda each: each.__name__)
def test_broken_covers_are_told(mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mutant fails the test of the cover."""
    check_cover(-100, 100)
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        check_cover(-100, 100)


@pytest.mark.parametrize("mutant", [_causes_alone, _nearby_alone, _day_of_the_stretch], ids=lambda each: each.__name__)
def test_broken_links_are_told(mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mutant counts a small log wrong."""
    log: list[Row] = [("a", "b", 5, 1), ("b", None, rollups.DAY_US, 2), ("c", "b", 3 * rollups.DAY_US, 3)]
    wanted = all_transitions(log)
    assert by_parts(log, [1, 2]) == wanted
    mutant(monkeypatch)
    assert by_parts(log, [1, 2]) != wanted
