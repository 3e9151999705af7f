"""From a question in words to one in numbers, as far as no store is asked. Pure; the same for every store."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from whence.events import Query

__all__ = ["Kind", "Names", "ResolvedQuery", "has_type", "kinds_of", "resolved_query"]


class Kind(msgspec.Struct, frozen=True):
    """One interned combination of event type, resource type, actor type and outcome."""

    number: int
    event_type: str
    resource_type: str
    actor_type: str
    outcome: str


class Names(msgspec.Struct, frozen=True):
    """What a store found for the names in a question.

    `actors`: number and actor type. `flows`: number and events. `resources`: number, resource type and events.
    """

    actors: Iterable[tuple[Any, ...]] = ()
    flows: Iterable[tuple[Any, ...]] = ()
    resources: Iterable[tuple[Any, ...]] = ()


class ResolvedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A question in numbers. None is no filter; an empty tuple matches nothing.

    `newest` is the last position that counts, or None. `known_events` is how many events the flow or resource rows
    count, when those rows alone answer the question. `causes` are as the store keeps them.
    """

    kinds: tuple[int, ...] | None = None
    actors: tuple[int, ...] | None = None
    flows: tuple[int, ...] | None = None
    resources: tuple[int, ...] | None = None
    causes: tuple[Any, ...] | None = None
    since: int | None = None
    until: int | None = None
    newest: int | None = None
    known_events: int | None = None

    @property
    def by_rollup(self) -> bool:
        """Whether the rollups can count it."""
        return self.flows is None and self.resources is None and self.causes is None

    @property
    def nothing(self) -> bool:
        """Whether a filter names something that the tenant does not have."""
        return () in (self.kinds, self.actors, self.flows, self.resources)

    def up_to(self, position: int) -> "ResolvedQuery":
        """The same question about the events up to a position."""
        return msgspec.structs.replace(self, newest=position)


def kinds_of(kinds: Mapping[int, Kind], query: Query, *, typed_by_resource: bool) -> tuple[int, ...] | None:
    """The kinds that the four filters on words leave; a resource's own row has settled the type already."""
    words = query.event_types or query.event_type_prefixes or query.actor_types or query.outcomes
    by_type = query.resource_types and not typed_by_resource
    if not words and not by_type and (query.readable is None or typed_by_resource):
        return None
    return tuple(
        kind.number
        for kind in kinds.values()
        if has_type(kind.event_type, query)
        and (not query.resource_types or kind.resource_type in query.resource_types)
        and (query.readable is None or kind.resource_type in query.readable)
        and (not query.actor_types or kind.actor_type in query.actor_types)
        and (not query.outcomes or kind.outcome in query.outcomes)
    )


def has_type(event_type: str, query: Query) -> bool:
    """Whether an event type is among those that the query names, by word or by prefix."""
    if not query.event_types and not query.event_type_prefixes:
        return True
    return event_type in query.event_types or event_type.startswith(query.event_type_prefixes or ("\0",))


def resolved_query(
    kinds: Mapping[int, Kind], query: Query, names: Names, causes: tuple[Any, ...] | None
) -> ResolvedQuery:
    """The query in numbers, from what the store found for its names."""
    flows = list(names.flows) if query.correlation_ids else None
    resources = None
    if query.resource_ids:
        resources = [
            (number, events)
            for number, resource_type, events in names.resources
            if (not query.resource_types or resource_type in query.resource_types)
            and (query.readable is None or resource_type in query.readable)
        ]
    actors = None
    if query.actor_ids:
        actors = tuple(
            number for number, actor_type in names.actors if not query.actor_types or actor_type in query.actor_types
        )
    left = kinds_of(kinds, query, typed_by_resource=resources is not None)
    known = None
    alone = left is None and not query.actor_ids and not query.causation_ids
    if alone and query.since is None and query.until is None and (flows is None) != (resources is None):
        known = sum(events for _, events in (resources if flows is None else flows) or ())
    return ResolvedQuery(
        kinds=left,
        actors=actors,
        flows=None if flows is None else tuple(number for number, _ in flows),
        resources=None if resources is None else tuple(number for number, _ in resources),
        causes=causes,
        since=query.since,
        until=query.until,
        known_events=known,
    )
