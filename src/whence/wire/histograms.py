"""Histograms of events by time as JSON."""

import msgspec

from whence.histograms import TimeHistogram
from whence.wire.bodies import HistogramBody, HistogramBucketBody, KeyCountBody
from whence.wire.times import TIME_MAX_US, TIME_MIN_US, format_time

__all__ = ["encode_histogram"]

_encode = msgspec.json.Encoder().encode


def encode_histogram(histogram: TimeHistogram, by: str) -> bytes:
    """The body of the histogram route, which was asked to split the events `by` this."""
    grid = histogram.grid
    starts = () if grid is None else range(grid.start, grid.end, grid.width)
    return _encode(
        HistogramBody(
            buckets=[
                HistogramBucketBody(counts=counts, start=_time(start), total=sum(counts))
                for start, counts in zip(starts, histogram.counts, strict=True)
            ],
            by=by,
            from_=None if histogram.since is None else _time(histogram.since),
            interval=None if grid is None else grid.interval,
            interval_s=None if grid is None else grid.width // 1_000_000,
            keys=[KeyCountBody(count=count, key=key) for key, count in histogram.keys],
            to=None if histogram.until is None else _time(histogram.until),
            total=histogram.total,
        )
    )


def _time(us: int) -> str:
    """A time; one before the year 1 or after 9999, which only a bucket reaches, as the nearest within them."""
    return format_time(min(max(us, TIME_MIN_US), TIME_MAX_US))
