"""When alert rules fire, counted in plain Python over whole lists of events. It shares no code with the program."""

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from typing import NamedTuple

Key = tuple[str, ...]


class Seen(NamedTuple):
    """A matching event, in the order in which it was stored. Times are in microseconds."""

    id: str
    key: Key
    occurred_at: int
    recorded_at: int


class Alert(NamedTuple):
    """An alert: `fired` or `resolved`, when, for which key, and the event that made it fire; for an absence, the last
    event before it, or None."""

    type: str
    at: int
    key: Key
    event_id: str | None


def matches(events: Iterable[Seen]) -> list[Alert]:
    """Each event fires."""
    return [Alert("fired", event.occurred_at, (), event.id) for event in events]


def counts(events: Iterable[Seen], threshold: int, window: int, clock: int) -> list[Alert]:
    """An event fires if it is in the window that ends with the newest event of its key, and is the one with which this
    window has `threshold` events. The alert ends when fewer than that are left, by the next event or by the clock."""
    alerts: list[Alert] = []
    times: dict[Key, list[int]] = {}
    lags: dict[Key, int] = {}
    firing: dict[Key, str] = {}
    for event in events:
        mine = times.setdefault(event.key, [])
        if event.key in firing and event.occurred_at >= mine[-threshold] + window:
            alerts.append(Alert("resolved", mine[-threshold] + window, event.key, firing.pop(event.key)))
        insort(mine, event.occurred_at)
        newest = mine[-1]
        if event.occurred_at == newest:
            lags[event.key] = max(0, event.recorded_at - event.occurred_at)
        inside = len(mine) - bisect_right(mine, newest - window)
        if inside == threshold and event.occurred_at > newest - window:
            firing[event.key] = event.id
            alerts.append(Alert("fired", event.occurred_at, event.key, event.id))
    ends = sorted((times[key][-threshold] + window + lags[key], key) for key in firing)
    over = [(key, times[key][-threshold] + window) for end, key in ends if end <= clock]
    return alerts + [Alert("resolved", at, key, firing[key]) for key, at in over]


def firsts(events: Sequence[Seen], after: int = 0) -> list[Alert]:
    """The first event of each key, without those of the first `after` events."""
    found: dict[Key, tuple[int, Seen]] = {}
    for number, event in enumerate(events):
        found.setdefault(event.key, (number, event))
    return [
        Alert("fired", event.occurred_at, event.key, event.id) for number, event in found.values() if number >= after
    ]


def absences(events: Iterable[Seen], window: int, since: int, clock: int) -> list[Alert]:
    """Each gap between two events that is longer than the window, and one that goes on."""
    alerts: list[Alert] = []
    last: tuple[int, str | None] = since, None
    for event in events:
        if event.recorded_at > last[0] + window:
            alerts += [Alert("fired", last[0] + window, (), last[1]), Alert("resolved", event.recorded_at, (), last[1])]
        last = event.recorded_at, event.id
    return [*alerts, Alert("fired", last[0] + window, (), last[1])] if clock >= last[0] + window else alerts
