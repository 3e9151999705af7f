"""From a question in words to one in numbers: which actors, flows and resources its filters name."""

from typing import Any

import msgspec

from whence.events import Query
from whence.storage import match
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.rows import cause_id_from
from whence.storage.sql import load_blocks

__all__ = ["Bindings", "Match", "Snapshot", "resolve"]

_SQL = load_blocks("whence.storage.postgres")


class Snapshot(msgspec.Struct, frozen=True):
    """What every question needs of its tenant, read in the question's own transaction: how many actors and events there
    are, and up to which position links and tallies are folded in."""

    tenant: str
    tenant_no: int
    size: int
    kinds: dict[int, match.Kind]
    actors: int = 0
    linked: int = 0
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


class Match(match.Match, frozen=True, kw_only=True):
    """A question in numbers, and its SQL. A cause is a text."""

    def conditions(self, bindings: Bindings, *, omit: str = "") -> str:
        """The SQL of every filter but the one named `omit`, each led by AND."""
        parts: list[str] = []
        for name, column, type_ in (
            ("kinds", "kind", "int"),
            ("actors", "actor", "bigint"),
            ("flows", "flow", "bigint"),
            ("resources", "resource", "bigint"),
        ):
            values = getattr(self, name)
            if values is not None and name != omit:
                parts.append(f" AND {column} = ANY({bindings.add(values)}::{type_}[])")
        if self.causes is not None and omit != "causes":
            ids, texts = self.split_causes()
            parts.append(
                f" AND (cause_id = ANY({bindings.add(ids)}::uuid[])"
                f" OR cause_id IS NULL AND causation_id = ANY({bindings.add(texts)}::text[]))"
            )
        for text, value in (
            (" AND occurred_at >= ", self.since),
            (" AND occurred_at < ", self.until),
            (" AND position <= ", self.newest),
        ):
            if value is not None:
                parts.append(f"{text}{bindings.add(value)}")
        return "".join(parts)

    def split_causes(self) -> tuple[list[str], list[str]]:
        """The causes that are UUIDs, and those that are not: each has a column and an index of its own."""
        causes = self.causes or ()
        ids = [cause for cause in causes if cause_id_from(cause) is not None]
        return ids, [cause for cause in causes if cause_id_from(cause) is None]


async def resolve(connection: Connection, snapshot: Snapshot, query: Query) -> Match:
    """The numbers that the query's words stand for in this tenant."""

    async def found(block: str, names: tuple[str, ...]) -> list[tuple[Any, ...]]:
        if not names:
            return []
        rows: list[tuple[Any, ...]] = await connection.fetch(_SQL[block], snapshot.tenant_no, list(set(names)))
        return rows

    names = match.Names(
        actors=await found("actors_by_id", query.actor_ids),
        flows=await found("flow_by_correlation", query.correlation_ids),
        resources=await found("resources_by_id", query.resource_ids),
    )
    return match.matched(Match, snapshot.kinds, query, names, tuple(dict.fromkeys(query.causation_ids)) or None)
