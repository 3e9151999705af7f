"""Translates a query from words into the numbers under which a store keeps them. Pure; the same for every store."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from whence.events import (
    ANY_TYPE,
    PageRequest,
    Query,
    Viewer,
    has_type,
    matches_type,
    set_fields,
    sets_only,
    split_name,
)
from whence.identities import spellings

__all__ = [
    "KIND_FIELDS",
    "PAYLOAD_FIELDS",
    "TIME_FIELDS",
    "Kind",
    "Names",
    "PayloadMatch",
    "ResolvedQuery",
    "Snapshot",
    "ids_asked",
    "kinds_of",
    "readable_kinds",
    "require_list_request",
    "require_supported",
    "resolved_query",
]

KIND_FIELDS = frozenset(
    {
        "event_types",
        "event_type_prefixes",
        "type_patterns",
        "resource_types",
        "actor_types",
        "outcomes",
        "excluded_event_types",
        "excluded_resource_types",
        "excluded_actor_types",
        "excluded_outcomes",
        "readable",
    }
)
"""Fields of `Query`, and of `Viewer`, that choose among the kinds of events, of which a tenant has few."""

TIME_FIELDS = frozenset({"since", "until"})
"""Fields of `Query` and of `ResolvedQuery` that bound the time of an event."""

_NAME_FIELDS = frozenset(
    {
        "resource_ids",
        "resources",
        "actor_ids",
        "actors",
        "correlation_ids",
        "causation_ids",
        "excluded_resources",
        "excluded_actors",
        "excluded_correlation_ids",
        "excluded_causation_ids",
    }
)
"""Fields of `Query` that name actors, resources, flows or causes, of which a tenant has many."""

PAYLOAD_FIELDS = frozenset({"payload_values", "excluded_payload_values"})
"""Fields of `Query` and of `ResolvedQuery` that name values in payloads. `payload_index` finds what matches them."""

_QUERY_FIELDS = KIND_FIELDS | TIME_FIELDS | _NAME_FIELDS | PAYLOAD_FIELDS
"""Fields of `Query` and `Viewer` that `resolved_query` translates."""

_FIELDS_BESIDE_KINDS = _QUERY_FIELDS - KIND_FIELDS
_FIELDS_BESIDE_KINDS_OF_RESOURCES = _FIELDS_BESIDE_KINDS | {"resource_types", "readable"}
"""Fields of `Query` and `Viewer` that leave all kinds; of resources that are known, the type is settled too."""

_FLOW_ROW_FIELDS = frozenset({"correlation_ids"})
"""Fields of `Query` that the rows of flows answer alone."""

_RESOURCE_ROW_FIELDS = frozenset({"resource_ids", "resources", "resource_types", "readable"})
"""Fields of `Query` and `Viewer` that the rows of resources answer alone, since each names its resource type."""

_ROLLUP_FIELDS = TIME_FIELDS | {"kinds", "actors"}
"""Fields of `ResolvedQuery` by which the rollups count."""

_KNOWN_TOTAL_FIELDS = frozenset({"flows", "resources", "payload", "known_events"})
"""Fields of `ResolvedQuery` of which `known_events` is the total."""

_PAYLOAD_VALUE_FIELDS = TIME_FIELDS | {"payload", "newest", "known_events"}
"""Fields of `ResolvedQuery` that the entries of one payload value answer alone."""

_NO_NUMBER = 0
"""The number of no actor and no flow. Where a viewer does not see all events, it stands for names that do not exist, so
that they take the same statements as names that only hidden events have."""

_LIST_FIELDS = frozenset({"limit", "offset", "ascending", "as_of", "after", "removal_epoch"})
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

    `actors`: number, actor type and actor id. `flows`: number, correlation id and events. `resources`: number, resource
    type, resource id and events. Texts are as they are stored.
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


class PayloadMatch(msgspec.Struct, frozen=True):
    """The events that have one of some values at a path of their payload: those that the index has under the numbers
    `values`, and those at `positions`, which were found in their payloads. The two have no event in common."""

    values: tuple[int, ...] = ()
    positions: Sequence[int] = ()


class ResolvedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A query in numbers. None is no filter; an empty tuple matches nothing.

    `newest` is the last position that counts. `known_events` is the sum of the events in the rows of the flows or
    resources, when these rows answer the query alone. `causes` are in the form in which the store keeps them. An event
    that has one of `not_actors` and the like does not match, whereas an empty tuple there excludes nothing.
    `kinds_or_actors` and `kinds_or_resources` are kinds and numbers, of which an event has one. An event matches each
    of `payload` and none of `not_payload`. `payload_values` and `excluded_payload_values` are as in `Query`, and have
    no SQL: they are replaced by these two first.
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
    not_actors: tuple[int, ...] | None = None
    not_flows: tuple[int, ...] | None = None
    not_resources: tuple[int, ...] | None = None
    not_causes: tuple[Any, ...] | None = None
    kinds_or_actors: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    kinds_or_resources: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    payload: tuple[PayloadMatch, ...] | None = None
    not_payload: tuple[PayloadMatch, ...] | None = None
    payload_values: tuple[str, ...] | None = None
    excluded_payload_values: tuple[str, ...] | None = None

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
        return () in (self.kinds, self.actors, self.flows, self.resources) or any(
            not each.values and not each.positions for each in self.payload or ()
        )

    @property
    def by_payload_value(self) -> PayloadMatch | None:
        """The one value of one payload field, if nothing but that and the time decides what matches."""
        if self.payload is None or len(self.payload) > 1 or len(self.payload[0].values) > 1:
            return None
        return self.payload[0] if sets_only(_PAYLOAD_VALUE_FIELDS, self) else None

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
        and not _is_excluded(kind, query)
    )


def _is_excluded(kind: Kind, query: Query) -> bool:
    """Whether no event of the kind matches, whatever else it has."""
    return (
        any(matches_type(kind.event_type, pattern) for pattern in query.excluded_event_types)
        or kind.resource_type in query.excluded_resource_types
        or kind.actor_type in query.excluded_actor_types
        or kind.outcome in query.excluded_outcomes
    )


def ids_asked(query: Query) -> tuple[list[str], list[str], list[str]]:
    """The ids of actors, flows and resources that a store looks up for a query, in every spelling that it may have."""
    return (
        _spellings((*query.actor_ids, *_ids(query.actors), *_ids(query.excluded_actors))),
        _spellings((*query.correlation_ids, *query.excluded_correlation_ids)),
        list(dict.fromkeys((*query.resource_ids, *_ids(query.resources), *_ids(query.excluded_resources)))),
    )


def _ids(names: Iterable[str]) -> list[str]:
    return [id_ for _, id_ in map(split_name, names) if id_]


def _spellings(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(spelling for text in texts for spelling in spellings(text)))


def _is_named(type_: str, id_: str, names: Iterable[str]) -> bool:
    """Whether an actor or resource has one of these names, which give an id."""
    return any(
        asked_type in (ANY_TYPE, type_) and asked_id and id_ in spellings(asked_id)
        for asked_type, asked_id in map(split_name, names)
    )


def _types(names: Iterable[str]) -> list[str]:
    """The types among names that have no id."""
    return [type_ for type_, id_ in map(split_name, names) if not id_]


def resolved_query(
    snapshot: Snapshot,
    query: Query,
    names: Names,
    causes: tuple[Any, ...] | None,
    not_causes: tuple[Any, ...] | None = None,
) -> ResolvedQuery:
    """The query in numbers, of the events that the viewer may see, from what the store found for its names. Raises
    NotImplementedError for a field that is not translated here."""
    kinds, viewer = snapshot.kinds, snapshot.viewer
    require_supported(query, _QUERY_FIELDS)
    require_supported(viewer, _QUERY_FIELDS)
    flows, resources = _flows(query, viewer, names), _resources(query, viewer, names)
    excluded_flows = frozenset(_spellings(query.excluded_correlation_ids))
    not_flows = tuple(number for number, text, _ in names.flows if text in excluded_flows)
    not_actors = tuple(row[0] for row in names.actors if _is_named(row[1], row[2], query.excluded_actors))
    not_resources = tuple(row[0] for row in names.resources if _is_named(row[1], row[2], query.excluded_resources))
    return ResolvedQuery(
        kinds=kinds_of(kinds, query, viewer, typed_by_resource=resources is not None),
        actors=_actors(query, viewer, names),
        flows=None if flows is None else tuple(number for number, _ in flows),
        resources=None if resources is None else tuple(number for number, _ in resources),
        causes=causes,
        since=query.since,
        until=query.until,
        known_events=_known_events(query, viewer, flows, resources),
        not_actors=not_actors if query.excluded_actors else None,
        not_flows=not_flows if query.excluded_correlation_ids else None,
        not_resources=not_resources if query.excluded_resources else None,
        not_causes=not_causes,
        kinds_or_actors=_kinds_or("actor_type", snapshot, query.actors, names.actors),
        kinds_or_resources=_kinds_or("resource_type", snapshot, query.resources, names.resources),
        payload_values=query.payload_values or None,
        excluded_payload_values=query.excluded_payload_values or None,
    )


def _flows(query: Query, viewer: Viewer, names: Names) -> list[tuple[int, int]] | None:
    """Number and events of the flows that are asked for; None if it may be any flow."""
    if not query.correlation_ids:
        return None
    asked = frozenset(_spellings(query.correlation_ids))
    found = [(number, events) for number, text, events in names.flows if text in asked]
    return [(_NO_NUMBER, 0)] if not found and not viewer.sees_all else found


def _resources(query: Query, viewer: Viewer, names: Names) -> list[tuple[int, int]] | None:
    """Number and events of the resources that are asked for; None if it may be any resource."""
    named = query.resources if not _types(query.resources) else ()
    if not query.resource_ids and not named:
        return None
    return [
        (number, events)
        for number, type_, id_, events in names.resources
        if (not query.resource_ids or id_ in query.resource_ids)
        and (not named or _is_named(type_, id_, named))
        and (not query.resource_types or type_ in query.resource_types)
        and viewer.may_see(type_)
    ]


def _actors(query: Query, viewer: Viewer, names: Names) -> tuple[int, ...] | None:
    """The actors that are asked for; None if it may be any actor."""
    named = query.actors if not _types(query.actors) else ()
    if not query.actor_ids and not named:
        return None
    ids = frozenset(_spellings(query.actor_ids))
    found = tuple(
        number
        for number, type_, id_ in names.actors
        if (not ids or id_ in ids)
        and (not named or _is_named(type_, id_, named))
        and (not query.actor_types or type_ in query.actor_types)
    )
    return (_NO_NUMBER,) if not found and not viewer.sees_all else found


def _kinds_or(
    field: str, snapshot: Snapshot, asked: tuple[str, ...], rows: Iterable[tuple[Any, ...]]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The kinds of the types among these names, and the numbers of the others; None if no name is a type."""
    types = _types(asked)
    if not types:
        return None
    kinds = tuple(kind.number for kind in snapshot.kinds.values() if getattr(kind, field) in types)
    return kinds, tuple(row[0] for row in rows if _is_named(row[1], row[2], asked))


def _known_events(
    query: Query, viewer: Viewer, flows: list[tuple[int, int]] | None, resources: list[tuple[int, int]] | None
) -> int | None:
    """The total, when the rows of flows or of resources answer the query alone."""
    if flows is not None and sets_only(_FLOW_ROW_FIELDS, query, viewer):
        return sum(events for _, events in flows)
    if resources is not None and sets_only(_RESOURCE_ROW_FIELDS, query, viewer):
        return sum(events for _, events in resources)
    return None
