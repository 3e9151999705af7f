"""Looks up the numbers of the actors, flows and resources that a query names, and turns a query into SQL."""

from typing import Any

from whence.events import Query
from whence.identities import spellings
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.rows import cause_id_from
from whence.storage.resolve import Names, ResolvedQuery, Snapshot, require_supported, resolved_query
from whence.storage.sql import load_blocks

__all__ = ["Bindings", "conditions", "resolve", "split_causes"]

_SQL = load_blocks("whence.storage.postgres")


_CONDITION_FIELDS = frozenset(
    {"kinds", "actors", "flows", "resources", "causes", "since", "until", "newest", "known_events"}
)
"""Fields of `ResolvedQuery` that `conditions` turns into SQL; `known_events` is no filter."""


class Bindings:
    """The values of a statement that is composed, in the order of their placeholders."""

    def __init__(self, *values: Any) -> None:
        """Start with the values of $1, $2 and so on."""
        self.values: list[Any] = list(values)

    def add(self, value: Any) -> str:
        """Bind one more value, and return its placeholder."""
        self.values.append(value)
        return f"${len(self.values)}"


def conditions(resolved: ResolvedQuery, bindings: Bindings, *, omit: str = "") -> str:
    """The SQL of every filter but the one named `omit`, each preceded by AND. Raises NotImplementedError for a field
    that has no SQL here."""
    require_supported(resolved, _CONDITION_FIELDS)
    parts: list[str] = []
    for name, column, type_ in (
        ("kinds", "kind", "int"),
        ("actors", "actor", "bigint"),
        ("flows", "flow", "bigint"),
        ("resources", "resource", "bigint"),
    ):
        values = getattr(resolved, name)
        if values is not None and name != omit:
            parts.append(f" AND {column} = ANY({bindings.add(values)}::{type_}[])")
    if resolved.causes is not None and omit != "causes":
        ids, texts = split_causes(resolved)
        parts.append(
            f" AND (cause_id = ANY({bindings.add(ids)}::uuid[])"
            f" OR cause_id IS NULL AND causation_id = ANY({bindings.add(texts)}::text[]))"
        )
    for text, value in (
        (" AND occurred_at >= ", resolved.since),
        (" AND occurred_at < ", resolved.until),
        (" AND position <= ", resolved.newest),
    ):
        if value is not None:
            parts.append(f"{text}{bindings.add(value)}")
    return "".join(parts)


def split_causes(resolved: ResolvedQuery) -> tuple[list[str], list[str]]:
    """The causes that are UUIDs, and those that are not, since these are two columns with an index each."""
    causes = resolved.causes or ()
    ids = [cause for cause in causes if cause_id_from(cause) is not None]
    return ids, [cause for cause in causes if cause_id_from(cause) is None]


def _spellings(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(spelling for text in texts for spelling in spellings(text))


async def resolve(connection: Connection, snapshot: Snapshot, query: Query) -> ResolvedQuery:
    """The query with its words replaced by the numbers that they have in this tenant."""

    async def found(block: str, names: tuple[str, ...]) -> list[tuple[Any, ...]]:
        if not names:
            return []
        rows: list[tuple[Any, ...]] = await connection.fetch(_SQL[block], snapshot.tenant_no, list(set(names)))
        return rows

    names = Names(
        actors=await found("actors_by_id", _spellings(query.actor_ids)),
        flows=await found("flow_by_correlation", _spellings(query.correlation_ids)),
        resources=await found("resources_by_id", query.resource_ids),
    )
    return resolved_query(snapshot, query, names, tuple(dict.fromkeys(query.causation_ids)) or None)
