"""Histograms of the delays between a cause and its effect. Pure integer arithmetic.

A bucket holds the delays that one value represents with an error of at most `ERROR` of the delay. Buckets of small
delays hold a single microsecond and are exact. Delays below zero, which come from wrong clocks, are counted separately
in `BEFORE`, and are not part of percentiles.

A histogram is a dict of bucket -> count. Adding the counts of two gives the histogram of all their delays, so the sum
over days equals a count over all events of those days.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

__all__ = ["BEFORE", "ERROR", "DelayHistogram", "add", "bucket_of", "counted", "percentile", "value_of"]

ERROR = 0.02
"""The largest error of an answered delay, relative to the delay."""

BEFORE = 0x3FF
"""The bucket of effects that occurred before their cause, and the highest bucket number."""

DelayHistogram = dict[int, int]

_PERCENT = 100
_OFF = 2  # ERROR in percent
_LONGEST_US = 1 << 60
"""Longer than the time between any two events that can be stored."""


def _table() -> tuple[list[int], list[int]]:
    """The largest delay of each bucket and the value that represents it. Buckets are as wide as the error allows."""
    lasts, values = [0], [0]
    while lasts[-1] < _LONGEST_US:
        first = lasts[-1] + 1
        value = first * (_PERCENT + _OFF) // _PERCENT
        values.append(value)
        lasts.append(value * _PERCENT // (_PERCENT - _OFF))
    return lasts, values


_LASTS, _VALUES = _table()


def bucket_of(delay_us: int) -> int:
    """The bucket that holds a delay."""
    return bisect_left(_LASTS, delay_us) if delay_us >= 0 else BEFORE


def value_of(bucket: int) -> int:
    """The delay in microseconds that represents a bucket."""
    return _VALUES[bucket]


def counted(delays_us: Iterable[int]) -> DelayHistogram:
    """The histogram of delays."""
    return Counter([bucket_of(delay) for delay in delays_us])


def add(one: Mapping[int, int], other: Mapping[int, int]) -> DelayHistogram:
    """The sum of two histograms."""
    total = Counter(one)
    total.update(other)
    return total


def percentile(histogram: Mapping[int, int], percent: int) -> int | None:
    """The smallest delay that at least `percent` of the delays do not exceed, within `ERROR`; None without delays."""
    buckets = sorted(bucket for bucket in histogram if bucket != BEFORE)
    total = sum(histogram[bucket] for bucket in buckets)
    seen = 0
    for bucket in buckets:
        seen += histogram[bucket]
        if seen * _PERCENT >= total * percent:
            return value_of(bucket)
    return None
