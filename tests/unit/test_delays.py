"""Delays in buckets: the documented error holds, and sums equal a count over all delays."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from whence import delays

LONGEST_US = 1 << 59
times = st.integers(0, LONGEST_US) | st.integers(0, 10_000_000)
some = st.lists(times | st.integers(-1_000, -1), max_size=60)


def exact(sorted_delays: list[int], percent: int) -> int:
    """The nearest-rank percentile."""
    return sorted_delays[max(1, math.ceil(len(sorted_delays) * percent / 100)) - 1]


def check_error(delay: int) -> None:
    assert abs(delays.value_of(delays.bucket_of(delay)) - delay) * 50 <= delay


def check_sums(one: list[int], other: list[int]) -> None:
    """Check that the sum of two histograms equals the histogram of all delays."""
    assert delays.add(delays.counted(one), delays.counted(other)) == delays.counted(one + other)


def check_percentile(found: list[int], percent: int) -> None:
    forward = sorted(delay for delay in found if delay >= 0)
    histogram = delays.counted(found)
    answer = delays.percentile(histogram, percent)
    if not forward:
        assert answer is None
        return
    wanted = exact(forward, percent)
    assert answer is not None and abs(answer - wanted) * 50 <= wanted
    assert histogram.get(delays.BEFORE, 0) == len(found) - len(forward)


@settings(max_examples=examples(1_000))
@given(times)
def test_a_value_is_off_by_two_percent_at_most(delay: int) -> None:
    """The error of any delay is at most 2 %; below fifty microseconds a value is exact."""
    check_error(delay)
    assert delay >= 50 or delays.value_of(delays.bucket_of(delay)) in (delay, 49)


def test_every_small_delay_and_every_edge() -> None:
    """The first thousand delays, and both sides of each bucket's border, are within the error."""
    for delay in range(1_000):
        check_error(delay)
    for last in delays._LASTS[:-1]:
        check_error(last)
        check_error(last + 1)
        assert delays.bucket_of(last + 1) == delays.bucket_of(last) + 1
    assert len(delays._LASTS) < delays.BEFORE


@settings(max_examples=examples(300))
@given(some, some)
def test_histograms_are_added_up(one: list[int], other: list[int]) -> None:
    """The sum of the histograms of two parts equals the histogram of the whole."""
    check_sums(one, other)


@settings(max_examples=examples(300))
@given(some, st.sampled_from([1, 50, 95, 99, 100]))
def test_percentiles_are_within_the_error(found: list[int], percent: int) -> None:
    """Percentiles are of the non-negative delays; negative delays are counted separately."""
    check_percentile(found, percent)


def _wider(patch: pytest.MonkeyPatch) -> None:
    """Mutant: buckets with an error of three percent."""
    patch.setattr(delays, "_OFF", 3)
    lasts, values = delays._table()
    patch.setattr(delays, "_LASTS", lasts)
    patch.setattr(delays, "_VALUES", values)


def _rank_below(patch: pytest.MonkeyPatch) -> None:
    real = delays.percentile
    patch.setattr(delays, "percentile", lambda histogram, percent: real(histogram, percent - 40))


def _skew_as_none(patch: pytest.MonkeyPatch) -> None:
    real = delays.bucket_of
    patch.setattr(delays, "bucket_of", lambda delay: real(max(0, delay)))


def _one_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(delays, "add", lambda one, other: {**one, **other})


@pytest.mark.parametrize("mutant", [_wider, _rank_below, _skew_as_none, _one_forgotten], ids=lambda each: each.__name__)
def test_broken_buckets_are_told(mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mutant fails one of the checks above."""

    def check() -> None:
        for delay in range(2_000):
            check_error(delay)
        check_sums([5, 5, -3, 1_000], [5, 70_000])
        check_percentile([-5, 1, 10, 100, 1_000, 10_000], 50)

    check()
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        check()
