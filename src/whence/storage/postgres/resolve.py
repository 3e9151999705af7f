"""Looks up the numbers of the actors, flows and resources that a query names, and turns a query into SQL."""

from collections.abc import Iterable
from typing import Any

from whence.events import Query, sets_only
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.rows import cause_id_from
from whence.storage.resolve import Names, ResolvedQuery, Snapshot, ids_asked, require_supported, resolved_query
from whence.storage.sql import load_blocks

__all__ = ["Bindings", "conditions", "resolve_names", "split_causes"]

_SQL = load_blocks("whence.storage.postgres")


_CONDITION_FIELDS = frozenset(
    {
        "kinds",
        "actors",
        "flows",
        "resources",
        "causes",
        "since",
        "until",
        "newest",
        "known_events",
        "not_actors",
        "not_flows",
        "not_resources",
        "not_causes",
        "kinds_or_actors",
        "kinds_or_resources",
        "payload",
        "not_payload",
    }
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


def conditions(resolved: ResolvedQuery, bindings: Bindings, *, omit: str = "", by_row: bool = False) -> str:
    """The SQL of every filter but the one named `omit`, each preceded by AND. With `by_row`, few events are read, and
    the payload values of each are looked up. Raises NotImplementedError for a field that has no SQL here."""
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
    for column, either in (("actor", resolved.kinds_or_actors), ("resource", resolved.kinds_or_resources)):
        if either is not None:
            kinds, numbers = map(bindings.add, either)
            parts.append(f" AND (kind = ANY({kinds}::int[]) OR {column} = ANY({numbers}::bigint[]))")
    for column, excluded in (
        ("actor", resolved.not_actors),
        ("flow", resolved.not_flows),
        ("resource", resolved.not_resources),
    ):
        if excluded is not None:
            parts.append(f" AND {column} <> ALL({bindings.add(excluded)}::bigint[])")
    if resolved.causes is not None and omit != "causes":
        ids, texts = split_causes(resolved.causes)
        parts.append(
            f" AND (cause_id = ANY({bindings.add(ids)}::uuid[])"
            f" OR cause_id IS NULL AND causation_id = ANY({bindings.add(texts)}::text[]))"
        )
    if resolved.not_causes is not None:
        parts.append(f" AND (causation_id IS NULL OR causation_id <> ALL({bindings.add(resolved.not_causes)}::text[]))")
    parts += _payload_conditions(resolved, bindings, by_row)
    for text, value in (
        (" AND occurred_at >= ", resolved.since),
        (" AND occurred_at < ", resolved.until),
        (" AND position <= ", resolved.newest),
    ):
        if value is not None:
            parts.append(f"{text}{bindings.add(value)}")
    return "".join(parts)


_LED_BY_PAYLOAD = _CONDITION_FIELDS - {"flows", "resources", "causes"}


def _payload_conditions(resolved: ResolvedQuery, bindings: Bindings, by_row: bool) -> list[str]:
    """The SQL of payload values. The first one can lead to its events, unless another filter does so better."""
    by_row = by_row or not sets_only(_LED_BY_PAYLOAD, resolved)
    parts = []
    for match in resolved.payload or ():
        if not match.values:
            parts.append(f" AND position = ANY({bindings.add(match.positions)}::bigint[])")
            continue
        values, positions = bindings.add(match.values), bindings.add(match.positions)
        if by_row:
            parts.append(f" AND ({_has_value(values)} OR position = ANY({positions}::bigint[]))")
            continue
        bounds = "".join(
            f" AND occurred_at {sign} {bindings.add(time)}"
            for sign, time in ((">=", resolved.since), ("<", resolved.until))
            if time is not None
        )
        parts.append(
            " AND position IN (SELECT position FROM payload_entry"
            f" WHERE tenant_no = $1 AND value = ANY({values}::bigint[]){bounds}"
            f" UNION ALL SELECT unnest({positions}::bigint[]))"
        )
        by_row = True
    for match in resolved.not_payload or ():
        values, positions = bindings.add(match.values), bindings.add(match.positions)
        parts.append(f" AND NOT {_has_value(values)} AND position <> ALL({positions}::bigint[])")
    return parts


def _has_value(values: str) -> str:
    return (
        f"EXISTS (SELECT FROM payload_entry p WHERE p.tenant_no = $1 AND p.value = ANY({values}::bigint[])"
        " AND p.occurred_at = event.occurred_at AND p.position = event.position)"
    )


def split_causes(causes: Iterable[str]) -> tuple[list[str], list[str]]:
    """The causes that are UUIDs, and those that are not, since these are two columns with an index each."""
    ids = [cause for cause in causes if cause_id_from(cause) is not None]
    return ids, [cause for cause in causes if cause_id_from(cause) is None]


async def resolve_names(connection: Connection, snapshot: Snapshot, query: Query) -> ResolvedQuery:
    """The query with its words replaced by the numbers that they have in this tenant, all but its payload values."""

    async def found(block: str, ids: list[str]) -> list[tuple[Any, ...]]:
        if not ids:
            return []
        rows: list[tuple[Any, ...]] = await connection.fetch(_SQL[block], snapshot.tenant_no, ids)
        return rows

    actors, flows, resources = ids_asked(query)
    names = Names(
        actors=await found("actors_by_id", actors),
        flows=await found("flow_by_correlation", flows),
        resources=await found("resources_by_id", resources),
    )
    return resolved_query(
        snapshot,
        query,
        names,
        tuple(dict.fromkeys(query.causation_ids)) or None,
        tuple(dict.fromkeys(query.excluded_causation_ids)) or None,
    )
