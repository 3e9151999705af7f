"""Histograms equal a count over the events in the log, bucket by bucket."""

from collections import Counter
from typing import Any

import pytest

from tests.contract import broken_models as broken
from tests.contract import histogram_mutants as mutants
from tests.contract.faults import catches, limited
from tests.contract.made import DAY, HOUR, MINUTE, NOON, SECOND, TENANT, VIEWER, asked, new, page, stored
from tests.contract.test_counts import DAY_START, FILTERS, has, is_within, varied
from whence.errors import Invalid
from whence.events import Event, Query, Viewer
from whence.histograms import HistogramRequest, TimeHistogram

MONDAY = 1_699_833_600 * SECOND
"""2023-11-13, the Monday before `NOON`."""


def by_start(found: TimeHistogram) -> dict[int, dict[str, int]]:
    """What each bucket holds that holds anything, by its start."""
    assert found.grid is not None
    names = [name for name, _ in found.keys]
    rows = {
        found.grid.start + number * found.grid.width: {
            name: events for name, events in zip(names, counts, strict=True) if events
        }
        for number, counts in enumerate(found.counts)
    }
    return {start: row for start, row in rows.items() if row}


def counted(events: list[Event], width: int, by: str) -> dict[int, dict[str, int]]:
    """The same, one event after the other."""
    rows: dict[int, Counter[str]] = {}
    for event in events:
        start = event.occurred_at - (event.occurred_at - 4 * DAY) % width  # counted from Monday, 1970-01-05
        rows.setdefault(start, Counter())[getattr(event, by)] += 1
    return {start: dict(row) for start, row in rows.items()}


async def check(
    store: Any, everything: list[Event], span: tuple[int | None, int | None], request: HistogramRequest, **filters: Any
) -> None:
    """Check one histogram against the events of the log."""
    since, until = span
    matching = [event for event in everything if is_within(event, since, until) and has(event, filters)]
    found = await store.histogram(*asked({"since": since, "until": until, **filters}), request)
    where = (since, until, request, filters)
    assert found.total == len(matching), where
    assert found.total == sum(map(sum, found.counts)), where
    if found.grid is not None:
        assert by_start(found) == counted(matching, found.grid.width, request.by), where
        assert len(found.counts) == found.grid.buckets, where


async def check_ranges(store: Any, borders: list[int], *intervals: str | None) -> None:
    """Check every filter, in ranges between two of the borders and in open ones, with these intervals."""
    everything = (await page(store, limit=10_000)).events
    for filters in FILTERS:
        for since in (None, *borders):
            for until in (None, *borders):
                if since is None or until is None or since <= until:
                    for interval in intervals:
                        request = HistogramRequest(by="event_type", interval=interval)
                        await check(store, everything, (since, until), request, **filters)
        found = await store.histogram(*asked({**filters, "since": borders[0]}), HistogramRequest())
        assert found.total == (await page(store, since=borders[0], **filters)).total


@catches(broken.UntilIncluded, broken.BucketsFromTheFirstEvent, mutants.edges_reach_too_far)
async def test_a_histogram_of_an_undivided_log(store: Any) -> None:
    """While no bucket is divided, single events are counted, each in its bucket and in no other."""
    times = [NOON, NOON + 1, NOON // HOUR * HOUR - 1, NOON // HOUR * HOUR, NOON + HOUR, NOON + DAY]
    await stored(store, *varied(1, times * 3))
    await check_ranges(store, [NOON + 1, NOON // HOUR * HOUR, NOON + HOUR], None, "5m")


@limited(divide_at=4)
@catches(
    broken.UntilIncluded,
    mutants.spans_lose_their_last_bucket,
    mutants.buckets_across_a_border_are_whole,
    mutants.every_bucket_has_children,
    mutants.edges_forget_their_actors,
    mutants.spans_forget_their_actors,
    mutants.kinds_are_not_filtered,
)
async def test_a_histogram_of_divided_buckets(store: Any) -> None:
    """With buckets divided down to seconds beside undivided ones, and borders of the histogram in and between them."""
    times = [DAY_START, DAY_START + 1, DAY_START + HOUR - 1, DAY_START + HOUR, DAY_START + HOUR + MINUTE, NOON, NOON]
    times += [NOON // MINUTE * MINUTE + SECOND * number for number in range(5)] + [DAY_START - 1, DAY_START - 40 * DAY]
    times += [DAY_START - 40 * DAY + 7 * HOUR, DAY_START + 3 * DAY]
    for first in (1, 101):
        await stored(store, *varied(first, times))
    await check_ranges(store, [DAY_START, DAY_START + HOUR + 1, NOON // MINUTE * MINUTE], None, "3h", "7d", "91d")


@limited(divide_at=6)
@catches(broken.LateEventsUncounted, mutants.every_bucket_has_children)
async def test_a_histogram_is_exact_at_every_step_of_a_division(store: Any) -> None:
    """Adding events one at a time, late ones too, every bucket agrees before, at and after each division."""
    times = [DAY_START + step for step in (0, 0, 1, HOUR, HOUR, HOUR + MINUTE, 0, 0, SECOND, 0, 1, 2, 3, DAY, -DAY, 0)]
    for number, at in enumerate(times, 1):
        await stored(store, *varied(number, [at]))
        everything = (await page(store)).events
        for interval in (None, "1h", "2d"):
            request = HistogramRequest(interval=interval)
            await check(store, everything, (None, None), request)
            await check(store, everything, (DAY_START + 1, None), request, actor_ids=("a1",))


@catches(broken.WeeksFromThursday)
async def test_weeks_begin_on_monday_and_days_at_midnight(store: Any) -> None:
    """Buckets are aligned in UTC, whatever the range."""
    await stored(store, new(1, occurred_at=MONDAY - 1), new(2, occurred_at=MONDAY), new(3, occurred_at=NOON))
    weeks = await store.histogram(VIEWER, Query(since=MONDAY - 3), HistogramRequest(interval="7d"))
    assert by_start(weeks) == {MONDAY - 7 * DAY: {"success": 1}, MONDAY: {"success": 2}}
    assert (weeks.since, weeks.until) == (MONDAY - 3, MONDAY + 7 * DAY)
    days = await store.histogram(VIEWER, Query(until=NOON), HistogramRequest(interval="1d"))
    assert by_start(days) == {MONDAY - DAY: {"success": 1}, MONDAY: {"success": 1}}
    assert (days.since, days.until) == (MONDAY - DAY, NOON)


@catches(broken.WordsUnsorted, broken.OtherIsLost)
async def test_the_most_frequent_types_and_the_rest(store: Any) -> None:
    """Of event types the first ones by count, then by name; the rest is one more key, and the sum stays exact."""
    types = ["b.done"] * 2 + ["a.done"] * 2 + ["c.done"] * 3 + ["d.done"]
    await stored(store, *(new(number, event_type=each, occurred_at=NOON) for number, each in enumerate(types)))
    request = HistogramRequest(by="event_type", top=2)
    found = await store.histogram(VIEWER, Query(), request)
    assert found.keys == [("c.done", 3), ("a.done", 2), ("other", 3)]
    assert found.counts == [[3, 2, 3]]
    whole = await store.histogram(VIEWER, Query(), HistogramRequest(by="event_type", top=4))
    assert whole.keys == [("c.done", 3), ("a.done", 2), ("b.done", 2), ("d.done", 1)]


@catches(broken.ReadsAll, mutants.the_range_is_that_of_hidden_events)
async def test_an_open_range_is_that_of_the_events_that_may_be_seen(store: Any) -> None:
    """Not that of the matching ones, so that filters keep the axis; and no hidden event shows when it occurred."""
    await stored(store, new(1, occurred_at=NOON, resource_type="decision"), new(2, occurred_at=NOON + HOUR))
    await stored(store, new(3, occurred_at=NOON - 900 * DAY, resource_type="artifact", outcome="failure"))
    narrow = Viewer(TENANT, ("decision", "action_run"))
    seen = await store.histogram(narrow, Query(outcomes=("failure",)), HistogramRequest(interval="1h"))
    start = NOON // HOUR * HOUR
    assert (seen.since, seen.until, seen.total) == (start, start + 2 * HOUR, 0)
    assert seen.counts == [[], []]
    nothing = await store.histogram(Viewer(TENANT, ("template",)), Query(), HistogramRequest(interval="1h"))
    assert nothing == TimeHistogram(grid=None, since=None, until=None, keys=[], counts=[])
    whole = await store.histogram(VIEWER, Query(outcomes=("failure",)), HistogramRequest())
    assert whole.grid is not None
    assert (whole.total, whole.grid.interval) == (1, "14d")


@catches(broken.ReadsAll, mutants.tenant_dropped_in_edges)
async def test_nothing_of_another_tenant_is_counted(store: Any) -> None:
    """A log without events has no buckets; a closed range of it has empty ones."""
    await stored(store, *(new(number, occurred_at=NOON, outcome="none") for number in range(12)), tenant="other")
    await stored(store, new(50, occurred_at=NOON + MINUTE, outcome="none"))
    found = await store.histogram(VIEWER, Query(since=NOON, until=NOON + 2 * MINUTE), HistogramRequest(interval="1m"))
    assert [row for row in found.counts if row != [0]] == [[1]]
    assert found.keys == [("none", 1)]
    empty = Viewer("empty")
    assert (await store.histogram(empty, Query(), HistogramRequest())).grid is None
    assert (await store.histogram(empty, Query(since=NOON), HistogramRequest())).grid is None
    closed = await store.histogram(empty, Query(since=NOON, until=NOON + HOUR), HistogramRequest(interval="30m"))
    assert closed.counts == [[], [], []]
    assert (await store.histogram(VIEWER, Query(since=NOON, until=NOON), HistogramRequest())).counts == []
    seen = await store.histogram(
        Viewer(TENANT, ("template",)), Query(since=NOON, until=NOON + HOUR), HistogramRequest()
    )
    assert seen.total == 0


@catches(broken.AnyInterval)
async def test_too_many_buckets_are_refused(store: Any) -> None:
    """Of a range that is given, and of one that the log gives."""
    await stored(store, new(1, occurred_at=NOON), new(2, occurred_at=NOON + 1_000 * MINUTE))
    for query in (Query(), Query(since=NOON), Query(since=NOON, until=NOON + 2_000 * MINUTE)):
        with pytest.raises(Invalid):
            await store.histogram(VIEWER, query, HistogramRequest(interval="1m"))
    assert (await store.histogram(VIEWER, Query(), HistogramRequest(interval="2m"))).total == 2
