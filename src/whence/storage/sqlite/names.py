"""Names and how many events have them, from the tables of interned names and the rollups."""

from typing import Any

import apsw
import msgspec

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
from whence.storage.resolve import Snapshot, readable_kinds
from whence.storage.sql import load_blocks
from whence.storage.sqlite.resolve import json_list
from whence.storage.sqlite.rows import uuid_bytes, uuid_text

__all__ = ["names_of"]

_SQL = load_blocks("whence.storage.sqlite")


def names_of(connection: apsw.Connection, snapshot: Snapshot, search: NameSearch) -> FoundNames:
    """See `Store.find_names`."""
    visible = readable_kinds(snapshot)
    kinds = None if visible is None else json_list(visible)
    readable = snapshot.viewer.readable
    types = None if readable is None else msgspec.json.encode(readable).decode()

    def found(block: str, asked: tuple[NameRange, ...], *bindings: Any, uuids: bool = False) -> list[tuple[Any, ...]]:
        rows: dict[tuple[Any, ...], None] = {}
        for each in asked:
            ends = (uuid_bytes(each.first), uuid_bytes(each.last)) if uuids else (each.first, each.last)
            values = (snapshot.tenant_no, *ends, each.type, *bindings, search.limit)
            rows |= dict.fromkeys(connection.execute(_SQL[block], values).fetchall())
        return sorted(rows)[: search.limit]

    events = () if search.events is None else (search.events,)
    fields: list[Any] = []
    if search.payload_fields or search.payload_values is not None:
        fields = connection.execute(_SQL["payload_fields"], (snapshot.tenant_no,)).fetchall()
    return FoundNames(
        kinds=_kinds(connection, snapshot) if search.kinds else [],
        events=[uuid_text(id_) for (id_,) in found("events_named", events, types, uuids=True)],
        actors=[FoundActor(type_, id_, count) for id_, type_, count in found("actors_named", search.actors, kinds)],
        flows=[FoundFlow(text, count) for text, count in found("flows_named", search.flows, kinds)],
        resources=[
            FoundResource(type_, uuid_text(id_), count)
            for id_, type_, count in found("resources_named", search.resources, types, uuids=True)
        ],
        payload_fields=[path for path, _, _ in fields],
        payload_values=[
            PayloadValue(path, text, count if indexed_to == snapshot.size else None)
            for path, field, indexed_to in fields
            if search.payload_values is not None and path == search.payload_values.type and snapshot.viewer.sees_all
            for text, count in connection.execute(
                _SQL["payload_values_named"],
                (snapshot.tenant_no, field, search.payload_values.first, search.payload_values.last, search.limit),
            )
        ],
    )


def _kinds(connection: apsw.Connection, snapshot: Snapshot) -> list[FoundKind]:
    rows: list[Any] = connection.execute(_SQL["span_by_kind"], (snapshot.tenant_no, 0, 0, 0)).fetchall()
    counted = ((snapshot.kinds[number], count) for number, count in rows)
    return [
        FoundKind(kind.event_type, kind.resource_type, kind.actor_type, kind.outcome, count)
        for kind, count in counted
        if snapshot.viewer.may_see(kind.resource_type)
    ]
