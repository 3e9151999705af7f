"""Reading a log for a copy, and appending what was read to another store."""

from collections.abc import Sequence

from whence.errors import Unsound
from whence.storage.base import READ_BYTES, HashedEvent, Head
from whence.storage.postgres.append import (
    KindsCache,
    PostgresTenantLog,
    insert,
    known_kinds,
    locked_head,
    read_known,
    save_head,
)
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.purge import tile_leaves
from whence.storage.postgres.rows import event_from
from whence.storage.postgres.tenants import Tenant, head_row
from whence.storage.replication import append_removed, hashed_event_from, sequence_exactly
from whence.storage.rows import FullEventRow, HashRow
from whence.storage.sequencing import Batch
from whence.storage.sql import load_blocks

__all__ = ["import_events", "import_removed", "import_retained_from", "part_rows", "read_part", "tenants"]

_SQL = load_blocks("whence.storage.postgres")


async def tenants(connection: Connection, after: str, limit: int | None) -> list[str]:
    """See `Store.tenants`."""
    return [name for (name,) in await connection.fetch(_SQL["tenant_names"], after, limit)]


async def read_part(connection: Connection, tenant: Tenant, after: int, limit: int) -> list[HashedEvent]:
    """See `Store.read_log`."""
    await head_row(connection, tenant)
    hashes, full = await part_rows(connection, tenant.number, after, limit)
    if [row.number for row in full] != [row.number for row in hashes]:
        raise Unsound(f"{tenant.name}, after position {after}: events or their names are missing.")
    return [
        hashed_event_from(event_from(tenant.name, event), leaf, event.actor_erased_at)
        for event, leaf in zip(full, hashes, strict=True)
    ]


async def part_rows(
    connection: Connection, tenant_no: int, after: int, limit: int
) -> tuple[list[HashRow], list[FullEventRow]]:
    """The rows of the positions up to `after + limit`, by position: the hashes of each event, and the events that have
    their names. Some positions may have no event."""
    hashes = await connection.fetch(_SQL["log_part"], tenant_no, after, after + limit, READ_BYTES)
    text = _SQL["full_event"] + " AND e.position > $2 AND e.position <= $3 ORDER BY e.position"
    full = await connection.fetch(text, tenant_no, after, hashes[-1][0]) if hashes else []
    return [HashRow(*row) for row in hashes], [FullEventRow(*row) for row in full]


async def import_events(
    connection: Connection, tenant: Tenant, events: Sequence[HashedEvent], cached: KindsCache, *, joined: bool
) -> None:
    """See `Store.import_log`. `joined` as for `append`."""
    head, kinds_version = await locked_head(connection, tenant)
    log = PostgresTenantLog(await known_kinds(connection, head, cached, kinds_version))
    await read_known(connection, head, log, [hashed.event for hashed in events], joined=joined)
    batch = Batch()
    sequence_exactly(log, head, batch, events)
    await insert(connection, head, log, batch, events, kinds_version, joined=joined)


async def import_removed(connection: Connection, tenant: Tenant, leaves: bytes) -> None:
    """See `Store.import_removed`."""
    head, kinds_version = await locked_head(connection, tenant)
    await tile_leaves(connection, head.tenant_no, head.size + 1, leaves)
    append_removed(head, leaves)
    await save_head(connection, head, kinds_version)
    await connection.execute(_SQL["retain_from"], tenant.number, head.size + 1, 0, 0)


async def import_retained_from(connection: Connection, tenant: Tenant, head: Head) -> None:
    """See `Store.import_retained_from`."""
    if await head_row(connection, tenant) is not None:
        await tile_leaves(connection, tenant.number, head.retained_from)
        values = (head.retained_from, head.recorded_at, head.removed_recorded_at)
        await connection.execute(_SQL["retain_from"], tenant.number, *values)
