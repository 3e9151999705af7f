"""Facets, actors and resources, counted from a list of events one by one."""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from tests.contract.made import DAY, HOUR, MINUTE, NOON, new, uuid
from whence.activity import FirstTime
from whence.events import Event, NewEvent
from whence.facets import TypeCount

EVENT_TYPES = ("action_run.completed", "action_run.failed", "action_run.step.done", "action_run.step", "invoice.sent")
ACTORS = (("user", "ada"), ("agent", "ada"), ("agent", "bob"), ("user", uuid(171)), ("user", uuid(171).upper()))
"""An actor with two types, and one that an earlier release stored in two spellings."""
FLOWS = ("flow-1", "flow-2", "flow-3")

OWN = {
    "event_type": ("event_types", "event_type_prefixes"),
    "resource_type": ("resource_types",),
    "outcome": ("outcomes",),
    "actor_type": ("actor_types",),
    "actor": ("actor_ids", "actor_types"),
}


def random_events(draw: random.Random, count: int) -> list[NewEvent]:
    """Events around noon and in the weeks before it, many at the same time."""
    found = []
    for number in range(1, count + 1):
        actor_type, actor_id = draw.choice(ACTORS)
        found.append(
            new(
                number,
                event_type=draw.choice(EVENT_TYPES),
                actor_type=actor_type,
                actor_id=actor_id,
                resource_type=draw.choice(("action_run", "artifact")),
                resource_id=uuid(draw.randint(1, 3)),
                correlation_id=draw.choice(FLOWS),
                occurred_at=NOON - draw.choice((0, 0, 1, MINUTE, HOUR, DAY, 8 * DAY, 40 * DAY)) * draw.randint(0, 5),
                outcome=draw.choice((None, "success", "failure", "none")),
            )
        )
    return found


def random_filters(draw: random.Random) -> dict[str, Any]:
    """Up to three filters, as fields of a query and a viewer."""
    choices: dict[str, Callable[[], Any]] = {
        "event_types": lambda: tuple(draw.sample(EVENT_TYPES, 2)),
        "event_type_prefixes": lambda: draw.choice((("action_run.",), ("action_run.step.",))),
        "resource_types": lambda: draw.choice((("artifact",), ("action_run",), ("template",))),
        "actor_ids": lambda: draw.choice((("ada",), ("bob", uuid(171)), ("nobody",))),
        "actor_types": lambda: draw.choice((("user",), ("agent",))),
        "outcomes": lambda: draw.choice((("failure",), ("success", "none"))),
        "correlation_ids": lambda: (draw.choice(FLOWS),),
        "resource_ids": lambda: (uuid(draw.randint(1, 3)),),
        "since": lambda: NOON - draw.choice((1, HOUR, 2 * DAY, 50 * DAY)),
        "until": lambda: NOON + draw.choice((0, 1)),
        "readable": lambda: draw.choice((("artifact",), ("template",))),
    }
    return {name: choices[name]() for name in draw.sample(sorted(choices), draw.randint(0, 3))}


def matches(event: Event, filters: dict[str, Any]) -> bool:
    """Whether an event has these fields of a query and its viewer."""
    asked = dict(filters)
    types, prefixes = asked.pop("event_types", ()), asked.pop("event_type_prefixes", ())
    if (types or prefixes) and event.event_type not in types and not event.event_type.startswith(prefixes or ("-",)):
        return False
    if not asked.pop("since", event.occurred_at) <= event.occurred_at < asked.pop("until", event.occurred_at + 1):
        return False
    if event.resource_type not in asked.pop("readable", (event.resource_type,)):
        return False
    if event.actor_id.lower() not in [each.lower() for each in asked.pop("actor_ids", (event.actor_id,))]:
        return False
    return all(getattr(event, name.removesuffix("s")) in values for name, values in asked.items())


def words(events: Iterable[Event], field: str) -> list[tuple[str, int, int]]:
    """Each value with its events and failures, by count, then by value."""
    found: dict[str, Counter[str]] = {}
    for event in events:
        found.setdefault(getattr(event, field), Counter())[event.outcome] += 1
    rows = [(value, outcomes.total(), outcomes["failure"]) for value, outcomes in found.items()]
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def actors(events: Iterable[Event]) -> list[tuple[str, str, int, int, int]]:
    """Type, id, events, successes and failures of each actor, in the order of statistics."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for event in events:
        found.setdefault((event.actor_type, event.actor_id), Counter())[event.outcome] += 1
    rows = [(*name, n.total(), n["success"], n["failure"]) for name, n in found.items()]
    return sorted(rows, key=lambda row: (-row[2], row[0], row[1]))


def totals(events: Iterable[Event]) -> tuple[int, int, int]:
    """Events, successes and failures."""
    outcomes = Counter(event.outcome for event in events)
    return outcomes.total(), outcomes["success"], outcomes["failure"]


def leaves(tree: Iterable[TypeCount]) -> list[TypeCount]:
    """The event types of a tree."""
    return [leaf for each in tree for leaf in (leaves(each.children) if each.children else [each])]


def nodes(tree: Iterable[TypeCount]) -> list[TypeCount]:
    """Every value of a tree."""
    return [node for each in tree for node in (each, *nodes(each.children))]


def first_times(events: list[Event], since: int, until: int) -> list[FirstTime]:
    """The event types whose first event of these is in the period, newest first."""
    firsts: dict[str, Event] = {}
    for event in sorted(events, key=lambda event: (event.occurred_at, event.position)):
        firsts.setdefault(event.event_type, event)
    found = [each for each in firsts.values() if since <= each.occurred_at < until]
    found.sort(key=lambda each: (-each.occurred_at, each.event_type))
    return [FirstTime(event_type=each.event_type, at=each.occurred_at, event_id=each.id) for each in found]


def triggers(mine: list[Event], everything: list[Event]) -> tuple[list[tuple[int, str, str]], int, int]:
    """The actors whose events caused these, as a negative count, type and id; how many are roots, and how many have a
    cause that is not in the log."""
    by_id = {event.id: event for event in everything}
    causes = [by_id.get(event.causation_id) for event in mine if event.causation_id is not None]
    counts = Counter((cause.actor_type, cause.actor_id) for cause in causes if cause is not None)
    return sorted((-count, *name) for name, count in counts.items()), len(mine) - len(causes), causes.count(None)


def sparkline(events: Iterable[Event], since: int, until: int) -> list[int]:
    """Events of each 24th of a period, which is rounded up to a microsecond."""
    width = max(-(-(until - since) // 24), 1)
    counts = [0] * 24
    for event in events:
        counts[(event.occurred_at - since) // width] += 1
    return counts
