"""Reading a log for a copy, and restoring what was read, in the steps of an append."""

from collections.abc import Sequence
from typing import Any

import apsw

from whence.errors import Unsound
from whence.storage.base import READ_BYTES, HashedEvent
from whence.storage.replication import as_new, hashed_event_from, sequence_exactly
from whence.storage.sequencing import Batch, HeadDraft
from whence.storage.sql import load_blocks
from whence.storage.sqlite.append import Appender, SQLiteTenantLog, insert
from whence.storage.sqlite.rows import cause_from, event_from, key_of, uuid_bytes

__all__ = ["import_events", "read_part", "tenants"]

_SQL = load_blocks("whence.storage.sqlite")


def tenants(connection: apsw.Connection) -> list[str]:
    """As `Store` says."""
    return [name for (name,) in connection.execute(_SQL["tenant_names"])]


def read_part(connection: apsw.Connection, tenant: str, after: int, limit: int) -> list[HashedEvent]:
    """As `Store.read_log` says."""
    row = connection.execute(_SQL["head"], (tenant,)).fetchone()
    if row is None:
        return []
    keys = (key_of(row[0], after), key_of(row[0], after + limit))
    full = connection.execute(_SQL["full_event"] + " WHERE e.key > ? AND e.key <= ? ORDER BY e.key", keys)
    part: list[HashedEvent] = []
    size = 0
    for key, salt, payload_hash, leaf in connection.execute(_SQL["log_part"], keys):
        if size >= READ_BYTES:
            break
        found: Any = next(full, None)
        if found is None or found[0] != key:
            raise Unsound(f"{tenant}, position {after + len(part) + 1}: the event or its names are missing.")
        event = event_from(tenant, found)
        part.append(hashed_event_from(event, leaf, salt, payload_hash))
        size += len(event.payload or b"")
    return part


def import_events(connection: apsw.Connection, appender: Appender, tenant: str, events: Sequence[HashedEvent]) -> None:
    """As `Store.import_log` says, inside the writer's transaction, which `appender` follows."""
    head = appender._head(connection, tenant)
    log = SQLiteTenantLog(connection, head, appender._names, [as_new(stored.event) for stored in events])
    batch = Batch()
    sequence_exactly(log, head, batch, events)
    log.keep_names()
    insert(connection, head, batch, _SQL["import_event"], lambda head, batch: _rows(head, batch, events))


def _rows(head: HeadDraft, batch: Batch, events: Sequence[HashedEvent]) -> list[tuple[Any, ...]]:
    return [
        (
            key_of(head.tenant_no, stored.event.position),
            head.tenant_no,
            uuid_bytes(stored.event.id),
            stored.event.occurred_at,
            stored.event.recorded_at,
            kind,
            actor,
            batch.flows[stored.event.correlation_id][4],
            batch.resources[stored.event.resource_id, stored.event.resource_type][1],
            cause_from(stored.event.causation_id),
            stored.leaf,
            stored.salt,
            stored.payload_hash if stored.salt is None else None,
            stored.event.payload,
        )
        for stored, (_, kind, actor) in zip(events, batch.occurrences, strict=True)
    ]
