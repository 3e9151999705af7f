"""Translates a query from words into the numbers under which a store keeps them. Pure; the same for every store."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from whence.events import PageRequest, Query, Viewer, set_fields, sets_only

__all__ = [
    "KIND_FIELDS",
    "TIME_FIELDS",
    "Kind",
    "Names",
    "ResolvedQuery",
    "Snapshot",
    "has_type",
    "kinds_of",
    "readable_kinds",
    "require_list_request",
    "require_supported",
    "resolved_query",
]

KIND_FIELDS = frozenset({"event_types", "event_type_prefixes", "resource_types", "actor_types", "outcomes", "readable"})
"""Fields of `Query`, and of `Viewer`, that choose among the kinds of events, of which a tenant has few."""

TIME_FIELDS = frozenset({"since", "until"})
"""Fields of `Query` and of `ResolvedQuery` that bound the time of an event."""

_QUERY_FIELDS = KIND_FIELDS | TIME_FIELDS | {"resource_ids", "actor_ids", "correlation_ids", "causation_ids"}
"""Fields of `Query` and `Viewer` that `resolved_query` translates."""

_FIELDS_BESIDE_KINDS = _QUERY_FIELDS - KIND_FIELDS
_FIELDS_BESIDE_KINDS_OF_RESOURCES = _FIELDS_BESIDE_KINDS | {"resource_types", "readable"}
"""Fields of `Query` and `Viewer` that leave all kinds; of resources that are known, the type is settled too."""

_FLOW_ROW_FIELDS = frozenset({"correlation_ids"})
"""Fields of `Query` that the rows of flows answer alone."""

_RESOURCE_ROW_FIELDS = frozenset({"resource_ids", "resource_types", "readable"})
"""Fields of `Query` and `Viewer` that the rows of resources answer alone, since each names its resource type."""

_ROLLUP_FIELDS = TIME_FIELDS | {"kinds", "actors"}
"""Fields of `ResolvedQuery` by which the rollups count."""

_KNOWN_TOTAL_FIELDS = frozenset({"flows", "resources", "known_events"})
"""Fields of `ResolvedQuery` of which `known_events` is the total."""

_NO_NUMBER = 0
"""The number of no actor and no flow. Where a viewer does not see all events, it stands for names that do not exist, so
that they take the same statements as names that only hidden events have."""

_LIST_FIELDS = frozenset({"limit", "offset", "ascending", "as_of", "after"})
"""Fields of `PageRequest` that a page of events supports."""


class Kind(msgspec.Struct, frozen=True):
    """One interned combination of event type, resource type, actor type and outcome."""

    number: int
    event_type: str
    resource_type: str
    actor_type: str
    outcome: str


class Names(msgspec.Struct, frozen=True):
    """What a store found for the names in a query.

    `actors`: number and actor type. `flows`: number and events. `resources`: number, resource type and events.
    """

    actors: Iterable[tuple[Any, ...]] = ()
    flows: Iterable[tuple[Any, ...]] = ()
    resources: Iterable[tuple[Any, ...]] = ()


class Snapshot(msgspec.Struct, frozen=True):
    """The state of a log in the transaction of one read, and its viewer.

    A tenant without events has size 0 and no kinds. `size` is the last position, `actors` the highest number of an
    actor. Transitions and actor totals are folded up to the position `folded_to`. `flows` and `events` are how many
    there are, None where the store has to count them. What was read under another `removal_epoch` may be gone.
    `retained_from` is the first position that is still kept.
    """

    viewer: Viewer
    tenant_no: int
    size: int
    kinds: dict[int, Kind]
    actors: int = 0
    folded_to: int = 0
    flows: int | None = None
    events: int | None = None
    removal_epoch: int = 0
    retained_from: int = 1


class ResolvedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A query in numbers. None is no filter; an empty tuple matches nothing.

    `newest` is the last position that counts. `known_events` is the sum of the events in the rows of the flows or
    resources, when these rows answer the query alone. `causes` are in the form in which the store keeps them.
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
        """Whether the rollups alone can count it."""
        return sets_only(_ROLLUP_FIELDS, self)

    @property
    def by_time(self) -> bool:
        """Whether it has no filter but a range of time."""
        return sets_only(TIME_FIELDS, self)

    @property
    def has_known_total(self) -> bool:
        """Whether `known_events` is its total."""
        return self.known_events is not None and sets_only(_KNOWN_TOTAL_FIELDS, self)

    @property
    def nothing(self) -> bool:
        """Whether a filter names something that the tenant does not have."""
        return () in (self.kinds, self.actors, self.flows, self.resources)

    @property
    def unpinned(self) -> "ResolvedQuery":
        """The same query without a last position."""
        return self if self.newest is None else msgspec.structs.replace(self, newest=None)

    def between(self, since: int | None, until: int | None) -> "ResolvedQuery":
        """The same query about this range of time."""
        return msgspec.structs.replace(self, since=since, until=until)

    def up_to(self, position: int) -> "ResolvedQuery":
        """The same query about the events up to a position."""
        return msgspec.structs.replace(self, newest=position)


def require_supported(asked: msgspec.Struct, supported: frozenset[str]) -> None:
    """Raise NotImplementedError when a request sets a field that the code which reads it does not know."""
    if not sets_only(supported, asked):
        names = ", ".join(sorted(set_fields(asked) - supported))
        raise NotImplementedError(f"{type(asked).__name__}.{names} is not supported here.")


def require_list_request(request: PageRequest) -> None:
    """Raise NotImplementedError for a field of a page request that a page of events does not support."""
    require_supported(request, _LIST_FIELDS)


def readable_kinds(snapshot: Snapshot) -> tuple[int, ...] | None:
    """The kinds of the events that the viewer may see; None is all. Raises NotImplementedError for a field of the
    viewer that is not applied here."""
    require_supported(snapshot.viewer, _QUERY_FIELDS)
    if snapshot.viewer.readable is None:
        return None
    return tuple(kind.number for kind in snapshot.kinds.values() if snapshot.viewer.may_see(kind.resource_type))


def kinds_of(
    kinds: Mapping[int, Kind], query: Query, viewer: Viewer, *, typed_by_resource: bool
) -> tuple[int, ...] | None:
    """The kinds that match a query and that its viewer may see, or None when all kinds do. `typed_by_resource`: the
    resource type was checked when the resources were looked up."""
    beside = _FIELDS_BESIDE_KINDS_OF_RESOURCES if typed_by_resource else _FIELDS_BESIDE_KINDS
    if sets_only(beside, query, viewer):
        return None
    return tuple(
        kind.number
        for kind in kinds.values()
        if has_type(kind.event_type, query)
        and (not query.resource_types or kind.resource_type in query.resource_types)
        and viewer.may_see(kind.resource_type)
        and (not query.actor_types or kind.actor_type in query.actor_types)
        and (not query.outcomes or kind.outcome in query.outcomes)
    )


def has_type(event_type: str, query: Query) -> bool:
    """Whether an event type is among those that the query names, in full or by a prefix."""
    if not query.event_types and not query.event_type_prefixes:
        return True
    return event_type in query.event_types or event_type.startswith(query.event_type_prefixes or ("\0",))


def resolved_query(snapshot: Snapshot, query: Query, names: Names, causes: tuple[Any, ...] | None) -> ResolvedQuery:
    """The query in numbers, of the events that the viewer may see, from what the store found for its names. Raises
    NotImplementedError for a field that is not translated here."""
    kinds, viewer = snapshot.kinds, snapshot.viewer
    require_supported(query, _QUERY_FIELDS)
    require_supported(viewer, _QUERY_FIELDS)
    flows = list(names.flows) if query.correlation_ids else None
    if flows == [] and not viewer.sees_all:
        flows = [(_NO_NUMBER, 0)]
    resources = None
    if query.resource_ids:
        resources = [
            (number, events)
            for number, resource_type, events in names.resources
            if (not query.resource_types or resource_type in query.resource_types) and viewer.may_see(resource_type)
        ]
    actors = None
    if query.actor_ids:
        actors = tuple(
            number for number, actor_type in names.actors if not query.actor_types or actor_type in query.actor_types
        )
        if not actors and not viewer.sees_all:
            actors = (_NO_NUMBER,)
    return ResolvedQuery(
        kinds=kinds_of(kinds, query, viewer, typed_by_resource=resources is not None),
        actors=actors,
        flows=None if flows is None else tuple(number for number, _ in flows),
        resources=None if resources is None else tuple(number for number, _ in resources),
        causes=causes,
        since=query.since,
        until=query.until,
        known_events=_known_events(query, viewer, flows, resources),
    )


def _known_events(
    query: Query, viewer: Viewer, flows: list[tuple[int, int]] | None, resources: list[tuple[int, int]] | None
) -> int | None:
    """The total, when the rows of flows or of resources answer the query alone."""
    if flows is not None and sets_only(_FLOW_ROW_FIELDS, query, viewer):
        return sum(events for _, events in flows)
    if resources is not None and sets_only(_RESOURCE_ROW_FIELDS, query, viewer):
        return sum(events for _, events in resources)
    return None
