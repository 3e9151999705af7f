"""Names and how many events have them, from the tables of interned names and the rollups."""

from typing import Any

from whence.names import (
    FoundActor,
    FoundFlow,
    FoundKind,
    FoundNames,
    FoundResource,
    NameRange,
    NameSearch,
    PayloadValue,
)
from whence.storage.postgres.connections import Connection
from whence.storage.resolve import Snapshot, readable_kinds
from whence.storage.sql import load_blocks

__all__ = ["names_of"]

_SQL = load_blocks("whence.storage.postgres")


async def names_of(connection: Connection, snapshot: Snapshot, search: NameSearch) -> FoundNames:
    """See `Store.find_names`."""
    kinds, types = readable_kinds(snapshot), snapshot.viewer.readable

    async def found(block: str, asked: tuple[NameRange, ...], visible: Any) -> list[tuple[Any, ...]]:
        rows: dict[tuple[Any, ...], None] = {}
        for each in asked:
            values = (snapshot.tenant_no, each.first, each.last, each.type, visible, search.limit)
            rows |= dict.fromkeys(tuple(row) for row in await connection.fetch(_SQL[block], *values))
        return sorted(rows)[: search.limit]

    events = () if search.events is None else (search.events,)
    fields: list[Any] = []
    if search.payload_fields or search.payload_values is not None:
        fields = await connection.fetch(_SQL["payload_fields"], snapshot.tenant_no)
    return FoundNames(
        kinds=await _kinds(connection, snapshot) if search.kinds else [],
        events=[str(id_) for (id_,) in await found("events_named", events, types)],
        actors=[
            FoundActor(type_, id_, count) for id_, type_, count in await found("actors_named", search.actors, kinds)
        ],
        flows=[FoundFlow(text, count) for text, count in await found("flows_named", search.flows, kinds)],
        resources=[
            FoundResource(type_, str(id_), count)
            for id_, type_, count in await found("resources_named", search.resources, types)
        ],
        payload_fields=[path for path, _, _ in fields],
        payload_values=[
            PayloadValue(path, text, count if indexed_to == snapshot.size else None)
            for path, field, indexed_to in fields
            if search.payload_values is not None and path == search.payload_values.type and snapshot.viewer.sees_all
            for text, count in await connection.fetch(
                _SQL["payload_values_named"],
                snapshot.tenant_no,
                field,
                search.payload_values.first,
                search.payload_values.last,
                search.limit,
            )
        ],
    )


async def _kinds(connection: Connection, snapshot: Snapshot) -> list[FoundKind]:
    rows = await connection.fetch(_SQL["span_by_kind"], snapshot.tenant_no, [0], [0], [0], [1])
    counted = ((snapshot.kinds[number], count) for number, count in rows)
    return [
        FoundKind(kind.event_type, kind.resource_type, kind.actor_type, kind.outcome, count)
        for kind, count in counted
        if snapshot.viewer.may_see(kind.resource_type)
    ]
