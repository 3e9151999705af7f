"""Looks up the numbers of the actors, flows and resources that a query names, and turns a query into SQL."""

from collections.abc import Iterable, Iterator
from typing import Any

import apsw

from whence.events import Query
from whence.identities import spellings
from whence.storage.resolve import Names, ResolvedQuery, Snapshot, require_supported, resolved_query
from whence.storage.sql import load_blocks
from whence.storage.sqlite.rows import cause_from, key_of, uuid_bytes

__all__ = ["conditions", "json_list", "resolve"]

_SQL = load_blocks("whence.storage.sqlite")


_CONDITION_FIELDS = frozenset(
    {"kinds", "actors", "flows", "resources", "causes", "since", "until", "newest", "known_events"}
)
"""Fields of `ResolvedQuery` that `conditions` turns into SQL; `known_events` is no filter."""


def conditions(resolved: ResolvedQuery, snapshot: Snapshot, *, omit: str = "") -> tuple[str, list[Any]]:
    """The SQL of every filter but the one named `omit`, each preceded by AND, and its bindings. Raises
    NotImplementedError for a field that has no SQL here."""
    require_supported(resolved, _CONDITION_FIELDS)
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
        bindings.append(key_of(snapshot.tenant_no, resolved.newest))
    return "".join(parts), bindings


def json_list(numbers: tuple[int, ...]) -> str:
    """Numbers as one binding, for `json_each`."""
    return f"[{','.join(map(str, numbers))}]"


def resolve(connection: apsw.Connection, snapshot: Snapshot, query: Query) -> ResolvedQuery:
    """The query with its words replaced by the numbers that they have in this tenant."""
    names = Names(
        actors=_actors(connection, snapshot, query),
        flows=_flows(connection, snapshot, query),
        resources=_resources(connection, snapshot, query),
    )
    causes = tuple(cause_from(text) or text for text in dict.fromkeys(query.causation_ids)) or None
    return resolved_query(snapshot, query, names, causes)


def _spellings(texts: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys(spelling for text in texts for spelling in spellings(text))


def _actors(connection: apsw.Connection, snapshot: Snapshot, query: Query) -> Iterator[tuple[Any, ...]]:
    for actor_id in _spellings(query.actor_ids):
        yield from connection.execute(_SQL["actors_by_id"], (snapshot.tenant_no, actor_id))


def _flows(connection: apsw.Connection, snapshot: Snapshot, query: Query) -> Iterator[tuple[Any, ...]]:
    for correlation_id in _spellings(query.correlation_ids):
        yield from connection.execute(_SQL["flow_by_correlation"], (snapshot.tenant_no, correlation_id))


def _resources(connection: apsw.Connection, snapshot: Snapshot, query: Query) -> Iterator[tuple[Any, ...]]:
    for resource_id in dict.fromkeys(query.resource_ids):
        yield from connection.execute(_SQL["resources_by_id"], (snapshot.tenant_no, uuid_bytes(resource_id)))
