"""From a question in words to one in numbers: which actors, flows and resources its filters name."""

from typing import Any

import msgspec

from whence.events import Query
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.rows import cause_id_from
from whence.storage.resolve import Kind, Names, ResolvedQuery, resolved_query
from whence.storage.sql import load_blocks

__all__ = ["Bindings", "Snapshot", "conditions", "resolve", "split_causes"]

_SQL = load_blocks("whence.storage.postgres")


class Snapshot(msgspec.Struct, frozen=True):
    """What every question needs of its tenant, read in the question's own transaction: how many actors and events there
    are, and up to which position links and totals are folded in."""

    tenant: str
    tenant_no: int
    size: int
    kinds: dict[int, Kind]
    actors: int = 0
    folded_to: int = 0
    events: int = 0


class Bindings:
    """The values of a statement that is put together, in the order of their placeholders."""

    def __init__(self, *values: Any) -> None:
        """Start with the values of $1 and so on."""
        self.values: list[Any] = list(values)

    def add(self, value: Any) -> str:
        """Bind one more value; its placeholder."""
        self.values.append(value)
        return f"${len(self.values)}"


def conditions(resolved: ResolvedQuery, bindings: Bindings, *, omit: str = "") -> str:
    """The SQL of every filter but the one named `omit`, each preceded by AND."""
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
    """The causes that are UUIDs, and those that are not: each group has its own column and index."""
    causes = resolved.causes or ()
    ids = [cause for cause in causes if cause_id_from(cause) is not None]
    return ids, [cause for cause in causes if cause_id_from(cause) is None]


async def resolve(connection: Connection, snapshot: Snapshot, query: Query) -> ResolvedQuery:
    """The numbers that the query's words stand for in this tenant."""

    async def found(block: str, names: tuple[str, ...]) -> list[tuple[Any, ...]]:
        if not names:
            return []
        rows: list[tuple[Any, ...]] = await connection.fetch(_SQL[block], snapshot.tenant_no, list(set(names)))
        return rows

    names = Names(
        actors=await found("actors_by_id", query.actor_ids),
        flows=await found("flow_by_correlation", query.correlation_ids),
        resources=await found("resources_by_id", query.resource_ids),
    )
    return resolved_query(snapshot.kinds, query, names, tuple(dict.fromkeys(query.causation_ids)) or None)
