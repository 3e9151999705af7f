"""Fill a large store on PostgreSQL in minutes: COPY the rows of a built SQLite file, then make the indexes.

The rows are those of normal appends. The copy is not durable until it ends, and does not need to be.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import apsw
import asyncpg

__all__ = ["copy_to_postgres"]

_NUMBER = 0xFFFFFFFFFF

_TABLES = {
    "head": "SELECT tenant_no, size, recorded_at, compact_range, kinds, actors, flows, resources, folded_to, tenant"
    " FROM tenant",
    "kind": "SELECT tenant_no, kind, event_type, resource_type, actor_type, outcome FROM kind",
    "actor": f"SELECT tenant_no, key & {_NUMBER} AS actor, actor_id, actor_type FROM actor",
    "flow": f"SELECT tenant_no, key & {_NUMBER} AS flow, correlation_id, events, failures, first_at, last_at FROM flow",
    "resource": f"SELECT tenant_no, key & {_NUMBER} AS resource, resource_id, resource_type, events FROM resource",
    "bucket": "SELECT tenant_no, level, bucket, events, divided FROM bucket",
    "rollup_kind": "SELECT tenant_no, level, bucket, kind, events FROM rollup_kind",
    "rollup_actor": "SELECT tenant_no, level, bucket, actor, kind, events FROM rollup_actor",
    "transition": "SELECT tenant_no, level, bucket, up_to, counts FROM transition",
    "actor_total": "SELECT tenant_no, level, bucket, up_to, counts FROM actor_total",
    "event": f"SELECT tenant_no, key & {_NUMBER} AS position, id, occurred_at, recorded_at, kind, actor, flow,"
    " resource, cause AS cause_id, cause AS causation_id, leaf, salt, payload_hash, payload FROM event",
}
"""The query of each table's rows. The tables and columns of PostgreSQL have the same names."""

_MADE: dict[str, Any] = {
    "id": lambda value: UUID(bytes=value),
    "resource_id": lambda value: UUID(bytes=value),
    "cause_id": lambda value: UUID(bytes=value) if isinstance(value, bytes) else None,
    "causation_id": lambda value: str(UUID(bytes=value)) if isinstance(value, bytes) else value,
    "divided": bool,
}


async def copy_to_postgres(path: Path, url: str) -> None:
    """Copy the log of the file at `path` into the empty log at `url`, with a login that may do everything."""
    file = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    server = await asyncpg.connect(url, server_settings={"search_path": "whence"})
    try:
        await server.execute("SET maintenance_work_mem = '512MB'; SET synchronous_commit = off")
        for tenant_no, tenant in file.execute("SELECT tenant_no, tenant FROM tenant").fetchall():
            sql = "INSERT INTO tenant (tenant_no, tenant) VALUES ($1, $2)"
            await server.execute(sql, tenant_no, tenant)
        indexes = await server.fetch(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'whence' AND tablename = 'event' "
            "AND indexname <> 'event_pkey'"
        )
        for name, _ in indexes:
            await server.execute(f"DROP INDEX {name}")
        for table, sql in _TABLES.items():
            if columns := _columns(file, sql):
                await server.copy_records_to_table(table, records=_rows(file, sql, columns), columns=columns)
        for _, definition in indexes:
            await server.execute(definition)
        await server.execute("VACUUM (ANALYZE)")
        await server.execute("CHECKPOINT")
    finally:
        await server.close()
        file.close()


def _columns(file: apsw.Connection, sql: str) -> list[str]:
    """The names of the columns; none when there are no rows."""
    cursor = file.execute(f"{sql} LIMIT 1")
    return [column[0] for column in cursor.get_description()] if cursor.has_vdbe else []


def _rows(file: apsw.Connection, sql: str, columns: list[str]) -> Iterator[list[Any]]:
    """The rows, with the values that PostgreSQL needs."""
    making = [(place, _MADE[name]) for place, name in enumerate(columns) if name in _MADE]
    for row in file.execute(sql):
        values = list(row)
        for place, make in making:
            values[place] = make(values[place])
        yield values
