"""Reading a log for a copy, and restoring what was read, in the steps of an append."""

from collections.abc import Sequence
from typing import Any

from whence.errors import Unsound
from whence.storage.base import READ_BYTES, Stored
from whence.storage.placing import Batch
from whence.storage.postgres.append import Kinds, _kinds, _Log, _look_up, insert, locked_head
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.rows import cause_id_from, event_from
from whence.storage.postgres.tenants import Tenant, head_row
from whence.storage.restoring import as_new, place_exactly, stored_from
from whence.storage.sql import load_blocks

__all__ = ["part_rows", "read_part", "restore", "tenants"]

_SQL = load_blocks("whence.storage.postgres")


async def tenants(connection: Connection) -> list[str]:
    """As `Store` says."""
    return [name for (name,) in await connection.fetch(_SQL["tenant_names"])]


async def read_part(connection: Connection, tenant: Tenant, after: int, limit: int) -> list[Stored]:
    """As `Store.read_log` says."""
    await head_row(connection, tenant)
    hashes, full = await part_rows(connection, tenant.number, after, limit)
    if [row[0] for row in full] != [row[0] for row in hashes]:
        raise Unsound(f"{tenant.name}, behind position {after}: events or their names are missing.")
    return [
        stored_from(event_from(tenant.name, row), leaf, salt, payload_hash)
        for row, (_, salt, payload_hash, leaf) in zip(full, hashes, strict=True)
    ]


async def part_rows(connection: Connection, tenant_no: int, after: int, limit: int) -> tuple[list[Any], list[Any]]:
    """The rows of a part of a log, by position: position, salt, payload hash and leaf of each event, and the
    `full_event` rows of those that have their names."""
    hashes = await connection.fetch(_SQL["log_part"], tenant_no, after, after + limit, READ_BYTES)
    text = _SQL["full_event"] + " AND e.position > $2 AND e.position <= $3 ORDER BY e.position"
    full = await connection.fetch(text, tenant_no, after, after + len(hashes))
    return hashes, full


async def restore(connection: Connection, tenant: Tenant, events: Sequence[Stored], cached: dict[int, Kinds]) -> None:
    """As `Store.restore_log` says. `cached` as for `append`."""
    head, mark = await locked_head(connection, tenant)
    log = _Log(await _kinds(connection, head, cached, mark))
    await _look_up(connection, head, log, [as_new(stored.event) for stored in events])
    batch = Batch()
    place_exactly(log, head, batch, events)
    restored = _SQL["restore_event"]
    await insert(connection, head, log, batch, mark, restored, lambda _head, batch: _rows(batch, events))


def _rows(batch: Batch, events: Sequence[Stored]) -> list[tuple[Any, ...]]:
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
        for stored, (_, kind, actor) in zip(events, batch.placed, strict=True)
    ]
