"""Parts of all matching events in total order, each of which costs the same however large the log is. Pure; the same
for every store.

A query whose index yields nothing but matches is read up to the limit. Any other is read within a range of time in
which the index has at most `FEED_ROWS` entries, whether they match or not.
"""

import msgspec

from whence.events import Event, EventPart, Keyset, PartRequest, sets_only
from whence.storage.resolve import TIME_FIELDS, ResolvedQuery

__all__ = ["is_answered_by_its_index", "on_its_index", "part_of", "since_start", "within"]

_INDEXED = ("flows", "resources", "causes", "payload", "actors", "kinds")
"""Filters whose index a page walks, the first that is set; without one it is that of time."""

_POSITION_MAX = 2**40 - 1


def _indexed_field(resolved: ResolvedQuery) -> frozenset[str]:
    return frozenset([name for name in _INDEXED if getattr(resolved, name) is not None][:1])


def is_answered_by_its_index(resolved: ResolvedQuery) -> bool:
    """Whether the index that a page walks yields only matches, but for events after the snapshot."""
    return sets_only(_indexed_field(resolved) | TIME_FIELDS | {"newest", "known_events"}, resolved)


def on_its_index(resolved: ResolvedQuery) -> ResolvedQuery:
    """The query without the filters that are applied to each entry of its index."""
    kept = _indexed_field(resolved) | TIME_FIELDS
    return ResolvedQuery(**{name: getattr(resolved, name) for name in kept})


def within(resolved: ResolvedQuery, time: int | None, *, ascending: bool) -> ResolvedQuery:
    """The query up to a time, which is included, in the direction of the page; None is no bound."""
    if time is None:
        return resolved
    if ascending:
        until = time + 1 if resolved.until is None else min(resolved.until, time + 1)
        return msgspec.structs.replace(resolved, until=until)
    since = time if resolved.since is None else max(resolved.since, time)
    return msgspec.structs.replace(resolved, since=since)


def since_start(resolved: ResolvedQuery, request: PartRequest) -> ResolvedQuery:
    """The query from the time on at which a part begins, in the direction of the page."""
    return resolved if request.after is None else within(resolved, request.after.time, ascending=not request.ascending)


def part_of(events: list[Event], request: PartRequest, *, is_all: bool, up_to: int | None) -> EventPart:
    """The part with these events. `is_all`: there are no others up to the time `up_to`; None is the end."""
    if not is_all:
        return EventPart(events=events, after=Keyset(events[-1].occurred_at, events[-1].position))
    if up_to is None:
        return EventPart(events=events, after=None)
    return EventPart(events=events, after=Keyset(up_to, _POSITION_MAX if request.ascending else 0))
