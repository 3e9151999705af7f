"""What actors did in a period, and what happened to a resource: the periods, and counts as answers. Pure; a store
counts.

A period is compared with the one before it, of the same length. Without an end it ends with the hour of the newest
event, and without a start it is a week. So a log that is filled has the same default every day, and one that was
recorded long ago still shows its last week.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from whence.actor_totals import Totals
from whence.events import ActorStat, Event
from whence.facets import WordCount
from whence.histograms import TimeGrid

__all__ = [
    "PERIOD_US",
    "SLOTS",
    "TRIGGERED_MAX",
    "TRIGGERS_MAX",
    "ActorActivity",
    "ActorPage",
    "ActorPageRequest",
    "ActorSummary",
    "FirstTime",
    "Period",
    "ResourceActor",
    "ResourceSummary",
    "Trigger",
    "Triggers",
    "added",
    "period_of",
    "previous_of",
    "ranked_after",
    "slots_of",
    "worth_naming",
]

_HOUR = 3_600_000_000

PERIOD_US = 7 * 24 * _HOUR
"""The length of a period whose start is not given."""

SLOTS = 24
"""The parts of a sparkline."""


TRIGGERED_MAX = 500
"""The latest events of an actor whose causes are looked up."""

TRIGGERS_MAX = 10
"""The actors of these causes that are named."""


class Period(msgspec.Struct, frozen=True):
    """`since <= occurred_at < until`, in microseconds. An end that was not given may be beyond the years 1 to 9999."""

    since: int
    until: int


class FirstTime(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event type that an actor had never had before, and its first event."""

    event_type: str
    at: int
    event_id: str


class ActorActivity(msgspec.Struct, frozen=True, kw_only=True):
    """What one actor did in a period. `previous` is the same of the period before it, None where the log has no event
    before the period. `sparkline` are its events in each of the `SLOTS` parts of the period. `last_seen_at` is the time
    of its last event of all, None without any. `first_times` are the event types that it had never had before, newest
    first."""

    stat: ActorStat
    previous: Totals | None
    last_seen_at: int | None
    sparkline: list[int]
    first_times: list[FirstTime]


class ActorPageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of the actors of a period: those after a total, an actor type and an actor id."""

    limit: int
    after: tuple[int, str, str] | None = None


class ActorPage(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the actors with an event in a period, by total descending, then by type and id. `total` is the number
    of all of them. `period` is None where the request left it open and the log has no event."""

    actors: list[ActorActivity]
    period: Period | None
    total: int
    has_next: bool


class Trigger(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How many of an actor's events were caused by events of another actor, or by its own."""

    actor_type: str
    actor_id: str
    count: int


class Triggers(msgspec.Struct, frozen=True, kw_only=True):
    """Whose events caused the actor's latest `events` of a period, at most `TRIGGERED_MAX`. `roots` name no cause, and
    `missing` one that is not in the log. The other causes are those of `actors`, by count descending, then by type and
    id; and of `more_actors` further ones."""

    actors: list[Trigger]
    events: int
    missing: int
    more_actors: int
    roots: int


class ActorSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What one actor did in a period, in detail. `first_seen_at` is the time of its first event of all. `triggered_by`
    is None for a viewer who may not see every event: to look for those that he sees would take as long as the others
    are many."""

    activity: ActorActivity
    period: Period | None
    first_seen_at: int | None
    by_event_type: list[WordCount]
    by_resource_type: list[WordCount]
    triggered_by: Triggers | None


class ResourceActor(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one actor did to a resource, and when it last did something."""

    stat: ActorStat
    last_at: int


class ResourceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a resource: events, failures and flows, the times of the first and the last event, counts by
    event type, the actors with the most events and how many further ones, and the last event."""

    events: int
    failures: int
    flows: int
    first_at: int | None
    last_at: int | None
    by_event_type: list[WordCount]
    actors: list[ResourceActor]
    more_actors: int
    last_event: Event | None


def period_of(since: int | None, until: int | None, last: int | None) -> Period | None:
    """The period that is asked for; it is empty where it would begin after its end. `last` is the time of the newest
    event, None without any. None when that is needed and missing."""
    if until is None:
        if last is None:
            return None if since is None else Period(since, since)
        until = (last // _HOUR + 1) * _HOUR
        until = until if since is None else max(since, until)
    return Period(until - PERIOD_US if since is None else since, until)


def previous_of(period: Period, first: int | None) -> Period | None:
    """The period before, of the same length. None when the log, whose first event is at `first`, has nothing before
    this period, so that there is nothing to compare it with."""
    if first is None or first >= period.since:
        return None
    return Period(2 * period.since - period.until, period.since)


def slots_of(period: Period) -> list[Period]:
    """The parts of a sparkline. Each is a 24th of the period, rounded up to a microsecond; the last ends with it."""
    width = -(-(period.until - period.since) // SLOTS)
    grid = TimeGrid("", period.since, max(width, 1), SLOTS)
    starts = [min(start, period.until) for start in range(grid.start, grid.end, grid.width)]
    return [Period(start, min(start + grid.width, period.until)) for start in starts]


def added(totals: Iterable[Totals]) -> Totals:
    """The sum of totals."""
    events = successes = failures = 0
    for each in totals:
        events, successes, failures = events + each[0], successes + each[1], failures + each[2]
    return events, successes, failures


def worth_naming(totals: Mapping[int, Totals], limit: int, most: int | None = None) -> list[int]:
    """The actors among which the first `limit` are: those with the highest totals, and all that have the same total as
    the last of them. With `most`, those with a higher total are left out, and those with this one are further ones."""
    counts = [(events, actor) for actor, (events, _, _) in totals.items() if most is None or events <= most]
    if most is not None:
        limit += sum(events == most for events, _ in counts)
    if len(counts) <= limit:
        return [actor for _, actor in counts]
    least = sorted((events for events, _ in counts), reverse=True)[limit - 1]
    return [actor for events, actor in counts if events >= least]


def ranked_after(
    totals: Mapping[int, Totals], names: Iterable[Sequence[Any]], after: tuple[int, str, str] | None = None
) -> list[tuple[int, ActorStat]]:
    """Actors with their numbers: by total descending, then type and id, after the one with that total, type and id.
    `names`: number, actor type, actor id."""
    ordered = sorted((-totals[actor][0], actor_type, actor_id, actor) for actor, actor_type, actor_id in names)
    if after is not None:
        ordered = [each for each in ordered if each[:3] > (-after[0], *after[1:])]
    return [
        (
            actor,
            ActorStat(
                actor_type=actor_type,
                actor_id=actor_id,
                total=-less,
                successes=totals[actor][1],
                failures=totals[actor][2],
            ),
        )
        for less, actor_type, actor_id, actor in ordered
    ]
