"""Facets, actors and resources equal a count over the events in the log."""

import random
from itertools import pairwise
from typing import Any

from tests.contract import activity_mutants as mutants
from tests.contract import counted
from tests.contract.faults import catches, limited
from tests.contract.made import DAY, HOUR, MINUTE, NOON, TENANT, VIEWER, asked, new, page, stored, uuid
from whence.activity import PERIOD_US, TRIGGERED_MAX, ActorPage, ActorPageRequest
from whence.events import Event, Query, Viewer
from whence.facets import Facets

WHOLE = ActorPageRequest(limit=100)


async def filled(store: Any, draw: random.Random, count: int = 120) -> list[Event]:
    """The events of a log that was filled in several appends, and of one that another tenant has."""
    await stored(store, *counted.random_events(draw, 20), tenant="other")
    events = counted.random_events(draw, count)
    for first in range(0, count, 17):
        await stored(store, *events[first : first + 17])
    return (await page(store, limit=10_000)).events


def check_facets(found: Facets, everything: list[Event], filters: dict[str, Any], top: int) -> None:
    """Each facet is the count over the events that match all filters but its own."""

    def matching(facet: str | None = None) -> list[Event]:
        own = counted.OWN.get(facet or "", ())
        rest = {name: value for name, value in filters.items() if name not in own}
        return [event for event in everything if counted.matches(event, rest)]

    assert found.total == len(matching()), filters
    for name in ("resource_type", "outcome", "actor_type"):
        facet, exact = getattr(found, name), counted.words(matching(name), name)
        assert [(each.value, each.count, each.failures) for each in facet.values] == exact[:top], (name, filters)
        assert facet.more == max(len(exact) - top, 0), (name, filters)
    exact_actors = counted.actors(matching("actor"))
    shown = [(each.actor_type, each.actor_id, each.total, each.successes, each.failures) for each in found.actor.values]
    assert shown == exact_actors[:top], filters
    assert found.actor.more == max(len(exact_actors) - top, 0), filters
    if not found.event_type.more:
        types = [(each.value, each.count, each.failures) for each in counted.leaves(found.event_type.values)]
        assert sorted(types) == sorted(counted.words(matching("event_type"), "event_type")), filters


@limited(divide_at=6, fold_at=9)
@catches(
    mutants.facets_keep_their_filters,
    mutants.facets_forget_the_other_filters,
    mutants.actors_of_facets_forget_their_ties,
)
async def test_facets_of_random_queries(real: Any) -> None:
    """Each is counted without its own filter, for indexed and for unbounded queries, and for narrowed viewers."""
    draw = random.Random(18)
    everything = await filled(real, draw)
    for _ in range(40):
        filters, top = counted.random_filters(draw), draw.choice((2, 20))
        check_facets(await real.facets(*asked(filters), top), everything, filters, top)


@catches(mutants.facets_forget_the_other_filters)
async def test_each_value_of_the_type_tree_can_be_used_as_a_filter(real: Any) -> None:
    """And finds as many events as it says; a type that is also the beginning of others stands beside these."""
    await filled(real, random.Random(3))
    found = await real.facets(VIEWER, Query(actor_ids=("ada",), actor_types=("agent",)), 20)
    values = [each.value for each in counted.nodes(found.event_type.values)]
    assert {"action_run.*", "action_run.step", "action_run.step.done", "invoice.sent"} <= set(values)
    for each in counted.nodes(found.event_type.values):
        name = {"event_type_prefixes": (each.value[:-1],)} if each.children else {"event_types": (each.value,)}
        query = Query(actor_ids=("ada",), actor_types=("agent",), **name)
        assert (await real.count_events(VIEWER, query)).total == each.count, each


def check_actors(found: ActorPage, everything: list[Event], since: int, until: int) -> None:
    """Every actor of a page is what a count over its events says."""
    within = [event for event in everything if since <= event.occurred_at < until]
    exact = counted.actors(within)
    assert [(each.stat.actor_type, each.stat.actor_id) for each in found.actors] == [row[:2] for row in exact]
    assert found.total == len(exact)
    has_before = any(event.occurred_at < since for event in everything)
    for each, row in zip(found.actors, exact, strict=True):
        stat = each.stat
        mine = [event for event in everything if (event.actor_type, event.actor_id) == row[:2]]
        earlier = [event for event in mine if 2 * since - until <= event.occurred_at < since]
        assert (stat.total, stat.successes, stat.failures) == row[2:]
        assert each.previous == (counted.totals(earlier) if has_before else None)
        assert each.last_seen_at == max(event.occurred_at for event in mine)
        assert each.sparkline == counted.sparkline((one for one in mine if one in within), since, until)
        assert each.first_times == counted.first_times(mine, since, until), (since, until, row)


PERIODS = ((NOON - 2 * DAY, NOON), (NOON - HOUR - 7, NOON + 1), (NOON - 60 * DAY, NOON + 11), (NOON - 1, NOON + 1))


@limited(divide_at=6, fold_at=9)
@catches(
    mutants.edges_reach_too_far,
    mutants.edges_forget_the_tenant,
    mutants.edges_forget_the_kinds,
    mutants.spans_lose_their_last_bucket,
    mutants.descents_forget_the_kinds,
    mutants.descents_forget_the_actor,
    mutants.descents_end_at_the_first_bucket,
    mutants.ends_forget_the_kinds,
    mutants.ends_are_the_other_ends,
    mutants.every_type_is_a_first_time,
)
async def test_actors_of_a_period(real: Any) -> None:
    """Their statistics, those of the period before, their sparklines, last and first times, also where a part of the
    events is hidden, in divided buckets and in others."""
    everything = await filled(real, random.Random(7))
    for since, until in PERIODS:
        for readable in (None, ("artifact",)):
            seen = [event for event in everything if readable is None or event.resource_type in readable]
            found = await real.actors(Viewer(TENANT, readable), since, until, WHOLE)
            check_actors(found, seen, since, until)


@catches(mutants.pages_of_actors_overlap)
async def test_pages_of_actors(real: Any) -> None:
    """Each goes on after the last actor of the one before; all of them together are the whole."""
    names = ["a", "b", "c", "d", "e", "e", "b", "f", "f", "f"]
    await stored(real, *(new(number, actor_id=each) for number, each in enumerate(names)))
    whole = await real.actors(VIEWER, None, None, WHOLE)
    assert [each.stat.actor_id for each in whole.actors] == ["f", "b", "e", "a", "c", "d"]
    for limit in (1, 2, 5):
        after, found = None, []
        for _ in range(6):
            part = await real.actors(VIEWER, None, None, ActorPageRequest(limit=limit, after=after))
            found += part.actors
            assert part.total == 6
            assert len(part.actors) <= limit
            if not part.has_next:
                break
            last = part.actors[-1].stat
            after = (last.total, last.actor_type, last.actor_id)
        assert found == whole.actors


@catches(mutants.the_period_before_is_always_there)
async def test_an_open_period_is_the_last_week_of_the_log(real: Any) -> None:
    """It ends with the hour of the newest event that may be seen. Without any, there is no period."""
    end = NOON // HOUR * HOUR + HOUR
    assert (await real.actors(VIEWER, None, None, WHOLE)).period is None
    await stored(real, new(1, occurred_at=NOON - 30 * DAY, resource_type="artifact"), new(2, occurred_at=NOON))
    await stored(real, new(3, occurred_at=NOON + 9 * HOUR, resource_type="artifact"))
    found = await real.actors(Viewer(TENANT, ("action_run",)), None, None, WHOLE)
    assert (found.period.since, found.period.until) == (end - PERIOD_US, end)
    assert found.actors[0].previous is None
    assert (await real.actors(VIEWER, None, None, WHOLE)).period.until == end + 9 * HOUR
    since = await real.actors(VIEWER, NOON - 30 * DAY, None, WHOLE)
    assert (since.period.since, since.period.until, since.total) == (NOON - 30 * DAY, end + 9 * HOUR, 1)
    until = await real.actors(VIEWER, None, NOON, WHOLE)
    assert (until.period.since, until.period.until, until.actors) == (NOON - PERIOD_US, NOON, [])
    later = await real.actors(VIEWER, NOON + 2 * DAY, None, WHOLE)
    assert (later.period.since, later.period.until, later.actors) == (NOON + 2 * DAY, NOON + 2 * DAY, [])


@limited(divide_at=6, fold_at=9)
@catches(mutants.every_type_is_a_first_time, mutants.descents_end_at_the_first_bucket, mutants.hidden_events_are_seen)
async def test_the_summary_of_an_actor(real: Any) -> None:
    """It is of one actor type and of every spelling of the id, and counts by event type and resource type too."""
    everything = await filled(real, random.Random(7))
    for actor in (*counted.ACTORS[:4], ("user", "bob"), ("user", "nobody")):
        for readable in (None, ("artifact",)):
            filters = {"actor_types": actor[:1], "actor_ids": actor[1:], "readable": readable}
            mine = [event for event in everything if counted.matches(event, {k: v for k, v in filters.items() if v})]
            for since, until in PERIODS[:2]:
                within = [event for event in mine if since <= event.occurred_at < until]
                found = await real.actor_summary(Viewer(TENANT, readable), actor, since, until)
                stat, did = found.activity.stat, found.activity
                assert (stat.actor_type, stat.actor_id) == actor
                assert (stat.total, stat.successes, stat.failures) == counted.totals(within)
                assert found.first_seen_at == min((event.occurred_at for event in mine), default=None)
                assert did.last_seen_at == max((event.occurred_at for event in mine), default=None)
                assert did.sparkline == counted.sparkline(within, since, until)
                assert did.first_times == counted.first_times(mine, since, until)
                for field, shown in (("event_type", found.by_event_type), ("resource_type", found.by_resource_type)):
                    assert [(one.value, one.count, one.failures) for one in shown] == counted.words(within, field)


@limited(divide_at=6)
@catches(mutants.the_last_event_is_the_first, mutants.flows_are_events)
async def test_the_summary_of_a_resource(real: Any) -> None:
    """Everything that happened to it, and to no resource of another type with the same id."""
    everything = await filled(real, random.Random(5))
    for resource in (("artifact", uuid(1)), ("action_run", uuid(3)), ("template", uuid(1)), ("artifact", uuid(9))):
        mine = [event for event in everything if (event.resource_type, event.resource_id) == resource]
        found = await real.resource_summary(VIEWER, resource, 3)
        assert (found.events, found.failures) == (len(mine), counted.totals(mine)[2])
        assert found.flows == len({event.correlation_id for event in mine})
        assert found.first_at == min((event.occurred_at for event in mine), default=None)
        assert found.last_at == max((event.occurred_at for event in mine), default=None)
        assert found.last_event == max(mine, key=lambda event: (event.occurred_at, event.position), default=None)
        types = [(each.value, each.count, each.failures) for each in found.by_event_type]
        assert types == counted.words(mine, "event_type")
        exact = counted.actors(mine)
        assert [(one.stat.actor_type, one.stat.actor_id, one.stat.total) for one in found.actors] == [
            row[:3] for row in exact[:3]
        ]
        for each in found.actors:
            name = each.stat.actor_type, each.stat.actor_id
            assert each.last_at == max(one.occurred_at for one in mine if (one.actor_type, one.actor_id) == name)
        assert found.more_actors == max(len(exact) - 3, 0)
        hidden = await real.resource_summary(Viewer(TENANT, ("decision",)), resource, 3)
        assert (hidden.events, hidden.flows, hidden.last_event, hidden.actors) == (0, 0, None, [])


@limited(divide_at=6)
@catches(mutants.descents_forget_the_kinds, mutants.ends_are_the_other_ends)
async def test_first_times_where_other_types_come_before_and_between(real: Any) -> None:
    """The first event of a type is found among many of others, of two at one time the one stored first."""
    await stored(real, *(new(number, occurred_at=NOON - 3 * DAY + number * MINUTE) for number in range(1, 40)))
    await stored(real, *(new(number, occurred_at=NOON) for number in range(40, 50)))
    at = {"event_type": "action_run.failed", "occurred_at": NOON - HOUR}
    await stored(real, new(60, **at), new(51, **at), new(52, event_type="action_run.failed", occurred_at=NOON))
    (found,) = (await real.actors(VIEWER, NOON - DAY, None, WHOLE)).actors
    assert [(each.event_type, each.at, each.event_id) for each in found.first_times] == [
        ("action_run.failed", NOON - HOUR, uuid(60))
    ]
    assert sum(found.sparkline) == found.stat.total == 13
    assert all(earlier.at >= later.at for earlier, later in pairwise(found.first_times))


@limited(divide_at=6)
@catches(
    mutants.causes_of_other_tenants_count,
    mutants.causes_of_every_time_count,
    mutants.causes_that_are_missing_are_roots,
    mutants.narrowed_viewers_see_triggers,
)
async def test_whose_events_triggered_an_actor(real: Any) -> None:
    """Those that caused its events of the period, also when an id is stored in several spellings; an event without a
    cause and one whose cause another tenant has are counted apart. A narrowed viewer is not told."""
    await stored(real, new(900), tenant="other")
    events = counted.random_events(random.Random(11), 120)
    await stored(real, *events)
    at = {"actor_type": events[0].actor_type, "actor_id": events[0].actor_id, "occurred_at": events[0].occurred_at}
    await stored(real, new(901, causation_id=uuid(900), **at), new(902, causation_id="no id", **at))
    everything = (await page(real, limit=10_000)).events
    actor = at["actor_type"], at["actor_id"]
    filters = {"actor_types": actor[:1], "actor_ids": actor[1:]}
    mine = [event for event in everything if counted.matches(event, filters)]
    for since, until in PERIODS[:2]:
        within = [event for event in mine if since <= event.occurred_at < until]
        found = (await real.actor_summary(VIEWER, actor, since, until)).triggered_by
        named = [(-each.count, each.actor_type, each.actor_id) for each in found.actors]
        exact, roots, missing = counted.triggers(within, everything)
        assert (named, found.more_actors) == (exact[:10], max(len(exact) - 10, 0))
        assert (found.events, found.roots, found.missing) == (len(within), roots, missing)
    assert found.missing >= 2
    narrowed = await real.actor_summary(Viewer(TENANT, ("artifact",)), actor, None, None)
    assert narrowed.triggered_by is None


@catches(mutants.the_first_events_are_looked_at)
async def test_triggers_are_those_of_the_latest_events(real: Any) -> None:
    """The latest ones that the limit allows."""
    await stored(real, new(1, actor_id="early"), new(2, actor_id="late"))
    at = {"actor_id": "a", "event_type": "action_run.started"}
    await stored(real, *(new(10 + n, causation_id=uuid(1), occurred_at=NOON + n, **at) for n in range(20)))
    late = range(20, 20 + TRIGGERED_MAX)
    await stored(real, *(new(10 + n, causation_id=uuid(2), occurred_at=NOON + n, **at) for n in late))
    found = (await real.actor_summary(VIEWER, ("user", "a"), None, None)).triggered_by
    assert [(each.actor_id, each.count) for each in found.actors] == [("late", TRIGGERED_MAX)]
    assert found.events == TRIGGERED_MAX
