"""Aggregates and statistics equal a count over the events in the log."""

from collections import Counter
from typing import Any

from tests.contract import actor_total_mutants, mutants, rarer_mutants
from tests.contract import broken_models as broken
from tests.contract.faults import catches, limited, select
from tests.contract.made import DAY, HOUR, MINUTE, NOON, SECOND, TENANT, VIEWER, asked, new, page, stored, uuid
from whence.events import ActorStat, Counts, Event, Query

DAY_START = NOON // DAY * DAY
FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"event_types": ("action_run.completed",)},
    {"event_type_prefixes": ("action_run.",), "outcomes": ("failure", "none")},
    {"resource_types": ("artifact",)},
    {"actor_types": ("agent",)},
    {"actor_ids": ("a1",)},
    {"actor_ids": ("a1", "a2"), "outcomes": ("success",)},
    {"readable": ("artifact",)},
    {"resource_ids": (uuid(1),)},
    {"correlation_ids": ("flow-1",), "event_types": ("action_run.completed",)},
    {"causation_ids": ("why",)},
)


def varied(first: int, times: list[int]) -> list[Any]:
    """An event at each time; its other fields cycle through their values."""
    return [
        new(
            number,
            occurred_at=at,
            event_type=("action_run.completed", "action_run.failed", "action_run.step.opened")[number % 3],
            actor_type=("user", "agent")[number % 2],
            actor_id=f"a{number % 5}",
            resource_type=("action_run", "artifact")[number // 2 % 2],
            correlation_id=f"flow-{number % 4}",
            causation_id="why" if number % 3 else None,
        )
        for number, at in enumerate(times, first)
    ]


def most_first(words: Counter[str]) -> list[tuple[str, int]]:
    return sorted(words.items(), key=lambda item: (-item[1], item[0]))


def counted(events: list[Event]) -> Counts:
    """The aggregate of these events, counted one by one."""
    return Counts(
        total=len(events),
        by_event_type=most_first(Counter(event.event_type for event in events)),
        by_resource_type=most_first(Counter(event.resource_type for event in events)),
        by_actor_type=most_first(Counter(event.actor_type for event in events)),
    )


def stats_of(events: list[Event]) -> list[ActorStat]:
    """The statistics of these events, counted one by one."""
    totals: dict[tuple[str, str], Counter[str]] = {}
    for event in events:
        totals.setdefault((event.actor_type, event.actor_id), Counter())[event.outcome] += 1
    stats = [ActorStat(actor_type=t, actor_id=a, total=n.total(), successes=n["success"], failures=n["failure"])
             for (t, a), n in totals.items()]  # fmt: skip
    return sorted(stats, key=lambda stat: (-stat.total, stat.actor_type, stat.actor_id))


async def check_counts(store: Any, since: int | None, until: int | None, **filters: Any) -> None:
    """Check the aggregate, statistics and total of a query against a full list of the events."""
    everything = (await page(store, limit=10_000)).events
    viewer, query = asked({"since": since, "until": until, **filters})
    matching = [event for event in everything if is_within(event, since, until) and has(event, filters)]
    assert await store.count_events(viewer, query) == counted(matching), query
    assert await store.actor_stats(viewer, query) == stats_of(matching), query
    assert (await page(store, since=since, until=until, **filters)).total == len(matching), query


def is_within(event: Event, since: int | None, until: int | None) -> bool:
    return (since is None or since <= event.occurred_at) and (until is None or event.occurred_at < until)


def has(event: Event, filters: dict[str, Any]) -> bool:
    """Whether an event matches the filters of `FILTERS`."""
    for name, values in filters.items():
        if name == "readable":
            matches = event.resource_type in values
        elif name == "event_type_prefixes":
            matches = event.event_type.startswith(values)
        else:
            matches = getattr(event, name.removesuffix("s")) in values
        if not matches:
            return False
    return True


async def check_ranges(store: Any, borders: list[int]) -> None:
    """Check every filter with every range between two of the borders, and with open ranges."""
    for filters in FILTERS:
        for since in (None, *borders):
            for until in (None, *borders):
                if since is None or until is None or since <= until:
                    await check_counts(store, since, until, **filters)


@catches(broken.WordsUnsorted, mutants.aggregate_in_order_of_kinds)
async def test_an_aggregate_is_sorted_by_count_then_word(store: Any) -> None:
    """The most frequent keys come first, ties in order of code points. Keys without events do not appear."""
    types = ["b.done"] * 2 + ["a.done"] * 2 + ["c.done"] * 3 + ["a_b.done"]
    await stored(store, *(new(n, event_type=each, actor_type="user") for n, each in enumerate(types)))
    await stored(store, new(50, event_type="z.done", resource_type="template", actor_type="agent"))
    counts = await store.count_events(VIEWER, Query())
    assert counts.by_event_type == [("c.done", 3), ("a.done", 2), ("b.done", 2), ("a_b.done", 1), ("z.done", 1)]
    assert counts.by_resource_type == [("action_run", 8), ("template", 1)]
    assert counts.by_actor_type == [("user", 8), ("agent", 1)]
    assert counts.total == 9
    assert (await store.count_events(VIEWER, Query(event_types=("z.done",)))).by_actor_type == [("agent", 1)]


@catches(broken.RankedByName, mutants.statistics_in_order_of_names)
async def test_statistics_are_sorted_by_total_then_actor(store: Any) -> None:
    """Most events first; then the actor's type, then its id, by code point."""
    actors = [("user", "b")] * 2 + [("user", "B")] * 2 + [("agent", "z")] * 2 + [("user", "ä")] + [("user", "c")] * 3
    await stored(store, *(new(n, actor_type=kind, actor_id=each) for n, (kind, each) in enumerate(actors)))
    stats = await store.actor_stats(VIEWER, Query())
    assert [(stat.actor_type, stat.actor_id, stat.total) for stat in stats] == [
        ("user", "c", 3),
        ("agent", "z", 2),
        ("user", "B", 2),
        ("user", "b", 2),
        ("user", "ä", 1),
    ]


@catches(broken.ColdOutcome, mutants.outcome_never_derived)
async def test_statistics_tell_successes_and_failures(store: Any) -> None:
    """Successes and failures have a column each; the outcome none is counted only in the total."""
    outcomes = [None, "failure", "failure", "none", "success"]
    await stored(store, *(new(number, outcome=each) for number, each in enumerate(outcomes)))
    await stored(store, new(9, event_type="action_run.failed", actor_id="bob"))
    assert await store.actor_stats(VIEWER, Query()) == [
        ActorStat(actor_type="user", actor_id="ada", total=5, successes=2, failures=2),
        ActorStat(actor_type="user", actor_id="bob", total=1, successes=0, failures=1),
    ]
    assert await store.actor_stats(VIEWER, Query(outcomes=("none",))) == [
        ActorStat(actor_type="user", actor_id="ada", total=1, successes=0, failures=0)
    ]


@catches(broken.StatisticsCut, rarer_mutants.statistics_cut)
async def test_statistics_are_never_truncated(store: Any) -> None:
    """All 1,203 actors are listed."""
    await stored(store, *(new(number, actor_id=f"a{number}") for number in range(1_203)))
    await stored(store, new(5_000, actor_id="a1000"))
    stats = await store.actor_stats(VIEWER, Query())
    assert len(stats) == 1_203
    assert (stats[0].actor_id, stats[0].total) == ("a1000", 2)
    assert {stat.actor_id for stat in stats} == {f"a{number}" for number in range(1_203)}


@catches(broken.ReadsAll, mutants.readable_ignored)
async def test_nothing_is_counted_where_nothing_is(store: Any) -> None:
    """A tenant without events, and a filter without matches, have empty counts."""
    nothing = Counts(total=0, by_event_type=[], by_resource_type=[], by_actor_type=[])
    await stored(store, new(1, event_type="z.done", actor_type="service", outcome="none", resource_id=uuid(9)))
    await stored(store, *varied(1, [NOON] * 12), tenant="other")
    for tenant in ("empty", TENANT):
        for filters in (*FILTERS[1:], {"since": NOON, "until": NOON}, {"readable": ()}):
            assert await store.count_events(*asked(filters, tenant)) == nothing
            assert await store.actor_stats(*asked(filters, tenant)) == []


@catches(broken.UntilIncluded, broken.SinceExcluded, mutants.edges_until_included, mutants.edges_since_excluded)
async def test_ranges_in_one_undivided_bucket(store: Any) -> None:
    """While no bucket is divided, every range is counted event by event, and exactly."""
    times = [NOON, NOON + 1, NOON + 1, NOON + SECOND, NOON + HOUR, NOON + DAY]
    await stored(store, *varied(1, times * 3))
    await check_ranges(store, [NOON, NOON + 1, NOON + 2, NOON + HOUR])


@limited(divide_at=4)
@catches(broken.UntilIncluded, mutants.division_loses_edges, mutants.edges_until_included, mutants.edges_since_excluded)
async def test_ranges_that_cut_through_divided_buckets(store: Any) -> None:
    """With buckets divided down to minutes and seconds, ranges at, before and after every border are exact."""
    times = [DAY_START, DAY_START + 1, DAY_START + HOUR - 1, DAY_START + HOUR, DAY_START + HOUR + MINUTE, NOON, NOON]
    times += [NOON // MINUTE * MINUTE + SECOND * number for number in range(5)] + [DAY_START - 1, DAY_START - 40 * DAY]
    for first in (1, 101):
        await stored(store, *varied(first, times))
    await check_ranges(store, [DAY_START, DAY_START + 1, DAY_START + HOUR, NOON + 1, NOON // MINUTE * MINUTE])


@limited(divide_at=4)
@catches(mutants.late_events_not_rolled_up)
async def test_late_events_in_divided_buckets(store: Any) -> None:
    """Events stored later with an earlier time are counted, in divided buckets, in new ones and before 1970."""
    await stored(store, *varied(1, [NOON + number * SECOND for number in range(20)]))
    await stored(store, *varied(101, [NOON + SECOND, NOON - DAY, -10 * DAY, -40 * DAY, -1, 0, 1, NOON]))
    await check_ranges(store, [-32 * DAY, 0, NOON - DAY, NOON + SECOND, NOON + 2 * SECOND])


@limited(divide_at=6)
@catches(mutants.division_loses_edges)
async def test_counts_are_exact_at_every_step_of_a_division(store: Any) -> None:
    """Adding one event at a time, the counts agree before, at and after the division of every bucket."""
    times = [DAY_START + step for step in (0, 0, 1, HOUR, HOUR, HOUR + MINUTE, 0, 0, SECOND, 0, 1, 2, 3, DAY, 0)]
    for number, at in enumerate(times, 1):
        await stored(store, *varied(number, [at]))
        for filters in ({}, {"actor_ids": ("a1",)}, {"event_types": ("action_run.completed",)}):
            await check_counts(store, DAY_START, DAY_START + HOUR, **filters)
            await check_counts(store, DAY_START + 1, None, **filters)
            await check_counts(store, None, None, **filters)


@limited(divide_at=6, fold_at=9)
@catches(
    actor_total_mutants.the_newest_are_left_out,
    actor_total_mutants.the_newest_are_counted_twice,
    actor_total_mutants.folds_replace,
    actor_total_mutants.nothing_is_taken_away,
    actor_total_mutants.small_buckets_are_left_out,
)
async def test_statistics_are_exact_between_folds(store: Any) -> None:
    """Just after a fold and just before the next, for all time and for ranges, with divided and undivided buckets, and
    with late events."""
    times = [DAY_START + HOUR * (number % 7) + MINUTE * (number % 3) + number for number in range(60)]
    for first in range(0, 60, 4):
        await stored(store, *varied(first + 1, times[first : first + 4]))
        for since, until in ((None, None), (DAY_START + 1, DAY_START + 7 * HOUR - 1), (None, DAY_START + 5 * HOUR + 1)):
            query = Query(since=since, until=until)
            matching = [each for each in (await page(store, limit=100)).events if is_within(each, since, until)]
            assert await store.actor_stats(VIEWER, query) == stats_of(matching), query
            assert await store.count_events(VIEWER, query) == counted(matching), query


@limited(divide_at=6, fold_at=5)
@catches(actor_total_mutants.folds_without_merging)
async def test_a_bucket_of_actor_totals_has_few_rows(real: Any) -> None:
    """The number of rows does not grow with the number of folds; an undivided bucket has none."""
    for first in range(1, 300, 5):
        await stored(real, *varied(first, [DAY_START + number for number in range(first, first + 5)]))
    rows = "SELECT count(*) AS n FROM actor_total GROUP BY level, bucket"
    [(most, buckets)] = await select(real, TENANT, f"SELECT max(n), count(*) FROM ({rows}) AS rows")
    [(divided,)] = await select(real, TENANT, "SELECT count(*) FROM bucket WHERE divided")
    assert most <= 4
    assert buckets == divided > 5


@catches(mutants.flow_counted_anew, mutants.resource_counted_anew)
async def test_a_flow_and_a_resource_count_over_many_appends(store: Any) -> None:
    """The totals of one flow and of one resource stay exact over many appends."""
    for first in (1, 11, 21):
        await stored(store, *varied(first, [NOON + number for number in range(10)]))
        await check_counts(store, None, None, resource_ids=(uuid(1),))
        found = await page(store, correlation_ids=("flow-1",))
        assert found.total == len(found.events)
        found = await page(store, resource_ids=(uuid(1),), resource_types=("artifact",))
        assert found.total == len(found.events)
