"""From a question in words to one in numbers: which kinds, actors, flows and resources its filters name."""

from collections.abc import Iterator
from typing import Any

import apsw
import msgspec

from whence.events import Query
from whence.storage.resolve import Kind, Names, ResolvedQuery, resolved_query
from whence.storage.sql import load_blocks
from whence.storage.sqlite.rows import KEY_BITS, cause_from, uuid_bytes

__all__ = ["Snapshot", "conditions", "json_list", "resolve"]

_SQL = load_blocks("whence.storage.sqlite")


class Snapshot(msgspec.Struct, frozen=True):
    """What every question needs of its tenant, read in the question's own transaction: how many actors and flows there
    are, and up to which position links and totals are folded in."""

    tenant: str
    tenant_no: int
    size: int
    kinds: dict[int, Kind]
    actors: int = 0
    flows: int = 0
    folded_to: int = 0

    def key(self, number: int) -> int:
        """The key of an event's position or of a name's number."""
        return self.tenant_no << KEY_BITS | number


def conditions(resolved: ResolvedQuery, snapshot: Snapshot, *, omit: str = "") -> tuple[str, list[Any]]:
    """The SQL of every filter but the one named `omit`, each preceded by AND, and its bindings."""
    parts: list[str] = []
    bindings: list[Any] = []
    for name, column in (("kinds", "kind"), ("actors", "actor"), ("flows", "flow"), ("resources", "resource")):
        values = getattr(resolved, name)
        if values is not None and name != omit:
            parts.append(f" AND {column} IN (SELECT value FROM json_each(?))")
            bindings.append(json_list(values))
    if resolved.causes is not None and omit != "causes":
        parts.append(f" AND cause IN ({', '.join('?' * len(resolved.causes))})")
        bindings.extend(resolved.causes)
    for text, value in ((" AND occurred_at >= ?", resolved.since), (" AND occurred_at < ?", resolved.until)):
        if value is not None:
            parts.append(text)
            bindings.append(value)
    if resolved.newest is not None:
        parts.append(" AND key <= ?")
        bindings.append(snapshot.key(resolved.newest))
    return "".join(parts), bindings


def json_list(numbers: tuple[int, ...]) -> str:
    """Numbers as one binding, for `json_each`."""
    return f"[{','.join(map(str, numbers))}]"


def resolve(connection: apsw.Connection, snapshot: Snapshot, query: Query) -> ResolvedQuery:
    """The numbers that the query's words stand for in this tenant."""
    names = Names(
        actors=_actors(connection, snapshot, query),
        flows=_flows(connection, snapshot, query),
        resources=_resources(connection, snapshot, query),
    )
    causes = tuple(cause_from(text) or text for text in dict.fromkeys(query.causation_ids)) or None
    return resolved_query(snapshot.kinds, query, names, causes)


def _actors(connection: apsw.Connection, snapshot: Snapshot, query: Query) -> Iterator[tuple[Any, ...]]:
    for actor_id in dict.fromkeys(query.actor_ids):
        yield from connection.execute(_SQL["actors_by_id"], (snapshot.tenant_no, actor_id))


def _flows(connection: apsw.Connection, snapshot: Snapshot, query: Query) -> Iterator[tuple[Any, ...]]:
    for correlation_id in dict.fromkeys(query.correlation_ids):
        yield from connection.execute(_SQL["flow_by_correlation"], (snapshot.tenant_no, correlation_id))


def _resources(connection: apsw.Connection, snapshot: Snapshot, query: Query) -> Iterator[tuple[Any, ...]]:
    for resource_id in dict.fromkeys(query.resource_ids):
        yield from connection.execute(_SQL["resources_by_id"], (snapshot.tenant_no, uuid_bytes(resource_id)))
