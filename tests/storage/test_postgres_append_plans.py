"""An append reads only the rows that it needs, on a server without statistics about its tables.

Every server is in this state just after a log began to grow. A generic plan then estimates a join that reads a whole
table as cheap, and the cost of an append grows with the log.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from tests.contract.faults import by_statements
from tests.contract.made import HOUR, NOON, add, new, uuid
from tests.databases import copied_database, execute, fresh_database
from whence import rollups
from whence.storage import create_store
from whence.storage.postgres import append, purge, removals
from whence.storage.postgres.append_function import AppendCall
from whence.storage.removals import REMOVED_AT_ONCE, Purge

pytestmark = pytest.mark.slow

EVENTS = 20_000
NAMES = 2_000

READ_MAX = 12
"""Rows of one table that the append of a single event may read; the rollups need the most, some of each level."""

FUNCTION_READ_MAX = 2 * READ_MAX
"""The same for the function, which reads a bucket again to add to it."""

_PAYLOAD = b'{"text":"%s"}' % (b"x" * 600)
"""Large payloads, since without statistics the planner estimates by the size of a table."""

_READ = """SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
  FROM pg_stat_xact_user_tables WHERE schemaname = 'whence'"""

_GENERIC = """DO $$ BEGIN
  EXECUTE format('ALTER DATABASE %I SET plan_cache_mode = force_generic_plan', current_database());
  EXECUTE format('ALTER DATABASE %I SET enable_nestloop = off', current_database());
END $$"""
"""Settings that force generic plans and favour joins of whole tables."""


@pytest.fixture(scope="module")
async def grown(anyio_backend: str) -> str:
    """A log of thousands of actors, flows and resources, whose tables have no statistics."""
    url = await fresh_database()
    tables = ("actor", "bucket", "event", "flow", "kind", "resource", "rollup_actor", "rollup_kind")
    await execute(url, *[f"ALTER TABLE whence.{table} SET (autovacuum_enabled = false)" for table in tables])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollups, "DIVIDE_AT", 20)
        store = create_store(url)
        for first in range(1, EVENTS + 1, 1_000):
            await add(store, *[_own(number) for number in range(first, first + 1_000)])
        await store.close()
    return url


def _own(number: int, **fields: Any) -> Any:
    return new(
        number,
        actor_id=f"a{number % NAMES}",
        correlation_id=fields.pop("correlation_id", f"f{number % NAMES}"),
        resource_id=uuid(number % NAMES),
        occurred_at=NOON + number * HOUR,
        payload=_PAYLOAD,
        **fields,
    )


@pytest.fixture
async def store(grown: str) -> AsyncIterator[Any]:
    """The store of that log."""
    await execute(grown, _GENERIC)
    opened = create_store(grown)
    yield opened
    await opened.close()


async def _rows_read(store: Any, *events: Any) -> dict[str, int]:
    """The number of rows that an append reads from each table."""
    return await _rows_read_by(store, lambda: add(store, *events))


async def _rows_read_by(store: Any, write: Callable[[], Awaitable[Any]]) -> dict[str, int]:
    """The number of rows that a write reads from each table, except the system catalogue."""
    read: dict[str, int] = {}
    real = store._writing.run

    async def run(tenant_no: int, work: Any, *, alone: bool = False, **more: Any) -> Any:
        # What goes alone is committed before it could be asked what was read.
        async def noting(connection: Any) -> Any:
            done = await work(connection)
            read.update({str(table): int(rows) for table, rows in await connection.fetch(_READ)})
            return done

        return await real(tenant_no, noting, **more)

    store._writing.run = run
    try:
        await write()
    finally:
        store._writing.run = real
    return read


async def test_an_event_costs_no_more_in_a_long_log(store: Any) -> None:
    """An append of one event with a known cause, actor and resource reads a few rows of each table."""
    event = _own(7, correlation_id=None, causation_id=uuid(8))
    read = await _rows_read(store, msgspec.structs.replace(event, id=uuid(EVENTS + 1)))
    assert {"actor", "event", "flow", "resource"} <= read.keys()
    assert {table: rows for table, rows in read.items() if rows > READ_MAX} == {}


async def test_an_event_costs_the_function_no_more_in_a_long_log(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for an append that goes by the function."""
    await add(store, _own(EVENTS + 20))  # reads the kinds
    stored: list[bool] = []
    real = AppendCall.run

    async def run(call: AppendCall, connection: Any) -> Any:
        results = await real(call, connection)
        stored.append(results is not None)
        return results

    monkeypatch.setattr(AppendCall, "run", run)
    event = _own(7, correlation_id=None, causation_id=uuid(8))
    read = await _rows_read(store, msgspec.structs.replace(event, id=uuid(EVENTS + 21)))
    assert stored == [True]
    assert {"actor", "event", "flow", "resource"} <= read.keys()
    assert {table: rows for table, rows in read.items() if rows > FUNCTION_READ_MAX} == {}


JOINED = {
    "buckets_known": """SELECT b.level, b.bucket, b.events, b.divided
  FROM unnest($2::int[], $3::bigint[]) AS asked (level, bucket)
  JOIN bucket b ON b.tenant_no = $1 AND b.level = asked.level AND b.bucket = asked.bucket""",
    "stored_ids": """SELECT e.id, e.position, f.correlation_id
  FROM event e JOIN flow f ON f.tenant_no = e.tenant_no AND f.flow = e.flow
 WHERE e.tenant_no = $1 AND e.id = ANY($2::uuid[])
 UNION ALL
SELECT NULL, NULL, correlation_id FROM flow WHERE tenant_no = $1 AND correlation_id = ANY($3::text[])""",
    "actor_number": """SELECT a.actor, a.actor_id, a.actor_type
  FROM unnest($2::text[], $3::text[]) AS asked (actor_id, actor_type)
  JOIN actor a ON a.tenant_no = $1 AND a.actor_id = asked.actor_id AND a.actor_type = asked.actor_type""",
}


@pytest.mark.parametrize("block", sorted(JOINED))
async def test_mutant_a_join_is_caught(block: str, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same lookup as a join reads the whole table."""
    by_statements(monkeypatch)
    monkeypatch.setattr(append, "_SQL", {**append._SQL, block: JOINED[block]})
    number = EVENTS + 2 + sorted(JOINED).index(block)
    read = await _rows_read(store, _own(number, correlation_id=None, causation_id=uuid(8)))
    assert max(read.values()) > READ_MAX


NAMES_READ_MAX = 4 * REMOVED_AT_ONCE
PURGED_READ_MAX = 30 * REMOVED_AT_ONCE
"""Rows of one table of names, and of any table, that a batch of a purge may read: an event is in buckets of every
level, and each row is looked up, and then taken, twice."""


@pytest.fixture
async def purged(grown: str) -> AsyncIterator[Any]:
    """A store of a copy of that log."""
    url = await copied_database(grown)
    await execute(url, *[f"ALTER TABLE whence.{table} SET (autovacuum_enabled = false)" for table in ("event", "flow")])
    opened = create_store(url)
    yield opened
    await opened.close()


async def _purge(store: Any) -> dict[str, int]:
    async def batch() -> None:
        assert await store.removals.purge("acme", Purge(1, 1 + REMOVED_AT_ONCE), []) == REMOVED_AT_ONCE

    return await _rows_read_by(store, batch)


async def test_a_batch_of_a_purge_costs_no_more_in_a_long_log(purged: Any) -> None:
    """It reads some rows of each table for each of its events."""
    read = await _purge(purged)
    assert {"actor", "event", "flow", "resource", "rollup_actor"} <= read.keys()
    assert {table: rows for table, rows in read.items() if rows > PURGED_READ_MAX} == {}
    assert max(read["actor"], read["flow"], read["resource"]) <= NAMES_READ_MAX


async def test_mutant_a_row_of_a_purge_found_by_a_join_is_caught(purged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same update as a join, planned like any other, reads the whole table for each row."""
    joined = """UPDATE resource t SET events = t.events - gone.events
      FROM unnest($2::bigint[], $3::bigint[]) AS gone (resource, events)
     WHERE t.tenant_no = $1 AND t.resource = gone.resource AND t.events > gone.events RETURNING t.resource"""
    monkeypatch.setattr(purge, "_SQL", {**purge._SQL, "take_from_resource": joined})
    monkeypatch.setattr(removals, "_SQL", {**removals._SQL, "plan_by_key": "SELECT 1"})
    assert (await _purge(purged))["resource"] > NAMES_READ_MAX
