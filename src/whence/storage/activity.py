"""What actors did in a period, and what happened to a resource, as walks. The same for every store.

All actors of a period are ranked by the totals that the statistics use too. Only those of the page are read further:
their counts by part of the period, in the period before, and before it altogether. A type that an actor has in the
period, and never had before, is a first time.
"""

from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from whence.activity import (
    SLOTS,
    TRIGGERED_MAX,
    TRIGGERS_MAX,
    ActorActivity,
    ActorPage,
    ActorPageRequest,
    ActorSummary,
    FirstTime,
    Period,
    ResourceActor,
    ResourceSummary,
    Trigger,
    Triggers,
    added,
    period_of,
    previous_of,
    ranked_after,
    slots_of,
    worth_naming,
)
from whence.actor_totals import Totals
from whence.events import ActorStat
from whence.facets import words_of
from whence.storage.actor_ends import EndsQuestion, Wanted, find_ends
from whence.storage.aggregates import totals_of_kind
from whence.storage.facets import NamesOfActors
from whence.storage.resolve import Kind, ResolvedQuery, Snapshot

__all__ = [
    "ActivityQuestion",
    "CausesOfActor",
    "CountsBySlot",
    "CountsOfActors",
    "ResourceParts",
    "ResourceQuestion",
    "TimeBounds",
    "TimesOfActors",
    "TotalsInPeriod",
    "summarize_actor",
    "summarize_actors",
    "summarize_resource",
]


class TimeBounds(msgspec.Struct, frozen=True):
    """Asks for the times of the first and the last event that the viewer may see, None without any."""


class TotalsInPeriod(msgspec.Struct, frozen=True):
    """Asks for the totals of each actor with a matching event, by its number."""

    resolved: ResolvedQuery


class CountsBySlot(msgspec.Struct, frozen=True):
    """Asks for rows of slot, actor, kind and events of the query's actors. Several may be of the same three."""

    resolved: ResolvedQuery
    slots: Sequence[Period]


class CountsOfActors(msgspec.Struct, frozen=True):
    """Asks for rows of actor, kind and events of the query's actors. Several may be of the same two, and some are
    negative."""

    resolved: ResolvedQuery


class TimesOfActors(msgspec.Struct, frozen=True):
    """Asks for rows of an actor and the times of its first and its last event, whatever their kinds."""

    actors: Sequence[int]


class CausesOfActor(msgspec.Struct, frozen=True):
    """Asks for rows of the last `TRIGGERED_MAX` events of an actor in a period: when each occurred, its position or
    key, whether it names a cause, and the actor of that cause, None where it is not in the log."""

    actor: int
    period: Period


class ResourceParts(msgspec.Struct, frozen=True):
    """Asks for what the matching events come to: rows of actor, kind, events and the times of the first and the last
    event; how many flows there are; and the last event, None without any."""

    resolved: ResolvedQuery


ActivityQuestion = (
    TimeBounds
    | TotalsInPeriod
    | CountsBySlot
    | CountsOfActors
    | TimesOfActors
    | CausesOfActor
    | NamesOfActors
    | EndsQuestion
)
ResourceQuestion = ResourceParts | NamesOfActors

_Pairs = Counter[tuple[int, int]]  # events by actor and kind


def summarize_actors(
    snapshot: Snapshot, resolved: ResolvedQuery, request: ActorPageRequest
) -> Generator[ActivityQuestion, Any, ActorPage]:
    """A page of actors. `resolved` has no other filter than time and the kinds that the viewer may see."""
    first, last = yield TimeBounds()
    period = period_of(resolved.since, resolved.until, last)
    if period is None or resolved.nothing:
        return ActorPage(actors=[], period=period, total=0, has_next=False)
    totals = yield TotalsInPeriod(resolved.between(period.since, period.until))
    most = None if request.after is None else request.after[0]
    names = yield NamesOfActors(worth_naming(totals, request.limit + 1, most))
    ranked = ranked_after(totals, names, request.after)
    stats = dict(ranked[: request.limit])
    groups = {actor: actor for actor in stats}
    found = yield from _activities(snapshot, resolved, period, previous_of(period, first), groups)
    actors = [found.activity(actor, stat) for actor, stat in stats.items()]
    return ActorPage(actors=actors, period=period, total=len(totals), has_next=len(ranked) > request.limit)


def summarize_actor(
    snapshot: Snapshot, resolved: ResolvedQuery, name: tuple[str, str]
) -> Generator[ActivityQuestion, Any, ActorSummary]:
    """One actor with this type and id, whose numbers are the actors of `resolved`: several where its id is stored in
    several spellings."""
    first, last = yield TimeBounds()
    period = period_of(resolved.since, resolved.until, last)
    numbers = () if resolved.nothing else resolved.actors or ()
    groups = dict.fromkeys(numbers, 0)
    found, first_seen = _Activities({}, snapshot.kinds), None
    triggers = yield from _triggers(snapshot, period, numbers)
    if period is not None and numbers:
        found = yield from _activities(snapshot, resolved, period, previous_of(period, first), groups)
        firsts = yield from _seen(snapshot, resolved, groups, last=False)
        first_seen = min(firsts.values(), default=None)
    counts: Counter[int] = Counter()
    for (_, kind), events in found.pairs.items():
        counts[kind] += events
    events, successes, failures = added(totals_of_kind(snapshot.kinds[kind], count) for kind, count in counts.items())
    stat = ActorStat(actor_type=name[0], actor_id=name[1], total=events, successes=successes, failures=failures)
    return ActorSummary(
        activity=found.activity(0, stat),
        period=period,
        first_seen_at=first_seen,
        by_event_type=words_of(counts, snapshot.kinds, "event_type"),
        by_resource_type=words_of(counts, snapshot.kinds, "resource_type"),
        triggered_by=triggers,
    )


def _triggers(
    snapshot: Snapshot, period: Period | None, numbers: Sequence[int]
) -> Generator[ActivityQuestion, Any, Triggers | None]:
    """Whose events caused the latest ones of these actors, which count as one."""
    if not snapshot.viewer.sees_all:
        return None
    rows: list[tuple[int, int, bool, int | None]] = []
    if period is not None:
        for actor in numbers:
            rows += yield CausesOfActor(actor, period)
    latest = sorted(rows, reverse=True)[:TRIGGERED_MAX]
    counts = Counter(actor for _, _, _, actor in latest if actor is not None)
    names = (yield NamesOfActors(list(counts))) if counts else ()
    ranked = sorted((-counts[actor], actor_type, actor_id) for actor, actor_type, actor_id in names)
    return Triggers(
        actors=[Trigger(actor_type=each[1], actor_id=each[2], count=-each[0]) for each in ranked[:TRIGGERS_MAX]],
        events=len(latest),
        missing=sum(has_cause and actor is None for _, _, has_cause, actor in latest),
        more_actors=max(len(ranked) - TRIGGERS_MAX, 0),
        roots=sum(not has_cause for _, _, has_cause, _ in latest),
    )


class _Activities:
    """What was read of some actors, by their groups. `groups` by the number of the actor."""

    def __init__(self, groups: Mapping[int, int], kinds: Mapping[int, Kind]) -> None:
        self.groups = groups
        self.kinds = kinds
        self.pairs: _Pairs = Counter()
        self.sparklines: dict[int, list[int]] = {}
        self.previous: _Pairs | None = None
        self.last_seen: Mapping[int, int] = {}
        self.first_times: dict[int, list[FirstTime]] = {}

    def add_slots(self, rows: Iterable[tuple[int, int, int, int]]) -> None:
        """Add rows of slot, actor, kind and events."""
        for slot, actor, kind, events in rows:
            group = self.groups[actor]
            self.sparklines.setdefault(group, [0] * SLOTS)[slot] += events
            self.pairs[group, kind] += events

    def by_group(self, rows: Iterable[tuple[int, int, int]]) -> _Pairs:
        """Rows of actor, kind and events, by group and kind."""
        counts: _Pairs = Counter()
        for actor, kind, events in rows:
            counts[self.groups[actor], kind] += events
        return +counts

    def firsts(self, before: _Pairs) -> dict[tuple[int, str], tuple[int, ...]]:
        """The kinds by group and event type, of the types that the group has and had not `before`."""
        known = {(group, self.kinds[kind].event_type) for group, kind in before}
        found: dict[tuple[int, str], tuple[int, ...]] = {}
        for group, kind in self.pairs:
            name = group, self.kinds[kind].event_type
            if name not in known:
                found[name] = (*found.get(name, ()), kind)
        return found

    def activity(self, group: int, stat: ActorStat) -> ActorActivity:
        """What the actors of a group did."""
        previous: Totals | None = None
        if self.previous is not None:
            rows = [(kind, events) for (each, kind), events in self.previous.items() if each == group]
            previous = added(totals_of_kind(self.kinds[kind], events) for kind, events in rows)
        return ActorActivity(
            stat=stat,
            previous=previous,
            last_seen_at=self.last_seen.get(group),
            sparkline=self.sparklines.get(group, [0] * SLOTS),
            first_times=sorted(self.first_times.get(group, ()), key=lambda each: (-each.at, each.event_type)),
        )


def _activities(
    snapshot: Snapshot, resolved: ResolvedQuery, period: Period, previous: Period | None, groups: Mapping[int, int]
) -> Generator[ActivityQuestion, Any, _Activities]:
    """What the actors of some groups did in a period."""
    found = _Activities(groups, snapshot.kinds)
    of_actors = msgspec.structs.replace(resolved, actors=tuple(groups), since=None, until=None)
    if not groups:
        return found
    found.add_slots((yield CountsBySlot(of_actors, slots_of(period))))
    if previous is not None:
        found.previous = found.by_group((yield CountsOfActors(of_actors.between(previous.since, previous.until))))
    before = yield CountsOfActors(of_actors.between(None, period.since))
    found.last_seen = yield from _seen(snapshot, of_actors, groups, last=True)
    firsts = found.firsts(found.by_group(before))
    wanted = {
        Wanted(actor, kinds): name
        for name, kinds in firsts.items()
        for actor, group in groups.items()
        if group == name[0]
    }
    ends = yield from find_ends(list(wanted), last=False)
    earliest: dict[tuple[int, str], tuple[int, str]] = {}
    for each, event in ends.items():
        name = wanted[each]
        earliest[name] = min(event, earliest.get(name, event))
    for (group, event_type), (at, event_id) in earliest.items():
        found.first_times.setdefault(group, []).append(FirstTime(event_type=event_type, at=at, event_id=event_id))
    return found


def _seen(
    snapshot: Snapshot, resolved: ResolvedQuery, groups: Mapping[int, int], *, last: bool
) -> Generator[ActivityQuestion, Any, dict[int, int]]:
    """The time of the last or the first event of each group that the viewer may see."""
    if snapshot.viewer.sees_all:
        rows = yield TimesOfActors(list(groups))
        times = [(actor, latest if last else earliest) for actor, earliest, latest in rows]
    else:
        wanted = [Wanted(actor, resolved.kinds or ()) for actor in groups]
        ends = yield from find_ends(wanted, last=last)
        times = [(each.actor, at) for each, (at, _) in ends.items()]
    found: dict[int, int] = {}
    for actor, at in times:
        group = groups[actor]
        found[group] = (max if last else min)(at, found.get(group, at))
    return found


def summarize_resource(
    snapshot: Snapshot, resolved: ResolvedQuery, top: int
) -> Generator[ResourceQuestion, Any, ResourceSummary]:
    """A resource, and at most `top` of its actors."""
    rows, flows, last_event = ([], 0, None) if resolved.nothing else (yield ResourceParts(resolved))
    counts: Counter[int] = Counter()
    totals: dict[int, Totals] = {}
    latest: dict[int, int] = {}
    for actor, kind, events, _, last_at in rows:
        counts[kind] += events
        totals[actor] = added((totals.get(actor, (0, 0, 0)), totals_of_kind(snapshot.kinds[kind], events)))
        latest[actor] = max(last_at, latest.get(actor, last_at))
    names = yield NamesOfActors(worth_naming(totals, top))
    actors = ranked_after(totals, names)[:top]
    events, _, failures = added(totals.values())
    return ResourceSummary(
        events=events,
        failures=failures,
        flows=flows,
        first_at=min((row[3] for row in rows), default=None),
        last_at=max(latest.values(), default=None),
        by_event_type=words_of(counts, snapshot.kinds, "event_type"),
        actors=[ResourceActor(stat=stat, last_at=latest[actor]) for actor, stat in actors],
        more_actors=len(totals) - len(actors),
        last_event=last_event,
    )
