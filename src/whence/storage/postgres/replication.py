"""Reading a log for a copy, and restoring what was read, in the steps of an append."""

from collections.abc import Sequence
from typing import Any

from whence.errors import Unsound
from whence.storage.base import READ_BYTES, HashedEvent
from whence.storage.postgres.append import Kinds, PostgresTenantLog, insert, known_kinds, locked_head, read_known
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.rows import cause_id_from, event_from
from whence.storage.postgres.tenants import Tenant, head_row
from whence.storage.replication import as_new, hashed_event_from, sequence_exactly
from whence.storage.sequencing import Batch
from whence.storage.sql import load_blocks

__all__ = ["import_events", "part_rows", "read_part", "tenants"]

_SQL = load_blocks("whence.storage.postgres")


async def tenants(connection: Connection) -> list[str]:
    """As `Store` says."""
    return [name for (name,) in await connection.fetch(_SQL["tenant_names"])]


async def read_part(connection: Connection, tenant: Tenant, after: int, limit: int) -> list[HashedEvent]:
    """As `Store.read_log` says."""
    await head_row(connection, tenant)
    hashes, full = await part_rows(connection, tenant.number, after, limit)
    if [row[0] for row in full] != [row[0] for row in hashes]:
        raise Unsound(f"{tenant.name}, behind position {after}: events or their names are missing.")
    return [
        hashed_event_from(event_from(tenant.name, row), leaf, salt, payload_hash)
        for row, (_, salt, payload_hash, leaf) in zip(full, hashes, strict=True)
    ]


async def part_rows(connection: Connection, tenant_no: int, after: int, limit: int) -> tuple[list[Any], list[Any]]:
    """The rows of a part of a log, by position: position, salt, payload hash and leaf of each event, and the
    `full_event` rows of those that have their names."""
    hashes = await connection.fetch(_SQL["log_part"], tenant_no, after, after + limit, READ_BYTES)
    text = _SQL["full_event"] + " AND e.position > $2 AND e.position <= $3 ORDER BY e.position"
    full = await connection.fetch(text, tenant_no, after, after + len(hashes))
    return hashes, full


async def import_events(
    connection: Connection, tenant: Tenant, events: Sequence[HashedEvent], cached: dict[int, Kinds]
) -> None:
    """As `Store.import_log` says. `cached` as for `append`."""
    head, kinds_version = await locked_head(connection, tenant)
    log = PostgresTenantLog(await known_kinds(connection, head, cached, kinds_version))
    await read_known(connection, head, log, [as_new(stored.event) for stored in events])
    batch = Batch()
    sequence_exactly(log, head, batch, events)
    restored = _SQL["import_event"]
    await insert(connection, head, log, batch, kinds_version, restored, lambda _head, batch: _rows(batch, events))


def _rows(batch: Batch, events: Sequence[HashedEvent]) -> list[tuple[Any, ...]]:
    return [
        (
            stored.event.position,
            stored.event.id,
            stored.event.occurred_at,
            stored.event.recorded_at,
            kind,
            actor,
            batch.flows[stored.event.correlation_id][4],
            batch.resources[stored.event.resource_id, stored.event.resource_type][1],
            stored.event.causation_id,
            cause_id_from(stored.event.causation_id),
            stored.leaf,
            stored.salt,
            stored.payload_hash if stored.salt is None else None,
            stored.event.payload,
        )
        for stored, (_, kind, actor) in zip(events, batch.occurrences, strict=True)
    ]
