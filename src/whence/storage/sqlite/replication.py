"""Reading a log for a copy, and appending what was read to another store."""

from collections.abc import Sequence
from typing import Any

import apsw

from whence.errors import Unsound
from whence.storage.base import READ_BYTES, HashedEvent, Head
from whence.storage.replication import append_removed, hashed_event_from, sequence_exactly
from whence.storage.rows import FullEventRow, HashRow
from whence.storage.sequencing import Batch
from whence.storage.sql import load_blocks
from whence.storage.sqlite.append import Appender, SQLiteTenantLog, head_draft, insert, save_head
from whence.storage.sqlite.purge import tile_leaves
from whence.storage.sqlite.rows import event_from, head_row, key_of

__all__ = ["import_events", "import_removed", "import_retained_from", "read_part", "tenants"]

_SQL = load_blocks("whence.storage.sqlite")


def tenants(connection: apsw.Connection, after: str, limit: int | None) -> list[str]:
    """See `Store.tenants`."""
    return [name for (name,) in connection.execute(_SQL["tenant_names"], (after, -1 if limit is None else limit))]


def read_part(connection: apsw.Connection, tenant: str, after: int, limit: int) -> list[HashedEvent]:
    """See `Store.read_log`."""
    head = head_row(connection, tenant)
    if head is None:
        return []
    keys = (key_of(head.tenant_no, after), key_of(head.tenant_no, after + limit))
    full = connection.execute(_SQL["full_event"] + " WHERE e.key > ? AND e.key <= ? ORDER BY e.key", keys)
    part: list[HashedEvent] = []
    size = 0
    rows: Any = connection.execute(_SQL["log_part"], keys)
    for hashes in map(HashRow._make, rows):
        if size >= READ_BYTES:
            break
        found: Any = next(full, None)
        if found is None or found[0] != hashes.number:
            raise Unsound(f"{tenant}, position {after + len(part) + 1}: the event or its names are missing.")
        event = event_from(tenant, found)
        part.append(hashed_event_from(event, hashes, FullEventRow(*found).actor_erased_at))
        size += len(event.payload or b"")
    return part


def import_events(connection: apsw.Connection, appender: Appender, tenant: str, events: Sequence[HashedEvent]) -> None:
    """See `Store.import_log`. Runs inside the writer's transaction, which `appender` follows."""
    head = head_draft(connection, tenant)
    log = SQLiteTenantLog(connection, head, appender.names, [hashed.event for hashed in events])
    batch = Batch()
    sequence_exactly(log, head, batch, events)
    log.add_names(batch)
    insert(connection, head, log, batch, events)


def import_removed(connection: apsw.Connection, tenant: str, leaves: bytes) -> None:
    """See `Store.import_removed`."""
    head = head_draft(connection, tenant)
    tile_leaves(connection, head.tenant_no, head.size + 1, leaves)
    append_removed(head, leaves)
    save_head(connection, head)
    connection.execute(_SQL["retain_from"], (head.size + 1, 0, 0, tenant))


def import_retained_from(connection: apsw.Connection, tenant: str, head: Head) -> None:
    """See `Store.import_retained_from`."""
    row = head_row(connection, tenant)
    if row is not None:
        tile_leaves(connection, row.tenant_no, head.retained_from)
        values = (head.retained_from, head.recorded_at, head.removed_recorded_at, tenant)
        connection.execute(_SQL["retain_from"], values)
