"""From a question in words to one in numbers: which kinds, actors, flows and resources its filters name."""

from typing import Any

import apsw
import msgspec

from whence.events import Query
from whence.storage.sql import load_blocks
from whence.storage.sqlite.rows import KEY_BITS, cause_from, uuid_bytes

__all__ = ["Kind", "Match", "Snapshot", "json_list", "resolve"]

_SQL = load_blocks("whence.storage.sqlite")


class Kind(msgspec.Struct, frozen=True):
    """One interned combination of event type, resource type, actor type and outcome."""

    number: int
    event_type: str
    resource_type: str
    actor_type: str
    outcome: str


class Snapshot(msgspec.Struct, frozen=True):
    """What every question needs of its tenant, read in the question's own transaction."""

    tenant: str
    tenant_no: int
    size: int
    kinds: dict[int, Kind]

    def key(self, number: int) -> int:
        """The key of an event's position or of a name's number."""
        return self.tenant_no << KEY_BITS | number


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A question in numbers. None is no filter; an empty tuple matches nothing.

    `newest` is the last position that counts, or None. `known_events` is how many events the flow or resource rows
    count, when those rows alone answer the question.
    """

    kinds: tuple[int, ...] | None = None
    actors: tuple[int, ...] | None = None
    flows: tuple[int, ...] | None = None
    resources: tuple[int, ...] | None = None
    causes: tuple[bytes | str, ...] | None = None
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

    def up_to(self, position: int) -> "Match":
        """The same question about the events up to a position."""
        return msgspec.structs.replace(self, newest=position)

    def conditions(self, snapshot: Snapshot, *, omit: str = "") -> tuple[str, list[Any]]:
        """The SQL of every filter but the one named `omit`, each led by AND, and its bindings."""
        parts: list[str] = []
        bindings: list[Any] = []
        for name, column in (("kinds", "kind"), ("actors", "actor"), ("flows", "flow"), ("resources", "resource")):
            values = getattr(self, name)
            if values is not None and name != omit:
                parts.append(f" AND {column} IN (SELECT value FROM json_each(?))")
                bindings.append(json_list(values))
        if self.causes is not None and omit != "causes":
            parts.append(f" AND cause IN ({', '.join('?' * len(self.causes))})")
            bindings.extend(self.causes)
        for text, value in ((" AND occurred_at >= ?", self.since), (" AND occurred_at < ?", self.until)):
            if value is not None:
                parts.append(text)
                bindings.append(value)
        if self.newest is not None:
            parts.append(" AND key <= ?")
            bindings.append(snapshot.key(self.newest))
        return "".join(parts), bindings


def json_list(numbers: tuple[int, ...]) -> str:
    """Numbers as one binding, for `json_each`."""
    return f"[{','.join(map(str, numbers))}]"


def resolve(connection: apsw.Connection, snapshot: Snapshot, query: Query) -> Match:
    """The numbers that the query's words stand for in this tenant."""
    flows, flow_events = _flows(connection, snapshot, query)
    resources, resource_events = _resources(connection, snapshot, query)
    kinds = _kinds(snapshot, query, typed_by_resource=resources is not None)
    known = None
    alone = kinds is None and not query.actor_ids and not query.causation_ids
    if alone and query.since is None and query.until is None and (flows is None) != (resources is None):
        known = flow_events if resources is None else resource_events
    return Match(
        kinds=kinds,
        actors=_actors(connection, snapshot, query),
        flows=flows,
        resources=resources,
        causes=tuple(cause_from(text) or text for text in dict.fromkeys(query.causation_ids)) or None,
        since=query.since,
        until=query.until,
        known_events=known,
    )


def _kinds(snapshot: Snapshot, query: Query, *, typed_by_resource: bool) -> tuple[int, ...] | None:
    """The kinds that the four filters on words leave; a resource's own row has settled the type already."""
    words = query.event_types or query.event_type_prefixes or query.actor_types or query.outcomes
    by_type = query.resource_types and not typed_by_resource
    if not words and not by_type and (query.readable is None or typed_by_resource):
        return None
    return tuple(
        kind.number
        for kind in snapshot.kinds.values()
        if _has_type(kind.event_type, query)
        and (not query.resource_types or kind.resource_type in query.resource_types)
        and (query.readable is None or kind.resource_type in query.readable)
        and (not query.actor_types or kind.actor_type in query.actor_types)
        and (not query.outcomes or kind.outcome in query.outcomes)
    )


def _has_type(event_type: str, query: Query) -> bool:
    if not query.event_types and not query.event_type_prefixes:
        return True
    return event_type in query.event_types or event_type.startswith(query.event_type_prefixes or ("\0",))


def _actors(connection: apsw.Connection, snapshot: Snapshot, query: Query) -> tuple[int, ...] | None:
    if not query.actor_ids:
        return None
    return tuple(
        number
        for actor_id in dict.fromkeys(query.actor_ids)
        for number, actor_type in connection.execute(_SQL["actors_by_id"], (snapshot.tenant_no, actor_id))
        if not query.actor_types or actor_type in query.actor_types
    )


def _flows(connection: apsw.Connection, snapshot: Snapshot, query: Query) -> tuple[tuple[int, ...] | None, int]:
    if not query.correlation_ids:
        return None, 0
    rows = [
        row
        for correlation_id in dict.fromkeys(query.correlation_ids)
        for row in connection.execute(_SQL["flow_by_correlation"], (snapshot.tenant_no, correlation_id))
    ]
    return tuple(number for number, _ in rows), sum(events for _, events in rows)


def _resources(connection: apsw.Connection, snapshot: Snapshot, query: Query) -> tuple[tuple[int, ...] | None, int]:
    if not query.resource_ids:
        return None, 0
    rows = [
        (number, events)
        for resource_id in dict.fromkeys(query.resource_ids)
        for number, resource_type, events in connection.execute(
            _SQL["resources_by_id"], (snapshot.tenant_no, uuid_bytes(resource_id))
        )
        if (not query.resource_types or resource_type in query.resource_types)
        and (query.readable is None or resource_type in query.readable)
    ]
    return tuple(number for number, _ in rows), sum(events for _, events in rows)
