"""Builds aggregates and actor statistics from counted events. The same for every store."""

from collections import Counter
from collections.abc import Iterable, Mapping

from whence.actor_totals import Totals
from whence.events import ActorStat, Counts
from whence.storage.query_deadline import check_deadline
from whence.storage.resolve import Kind

__all__ = ["by_word", "ranked", "totals_of_kind"]


def by_word(by_kind: Mapping[int, int], kinds: Mapping[int, Kind]) -> Counts:
    """The counts by event type, resource type and actor type, from the events of each kind."""
    words: tuple[Counter[str], Counter[str], Counter[str]] = (Counter(), Counter(), Counter())
    for number, events in by_kind.items():
        kind = kinds[number]
        words[0][kind.event_type] += events
        words[1][kind.resource_type] += events
        words[2][kind.actor_type] += events
    by_type, by_resource, by_actor = (sorted(word.items(), key=lambda item: (-item[1], item[0])) for word in words)
    return Counts(
        total=sum(by_kind.values()),
        by_event_type=by_type,
        by_resource_type=by_resource,
        by_actor_type=by_actor,
    )


def totals_of_kind(kind: Kind, events: int) -> Totals:
    """What this number of events of a kind adds to the totals of their actor."""
    return events, events * (kind.outcome == "success"), events * (kind.outcome == "failure")


def ranked(totals: Mapping[int, Iterable[int]], names: Iterable[tuple[int, str, str]]) -> list[ActorStat]:
    """The statistics of actors: by total descending, then actor type and id. `names`: number, actor type, actor id."""
    # Sorted as tuples, which takes a quarter of the time that a sort by key takes.
    ordered = []
    check_deadline()
    for actor, actor_type, actor_id in names:
        total, successes, failures = totals[actor]
        ordered.append((-total, actor_type, actor_id, successes, failures))
    check_deadline()
    ordered.sort()
    return [
        ActorStat(actor_type=actor_type, actor_id=actor_id, total=-less, successes=successes, failures=failures)
        for less, actor_type, actor_id, successes, failures in ordered
    ]
